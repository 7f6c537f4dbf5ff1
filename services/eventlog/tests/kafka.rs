//! The conformance suite against a real Kafka, whose address is in `PARLEY_TEST_KAFKA` (host:port). Each test has topics of
//! its own, by a fresh prefix.

#![cfg(feature = "kafka")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::err_expect,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "where the engine is comes from the environment, for tests alone"
)]
#![allow(clippy::print_stdout, reason = "times are told, not asserted")]

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::PartitionCount;
use parley_eventlog::EventLog;
use parley_eventlog::conformance::Fixture;
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions};

/// A log of its own.
fn options() -> KafkaOptions {
    let brokers =
        std::env::var("PARLEY_TEST_KAFKA").expect("PARLEY_TEST_KAFKA must name a Kafka broker as host:port");
    let mut options = KafkaOptions::new(brokers, PartitionCount::new(4).unwrap());
    options.prefix = Some(format!("test-{}", uuid::Uuid::now_v7().simple()));
    (options.replication, options.min_insync, options.allow_single) = (1, 1, true);
    options
}

struct Kafka(KafkaOptions);

impl Kafka {
    fn new() -> Self {
        Self(options())
    }
}

#[async_trait]
impl Fixture for Kafka {
    async fn open(&self) -> Arc<dyn EventLog> {
        KafkaLog::open(self.0.clone()).await.expect("a log")
    }
}

mod conformance {
    use super::*;

    parley_eventlog::conformance_suite!(ignore = "needs Kafka: scripts/test starts it", Kafka::new());
}

#[path = "kafka/faults.rs"]
mod faults;
#[path = "kafka/group.rs"]
mod group;
#[path = "kafka/roster.rs"]
mod roster;
#[path = "kafka/strangers.rs"]
mod strangers;
#[path = "kafka/topics.rs"]
mod topics;
