//! Rows in memory, until there are enough of them to be written as tables of their own.
//!
//! Why not the engine's own memtable: rows come in sorted batches, and a skip list has to find the place of each of them. Here a
//! batch stays what it is, a sorted run, and is merged with those before it. They need no journal either: what a crash takes
//! away is projected again.

use std::sync::Arc;

use fjall::UserValue;

use super::merged::merge;
use super::run::{RowOf, Run, Wanted};

/// A run that is longer is merged no further, so that no merge takes long.
const MERGED_ROWS_MAX: usize = 32 * 1024;

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
        self.gathered_bytes += run.bytes();
        let is_mergeable =
            |older: &mut Arc<Run>, run: &Run| older.len() < MERGED_ROWS_MAX && older.len() < 2 * run.len();
        while let Some(older) = self.gathered.pop_if(|older| is_mergeable(older, &run)) {
            run = merge(&older, &run);
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
    pub(super) fn get(&self, key: &[u8]) -> Option<UserValue> {
        let wanted = Wanted::new(key);
        self.newest_first().find_map(|run| run.find(&wanted)).map(RowOf::value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::merged::Merged;
    use super::*;

    fn run(pairs: &BTreeMap<u8, u8>) -> Run {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| ([*key], [*value])).collect();
        Run::from_pairs(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
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
                    left.extend(Merged::new(&staged.leave()).map(|row| (row.key()[1], row.value()[0])));
                    prop_assert!(staged.is_leaving() || all.is_empty());
                }
                if what_next == 1 && staged.is_leaving() {
                    staged.has_left();
                }
                for number in 0..40 {
                    let key = [b'x', number];
                    let here = staged.get(&key).map(|value| value[0]);
                    prop_assert_eq!(here.or_else(|| left.get(&number).copied()), all.get(&number).copied());
                    let then = held.get(&key).map(|value| value[0]);
                    prop_assert_eq!(then.or_else(|| left.get(&number).copied()), all.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn runs_are_few_however_small_the_batches() {
        let mut staged = Staged::default();
        for number in 0..10_000u32 {
            staged.push(Run::from_pairs([(number.to_be_bytes().as_slice(), [0; 100].as_slice())]));
        }
        assert!(staged.newest_first().count() <= 15, "{}", staged.newest_first().count());
        assert!((1_000_000..3_000_000).contains(&staged.gathered_bytes()), "{}", staged.gathered_bytes());
        staged.leave();
        assert_eq!(staged.gathered_bytes(), 0);
    }
}
