//! Sorted runs of rows in memory.
//!
//! What rows are made of lies in few large pieces, one row behind another, and a row is a place there: making one allocates
//! nothing, and moving one while runs are sorted and merged moves 40 bytes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use byteview::ByteView;

use super::keys::{Key, Table};
use super::scan::Pair;
use crate::Error;

/// A piece that has as many bytes is followed by another one.
const PIECE_BYTES: usize = 1024 * 1024;
/// How many pieces, and rows, [`Unsorted`] keeps the memory of: those of a full batch of usual messages.
const KEPT_PIECES_MAX: usize = 8;
const KEPT_ROWS_MAX: usize = 48 * 1024;

/// A key's first bytes as numbers that are in the same order: enough for the table, the group and an event's number. Comparing
/// keys would follow pointers to where no cache has anything.
type Order = ([u64; 3], u8);

/// A row: where its key lies, and behind that its value.
#[derive(Debug, Clone, Copy)]
struct StagedRow {
    /// Both parts of an [`Order`], apart so that nothing is filled up behind them.
    numbers: [u64; 3],
    byte: u8,
    key_len: u16,
    value_len: u32,
    piece: u32,
    start: u32,
}

impl StagedRow {
    fn order(&self) -> Order {
        (self.numbers, self.byte)
    }

    fn len(&self) -> usize {
        usize::from(self.key_len) + self.value_len as usize
    }
}

/// Rows in rising order of their keys, each key once.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pieces: Vec<ByteView>,
    rows: Vec<StagedRow>,
}

/// A row of a run.
#[derive(Clone, Copy)]
pub(super) struct RowOf<'a> {
    run: &'a Run,
    row: &'a StagedRow,
}

/// A key that is looked for in runs.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    order: Order,
    key: &'a [u8],
}

impl<'a> Wanted<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self { order: order(key), key }
    }
}

fn order(key: &[u8]) -> Order {
    let mut bytes = [0; 25];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    let (numbers, rest) = bytes.as_chunks();
    let mut order = [0; 3];
    for (number, some) in order.iter_mut().zip(numbers) {
        *number = u64::from_be_bytes(*some);
    }
    (order, rest.first().copied().unwrap_or_default())
}

impl<'a> RowOf<'a> {
    /// The row's key.
    pub(super) fn key(self) -> &'a [u8] {
        self.run.key(self.row)
    }

    /// The row's value.
    pub(super) fn value(self) -> fjall::UserValue {
        let start = self.row.start as usize + usize::from(self.row.key_len);
        self.run.part(self.row.piece, start, self.row.value_len as usize)
    }

    /// Key and value.
    pub(super) fn pair(self) -> Pair {
        let key = self.run.part(self.row.piece, self.row.start as usize, usize::from(self.row.key_len));
        (key, self.value())
    }

    /// How this row's key compares with another's.
    pub(super) fn cmp_key(self, other: RowOf<'_>) -> Ordering {
        self.row.order().cmp(&other.row.order()).then_with(|| self.key().cmp(other.key()))
    }

    /// Whether this row's key is before another.
    pub(super) fn is_before(self, other: &Wanted<'_>) -> bool {
        self.row.order().cmp(&other.order).then_with(|| self.key().cmp(other.key)).is_lt()
    }
}

impl Run {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What it takes of memory, also what it has of rows that a merge replaced.
    pub(super) fn bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len() + size_of::<ByteView>()).sum();
        pieces + self.rows.len() * size_of::<StagedRow>()
    }

    /// The row at a place.
    pub(super) fn at(&self, place: usize) -> Option<RowOf<'_>> {
        self.rows.get(place).map(|row| self.of(row))
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = RowOf<'_>> {
        self.rows.iter().map(|row| self.of(row))
    }

    /// The place of the first row from one place up to another that isn't before a key; else the latter.
    pub(super) fn place(&self, from: usize, end: usize, key: &Wanted<'_>) -> usize {
        let rows = self.rows.get(from..end).unwrap_or_default();
        from + rows.partition_point(|row| self.of(row).is_before(key))
    }

    /// The row of a key.
    pub(super) fn find(&self, key: &Wanted<'_>) -> Option<RowOf<'_>> {
        self.at(self.place(0, self.len(), key)).filter(|row| row.key() == key.key)
    }

    fn of<'a>(&'a self, row: &'a StagedRow) -> RowOf<'a> {
        RowOf { run: self, row }
    }

    fn key(&self, row: &StagedRow) -> &[u8] {
        let start = row.start as usize;
        let piece = self.pieces.get(row.piece as usize);
        piece.and_then(|piece| piece.get(start..start + usize::from(row.key_len))).unwrap_or_default()
    }

    /// Some bytes of a piece, without a copy unless they are few.
    fn part(&self, piece: u32, start: usize, len: usize) -> fjall::Slice {
        self.pieces
            .get(piece as usize)
            .map(|piece| piece.slice(start..start + len).into())
            .unwrap_or_default()
    }
}

/// Rows in the order in which they came. To be used again: memory that was never touched costs more than what is written there.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    pieces: Vec<Vec<u8>>,
    /// The piece that is being filled.
    piece: usize,
    rows: Vec<StagedRow>,
}

impl Unsorted {
    /// Adds a row, of a table, with a key that begins with the table and a value in some parts.
    pub(super) fn put(
        &mut self,
        table: Table,
        key: impl FnOnce(Key) -> Key,
        value: &[&[u8]],
    ) -> Result<(), Error> {
        const TOO_LONG: Error = Error::Damaged("a row that is too long");
        self.piece +=
            usize::from(self.pieces.get(self.piece).is_some_and(|piece| piece.len() >= PIECE_BYTES));
        if self.piece >= self.pieces.len() {
            self.pieces.push(Vec::new());
        }
        let Some(piece) = self.pieces.get_mut(self.piece) else { return Err(TOO_LONG) };
        let start = piece.len();
        *piece = key(Key::behind(std::mem::take(piece), table)).into_bytes();
        let value_start = piece.len();
        value.iter().for_each(|part| piece.extend_from_slice(part));
        let (numbers, byte) = order(piece.get(start..value_start).unwrap_or_default());
        let row = StagedRow {
            numbers,
            byte,
            key_len: u16::try_from(value_start - start).map_err(|_| TOO_LONG)?,
            value_len: u32::try_from(piece.len() - value_start).map_err(|_| TOO_LONG)?,
            piece: u32::try_from(self.piece).map_err(|_| TOO_LONG)?,
            start: u32::try_from(start).map_err(|_| TOO_LONG)?,
        };
        self.rows.push(row);
        Ok(())
    }

    /// The rows as a run, in which they lie in their order; of several with one key the last one. None are left here.
    pub(super) fn sorted(&mut self) -> Run {
        let pieces = &self.pieces;
        let bytes = |row: &StagedRow, len: usize| {
            let start = row.start as usize;
            pieces.get(row.piece as usize).and_then(|piece| piece.get(start..start + len)).unwrap_or_default()
        };
        let cmp_key = |one: &StagedRow, other: &StagedRow| {
            let key = |row: &StagedRow| bytes(row, usize::from(row.key_len));
            one.order().cmp(&other.order()).then_with(|| key(one).cmp(key(other)))
        };
        // The sort is stable, so of equal keys the later one ends up behind; dedup_by keeps the first of them and is given the
        // later one first.
        self.rows.sort_by(cmp_key);
        self.rows.dedup_by(|later, kept| {
            let is_same = cmp_key(later, kept).is_eq();
            if is_same {
                *kept = *later;
            }
            is_same
        });
        let mut run = Run { pieces: Vec::new(), rows: self.rows.clone() };
        let mut rest = run.rows.as_mut_slice();
        while !rest.is_empty() {
            let (mut count, mut len) = (0, 0);
            while let Some(row) = rest.get(count).filter(|_| len < PIECE_BYTES) {
                (count, len) = (count + 1, len + row.len());
            }
            let (those, others) = std::mem::take(&mut rest).split_at_mut(count);
            run.pieces.push(piece_of(those, run.pieces.len(), len, bytes));
            rest = others;
        }
        self.clear();
        run
    }

    /// Forgets the rows, and keeps some of the memory.
    pub(super) fn clear(&mut self) {
        self.pieces.truncate(KEPT_PIECES_MAX);
        self.pieces.iter_mut().for_each(Vec::clear);
        self.piece = 0;
        self.rows.clear();
        self.rows.shrink_to(KEPT_ROWS_MAX);
    }
}

/// A piece of so many bytes with the given rows in it, which are told that they lie there.
fn piece_of<'a>(
    rows: &mut [StagedRow],
    number: usize,
    len: usize,
    bytes: impl Fn(&StagedRow, usize) -> &'a [u8],
) -> ByteView {
    let mut piece = ByteView::with_size(len);
    let Some(mut to) = piece.get_mut() else { return piece };
    let mut start = 0;
    for row in rows {
        let end = start + row.len();
        if let Some(to) = to.get_mut(start..end) {
            to.copy_from_slice(bytes(row, row.len()));
        }
        // There are no more of them than a run has pieces, and they are no longer than a piece and a row.
        row.piece = u32::try_from(number).unwrap_or(u32::MAX);
        row.start = u32::try_from(start).unwrap_or(u32::MAX);
        start = end;
    }
    drop(to);
    piece
}

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
    // No more than there is memory for, each of a kilobyte.
    #[allow(clippy::cast_possible_truncation, reason = "there are fewer pieces than 2^32")]
    let shift = older.pieces.len() as u32;
    let moved = |row: RowOf<'_>| StagedRow { piece: row.row.piece + shift, ..*row.row };
    let mut rows = Vec::with_capacity(older.len() + newer.len());
    let (mut old, mut new) = (0, 0);
    while let (Some(one), Some(other)) = (older.at(old), newer.at(new)) {
        let order = one.cmp_key(other);
        if order.is_lt() {
            rows.push(*one.row);
            old += 1;
            continue;
        }
        rows.push(moved(other));
        new += 1;
        old += usize::from(order.is_eq());
    }
    rows.extend(older.rows.get(old..).unwrap_or_default());
    rows.extend(newer.iter().skip(new).map(moved));
    Run { pieces, rows }
}

#[cfg(test)]
impl Run {
    /// Rows of given keys, which stand behind the byte of a table, and values.
    pub(super) fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut rows = Unsorted::default();
        for (key, value) in pairs {
            rows.put(Table::Meta, |to| to.bytes(key), &[value]).unwrap();
        }
        rows.sorted()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn plain(row: RowOf<'_>) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = row.pair();
        (key[1..].to_vec(), value.to_vec())
    }

    fn shown(run: &Run) -> Vec<(Vec<u8>, Vec<u8>)> {
        run.iter().map(plain).collect()
    }

    #[test]
    fn what_was_used_is_used_again() {
        let mut rows = Unsorted::default();
        for round in 0..3u8 {
            for key in [3u8, 1, 2, 1] {
                rows.put(Table::Meta, |to| to.tag(key), &[&[round], &[key; 30]]).unwrap();
            }
            let run = rows.sorted();
            let wanted = [1u8, 2, 3].map(|key| (vec![key], [vec![round], vec![key; 30]].concat()));
            assert_eq!(shown(&run), wanted);
            assert!(rows.rows.is_empty() && rows.pieces.len() == 1);
        }
    }

    fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        // Long beginnings that are the same, so that what is kept beside the place doesn't tell them apart.
        let key =
            (prop::sample::select(vec![0usize, 3, 22, 23, 24, 40]), prop::collection::vec(0u8..3, 0..4));
        let key = key.prop_map(|(same, rest)| [vec![1; same], rest].concat());
        prop::collection::vec((key, prop::collection::vec(any::<u8>(), 0..30)), 0..40)
    }

    proptest! {
        #[test]
        fn the_last_of_equal_keys_counts_and_the_order_is_that_of_keys(
            (older, newer) in (pairs(), pairs()),
            (key, then) in (pairs(), pairs()),
        ) {
            let run = |pairs: &Vec<(Vec<u8>, Vec<u8>)>| Run::from_pairs(pairs.iter().map(|(key, value)| (&**key, &**value)));
            let (one, other) = (run(&older), run(&newer));
            let mut all: Map = older.into_iter().collect();
            prop_assert_eq!(shown(&one), all.clone().into_iter().collect::<Vec<_>>());
            all.extend(newer);
            let merged = merge(&one, &other);
            prop_assert_eq!(shown(&merged), all.clone().into_iter().collect::<Vec<_>>());
            let last = run(&then);
            let three = [Arc::new(one), Arc::new(other), Arc::new(last)];
            let mut with_last = all.clone();
            with_last.extend(then);
            let found: Vec<_> = Merged::new(&three).map(plain).collect();
            prop_assert_eq!(found, with_last.into_iter().collect::<Vec<_>>());
            for (key, _) in key {
                let behind = [&[Table::Meta as u8], key.as_slice()].concat();
                let found = merged.find(&Wanted::new(&behind)).map(|row| row.value().to_vec());
                prop_assert_eq!(found, all.get(&key).cloned());
                let place = merged.place(0, merged.len(), &Wanted::new(&behind));
                prop_assert_eq!(place, all.range(..key).count());
            }
        }
    }

    #[test]
    fn rows_go_on_in_another_piece() {
        let long = vec![7; PIECE_BYTES / 3];
        let keys: Vec<[u8; 1]> = (0..10).map(|key| [key]).collect();
        let run = Run::from_pairs(keys.iter().map(|key| (key.as_slice(), long.as_slice())));
        assert!(run.pieces.len() > 2, "{}", run.pieces.len());
        assert!(run.bytes() > 10 * long.len());
        assert!(run.iter().all(|row| *row.value() == *long));
        assert!(run.iter().map(|row| row.key()[1]).eq(0..10));
    }

    #[test]
    fn a_row_is_small() {
        assert_eq!(size_of::<StagedRow>(), 40);
    }
}
