//! What every part of the provider knows: the options, the places, how far they had come, and how the log is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::options::KafkaOptions;
use crate::port::{Topic, TopicPartition};

/// Shared by all threads.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) options: KafkaOptions,
    pub(super) health: Health,
    names: [String; Topic::ALL.len()],
    /// By slot, the end that the log is known to have reached.
    ends: Vec<AtomicU64>,
}

impl Core {
    pub(super) fn new(options: KafkaOptions) -> Self {
        let slots = Topic::ALL.len() * options.partitions.get() as usize;
        Self {
            names: Topic::ALL.map(|topic| options.topic(topic)),
            ends: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            health: Health::default(),
            options,
        }
    }

    /// Number of places.
    pub(super) fn slots(&self) -> usize {
        self.ends.len()
    }

    /// A place's number; `None` if there is no such partition.
    pub(super) fn slot(&self, at: TopicPartition) -> Option<usize> {
        let partitions = self.options.partitions.get();
        (at.partition < partitions).then(|| at.topic as usize * partitions as usize + at.partition as usize)
    }

    /// All places of all topics.
    pub(super) fn places(&self) -> Vec<TopicPartition> {
        let partitions = self.options.partitions.get();
        let of = |topic| (0..partitions).map(move |partition| TopicPartition { topic, partition });
        Topic::ALL.into_iter().flat_map(of).collect()
    }

    /// The topic's name on this cluster.
    pub(super) fn name(&self, topic: Topic) -> &str {
        self.names.get(topic as usize).map_or("", String::as_str)
    }

    /// The place that librdkafka calls so.
    pub(super) fn place(&self, name: &str, partition: i32) -> Option<TopicPartition> {
        let topic = Topic::ALL.into_iter().find(|topic| self.name(*topic) == name)?;
        Some(TopicPartition { topic, partition: u32::try_from(partition).ok()? })
    }

    /// librdkafka's list of places with offsets.
    pub(super) fn list(
        &self,
        places: impl IntoIterator<Item = (TopicPartition, Offset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (at, offset) in places {
            list.add_partition(self.name(at.topic), signed(at.partition)).set_offset(offset)?;
        }
        Ok(list)
    }

    /// The end that a place is known to have reached: what is appended or asked for from now on can't lie before it.
    pub(super) fn known_end(&self, slot: usize) -> u64 {
        self.ends.get(slot).map_or(0, |end| end.load(Ordering::Acquire))
    }

    /// A place has reached this end.
    pub(super) fn reached(&self, slot: usize, end: u64) {
        if let Some(known) = self.ends.get(slot) {
            known.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// The log has fewer records than it had: nothing may be appended, nor answered from what was known.
    pub(super) fn lost(&self, at: TopicPartition, known: u64, found: u64) {
        let reason = format!(
            "the log has lost records: {}/{} had reached offset {known} and is at {found} now; an operator must look at \
             it before anything is appended",
            self.name(at.topic),
            at.partition
        );
        self.health.lose(reason.into());
    }
}

/// A partition, as librdkafka has it.
pub(super) fn signed(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// Whether the log takes appends, and why not.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For the life of this process.
    lost: Option<Arc<str>>,
    /// Until the brokers are well again.
    passing: Option<Arc<str>>,
    /// Something happened that may be trouble.
    suspect: bool,
}

impl Health {
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        let state = self.state.lock();
        state.lost.clone().or_else(|| state.passing.clone())
    }

    /// Why nothing may be appended ever again.
    pub(super) fn lost(&self) -> Option<Arc<str>> {
        self.state.lock().lost.clone()
    }

    fn lose(&self, reason: Arc<str>) {
        let mut state = self.state.lock();
        if state.lost.is_none() {
            tracing::error!(%reason, "the log refuses appends");
            metrics::counter!("parley_log_lost_total").increment(1);
            state.lost = Some(reason);
        }
    }

    /// Appends or questions fail. Passes by itself.
    pub(super) fn fail(&self, reason: &str) {
        let mut state = self.state.lock();
        state.suspect = true;
        if state.passing.is_none() {
            tracing::error!(reason, "the log is in trouble");
            state.passing = Some(reason.into());
        }
    }

    /// Perhaps there is trouble.
    pub(super) fn suspect(&self) {
        self.state.lock().suspect = true;
    }

    /// Whether somebody should look.
    pub(super) fn is_suspect(&self) -> bool {
        self.state.lock().suspect
    }

    /// All is well, as far as can be seen.
    pub(super) fn recover(&self) {
        let mut state = self.state.lock();
        state.suspect = false;
        if state.passing.take().is_some() {
            tracing::info!("the log is well again");
        }
    }
}
