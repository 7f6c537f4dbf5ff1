//! When a shard's snapshots are kept.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{InFlight, Shard};
use crate::snapshot;

/// With fewer records since the newest snapshot, a planned end leaves none: to fold them costs the next owner less.
const PARTING_RECORDS_MIN: u64 = 200;

/// The newest snapshot, on its way to the object store. Letting go of it gives it up: an end must not wait for a store that
/// doesn't answer, and a state that failed shouldn't lie over its successor's. (A put that the store has already can't be taken
/// back. That one would be older than it need be, and still true.)
pub(super) type Storing = AbortOnDropHandle<bool>;

impl Shard {
    /// Whether there is a place for snapshots, and this shard has one: those of several partitions have none.
    fn can_keep(&self) -> bool {
        self.engines.snapshots.is_some() && self.owned.len() == 1
    }

    /// Whether it is time for the next snapshot. While one is on its way there is none: the older could lie over the newer.
    pub(super) fn wants_snapshot(&self) -> bool {
        let since = self.state.folded_records.saturating_sub(self.tried_records);
        self.storing.is_none() && since >= self.options.snapshot_records && self.can_keep()
    }

    /// Has a snapshot kept, once nothing is in flight; `false` if the state can't be trusted any more.
    pub(super) async fn keep_snapshot(&mut self, in_flight: &mut InFlight) -> bool {
        if !self.settle(in_flight).await {
            return false;
        }
        self.tried_records = self.state.folded_records;
        let (engines, partition) = (self.engines.clone(), self.owned.first().copied().unwrap_or_default());
        if let Some(bytes) = snapshot::encode(engines.log.epoch(), partition, &self.state) {
            let storing = self.tracker.spawn(snapshot::store(engines, partition, bytes));
            self.storing = Some(AbortOnDropHandle::new(storing));
        } else {
            tracing::warn!(partition, "the state can't be encoded: no snapshot is kept");
        }
        true
    }

    /// The snapshot isn't on its way any more. If it isn't kept either, the next one is tried when its time comes.
    pub(super) fn stored(&mut self, ended: Result<bool, JoinError>) {
        self.storing = None;
        let is_kept = ended.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "keeping a snapshot panicked");
            false
        });
        if is_kept {
            self.state.folded_records = self.state.folded_records.saturating_sub(self.tried_records);
            self.tried_records = 0;
        }
    }

    /// What is to be waited for before a planned end: a snapshot, if the next owner would have much to fold without it, since
    /// nobody is served while it does. Until then requests are. `None` if the state can't be trusted any more.
    pub(super) async fn part(&mut self, in_flight: &mut InFlight) -> Option<BoxFuture<'static, ()>> {
        let until = Instant::now() + Duration::from_millis(self.options.parting_wait_ms);
        let has_much = self.state.folded_records >= PARTING_RECORDS_MIN && self.can_keep();
        if has_much && self.storing.is_none() && !self.keep_snapshot(in_flight).await {
            return None;
        }
        let storing = self.storing.take();
        Some(Box::pin(async move {
            if let Some(storing) = storing {
                drop(tokio::time::timeout_at(until, storing).await);
            }
        }))
    }
}
