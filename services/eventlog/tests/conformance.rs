//! The conformance suite against the embedded log: as it is by default, and with everything so small that segments
//! turn and tails read files all the time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::PartitionCount;
use parley_eventlog::EventLog;
use parley_eventlog::conformance::Fixture;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options};

struct Embedded {
    dir: tempfile::TempDir,
    segment_bytes_max: u64,
    tail_bytes_max: usize,
}

impl Embedded {
    fn new(segment_bytes_max: u64, tail_bytes_max: usize) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), segment_bytes_max, tail_bytes_max }
    }
}

#[async_trait]
impl Fixture for Embedded {
    async fn open(&self) -> Arc<dyn EventLog> {
        let mut options = Options::new(self.dir.path().join("log"), PartitionCount::new(4).unwrap());
        options.segment_bytes_max = self.segment_bytes_max;
        options.tail_bytes_max = self.tail_bytes_max;
        let (log, report) = EmbeddedLog::open(options).unwrap();
        assert_eq!(report.cut, None);
        log
    }
}

mod by_default {
    use super::*;

    parley_eventlog::conformance_suite!(Embedded::new(64 << 20, 32 << 20));
}

mod with_tiny_segments_and_no_ring {
    use super::*;

    parley_eventlog::conformance_suite!(Embedded::new(2_000, 0));
}

mod with_a_tiny_ring {
    use super::*;

    parley_eventlog::conformance_suite!(Embedded::new(100_000, 4_000));
}
