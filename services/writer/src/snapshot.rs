//! What a partition's owner knows, kept in the object store now and then, so that the next owner needn't fold the log from
//! its beginning. Confirmed state only; thrown away wherever it doesn't agree with the log.

mod codec;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parley_domain::{Epoch, GroupId, Stamp, Validity};
use parley_eventlog::{EventLog, Topic, TopicPartition};

use crate::dedupe::Dedupe;
use crate::options::Engines;
use crate::shard::{Lane, Slot, State};

/// How long the object store may take; without its snapshot a partition is folded from the beginning.
const LOAD_WAIT: Duration = Duration::from_secs(5);

/// A snapshot that agrees with the log.
pub(crate) struct Found {
    /// From where on the log is to be folded, and the claims up to there.
    pub(crate) starts: HashMap<TopicPartition, (u64, Validity)>,
    pub(crate) groups: HashMap<GroupId, Slot>,
    pub(crate) dedupe: Dedupe,
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
    let places = [events?, acks?].map(|lane: &Lane| (lane.next_offset(), lane.validity()));
    codec::encode(epoch, partition, places, &state.groups, &state.dedupe)
}

/// Keeps the bytes; the ones before are replaced.
pub(crate) async fn store(engines: Engines, partition: u32, bytes: Bytes) {
    let Some(blobs) = engines.snapshots else { return };
    let size = bytes.len();
    match blobs.put(&name(engines.log.epoch(), partition), bytes).await {
        Ok(()) => tracing::debug!(partition, size, "snapshot kept"),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            partition,
            "a snapshot can't be kept; the next owner will fold more of the log"
        ),
    }
}

/// The newest snapshot of a partition that was just claimed, if there is one that agrees with the log.
pub(crate) async fn load(
    engines: &Engines,
    partition: u32,
    lanes: &HashMap<TopicPartition, Lane>,
    recent_ids_max: usize,
) -> Option<Found> {
    let blobs = engines.snapshots.as_ref()?;
    let bytes = match tokio::time::timeout(LOAD_WAIT, blobs.get(&name(engines.log.epoch(), partition))).await
    {
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
    let decoded = codec::decode(&bytes, engines.log.epoch(), partition, recent_ids_max)?;
    let mut starts = HashMap::new();
    for (topic, (offset, validity)) in TOPICS.into_iter().zip(decoded.places) {
        let at = TopicPartition { topic, partition };
        if !agrees(engines.log.as_ref(), at, offset, validity, lanes).await {
            tracing::warn!(partition, topic = topic.name(), "a snapshot disagrees with the log: discarded");
            return None;
        }
        starts.insert(at, (offset, validity));
    }
    Some(Found { starts, groups: decoded.groups, dedupe: decoded.dedupe })
}

/// Whether the log has a claim where the snapshot says, and goes at least as far.
async fn agrees(
    log: &dyn EventLog,
    at: TopicPartition,
    offset: u64,
    validity: Validity,
    lanes: &HashMap<TopicPartition, Lane>,
) -> bool {
    let Some(claim) = validity.claim else { return false };
    // Our own claim lies at the end of what is to be folded.
    if lanes.get(&at).is_none_or(|lane| lane.claim() < offset) || claim >= offset {
        return false;
    }
    let read = log.read(at, claim, 1).await;
    read.is_ok_and(|records| {
        records.first().is_some_and(|stored| stored.offset == claim && stored.record.stamp == Stamp::Claim)
    })
}
