//! What a partition's owner knows, kept in the object store now and then, so that the next owner needn't fold the log from
//! its beginning. Confirmed state only; thrown away wherever it doesn't agree with the log.

mod codec;

use std::collections::HashMap;

use bytes::Bytes;
use parley_domain::{Epoch, EventId, GroupId, Validity};
use parley_eventlog::{Topic, TopicPartition};
use tokio::time::Instant;

use crate::dedupe::Dedupe;
use crate::options::Engines;
use crate::shard::{Lane, Slot, State};

/// A snapshot of this log and partition. Whether the log still is as it says is for the fold to see.
pub(crate) struct Found {
    /// Of each topic.
    pub(crate) places: HashMap<Topic, Place>,
    pub(crate) groups: HashMap<GroupId, Slot>,
    pub(crate) dedupe: Dedupe,
}

/// Up to where a snapshot knows a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The last record that it knows: a log in which another one lies there is another log.
    pub(crate) last: (u64, EventId),
    /// The claims up to there.
    pub(crate) validity: Validity,
}

/// The topics whose events make the state.
pub(crate) const TOPICS: [Topic; 2] = [Topic::Events, Topic::Acks];

fn name(epoch: Epoch, partition: u32) -> String {
    format!("{}/{partition}", epoch.0)
}

/// The bytes of a state of which nothing is in flight.
pub(crate) fn encode(epoch: Epoch, partition: u32, state: &State) -> Option<Bytes> {
    let place = |topic| state.lanes.get(&TopicPartition { topic, partition });
    let [events, acks] = TOPICS.map(place);
    let places = [events?, acks?].map(|lane: &Lane| Place { last: lane.last(), validity: lane.validity() });
    codec::encode(epoch, partition, places, &state.groups, &state.dedupe)
}

/// Keeps the bytes; the ones before are replaced. `false` if they can't be kept.
pub(crate) async fn store(engines: Engines, partition: u32, bytes: Bytes) -> bool {
    let Some(blobs) = engines.snapshots else { return false };
    let size = bytes.len();
    match blobs.put(&name(engines.log.epoch(), partition), bytes).await {
        Ok(()) => {
            tracing::debug!(partition, size, "snapshot kept");
            true
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                partition,
                "a snapshot can't be kept; the next owner will fold more of the log"
            );
            false
        }
    }
}

/// The newest snapshot of a partition, if there is one that can be read, and in time.
pub(crate) async fn load(
    engines: &Engines,
    partition: u32,
    recent_ids_max: usize,
    until: Instant,
) -> Option<Found> {
    let blobs = engines.snapshots.as_ref()?;
    let name = name(engines.log.epoch(), partition);
    let bytes = match tokio::time::timeout_at(until, blobs.get(&name)).await {
        Ok(Ok(bytes)) => bytes?,
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, partition, "no snapshot: folding the log from its beginning");
            return None;
        }
        Err(_) => {
            tracing::warn!(partition, "the snapshot takes too long: folding the log from its beginning");
            return None;
        }
    };
    let Some(decoded) = codec::decode(&bytes, engines.log.epoch(), partition, recent_ids_max) else {
        tracing::warn!(
            partition,
            "the snapshot is of another version or log, or damaged: folding the log from its beginning"
        );
        return None;
    };
    let places = TOPICS.into_iter().zip(decoded.places).collect();
    Some(Found { places, groups: decoded.groups, dedupe: decoded.dedupe })
}
