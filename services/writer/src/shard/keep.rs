//! When a shard's snapshots are kept.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{InFlight, Shard};
use crate::snapshot;

/// With fewer records since the newest snapshot, a planned end leaves none: to fold them costs the next owner less.
const PARTING_RECORDS_MIN: u64 = 200;

impl Shard {
    /// Whether the next owner would have so many records to fold, and a snapshot can spare it that.
    fn has_to_keep(&self, records: u64) -> bool {
        self.engines.snapshots.is_some() && self.owned.len() == 1 && self.state.folded_records >= records
    }

    /// Whether it is time for the next snapshot, and the one before is no longer on its way.
    pub(super) fn wants_snapshot(&self) -> bool {
        let is_storing = self.storing.as_ref().is_some_and(|storing| !storing.is_finished());
        !is_storing && self.has_to_keep(self.options.snapshot_records)
    }

    /// Has a snapshot kept, once nothing is in flight; `false` if the state can't be trusted any more.
    pub(super) async fn keep_snapshot(&mut self, in_flight: &mut InFlight) -> bool {
        if !self.settle(in_flight).await {
            return false;
        }
        self.state.folded_records = 0;
        let (engines, partition) = (self.engines.clone(), self.owned.first().copied().unwrap_or_default());
        let Some(bytes) = snapshot::encode(engines.log.epoch(), partition, &self.state) else { return true };
        let storing = self.tracker.spawn(snapshot::store(engines, partition, bytes));
        if let Some(older) = self.storing.replace(storing) {
            older.abort(); // of no use any more
        }
        true
    }

    /// What is to be waited for before a planned end: a snapshot, if the next owner would have much to fold without it, since
    /// nobody is served while it does. Until then requests are. `None` if the state can't be trusted any more.
    pub(super) async fn part(&mut self, in_flight: &mut InFlight) -> Option<BoxFuture<'static, ()>> {
        let until = Instant::now() + Duration::from_millis(self.options.parting_wait_ms);
        if self.has_to_keep(PARTING_RECORDS_MIN) && !self.keep_snapshot(in_flight).await {
            return None;
        }
        let storing = self.storing.take();
        Some(Box::pin(async move {
            let Some(mut storing) = storing else { return };
            if tokio::time::timeout_at(until, &mut storing).await.is_err() {
                storing.abort(); // a store that doesn't answer must not hold the end up
            }
        }))
    }
}
