//! The newest records, in memory, so that a reader that keeps up reads no file.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::StoredRecord;

/// What a record takes in memory beyond its bytes, roughly.
const OVERHEAD_BYTES: usize = 256;

/// A record, and where the next one begins.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) stored: Arc<StoredRecord>,
    pub(super) segment: u32,
    /// The end of its frame, in bytes from the segment's start.
    pub(super) end: u64,
}

/// The newest records, bounded by bytes.
#[derive(Debug)]
pub(super) struct Ring {
    records: VecDeque<Recent>,
    /// The ordinal after the newest.
    next_ordinal: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    pub(super) fn new(next_ordinal: u64, bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), next_ordinal, bytes: 0, bytes_max }
    }

    /// Adds the next record; what must make room goes to `evicted`, so that the caller frees it outside of its lock.
    pub(super) fn push(&mut self, recent: Recent, evicted: &mut Vec<Recent>) {
        self.bytes += cost(&recent);
        self.records.push_back(recent);
        self.next_ordinal += 1;
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= cost(&oldest);
            evicted.push(oldest);
        }
    }

    /// The ordinal after the newest record.
    pub(super) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// The records from an ordinal on; `None` if it has fallen out already.
    pub(super) fn from(&self, ordinal: u64) -> Option<impl Iterator<Item = &Recent>> {
        let behind = usize::try_from(self.next_ordinal.checked_sub(ordinal)?).ok()?;
        let start = self.records.len().checked_sub(behind)?;
        Some(self.records.range(start..))
    }

    /// The records from the newest back.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Recent> {
        self.records.iter().rev()
    }
}

fn cost(recent: &Recent) -> usize {
    let record = &recent.stored.record;
    let key_bytes = record.key.as_ref().map_or(0, bytes::Bytes::len);
    OVERHEAD_BYTES + key_bytes + record.value.len() + record.decoded.bytes(&record.value)
}
