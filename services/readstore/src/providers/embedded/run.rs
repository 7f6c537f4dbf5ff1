//! Sorted runs of rows in memory.
//!
//! What rows are made of lies in few large pieces, one row behind another, and a row is a place there: making one allocates
//! nothing, and moving one while runs are sorted and merged moves 40 bytes.

use std::cmp::Ordering;
use std::ops::Deref;

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
pub(super) struct StagedRow {
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

    /// The same row in a run that has other pieces before its own.
    pub(super) fn behind(self, pieces: u32) -> Self {
        Self { piece: self.piece + pieces, ..self }
    }

    fn len(&self) -> usize {
        usize::from(self.key_len) + self.value_len as usize
    }

    /// The row's first bytes in the pieces in which it lies.
    fn bytes<'a>(&self, pieces: &'a [impl Deref<Target = [u8]>], len: usize) -> &'a [u8] {
        let start = self.start as usize;
        pieces.get(self.piece as usize).and_then(|piece| piece.get(start..start + len)).unwrap_or_default()
    }

    fn key<'a>(&self, pieces: &'a [impl Deref<Target = [u8]>]) -> &'a [u8] {
        self.bytes(pieces, usize::from(self.key_len))
    }
}

/// Rows in rising order of their keys, each key once.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) pieces: Vec<ByteView>,
    pub(super) rows: Vec<StagedRow>,
}

/// A row of a run.
#[derive(Clone, Copy)]
pub(super) struct RowOf<'a> {
    pub(super) run: &'a Run,
    pub(super) row: &'a StagedRow,
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
        self.row.key(&self.run.pieces)
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
        let cmp_key = |one: &StagedRow, other: &StagedRow| {
            one.order().cmp(&other.order()).then_with(|| one.key(pieces).cmp(other.key(pieces)))
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
            run.pieces.push(piece_of(those, run.pieces.len(), len, pieces));
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

/// A piece of so many bytes with the given rows in it, which are told that they lie there and no longer in `before`.
fn piece_of(rows: &mut [StagedRow], number: usize, len: usize, before: &[Vec<u8>]) -> ByteView {
    let mut piece = ByteView::with_size(len);
    let Some(mut to) = piece.get_mut() else { return piece };
    let mut start = 0;
    for row in rows {
        let end = start + row.len();
        if let Some(to) = to.get_mut(start..end) {
            to.copy_from_slice(row.bytes(before, row.len()));
        }
        // Neither can be more than it was before: rows lay in pieces as long as these.
        row.piece = u32::try_from(number).unwrap_or(u32::MAX);
        row.start = u32::try_from(start).unwrap_or(u32::MAX);
        start = end;
    }
    drop(to);
    piece
}

#[cfg(test)]
impl Run {
    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = RowOf<'_>> {
        self.rows.iter().map(|row| self.of(row))
    }

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
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    pub(in super::super) type Map = BTreeMap<Vec<u8>, Vec<u8>>;
    pub(in super::super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    /// Some keys and values, of which keys may be the same.
    pub(in super::super) fn pairs() -> impl Strategy<Value = Pairs> {
        // Long beginnings that are the same, so that what is kept beside the place doesn't tell them apart.
        let key =
            (prop::sample::select(vec![0usize, 3, 22, 23, 24, 40]), prop::collection::vec(0u8..3, 0..4));
        let key = key.prop_map(|(same, rest)| [vec![1; same], rest].concat());
        prop::collection::vec((key, prop::collection::vec(any::<u8>(), 0..30)), 0..40)
    }

    pub(in super::super) fn run(pairs: &Pairs) -> Run {
        Run::from_pairs(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    /// A row as it was given.
    pub(in super::super) fn plain(row: RowOf<'_>) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = row.pair();
        (key[1..].to_vec(), value.to_vec())
    }

    pub(in super::super) fn shown(run: &Run) -> Pairs {
        run.iter().map(plain).collect()
    }

    proptest! {
        #[test]
        fn the_last_of_equal_keys_counts_and_the_order_is_that_of_keys((given, looked_for) in (pairs(), pairs())) {
            let (run, all) = (run(&given), given.into_iter().collect::<Map>());
            prop_assert_eq!(shown(&run), all.clone().into_iter().collect::<Pairs>());
            for (key, _) in looked_for {
                let behind = [&[Table::Meta as u8], key.as_slice()].concat();
                let found = run.find(&Wanted::new(&behind)).map(|row| row.value().to_vec());
                prop_assert_eq!(found, all.get(&key).cloned());
                let place = run.place(0, run.len(), &Wanted::new(&behind));
                prop_assert_eq!(place, all.range(..key).count());
            }
        }
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
