//! How far the live projector has come, for those who wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::{GroupId, partition_of};
use parley_eventlog::{EventLog, Offsets as _, Topic, TopicPartition};
use parley_wire::service::Progress;
use tokio::sync::watch;

/// The next offset that is not in the live read models, of every partition of every topic.
pub struct Reached {
    log: Arc<dyn EventLog>,
    offsets: HashMap<TopicPartition, AtomicU64>,
    moved: watch::Sender<()>,
}

impl Reached {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        let offsets =
            crate::apply::places(log.as_ref()).into_iter().map(|at| (at, AtomicU64::new(0))).collect();
        Arc::new(Self { log, offsets, moved: watch::Sender::new(()) })
    }

    pub(crate) fn set(&self, reached: impl IntoIterator<Item = (TopicPartition, u64)>) {
        for (at, offset) in reached {
            if let Some(known) = self.offsets.get(&at) {
                known.store(offset, Ordering::Release);
            }
        }
        self.moved.send_replace(());
    }

    fn get(&self, at: TopicPartition) -> u64 {
        self.offsets.get(&at).map_or(0, |offset| offset.load(Ordering::Acquire))
    }

    /// Records that are in the log and not yet in the read models, over all partitions.
    ///
    /// # Errors
    /// The log's.
    pub async fn lag(&self) -> Result<u64, parley_eventlog::ReadError> {
        let mut lag = 0;
        for at in self.offsets.keys() {
            lag += self.log.end_offset(*at).await?.saturating_sub(self.get(*at));
        }
        Ok(lag)
    }

    /// What must be reached, for a group or for everything.
    async fn goal(&self, group: Option<GroupId>) -> Option<Vec<(TopicPartition, u64)>> {
        let partition = group.map(|group| partition_of(group.to_string().as_bytes(), self.log.partitions()));
        let mut goal = Vec::new();
        for at in self.offsets.keys() {
            let wanted =
                partition.is_none_or(|partition| at.topic != Topic::Users && at.partition == partition);
            if wanted {
                let end = self.log.end_offset(*at).await.ok()?;
                if end > self.get(*at) {
                    goal.push((*at, end));
                }
            }
        }
        Some(goal)
    }
}

#[async_trait]
impl Progress for Reached {
    async fn caught_up(&self, group: Option<GroupId>, wait: Duration) -> bool {
        let mut moved = self.moved.subscribe();
        let Some(mut goal) = self.goal(group).await else { return false };
        let reach = async {
            loop {
                goal.retain(|(at, end)| self.get(*at) < *end);
                if goal.is_empty() || moved.changed().await.is_err() {
                    return goal.is_empty();
                }
            }
        };
        tokio::time::timeout(wait, reach).await.unwrap_or(false)
    }

    fn projected(&self, partition: u32) -> u64 {
        self.get(TopicPartition { topic: Topic::Events, partition })
    }
}
