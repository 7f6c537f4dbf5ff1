//! The row that says which versions there are. It only changes by lightweight transactions on what it was.

use std::time::Duration;

use parley_domain::Epoch;
use uuid::Uuid;

use super::cluster::Cluster;
use super::value::{big, number};
use crate::Error;

/// How often a change of unknown outcome is looked up, and made again if it turns out that nothing changed.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// Stands for "no version" in the row; versions count from 1.
const NONE: u64 = 0;

/// The row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) epoch: Epoch,
    live: u64,
    previous: u64,
    next: u64,
    last: u64,
}

const READ: &str = "SELECT epoch, live, previous, next, last FROM {k}.control WHERE name = 'read_models'";

type Raw = (Option<Uuid>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

fn version(raw: u64) -> Option<u64> {
    (raw != NONE).then_some(raw)
}

impl Control {
    /// Reads the row, cheaply: what is being changed at this moment may show or not.
    pub(super) async fn read(cluster: &Cluster) -> Result<Option<Self>, Error> {
        cluster.ask::<Raw>(READ, ()).await?.into_iter().next().map(Self::from_row).transpose()
    }

    /// Reads the row as it is, behind every change that was begun.
    pub(super) async fn read_now(cluster: &Cluster) -> Result<Option<Self>, Error> {
        cluster.ask_serially::<Raw>(READ, ()).await?.into_iter().next().map(Self::from_row).transpose()
    }

    fn from_row((epoch, live, previous, next, last): Raw) -> Result<Self, Error> {
        let part = |raw: Option<i64>| raw.map_or(Ok(NONE), number);
        Ok(Self {
            epoch: Epoch(epoch.ok_or(Error::Damaged("the control row"))?),
            live: part(live)?,
            previous: part(previous)?,
            next: part(next)?,
            last: part(last)?,
        })
    }

    /// Makes the row, with no version, if there is none.
    pub(super) async fn create(cluster: &Cluster, epoch: Epoch) -> Result<(), Error> {
        let cql = "INSERT INTO {k}.control (name, epoch, live, previous, next, last) \
             VALUES ('read_models', ?, 0, 0, 0, 0) IF NOT EXISTS";
        cluster.transact(cql, (epoch.0,)).await.map(drop)
    }

    /// The live version.
    pub(super) fn live(&self) -> Option<u64> {
        version(self.live)
    }

    /// The version that was live before.
    pub(super) fn previous(&self) -> Option<u64> {
        version(self.previous)
    }

    /// The highest number that was given.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The row with a new number for a version that is to be built. The version before the live one is given up.
    pub(super) fn with_next(self) -> Self {
        Self { previous: NONE, next: self.last + 1, last: self.last + 1, ..self }
    }

    /// The number of that version.
    pub(super) fn next(&self) -> Option<u64> {
        version(self.next)
    }

    /// The row once the next version is live.
    pub(super) fn switched(self) -> Self {
        Self { live: self.next, previous: self.live, next: NONE, ..self }
    }

    /// The row once the version before the live one is live again.
    pub(super) fn switched_back(self) -> Self {
        Self { live: self.previous, previous: self.live, ..self }
    }

    /// The row without any version, for a log of another epoch.
    pub(super) fn discarded(self, epoch: Epoch) -> Self {
        Self { epoch, live: NONE, previous: NONE, next: NONE, ..self }
    }

    /// Replaces the row by another one, if it still is what this one says.
    pub(super) async fn replace(self, cluster: &Cluster, by: Self) -> Result<bool, Error> {
        let cql = "UPDATE {k}.control SET epoch = ?, live = ?, previous = ?, next = ?, last = ? \
             WHERE name = 'read_models' \
             IF epoch = ? AND live = ? AND previous = ? AND next = ? AND last = ?";
        let values =
            |row: Self| (row.epoch.0, big(row.live), big(row.previous), big(row.next), big(row.last));
        let (new, old) = (values(by), values(self));
        let all = (new.0, new.1, new.2, new.3, new.4, old.0, old.1, old.2, old.3, old.4);
        let mut tries = 1..TRIES;
        let mut is_first = true;
        loop {
            let outcome = match cluster.transact(cql, all).await {
                // At the first try; else it may be what an earlier one changed after it had been looked up.
                Ok(applied) if applied || is_first => return Ok(applied),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            is_first = false;
            // Unknown, so it is looked up, by a read that no change under way can come behind.
            let found = Self::read_now(cluster).await;
            match (self.outcome(by, found), outcome, tries.next()) {
                (Ok(Some(applied)), ..) => return Ok(applied),
                (Ok(None), None, _) => return Ok(false),
                (Ok(None), Some(error), None) | (Err(error), _, None) => return Err(error),
                (Ok(None) | Err(_), _, Some(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether this row was replaced by another one, as far as what was found then tells; `None`: it wasn't yet.
    fn outcome(self, by: Self, found: Result<Option<Self>, Error>) -> Result<Option<bool>, Error> {
        Ok(match found? {
            Some(now) if now == by => Some(true),
            Some(now) if now == self => None,
            Some(_) | None => Some(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_and_go() {
        let epoch = Epoch(Uuid::from_u128(1));
        let empty = Control { epoch, live: 0, previous: 0, next: 0, last: 0 };
        assert_eq!((empty.live(), empty.next(), empty.previous()), (None, None, None));
        let first = empty.with_next().switched();
        assert_eq!((first.live(), first.next(), first.previous()), (Some(1), None, None));
        let second = first.with_next().with_next().switched();
        assert_eq!((second.live(), second.next(), second.previous()), (Some(3), None, Some(1)));
        assert_eq!(second.switched_back().live(), Some(1));
        assert_eq!(second.switched_back().switched_back(), second);
        assert_eq!(second.with_next().previous(), None);
        assert_eq!(second.outcome(second.with_next(), Ok(Some(second))).unwrap(), None, "still to be done");
        assert_eq!(second.outcome(second.with_next(), Ok(Some(second.with_next()))).unwrap(), Some(true));
        assert_eq!(second.outcome(second.with_next(), Ok(Some(first))).unwrap(), Some(false), "another's");
        assert_eq!(second.outcome(second.with_next(), Ok(None)).unwrap(), Some(false));
        assert!(second.outcome(second, Err(Error::Damaged("the control row"))).is_err());
        assert_eq!(second.discarded(epoch).with_next().next(), Some(4), "no number is given twice");
    }
}
