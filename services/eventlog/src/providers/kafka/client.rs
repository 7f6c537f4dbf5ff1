//! What all our clients of librdkafka have in common.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::core::Core;
use super::options::KafkaOptions;

/// librdkafka doesn't let a consumer `assign` without the name of a group, though it never joins it.
const READER_GROUP: &str = "parley.readers";
/// How long a fetch waits at the broker while there is nothing. One more partition waits that long for the fetch that is
/// under way, so it is short.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// The settings of every client.
pub(super) fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", &options.client_id)
        .set("allow.auto.create.topics", "false")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // A broker that stands still is left soon after the others have.
        .set("socket.timeout.ms", "5000")
        .set("socket.connection.setup.timeout.ms", "3000")
        // A broker that is back is found soon.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        // Leaders are asked for at once, which a new client does in vain as it isn't connected yet, and then after pauses that
        // double up to this: with the default of 1 s a reader opened under load began to read after 0.7 to 1.5 s.
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "250")
        // A topic that was made just now isn't known to every broker yet; ours are never removed.
        .set("topic.metadata.propagation.max.ms", "10000")
        .set("log.connection.close", "false");
    config.set_log_level(RDKafkaLogLevel::Error);
    config
}

/// The settings of a client that reads given partitions, a bounded number of bytes ahead.
pub(super) fn reading(options: &KafkaOptions, ahead_bytes_max: usize) -> ClientConfig {
    let ahead_bytes = ahead_bytes_max.clamp(64 << 10, 1 << 30);
    let mut config = config(options);
    config
        .set("group.id", READER_GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A position that is gone is an error, and never silently another one.
        .set("auto.offset.reset", "error")
        // Nothing of ours is in a transaction, and nobody else's may hold our readers up.
        .set("isolation.level", "read_uncommitted")
        .set("check.crcs", "true")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", FETCH_WAIT.as_millis().to_string())
        .set("fetch.message.max.bytes", ahead_bytes.min(1 << 20).to_string())
        .set("fetch.max.bytes", ahead_bytes.clamp(1 << 20, 16 << 20).to_string())
        .set("fetch.error.backoff.ms", "50")
        // Readers are opened when a partition moves, and nobody is served meanwhile.
        .set("retry.backoff.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", (ahead_bytes >> 10).to_string());
    config
}

/// What librdkafka calls back of a client that has nothing of its own to say.
#[derive(Debug)]
pub(super) struct Context {
    core: Arc<Core>,
}

impl Context {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&self.core, &error, reason);
    }
}

impl ConsumerContext for Context {}

/// librdkafka's own log. We say what matters ourselves, once; it would say it every second.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "librdkafka");
        }
        RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info
        | RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}

/// An error that isn't that of one call. Whether it is trouble is looked into, since connections that idle are closed too.
pub(super) fn note(core: &Core, error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "librdkafka");
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
        core.health.suspect();
    }
}
