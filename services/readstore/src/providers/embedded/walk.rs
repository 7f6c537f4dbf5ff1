//! Walking over rows in memory and in the database as if they were one, from either end.

use std::sync::Arc;

use fjall::UserKey;

use super::engine::engine_error;
use super::scan::Pair;
use super::staged::{Run, StagedRow, Wanted};
use crate::Error;

/// The end of a range from which it is read.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// What is left of a run.
struct Part {
    run: Arc<Run>,
    from: usize,
    end: usize,
}

impl Part {
    fn new(run: &Arc<Run>, from: &[u8], end: &[u8]) -> Option<Self> {
        let place = |bound: &[u8]| {
            let bound = Wanted::new(bound);
            run.partition_point(|row| row.is_before(&bound))
        };
        let (from, end) = (place(from), place(end));
        (from < end).then(|| Self { run: Arc::clone(run), from, end })
    }

    fn rest(&self) -> &[StagedRow] {
        self.run.get(self.from..self.end).unwrap_or_default()
    }

    fn at(&self, end: End) -> Option<&Pair> {
        let row = match end {
            End::First => self.rest().first(),
            End::Last => self.rest().last(),
        };
        row.map(|row| &row.pair)
    }

    fn pass(&mut self, end: End) {
        match end {
            End::First => self.from += 1,
            End::Last => self.end -= 1,
        }
    }

    /// Goes forward to the first pair that isn't before `key`: the further away the longer the steps, so that a short way costs
    /// little in a long run.
    fn seek(&mut self, key: &Wanted<'_>) {
        let rest = self.rest();
        let is_before = |place: usize| rest.get(place).is_some_and(|row| row.is_before(key));
        let mut step = 1;
        while is_before(step) {
            step *= 2;
        }
        let near = rest.get(step / 2..rest.len().min(step)).unwrap_or_default();
        self.from += step / 2 + near.partition_point(|row| row.is_before(key));
    }
}

/// What is left of a range of the database, with the pairs at either end once they were looked at.
struct Stored {
    rest: fjall::Iter,
    first: Option<Pair>,
    last: Option<Pair>,
}

impl Stored {
    fn at(&mut self, end: End) -> Result<&mut Option<Pair>, Error> {
        let (here, there) = match end {
            End::First => (&mut self.first, &mut self.last),
            End::Last => (&mut self.last, &mut self.first),
        };
        if here.is_none() {
            let next = match end {
                End::First => self.rest.next(),
                End::Last => self.rest.next_back(),
            };
            let next = next.map(fjall::Guard::into_inner).transpose().map_err(engine_error)?;
            *here = next.or_else(|| there.take());
        }
        Ok(here)
    }
}

/// The pairs of a range in the order of their keys; of pairs with one key the newest.
pub(super) struct Walk {
    /// The newest first, each with something left when it was made.
    parts: Vec<Part>,
    stored: Stored,
}

impl Walk {
    /// The pairs from `from` up to but without `end`, of runs, the newest first, and of the same range of the database.
    pub(super) fn new<'a>(
        newest_first: impl Iterator<Item = &'a Arc<Run>>,
        (from, end): (&[u8], &[u8]),
        stored: fjall::Iter,
    ) -> Self {
        let parts = newest_first.filter_map(|run| Part::new(run, from, end)).collect();
        Self { parts, stored: Stored { rest: stored, first: None, last: None } }
    }

    /// Goes forward to the first pair that isn't before `key`, given the database's from there.
    pub(super) fn seek(&mut self, key: &[u8], stored: fjall::Iter) {
        let wanted = Wanted::new(key);
        for part in &mut self.parts {
            part.seek(&wanted);
        }
        self.stored = Stored { rest: stored, first: None, last: None };
    }

    fn step(&mut self, end: End) -> Result<Option<Pair>, Error> {
        let stored = self.stored.at(end)?;
        let is_nearer = |key: &UserKey, than: &UserKey| match end {
            End::First => key < than,
            End::Last => key > than,
        };
        let mut found: Option<&Pair> = None;
        for pair in self.parts.iter().filter_map(|part| part.at(end)) {
            if found.is_none_or(|(key, _)| is_nearer(&pair.0, key)) {
                found = Some(pair);
            }
        }
        // Of equal keys the one in memory is the newer.
        let found = found.filter(|(key, _)| stored.as_ref().is_none_or(|(there, _)| !is_nearer(there, key)));
        let Some(found) = found.cloned() else { return Ok(stored.take()) };
        stored.take_if(|(key, _)| *key == found.0);
        for part in &mut self.parts {
            if part.at(end).is_some_and(|(key, _)| *key == found.0) {
                part.pass(end);
            }
        }
        Ok(Some(found))
    }
}

impl Iterator for Walk {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::First).transpose()
    }
}

impl DoubleEndedIterator for Walk {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Last).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use parley_domain::Epoch;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::Options;
    use super::super::engine::Engine;
    use super::*;

    type Map = BTreeMap<u8, u8>;

    /// Behind the byte of no table.
    fn key(number: u8) -> [u8; 2] {
        [1, number]
    }

    fn run(pairs: &Map) -> Run {
        pairs.iter().map(|(number, value)| StagedRow::new(&key(*number), &[*value])).collect()
    }

    fn plain(pair: Option<Result<Pair, Error>>) -> Option<(u8, u8)> {
        pair.map(|pair| pair.map(|(key, value)| (key[1], value[0])).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        /// Wherever rows lie, in memory, on their way or in files: a view shows what a map would, and nothing that came later.
        #[test]
        fn a_walk_sees_what_a_map_has(
            batches in prop::collection::vec((prop::collection::btree_map(0u8..60, any::<u8>(), 0..25), 0u8..4), 1..14),
            later in prop::collection::btree_map(0u8..60, any::<u8>(), 0..60),
            (from, end, to) in (0u8..60, 0u8..70, 0u8..70),
            ends in prop::collection::vec(any::<bool>(), 0..70),
        ) {
            let dir = TempDir::new().unwrap();
            let options = Options { memtable_bytes: 2_000, ..Options::default() };
            let engine = Engine::create(&dir.path().join("v1"), Epoch::from_bytes([7; 16]), &options).unwrap();
            let mut all = Map::new();
            for (batch, what_next) in batches {
                engine.write(run(&batch)).unwrap();
                all.extend(batch);
                if what_next == 0 {
                    engine.persist().unwrap();
                }
            }
            let view = engine.view();
            engine.write(run(&later)).unwrap();
            engine.persist().unwrap();

            let range = || view.range(&key(from), &key(end));
            let wanted = || all.range(from..end.max(from)).map(|(key, value)| (*key, *value));
            let (mut walk, mut rest) = (range(), wanted().collect::<VecDeque<_>>());
            for forth in ends {
                let (found, there) =
                    if forth { (walk.next(), rest.pop_front()) } else { (walk.next_back(), rest.pop_back()) };
                prop_assert_eq!(plain(found), there);
            }
            for number in [from, to, 69] {
                // Only forward, as a scan goes.
                let (mut walk, passed) = (range(), usize::from(number % 4));
                let first = wanted().nth(passed).map_or(69, |(next, _)| next).max(number).max(from);
                for _ in 0..passed {
                    walk.next();
                }
                walk.seek(&key(first), view.stored(&key(first), &key(end)));
                let found: Vec<_> = std::iter::from_fn(|| plain(walk.next())).collect();
                prop_assert_eq!(found, wanted().filter(|(key, _)| *key >= first).collect::<Vec<_>>());
            }
            all.extend(later);
            let now: Vec<_> = engine.view().range(&key(0), &key(u8::MAX)).map(|pair| plain(Some(pair)).unwrap()).collect();
            prop_assert_eq!(now, all.into_iter().collect::<Vec<_>>());
        }
    }
}
