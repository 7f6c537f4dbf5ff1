//! What a partition's owner knows, kept in the object store now and then, so that the next owner needn't fold the log from
//! its beginning. Confirmed state only; thrown away wherever it doesn't agree with the log.

mod codec;

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
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

/// How long the object store may say nothing while snapshots are loaded together, and how long all may take. A store that is away
/// then costs the first once, and one that is slow gets its time.
const SILENCE: Duration = Duration::from_secs(5);
const LOAD_ALL_WAIT: Duration = Duration::from_secs(20);

/// The patience with the object store of those that load together.
pub(crate) struct Patience {
    answered: Mutex<Instant>,
    end: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { answered: Mutex::new(now), end: now + LOAD_ALL_WAIT }
    }

    fn ends_at(&self) -> Instant {
        self.end.min(*self.answered.lock() + SILENCE)
    }

    /// Waits for an answer of the store; `None`: the patience has ended.
    async fn wait_for<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(answer);
        loop {
            let until = self.ends_at();
            match tokio::time::timeout_at(until, &mut answer).await {
                Ok(answer) => {
                    *self.answered.lock() = Instant::now();
                    return Some(answer);
                }
                Err(_) if self.ends_at() > until => {} // others were answered meanwhile
                Err(_) => return None,
            }
        }
    }
}

/// The newest snapshot of a partition, if there is one that can be read, and in time.
pub(crate) async fn load(
    engines: &Engines,
    partition: u32,
    recent_ids_max: usize,
    patience: &Patience,
) -> Option<Found> {
    let blobs = engines.snapshots.as_ref()?;
    let name = name(engines.log.epoch(), partition);
    let bytes = match patience.wait_for(blobs.get(&name)).await {
        Some(Ok(bytes)) => bytes?,
        Some(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, partition, "no snapshot: folding the log from its beginning");
            return None;
        }
        None => {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after so many seconds, one after another, and how many of them were waited for; the seconds that took.
    async fn wait_for_all(answers: &[u64]) -> (usize, u64) {
        let (begun, patience) = (Instant::now(), Patience::new());
        let answer = async |seconds: &u64| {
            let answer = tokio::time::sleep(Duration::from_secs(*seconds));
            usize::from(patience.wait_for(answer).await.is_some())
        };
        let answered = futures::future::join_all(answers.iter().map(answer)).await;
        (answered.iter().sum(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_silent_is_waited_for_once_and_a_slow_one_longer() {
        assert_eq!(wait_for_all(&[60; 8]).await, (0, 5), "it is silent");
        assert_eq!(wait_for_all(&[4, 8, 12, 16]).await, (4, 16), "each answer shows that it is there");
        assert_eq!(wait_for_all(&[4, 8, 14, 16]).await, (2, 13), "it has fallen silent");
        assert_eq!(wait_for_all(&[4, 8, 12, 16, 19, 23]).await, (5, 20), "all together have a limit");
    }
}
