//! Rows in memory, until there are enough of them to be written as tables of their own.
//!
//! Why not the engine's own memtable: rows come in sorted batches, and a skip list has to find the place of each of them. Here a
//! batch stays what it is, a sorted run, and is merged with those before it. They need no journal either: what a crash takes
//! away is projected again.

use std::cmp::Ordering;
use std::sync::Arc;

use fjall::{UserKey, UserValue};

use super::scan::Pair;

/// A run that is longer is merged no further, so that no merge takes long.
const MERGED_ROWS_MAX: usize = 32 * 1024;
/// What a row takes beside its bytes: itself, and twice a count of holders and what the allocator adds.
const ROW_OVERHEAD_BYTES: usize = size_of::<StagedRow>() + 32;

/// Rows in rising order of their keys, each key once.
pub(super) type Run = Vec<StagedRow>;

/// A row in memory.
#[derive(Debug, Clone)]
pub(super) struct StagedRow {
    /// The key's first bytes as numbers that are in the same order: enough for the table, the group and what follows. Comparing
    /// keys would follow two pointers to where no cache has anything.
    order: [u64; 3],
    pub(super) pair: Pair,
}

impl StagedRow {
    pub(super) fn new(key: &[u8], value: &[u8]) -> Self {
        Self { order: order(key), pair: (UserKey::new(key), UserValue::new(value)) }
    }

    /// How this row's key compares with another's.
    pub(super) fn cmp_key(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order).then_with(|| self.pair.0.cmp(&other.pair.0))
    }

    /// Whether this row's key is before another.
    pub(super) fn is_before(&self, other: &Wanted<'_>) -> bool {
        self.order.cmp(&other.order).then_with(|| (*self.pair.0).cmp(other.key)).is_lt()
    }
}

/// A key that is looked for in runs.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    order: [u64; 3],
    key: &'a [u8],
}

impl<'a> Wanted<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self { order: order(key), key }
    }
}

fn order(key: &[u8]) -> [u64; 3] {
    let mut bytes = [0; 24];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    let mut order = [0; 3];
    for (number, some) in order.iter_mut().zip(bytes.as_chunks().0) {
        *number = u64::from_be_bytes(*some);
    }
    order
}

/// What isn't in the database yet.
#[derive(Clone, Default)]
pub(super) struct Staged {
    /// On their way there, the oldest first.
    leaving: Vec<Arc<Run>>,
    /// Those that came since, the oldest first.
    gathered: Vec<Arc<Run>>,
    gathered_bytes: usize,
}

impl Staged {
    /// Takes a run, which counts before all that came earlier.
    pub(super) fn push(&mut self, mut run: Run) {
        self.gathered_bytes += run.iter().map(bytes_of).sum::<usize>();
        let is_mergeable =
            |older: &mut Arc<Run>, run: &Run| older.len() < MERGED_ROWS_MAX && older.len() < 2 * run.len();
        while let Some(older) = self.gathered.pop_if(|older| is_mergeable(older, &run)) {
            run = merge(Arc::unwrap_or_clone(older), run);
        }
        self.gathered.push(Arc::new(run));
    }

    /// How much was gathered.
    pub(super) fn gathered_bytes(&self) -> usize {
        self.gathered_bytes
    }

    /// Sends what was gathered on its way, unless something still is; gives what is on its way, the oldest first.
    pub(super) fn leave(&mut self) -> Vec<Arc<Run>> {
        if self.leaving.is_empty() {
            self.leaving = std::mem::take(&mut self.gathered);
            self.gathered_bytes = 0;
        }
        self.leaving.clone()
    }

    /// Whether something is on its way.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// What was on its way is in the database.
    pub(super) fn has_left(&mut self) {
        self.leaving = Vec::new();
    }

    /// All runs, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.gathered.iter().rev().chain(self.leaving.iter().rev())
    }

    /// The newest value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&UserValue> {
        let wanted = Wanted::new(key);
        self.newest_first().find_map(|run| {
            let place = run.partition_point(|row| row.is_before(&wanted));
            run.get(place).filter(|row| *row.pair.0 == *key).map(|row| &row.pair.1)
        })
    }
}

fn bytes_of(row: &StagedRow) -> usize {
    row.pair.0.len() + row.pair.1.len() + ROW_OVERHEAD_BYTES
}

/// Runs as one, given the oldest first.
pub(super) fn merge_all(mut runs: Vec<Run>) -> Run {
    // Neighbours first, so that no row is moved more often than need be.
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut rest = runs.into_iter();
        while let Some(older) = rest.next() {
            merged.push(match rest.next() {
                Some(newer) => merge(older, newer),
                None => older,
            });
        }
        runs = merged;
    }
    runs.pop().unwrap_or_default()
}

/// Both runs; of equal keys the newer one counts.
fn merge(older: Run, newer: Run) -> Run {
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    while let (Some(old), Some(new)) = (older.peek(), newer.peek()) {
        let order = old.cmp_key(new);
        if order.is_lt() {
            merged.extend(older.next());
            continue;
        }
        if order.is_eq() {
            older.next();
        }
        merged.extend(newer.next());
    }
    merged.extend(older);
    merged.extend(newer);
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn run(pairs: &BTreeMap<u8, u8>) -> Run {
        pairs.iter().map(|(key, value)| StagedRow::new(&[*key], &[*value])).collect()
    }

    proptest! {
        /// Whatever is pushed, and whenever it leaves: the newest value of each key is there until it has left.
        #[test]
        fn the_newest_value_counts(
            batches in prop::collection::vec((prop::collection::btree_map(0u8..40, any::<u8>(), 0..20), 0u8..6), 0..30),
        ) {
            let (mut staged, mut left) = (Staged::default(), BTreeMap::new());
            let mut all = BTreeMap::new();
            for (batch, what_next) in batches {
                staged.push(run(&batch));
                all.extend(batch);
                let held = staged.clone();
                if what_next == 0 {
                    let leaving = staged.leave().iter().map(|run| (**run).clone()).collect();
                    left.extend(merge_all(leaving).iter().map(|row| (row.pair.0[0], row.pair.1[0])));
                    prop_assert!(staged.is_leaving() || all.is_empty());
                }
                if what_next == 1 && staged.is_leaving() {
                    staged.has_left();
                }
                for key in 0..40 {
                    let here = staged.get(&[key]).map(|value| value[0]);
                    prop_assert_eq!(here.or_else(|| left.get(&key).copied()), all.get(&key).copied());
                    let then = held.get(&[key]).map(|value| value[0]);
                    prop_assert_eq!(then.or_else(|| left.get(&key).copied()), all.get(&key).copied());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_in_the_order_of_their_keys(
            (left, right) in (prop::collection::vec(0u8..3, 0..30), prop::collection::vec(0u8..3, 0..30)),
            shared in 0usize..30,
        ) {
            let right = [left.get(..shared).unwrap_or(&left), &right].concat();
            let (a, b) = (StagedRow::new(&left, &[]), StagedRow::new(&right, &[]));
            prop_assert_eq!(a.cmp_key(&b), left.cmp(&right));
            prop_assert_eq!(a.is_before(&Wanted::new(&right)), left < right);
        }
    }

    #[test]
    fn runs_are_few_however_small_the_batches() {
        let mut staged = Staged::default();
        for number in 0..10_000u32 {
            staged.push(vec![StagedRow::new(&number.to_be_bytes(), &[0; 100])]);
        }
        assert!(staged.newest_first().count() <= 15, "{}", staged.newest_first().count());
        assert!((1_000_000..3_000_000).contains(&staged.gathered_bytes()), "{}", staged.gathered_bytes());
        staged.leave();
        assert_eq!(staged.gathered_bytes(), 0);
    }
}
