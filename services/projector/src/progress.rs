//! How far the live projector has come, for those who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hashbrown::HashMap;
use parley_domain::{GroupId, partition_of};
use parley_eventlog::{Bound, EventLog, Topic, TopicPartition};
use parley_readstore::{Checkpoint, ReadStore};
use parley_wire::service::Progress;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Where another process projects what this one doesn't.
const ELSEWHERE: u64 = u64::MAX;

/// No version has this number: nothing was measured yet.
const NO_VERSION: u64 = 0;

/// The next offset that is not in one version of the read models, of every partition of every topic.
struct Measured {
    version: u64,
    offsets: HashMap<TopicPartition, AtomicU64>,
}

impl Measured {
    fn get(&self, at: TopicPartition) -> u64 {
        self.offsets.get(&at).map_or(0, |offset| offset.load(Ordering::Acquire))
    }

    fn lacks(&self, (at, end): &(TopicPartition, u64)) -> bool {
        self.get(*at) < *end
    }
}

/// The next offset that is not in the live read models, of every partition of every topic.
pub struct Reached {
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    /// Replaced as a whole by what another version has reached: that says nothing of this one.
    measured: ArcSwap<Measured>,
    moved: watch::Sender<()>,
    /// Who waits, for a [`Follower`] that looks the more often.
    waiting: AtomicUsize,
    wake: Notify,
}

/// Counts who waits, while it lives.
struct Waiting<'a>(&'a Reached);

impl<'a> Waiting<'a> {
    fn new(reached: &'a Reached) -> Self {
        reached.waiting.fetch_add(1, Ordering::AcqRel);
        reached.wake.notify_one();
        Self(reached)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reached {
    pub(crate) fn new(log: Arc<dyn EventLog>, reads: Arc<dyn ReadStore>) -> Arc<Self> {
        let offsets =
            crate::apply::places(log.as_ref()).into_iter().map(|at| (at, AtomicU64::new(0))).collect();
        let measured = ArcSwap::from_pointee(Measured { version: NO_VERSION, offsets });
        let (waiting, wake) = (AtomicUsize::new(0), Notify::new());
        Arc::new(Self { log, reads, measured, moved: watch::Sender::new(()), waiting, wake })
    }

    /// How far a version has come in these places. Called by one task only.
    pub(crate) fn set(&self, version: u64, reached: impl IntoIterator<Item = (TopicPartition, u64)>) {
        let measured = self.measured.load();
        if measured.version == version {
            for (at, offset) in reached {
                if let Some(known) = measured.offsets.get(&at) {
                    known.store(offset, Ordering::Release);
                }
            }
            self.moved.send_replace(());
        } else {
            self.replace(version, &reached.into_iter().collect(), 0);
        }
    }

    /// The same, where nothing else is projected by this process.
    pub(crate) fn reset(&self, version: u64, reached: impl IntoIterator<Item = (TopicPartition, u64)>) {
        self.replace(version, &reached.into_iter().collect(), ELSEWHERE);
    }

    fn replace(&self, version: u64, reached: &HashMap<TopicPartition, u64>, others: u64) {
        let offset = |at: &TopicPartition| AtomicU64::new(reached.get(at).copied().unwrap_or(others));
        let offsets = self.measured.load().offsets.keys().map(|at| (*at, offset(at))).collect();
        self.measured.store(Arc::new(Measured { version, offsets }));
        self.moved.send_replace(());
    }

    fn get(&self, at: TopicPartition) -> u64 {
        self.measured.load().get(at)
    }

    fn places(&self) -> Vec<TopicPartition> {
        self.measured.load().offsets.keys().copied().collect()
    }

    /// Whether that is how far the live version has come, and not the one before it.
    fn is_of_live(&self, measured: &Measured) -> bool {
        measured.version == self.reads.live_version()
    }

    /// Records that are in the log and not yet in the read models, over all partitions that this process projects.
    ///
    /// # Errors
    /// The log's.
    pub async fn lag(&self) -> Result<u64, parley_eventlog::ReadError> {
        let places = self.places();
        let ends = self.log.offsets(&places, Bound::End).await?;
        Ok(places.iter().zip(ends).map(|(at, end)| end.saturating_sub(self.get(*at))).sum())
    }

    /// What must be reached, for a group or for everything.
    async fn goal(&self, group: Option<GroupId>) -> Option<Vec<(TopicPartition, u64)>> {
        let partition = group.map(|group| partition_of(group.to_string().as_bytes(), self.log.partitions()));
        let wanted = |at: &&TopicPartition| {
            partition.is_none_or(|partition| at.topic != Topic::Users && at.partition == partition)
        };
        let places: Vec<TopicPartition> = self.places().into_iter().filter(|at| wanted(&at)).collect();
        let ends = self.log.offsets(&places, Bound::End).await.ok()?;
        Some(places.into_iter().zip(ends).collect())
    }
}

#[async_trait]
impl Progress for Reached {
    async fn caught_up(&self, group: Option<GroupId>, wait: Duration) -> bool {
        let mut moved = self.moved.subscribe();
        let reach = async {
            let Some(goal) = self.goal(group).await else { return false };
            let mut measured = self.measured.load_full();
            let mut lacking: Vec<_> = goal.iter().filter(|place| measured.lacks(place)).copied().collect();
            if lacking.is_empty() && self.is_of_live(&measured) {
                return true;
            }
            let _waiting = Waiting::new(self);
            loop {
                if moved.changed().await.is_err() {
                    return false;
                }
                let now = self.measured.load_full();
                if !Arc::ptr_eq(&now, &measured) {
                    measured = now;
                    lacking.clone_from(&goal);
                }
                lacking.retain(|place| measured.lacks(place));
                if lacking.is_empty() && self.is_of_live(&measured) {
                    return true;
                }
            }
        };
        tokio::time::timeout(wait, reach).await.unwrap_or(false)
    }

    fn projected(&self, partition: u32) -> u64 {
        self.get(TopicPartition { topic: Topic::Events, partition })
    }
}

/// How often the checkpoints are looked at while somebody waits, and else.
const LOOK_WAITED_FOR: Duration = Duration::from_millis(5);
const LOOK_IDLE: Duration = Duration::from_millis(500);
/// How often, at most, it is logged that they can't be.
const LOOK_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Follows how far the projectors of other processes have come, by their checkpoints.
pub struct Follower {
    reached: Arc<Reached>,
    reads: Arc<dyn ReadStore>,
}

impl Follower {
    /// What is followed, and the follower.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, reads: Arc<dyn ReadStore>) -> (Arc<Reached>, Self) {
        let reached = Reached::new(log, reads.clone());
        (reached.clone(), Self { reached, reads })
    }

    /// Follows until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut logged = false;
        loop {
            let waited_for = self.reached.waiting.load(Ordering::Acquire) > 0;
            let version = self.reads.live_version();
            let wait = match self.reads.live().checkpoints().await {
                // Of another one perhaps, which became the live one in between.
                Ok(_) if self.reads.live_version() != version => continue,
                Ok(checkpoints) => {
                    logged = false;
                    let place = |((topic, partition), checkpoint): (_, Checkpoint)| {
                        let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic)?;
                        Some((TopicPartition { topic, partition }, checkpoint.offset))
                    };
                    self.reached.set(version, checkpoints.into_iter().filter_map(place));
                    if waited_for { LOOK_WAITED_FOR } else { LOOK_IDLE }
                }
                Err(error) => {
                    if !std::mem::replace(&mut logged, true) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "it can't be told how far the read models are; trying on"
                        );
                    }
                    LOOK_AFTER_ERROR
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.reached.wake.notified(), if !waited_for && !logged => {}
            }
        }
    }
}
