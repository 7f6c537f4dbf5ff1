//! The last tier of a replay: what lies in the log beyond the projectors' checkpoints, while these lag.
//!
//! One forward read a partition, shared by all sessions that need it, and bounded: what is read is kept until the read models
//! have it. Beyond the bound a replay waits for the projectors.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use parley_domain::{Event, Fact, GroupId, Position, Seq, Verdict, partition_of};
use parley_eventlog::{ReadError, Topic, TopicPartition, admit};
use parley_readstore::Checkpoint;

use crate::edge::Shared;

/// Records read in one go.
const PAGE_RECORDS: usize = 1_000;
/// Bytes of one partition's records that are kept; beyond that a replay waits.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why there is nothing to be had from the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TierError {
    /// The read models can't be asked how far they are.
    #[error("the read models can't be asked how far they are")]
    Store(#[from] parley_readstore::Error),
    /// The log can't be read.
    #[error("the log can't be read")]
    Log(#[from] ReadError),
    /// The projectors are further behind than is kept in memory.
    #[error("the read models are too far behind the log")]
    TooFar,
}

/// An event beyond the checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Beyond {
    pub(crate) fact: Arc<Fact>,
    pub(crate) position: Position,
    pub(crate) rolled_back: bool,
}

/// One partition's records beyond its checkpoint.
#[derive(Default)]
struct Section {
    /// Where it goes on.
    at: Checkpoint,
    facts: VecDeque<(u64, Arc<Fact>, usize)>,
    rolled_back: HashSet<(GroupId, Seq)>,
    bytes: usize,
}

/// The sections of all partitions.
#[derive(Default)]
pub(crate) struct LogTier {
    sections: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<Section>>>>,
}

impl LogTier {
    /// Forgets what is kept but of partitions that are being read.
    pub(crate) fn forget(&self) {
        self.sections.lock().retain(|_, section| Arc::strong_count(section) > 1);
    }

    /// Events of a group from `from` on that the log has now beyond the read models' checkpoint, at most `limit`.
    ///
    /// # Errors
    /// [`TierError`].
    pub(crate) async fn events(
        &self,
        shared: &Shared,
        group: GroupId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Beyond>, TierError> {
        let partition = partition_of(group.to_string().as_bytes(), shared.engines.log.partitions());
        let section = self.sections.lock().entry(partition).or_default().clone();
        let mut section = section.lock().await;
        section.bring_up(shared, partition).await?;
        let wanted = section.facts.iter().filter(|(_, fact, _)| fact.group_id == group && fact.seq >= from);
        let beyond = wanted.take(limit).map(|(offset, fact, _)| Beyond {
            fact: fact.clone(),
            position: Position { partition, offset: *offset },
            rolled_back: section.rolled_back.contains(&(group, fact.seq)),
        });
        Ok(beyond.collect())
    }
}

impl Section {
    /// Drops what the read models have by now, and reads on to the end of the log.
    async fn bring_up(&mut self, shared: &Shared, partition: u32) -> Result<(), TierError> {
        let checkpoints = shared.engines.reads.live().checkpoints().await?;
        let ours = checkpoints.into_iter().find(|(key, _)| *key == (Topic::Events as u8, partition));
        let checkpoint = ours.map(|(_, checkpoint)| checkpoint).unwrap_or_default();
        if checkpoint.offset > self.at.offset {
            *self = Self { at: checkpoint, ..Self::default() };
        }
        while self.facts.front().is_some_and(|(offset, _, _)| *offset < checkpoint.offset) {
            if let Some((_, fact, bytes)) = self.facts.pop_front() {
                self.bytes -= bytes;
                self.rolled_back.remove(&(fact.group_id, fact.seq));
            }
        }
        let at = TopicPartition { topic: Topic::Events, partition };
        loop {
            if self.bytes > KEPT_BYTES_MAX {
                return Err(TierError::TooFar);
            }
            let records = shared.engines.log.read(at, self.at.offset, PAGE_RECORDS).await?;
            metrics::counter!("parley_replay_records_read_total").increment(records.len() as u64);
            if records.is_empty() {
                return Ok(());
            }
            for stored in records {
                let verdict = admit(&mut self.at.validity, &stored);
                self.at.offset = stored.offset + 1;
                if verdict != Verdict::Valid {
                    continue;
                }
                let bytes = stored.record.value.len();
                // What can't be understood was logged by the projector, and is left out there too.
                if let Ok(fact) = stored.record.fact() {
                    if let Event::MessageRolledBack { message_seq, .. } = fact.event {
                        self.rolled_back.insert((fact.group_id, message_seq));
                    }
                    self.bytes += bytes;
                    self.facts.push_back((stored.offset, fact, bytes));
                }
            }
        }
    }
}
