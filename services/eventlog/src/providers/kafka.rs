//! The log on Apache Kafka.
//!
//! ```text
//!  append ──▶ idempotent producer ──▶ brokers (acks = all) ──▶ reports ──▶ outcome
//!  offsets ─▶ one query for all who ask at once ──▶ leaders
//!  tail ────▶ a consumer that is in no group, woken by the client
//!  read ────▶ a few consumers kept for it
//!
//!  [PREFIX.]parley.events, .acks   kept for ever, never compacted
//!  [PREFIX.]parley.users           compacted: the last value of each key; under no claim rule
//!  [PREFIX.]parley.meta            its first record names the log's incarnation
//!  [PREFIX.]parley.roster          who is there
//! ```
//!
//! Several processes write here, and nothing in Kafka keeps an old owner of a partition from appending: readers tell by the
//! rule of the claims ([`parley_domain::Validity`]). So nothing here retries what may have been appended, and no outcome is
//! better known than it is.
//!
//! Architecture invariant: no offset is committed anywhere; whoever reads keeps its own place.

mod append;
mod asker;
mod assignments;
mod bounds;
mod client;
mod codec;
mod core;
mod epoch;
mod error;
mod leaders;
mod options;
mod probe;
mod producer;
mod readers;
mod reaper;
mod roster;
mod tail;
mod time;
mod topics;

#[cfg(test)]
mod faults;

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::{Epoch, PartitionCount, Stamp};
use tokio::sync::watch;

use self::bounds::Bounds;
use self::core::Core;
use self::producer::Appender;
use self::readers::Readers;
use self::reaper::Reaper;
use self::tail::KafkaTail;
use crate::port::{AppendError, Appending, Bound, EventLog, ReadError, Tail, Topic, TopicPartition};
use crate::record::{Record, StoredRecord};

pub use self::assignments::{AssignmentError, AssignmentOptions, Assignments};
pub use self::error::OpenError;
pub use self::options::{KafkaOptions, RECORD_BYTES_MAX};
pub use self::roster::{Roster, RosterError, RosterWatch, Sighting};

/// What reading needs; tails keep it alive.
#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    bounds: Bounds,
    readers: Arc<Readers>,
    reaper: Reaper,
    closed: watch::Sender<bool>,
}

impl Shared {
    /// An error if some offset lies before the first that is kept, or beyond the end.
    async fn check_range(&self, from: &[(TopicPartition, u64)]) -> Result<(), ReadError> {
        let places: Vec<_> = from.iter().map(|(at, _)| *at).collect();
        let (starts, ends) =
            tokio::try_join!(self.bounds.ask(&places, Bound::Start), self.bounds.ask(&places, Bound::End))?;
        for ((at, offset), (start, end)) in from.iter().zip(starts.into_iter().zip(ends)) {
            if !(start..=end).contains(offset) {
                return Err(ReadError::OutOfRange { at: *at, offset: *offset });
            }
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for reader in self.readers.drain() {
            self.reaper.take(reader);
        }
    }
}

/// A log on Kafka, shared with other processes.
#[derive(Debug)]
pub struct KafkaLog {
    shared: Arc<Shared>,
    appender: Appender,
    epoch: Epoch,
}

impl KafkaLog {
    /// Opens the log: makes the topics that aren't there (unless it [must exist](KafkaOptions::must_exist)), and checks those that
    /// are.
    ///
    /// # Errors
    /// [`OpenError::Absent`] if it must exist and doesn't; [`OpenError::Single`] if the replicas promise too little;
    /// [`OpenError::Topic`] if a topic isn't as it must be; [`OpenError::Kafka`] if the brokers don't answer.
    pub async fn open(options: KafkaOptions) -> Result<Arc<Self>, OpenError> {
        options.check()?;
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(options)).await;
        let log = opened.map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
        // Every place has an end from now on that it can't fall behind; and the connections are made.
        let places = log.shared.core.places();
        log.shared.bounds.ask(&places, Bound::End).await.map_err(OpenError::Read)?;
        Ok(Arc::new(log))
    }

    fn open_blocking(options: KafkaOptions) -> Result<Self, OpenError> {
        topics::ensure(&options)?;
        let core = Arc::new(Core::new(options));
        let appender = Appender::start(&core)?;
        let others = || {
            let epoch = epoch::find(&core, &appender)?;
            Ok((epoch, Bounds::start(&core)?, Reaper::start()?))
        };
        let (epoch, bounds, reaper) = others().inspect_err(|_: &OpenError| appender.begin_close())?;
        let readers = Arc::new(Readers::new(&core));
        let shared = Shared { bounds, readers, reaper, closed: watch::Sender::new(false), core };
        Ok(Self { shared: Arc::new(shared), appender, epoch })
    }

    /// Who is there.
    #[must_use]
    pub fn roster(&self) -> Roster {
        Roster::new(&self.shared, &self.appender)
    }

    /// Why the records can't be handed over, if so.
    fn refusal(&self, records: &[(TopicPartition, Record)]) -> Option<Arc<str>> {
        let refusal = records.iter().find_map(|(at, record)| self.refusal_of(*at, record));
        refusal.map(Arc::from).or_else(|| self.shared.core.health.lost())
    }

    fn refusal_of(&self, at: TopicPartition, record: &Record) -> Option<String> {
        if self.shared.core.slot(at).is_none() {
            return Some(format!("there is no partition {} of {}", at.partition, at.topic.name()));
        }
        let is_unclaimed = record.stamp == Stamp::Unclaimed;
        if is_unclaimed == self.is_fenced(at.topic) {
            let reason = if is_unclaimed { "a record under no claim is void" } else { "there are no claims" };
            return Some(format!("{reason} in {}", at.topic.name()));
        }
        if !self.is_fenced(at.topic) && record.key.is_none() {
            return Some(format!("a record without key can't lie in {}", at.topic.name()));
        }
        let key_bytes = record.key.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = record.kind.len() + record.source.len() + 2 * key_bytes + record.value.len();
        (bytes > RECORD_BYTES_MAX).then(|| format!("a record of {bytes} bytes is too large"))
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn partitions(&self) -> PartitionCount {
        self.shared.core.options.partitions
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Appending {
        match self.refusal(&records) {
            None => self.appender.append(&records),
            Some(reason) => {
                let (reply, appending) = tokio::sync::oneshot::channel();
                // The receiver is right here.
                drop(reply.send(Err(AppendError::NotAppended(reason))));
                appending
            }
        }
    }

    fn is_fenced(&self, topic: Topic) -> bool {
        topic != Topic::Users
    }

    async fn offsets(&self, places: &[TopicPartition], bound: Bound) -> Result<Vec<u64>, ReadError> {
        self.shared.bounds.ask(places, bound).await
    }

    async fn tail(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn Tail>, ReadError> {
        let mut tail = KafkaTail::new(&self.shared)?;
        tail.add(from).await?;
        Ok(Box::new(tail))
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        let ends = self.shared.bounds.ask(&[at], Bound::End).await?;
        let end = ends.first().copied().unwrap_or_default();
        if from > end {
            return Err(ReadError::OutOfRange { at, offset: from });
        }
        if from == end || records_max == 0 {
            return Ok(Vec::new());
        }
        self.shared.readers.read(at, from, end, records_max).await
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.shared.core.health.trouble()
    }

    async fn close(&self) {
        self.appender.close().await;
        self.shared.closed.send_replace(true);
    }
}

impl Drop for KafkaLog {
    /// What was handed over is still sent, without waiting for it here.
    fn drop(&mut self) {
        self.appender.begin_close();
        self.shared.closed.send_replace(true);
    }
}
