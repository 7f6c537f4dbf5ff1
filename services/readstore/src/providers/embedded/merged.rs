//! Sorted runs as one: all the way through on the way to the database, and two at a time in memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use byteview::ByteView;

use super::run::{RowOf, Run, StagedRow};

/// The rows of some runs in the order of their keys; of equal keys the newest.
pub(super) struct Merged<'a>(BinaryHeap<Head<'a>>);

/// The next row of a run.
struct Head<'a> {
    row: RowOf<'a>,
    place: usize,
    /// How new the run is.
    number: usize,
}

impl<'a> Merged<'a> {
    /// Of runs that are given the oldest first.
    pub(super) fn new(runs: &'a [Arc<Run>]) -> Self {
        let heads = runs.iter().enumerate();
        Self(heads.filter_map(|(number, run)| Some(Head { row: run.at(0)?, place: 0, number })).collect())
    }

    fn take(&mut self) -> Option<RowOf<'a>> {
        let mut head = self.0.peek_mut()?;
        let row = head.row;
        head.place += 1;
        match row.run.at(head.place) {
            Some(next) => head.row = next,
            None => drop(PeekMut::pop(head)),
        }
        Some(row)
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = RowOf<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.take()?;
        while self.0.peek().is_some_and(|head| head.row.cmp_key(row).is_eq()) {
            self.take();
        }
        Some(row)
    }
}

impl Ord for Head<'_> {
    /// The greatest is the next one: the first key, of the newest run.
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.cmp_key(self.row).then_with(|| self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

/// Both runs; of equal keys the newer one counts.
pub(super) fn merge(older: &Run, newer: &Run) -> Run {
    let pieces: Vec<ByteView> = older.pieces.iter().chain(&newer.pieces).cloned().collect();
    // Each has an allocation of its own: memory ends long before their numbers do.
    #[allow(clippy::cast_possible_truncation, reason = "there are fewer pieces than 2^32")]
    let shift = older.pieces.len() as u32;
    let moved = |row: &StagedRow| row.behind(shift);
    let mut rows = Vec::with_capacity(older.len() + newer.len());
    let (mut old, mut new) = (0, 0);
    while let (Some(one), Some(other)) = (older.at(old), newer.at(new)) {
        let order = one.cmp_key(other);
        if order.is_lt() {
            rows.push(*one.row);
            old += 1;
            continue;
        }
        rows.push(moved(other.row));
        new += 1;
        old += usize::from(order.is_eq());
    }
    rows.extend(older.rows.get(old..).unwrap_or_default());
    rows.extend(newer.rows.get(new..).unwrap_or_default().iter().map(moved));
    Run { pieces, rows }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::run::tests::{Map, Pairs, pairs, plain, run, shown};
    use super::*;

    proptest! {
        #[test]
        fn the_newest_of_equal_keys_counts(given in prop::collection::vec(pairs(), 0..5)) {
            let runs: Vec<_> = given.iter().map(|pairs| Arc::new(run(pairs))).collect();
            let all: Pairs = given.into_iter().flatten().collect::<Map>().into_iter().collect();
            prop_assert_eq!(&Merged::new(&runs).map(plain).collect::<Pairs>(), &all);
            let merged = runs.iter().fold(Run::default(), |older, newer| merge(&older, newer));
            prop_assert_eq!(shown(&merged), all);
        }
    }
}
