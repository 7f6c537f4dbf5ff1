//! How to reach a Kafka log, and what its topics are called.

use std::time::Duration;

use parley_domain::PartitionCount;

use super::error::OpenError;
use crate::port::Topic;

/// The greatest record, in bytes of kind, source, key and value together. Larger ones are refused.
pub const RECORD_BYTES_MAX: usize = 8 << 20;
/// The same with headers and framing, as client and brokers count.
pub(super) const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + (64 << 10);

/// Holds the epoch, in its first record. One partition.
const META: &str = "parley.meta";
/// Who is there: heartbeats of instances. One partition, an hour.
const ROSTER: &str = "parley.roster";

/// How to open a log on Kafka.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port` of some brokers, separated by commas; the others are learnt from them.
    pub brokers: String,
    /// Put before each topic's name with a dot, so that several logs can lie on one cluster.
    pub prefix: Option<String>,
    /// The log is there already: nothing is made, and one that isn't there is an error.
    pub must_exist: bool,
    /// Partitions of each topic: fixed for the life of a log.
    pub partitions: PartitionCount,
    /// Replicas of each partition.
    pub replication: u16,
    /// Replicas that must have a record before it is acknowledged.
    pub min_insync: u16,
    /// Lets fewer than 3 replicas or 2 in sync be; then the loss of one broker may lose what was acknowledged.
    pub allow_single: bool,
    /// What the brokers' logs call this process.
    pub client_id: String,
    /// After so long the outcome of an append is unknown.
    pub produce_timeout: Duration,
    /// How many bytes may wait for the brokers; beyond, appends are refused.
    pub pending_bytes_max: usize,
    /// How many bytes a tail fetches ahead of its reader; a batch of the log may overshoot it.
    pub tail_bytes_max: usize,
}

impl KafkaOptions {
    /// The defaults: 3 replicas, 2 in sync, 10 s to append, 64 MiB waiting, 8 MiB ahead of each tail.
    #[must_use]
    pub fn new(brokers: impl Into<String>, partitions: PartitionCount) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: None,
            must_exist: false,
            partitions,
            replication: 3,
            min_insync: 2,
            allow_single: false,
            client_id: "parley".to_owned(),
            produce_timeout: Duration::from_secs(10),
            pending_bytes_max: 64 << 20,
            tail_bytes_max: 8 << 20,
        }
    }

    /// Whether they can be meant, as far as that shows without a broker.
    ///
    /// # Errors
    /// [`OpenError::Options`], [`OpenError::Single`].
    pub fn check(&self) -> Result<(), OpenError> {
        if self.brokers.is_empty() {
            return Err(OpenError::Options("no broker is named"));
        }
        if self.prefix.as_ref().is_some_and(|prefix| !is_topic_name(prefix)) {
            return Err(OpenError::Options(
                "the prefix of the topics may have letters, digits, '.', '_' and '-', at most 200",
            ));
        }
        if self.min_insync == 0 || self.min_insync > self.replication {
            return Err(OpenError::Options("the replicas in sync must be at least 1 and at most all"));
        }
        if !self.allow_single && (self.replication < 3 || self.min_insync < 2) {
            return Err(OpenError::Single { replication: self.replication, min_insync: self.min_insync });
        }
        if !(Duration::from_millis(500)..=Duration::from_secs(300)).contains(&self.produce_timeout) {
            return Err(OpenError::Options("the time for an append must be between 0.5 s and 300 s"));
        }
        if self.pending_bytes_max > 1 << 30 || self.tail_bytes_max > 1 << 30 {
            return Err(OpenError::Options("at most 1 GiB may wait"));
        }
        Ok(())
    }

    /// The name of a topic on this cluster.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> String {
        self.prefixed(topic.name())
    }

    pub(super) fn meta(&self) -> String {
        self.prefixed(META)
    }

    pub(super) fn roster(&self) -> String {
        self.prefixed(ROSTER)
    }

    fn prefixed(&self, name: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}.{name}"),
            None => name.to_owned(),
        }
    }
}

fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && name.bytes().all(allowed)
}
