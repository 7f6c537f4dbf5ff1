//! Logs on disk whose records are numbered, for the tests that damage them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{EventId, PartitionCount, Stamp, Timestamp};
use parley_eventlog::providers::embedded::{EmbeddedLog, OpenError, Options, RecoveryReport};
use parley_eventlog::{EventLog as _, Record, Topic, TopicPartition};

pub const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 1 };

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A record that can be told from others by its number.
pub fn record(number: u64) -> Record {
    Record {
        key: Some(Bytes::from_static(b"some key")),
        value: Bytes::from(number.to_string().repeat(3)),
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        kind: "parley.test.v1".into(),
        source: "test".into(),
        time: Timestamp(7),
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
        stamp: Stamp::Event { claim: 0, index: number },
    }
}

pub fn options(dir: &Path) -> Options {
    Options::new(dir, PartitionCount::new(4).unwrap())
}

pub fn try_open(dir: &Path) -> Result<(Arc<EmbeddedLog>, RecoveryReport), OpenError> {
    EmbeddedLog::open(options(dir))
}

pub fn open(dir: &Path) -> (Arc<EmbeddedLog>, RecoveryReport) {
    try_open(dir).unwrap()
}

/// Appends in one batch, durably.
pub async fn append(log: &EmbeddedLog, numbers: &[u64]) -> Vec<u64> {
    log.append(numbers.iter().map(|number| (AT, record(*number))).collect()).await.unwrap().unwrap()
}

/// A log that grows by batches.
pub struct Bench {
    dir: tempfile::TempDir,
    segment_bytes_max: u64,
    /// The next record's.
    pub number: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self::with_segments_of(64 << 20)
    }

    pub fn with_segments_of(segment_bytes_max: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), segment_bytes_max, number: 0 }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Opens, appends batches of these sizes, and closes.
    pub fn batches(&mut self, sizes: &[u64]) {
        let mut options = options(self.dir());
        options.segment_bytes_max = self.segment_bytes_max;
        let (log, _) = EmbeddedLog::open(options).unwrap();
        for size in sizes {
            let numbers: Vec<_> = (self.number..self.number + size).collect();
            block_on(append(&log, &numbers));
            self.number += size;
        }
    }

    pub fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
        segments.sort();
        segments
    }

    pub fn only_segment(&self) -> PathBuf {
        let segments = self.segments();
        assert_eq!(segments.len(), 1);
        segments[0].clone()
    }

    /// Where each frame of the only segment ends, by the lengths that lie in the file.
    pub fn frame_ends(&self) -> Vec<usize> {
        let bytes = fs::read(self.only_segment()).unwrap();
        let mut ends = Vec::new();
        let mut at = 44;
        while at < bytes.len() {
            let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            at += 12 + usize::try_from(length).unwrap();
            ends.push(at);
        }
        ends
    }
}
