//! What the log's thread publishes and its readers read.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::index::{Index, partition_slot};
use super::meta::Meta;
use super::queue::Queue;
use super::ring::Ring;
use crate::port::{ReadError, TopicPartition};

/// A segment that readers may open.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: Arc<PathBuf>,
    pub(super) salt: u32,
    /// Durable bytes: readers must not look beyond.
    pub(super) len: u64,
}

/// All that is durable. Nothing is in here before its sync has returned.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) ring: Ring,
    /// The next offset of each partition.
    pub(super) ends: Vec<u64>,
    pub(super) index: Index,
    /// At least one.
    pub(super) segments: Vec<Segment>,
}

/// What wakes the tails.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signal {
    /// Nothing more will come.
    pub(super) closed: bool,
}

/// What the log, its thread and its tails have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) meta: Meta,
    pub(super) queue: Queue,
    pub(super) durable: RwLock<Durable>,
    pub(super) signal: watch::Sender<Signal>,
    /// Why appends fail, if they do.
    pub(super) trouble: Mutex<Option<Arc<str>>>,
}

impl Shared {
    /// The partition's number among all; a partition that isn't there has no offsets.
    pub(super) fn slot(&self, at: TopicPartition, offset: u64) -> Result<usize, ReadError> {
        partition_slot(at, self.meta.partitions).ok_or(ReadError::OutOfRange { at, offset })
    }

    /// The next offset of a partition.
    pub(super) fn end(&self, at: TopicPartition) -> Result<u64, ReadError> {
        let slot = self.slot(at, 0)?;
        Ok(self.durable.read().ends.get(slot).copied().unwrap_or_default())
    }
}
