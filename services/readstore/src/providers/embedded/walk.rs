//! Walking over rows in memory and in the database as if they were one, from either end.

use std::cmp::Ordering;
use std::sync::Arc;

use super::engine::engine_error;
use super::run::{RowOf, Run, Wanted};
use super::scan::Pair;
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
        let place = |bound: &[u8]| run.place(0, run.len(), &Wanted::new(bound));
        let (from, end) = (place(from), place(end));
        (from < end).then(|| Self { run: Arc::clone(run), from, end })
    }

    fn at(&self, end: End) -> Option<RowOf<'_>> {
        let place = match end {
            End::First => self.from,
            End::Last => self.end.checked_sub(1)?,
        };
        (self.from < self.end).then(|| self.run.at(place)).flatten()
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
        let is_before =
            |place: usize| place < self.end && self.run.at(place).is_some_and(|row| row.is_before(key));
        let mut step = 1;
        while is_before(self.from + step) {
            step *= 2;
        }
        self.from = self.run.place(self.from + step / 2, self.end.min(self.from + step), key);
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
    /// Numbers of the parts that have the row of a step.
    found: Vec<usize>,
}

impl Walk {
    /// The pairs from `from` up to but without `end`, of runs, the newest first, and of the same range of the database.
    pub(super) fn new<'a>(
        newest_first: impl Iterator<Item = &'a Arc<Run>>,
        (from, end): (&[u8], &[u8]),
        stored: fjall::Iter,
    ) -> Self {
        let parts = newest_first.filter_map(|run| Part::new(run, from, end)).collect();
        let stored = Stored { rest: stored, first: None, last: None };
        Self { parts, stored, found: Vec::new() }
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
        let is_nearer = |order: Ordering| match end {
            End::First => order.is_lt(),
            End::Last => order.is_gt(),
        };
        let mut found: Option<RowOf<'_>> = None;
        self.found.clear();
        for (number, part) in self.parts.iter().enumerate() {
            let Some(row) = part.at(end) else { continue };
            let order = found.map(|nearest| row.cmp_key(nearest));
            if order.is_none_or(is_nearer) {
                found = Some(row);
                self.found.clear();
                self.found.push(number);
            } else if order.is_some_and(Ordering::is_eq) {
                self.found.push(number);
            }
        }
        let Some(row) = found else { return Ok(stored.take()) };
        match stored.as_ref().map(|(there, _)| (**there).cmp(row.key())) {
            Some(order) if is_nearer(order) => return Ok(stored.take()),
            // Of equal keys the one in memory is the newer.
            Some(Ordering::Equal) => *stored = None,
            Some(_) | None => {}
        }
        let pair = row.pair();
        for number in &self.found {
            if let Some(part) = self.parts.get_mut(*number) {
                part.pass(end);
            }
        }
        Ok(Some(pair))
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

    /// Behind what an engine has there itself.
    fn key(number: u8) -> [u8; 3] {
        [b'x', 1, number]
    }

    fn run(pairs: &Map) -> Run {
        let pairs: Vec<_> = pairs.iter().map(|(number, value)| ([1, *number], [*value])).collect();
        Run::from_pairs(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    fn plain(pair: Option<Result<Pair, Error>>) -> Option<(u8, u8)> {
        pair.map(|pair| pair.map(|(key, value)| (key[2], value[0])).unwrap())
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
