//! Why a log on Kafka can't be opened.

use rdkafka::error::KafkaError;

use super::options::KafkaOptions;

/// Why a log on Kafka can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option makes no sense.
    #[error("the log can't be opened: {0}")]
    Options(&'static str),
    /// Too few replicas for a promise.
    #[error(
        "{replication} replicas with {min_insync} in sync are refused, since the loss of one broker could lose what was \
         acknowledged: have at least 3 and 2, or set kafka.allow_single (as a flag also \
         log.allow_single)"
    )]
    Single {
        /// Replicas asked for.
        replication: u16,
        /// Of which in sync.
        min_insync: u16,
    },
    /// There is no whole log, and none is to be made.
    #[error(
        "there is no whole log on {brokers}: {topic} isn't there, or is empty. Has a server run with it yet, and is the prefix in log \
         (kafka://HOST:PORT/PREFIX) the one that it ran with?"
    )]
    Absent {
        /// The brokers that were named.
        brokers: String,
        /// A topic that it should have.
        topic: String,
    },
    /// A topic isn't as it must be. Nothing was changed.
    #[error("topic {topic} has {setting} = {is}, and must have {must}: {remedy}")]
    Topic {
        /// The topic.
        topic: String,
        /// Kafka's name of the setting.
        setting: &'static str,
        /// What it is.
        is: String,
        /// What it must be.
        must: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// Nobody answers, or with an error.
    #[error("Kafka at {brokers}: can't {what}")]
    Kafka {
        /// The brokers that were named.
        brokers: String,
        /// What was tried, as a verb.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<KafkaError>,
    },
    /// The topic that names the log's incarnation says something else.
    #[error("the first record of {topic} is no epoch ({found} bytes): it was not written by Parley")]
    Epoch {
        /// The topic.
        topic: String,
        /// Length of the value there, in bytes.
        found: usize,
    },
    /// A new log's incarnation can't be written down.
    #[error("the epoch can't be written to {topic}: {reason}")]
    EpochUnwritten {
        /// The topic.
        topic: String,
        /// Why.
        reason: std::sync::Arc<str>,
    },
    /// A thread can't be started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
    /// The log could be made, but not read.
    #[error("the log can't be read")]
    Read(#[source] crate::ReadError),
}

impl OpenError {
    pub(super) fn absent(options: &KafkaOptions, topic: impl Into<String>) -> Self {
        Self::Absent { brokers: options.brokers.clone(), topic: topic.into() }
    }

    /// For `map_err`.
    pub(super) fn kafka(options: &KafkaOptions, what: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let (brokers, what) = (options.brokers.clone(), what.into());
        move |source| Self::Kafka { brokers, what, source: Box::new(source) }
    }
}
