//! The port: what Parley asks of a log, whatever stands behind it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::{Epoch, PartitionCount, Timestamp};

use crate::record::{Record, StoredRecord};

/// The topics of the contract's section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Topic {
    /// `parley.events`: groups and messages, keyed by group.
    Events = 0,
    /// `parley.acks`: cursors and acknowledged notifications, keyed by group.
    Acks = 1,
    /// `parley.users`: profiles, keyed by user, compacted on Kafka.
    Users = 2,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Events, Self::Acks, Self::Users];

    /// The name, as on Kafka.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "parley.events",
            Self::Acks => "parley.acks",
            Self::Users => "parley.users",
        }
    }
}

/// One partition of one topic. Each has its own offsets and its own claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition, below [`EventLog::partitions`].
    pub partition: u32,
}

/// Why an append gave no offsets.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Certainly nothing of it is in the log, and nothing ever will be. The caller may try again.
    #[error("not appended: {0}")]
    NotAppended(Arc<str>),
    /// It may be in the log, now or later. The caller must claim anew and read before it answers anybody.
    #[error("outcome unknown: {0}")]
    Unknown(Arc<str>),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies before the first that is kept, or beyond the end.
    #[error("offset {offset} of {topic}/{partition} is out of range", topic = .at.topic.name(), partition = .at.partition)]
    OutOfRange {
        /// Where.
        at: TopicPartition,
        /// Which.
        offset: u64,
    },
    /// The engine failed.
    #[error("the log can't be read")]
    Io(#[source] std::io::Error),
    /// The log is shutting down.
    #[error("the log is closed")]
    Closed,
}

/// A durable, partitioned log of events.
///
/// ```text
///  offset    0      1      2      3      4      5
///         ┌──────┬──────┬──────┬──────┬──────┐
///         │claim │ ev 0 │ ev 1 │claim │ ev 0 │        one TopicPartition
///         └──────┴──────┴──────┴──────┴──────┘
///          ▲ start_offset                     ▲ end_offset (the next offset to be given)
/// ```
///
/// Contracts, for every provider, checked by [`crate::conformance`]:
/// - If `append` returns offsets, the records MUST be durable: they survive power loss.
/// - Records of one `append` call to one partition MUST get consecutive offsets in the order given;
///   calls to one partition that are made one after the other (even if not awaited) MUST land in that order, or fail.
/// - After a failed append, later appends that were already under way MUST fail too, or be void under the rule of
///   [`parley_domain::Validity`].
/// - A tail MUST give each record of its partitions once, in offset order a partition, and only durable ones.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Names this incarnation of the log; the same across restarts.
    fn epoch(&self) -> Epoch;

    /// Partitions of each topic.
    fn partitions(&self) -> PartitionCount;

    /// Queues records for the log, at once and in order; the outcome comes through the returned handle.
    ///
    /// Bounded: if too many bytes wait already, the outcome is [`AppendError::NotAppended`].
    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Appending;

    /// Whether the records of a topic are under the claim rule. `false` only for `parley.users` where it is compacted: a
    /// claim has no key, which a compacted topic refuses, and compaction leaves holes. Records there carry
    /// [`parley_domain::Stamp::Unclaimed`], and the last one of a key counts.
    fn is_fenced(&self, topic: Topic) -> bool;

    /// The offset that the next record will get ([`Bound::End`]) or the first that is kept, of each place, in the order
    /// given. It MUST show every append whose outcome anybody knew before the call.
    async fn offsets(&self, places: &[TopicPartition], bound: Bound) -> Result<Vec<u64>, ReadError>;

    /// Reads on from the given offsets, of all the given partitions in one stream, and waits for more at the end.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] for an offset that is gone or beyond the end.
    async fn tail(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn Tail>, ReadError>;

    /// Reads at most `records_max` records of one partition from an offset on (fewer at the end; none at the very end).
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] likewise.
    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, ReadError>;

    /// Why the log takes no more appends (disk full, failed fsync), if so. For readiness.
    fn trouble(&self) -> Option<Arc<str>>;

    /// Makes all that was queued durable and stops. Later appends fail with [`AppendError::NotAppended`].
    async fn close(&self);
}

/// An end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The first offset that is kept.
    Start,
    /// The offset that the next record will get.
    End,
}

/// The bounds of one partition.
#[async_trait]
pub trait Offsets {
    /// The offset that the next record will get.
    ///
    /// # Errors
    /// The log's.
    async fn end_offset(&self, at: TopicPartition) -> Result<u64, ReadError>;

    /// The first offset that is kept.
    ///
    /// # Errors
    /// The log's.
    async fn start_offset(&self, at: TopicPartition) -> Result<u64, ReadError>;
}

#[async_trait]
impl<L: EventLog + ?Sized> Offsets for L {
    async fn end_offset(&self, at: TopicPartition) -> Result<u64, ReadError> {
        one(self.offsets(&[at], Bound::End).await?, at)
    }

    async fn start_offset(&self, at: TopicPartition) -> Result<u64, ReadError> {
        one(self.offsets(&[at], Bound::Start).await?, at)
    }
}

fn one(offsets: Vec<u64>, at: TopicPartition) -> Result<u64, ReadError> {
    offsets.first().copied().ok_or(ReadError::OutOfRange { at, offset: 0 })
}

/// The outcome of an append: the offset of each record, in the order given.
pub type Appending = tokio::sync::oneshot::Receiver<Result<Vec<u64>, AppendError>>;

/// A reader's place in several partitions.
#[async_trait]
pub trait Tail: Send {
    /// The next records, at least one, at most `records_max`; waits while there is none. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError::Closed`] once the log is closed and all was read.
    async fn next(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError>;

    /// The next records if there are some now, else none: none means that all that was in the log at the time of the call
    /// was given. Cancel-safe.
    ///
    /// # Errors
    /// As [`Tail::next`].
    async fn next_now(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError>;

    /// Gives records of further partitions too, from the given offsets on. A partition that it has already is left as it
    /// is.
    ///
    /// # Errors
    /// As [`EventLog::tail`]; then nothing changed.
    async fn add(&mut self, from: Vec<(TopicPartition, u64)>) -> Result<(), ReadError>;

    /// Gives no more records of some partitions, not even those that were read already.
    fn remove(&mut self, places: &[TopicPartition]);
}

/// What a caller of the log puts into a key: the group's or the user's id, as text.
pub type Key = Bytes;

/// When the record was made, by the writer's clock.
pub type RecordTime = Timestamp;
