//! Who is there: instances publish what they are and hold as JSON, and follow what the others publish.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_wire::clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::{Notify, watch};

use super::Shared;
use super::client::{self, Context};
use super::producer::Appender;
use super::readers::io_error;
use crate::port::{AppendError, ReadError};

/// How much of the roster is fetched ahead.
const AHEAD_BYTES: usize = 1 << 20;
/// The most that is given at once.
const BATCH_MAX: usize = 1_024;
const PATIENCE: Duration = Duration::from_secs(5);
/// A waiting reader looks at the queue anyway.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const EMPTY_LOOKS: usize = 4;

/// Publishes and follows `parley.roster`. Cheap to clone. Made by [`super::KafkaLog::roster`], and ends with the log.
#[derive(Debug, Clone)]
pub struct Roster {
    shared: Arc<Shared>,
    appender: Appender,
    topic: Arc<str>,
}

/// What an instance said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The instance.
    pub instance: String,
    /// What it published; `None`: it left.
    pub json: Option<Bytes>,
    /// How long ago that was, by the broker's clock against ours.
    pub age: Duration,
}

/// Why it isn't known that something was published.
#[derive(Debug, thiserror::Error)]
#[error("can't publish to the roster")]
pub struct RosterError(#[from] AppendError);

impl Roster {
    pub(super) fn new(shared: &Arc<Shared>, appender: &Appender) -> Self {
        let topic = shared.core.options.roster().into();
        Self { shared: Arc::clone(shared), appender: appender.clone(), topic }
    }

    /// Says what this instance is. Others see it for as long as they think is right; say it again in time.
    ///
    /// # Errors
    /// If it isn't known to be published.
    pub async fn publish(&self, instance: &str, json: Bytes) -> Result<(), RosterError> {
        self.appender.publish(&self.topic, Some(instance.as_bytes()), Some(&json)).await?;
        Ok(())
    }

    /// Says that this instance has gone.
    ///
    /// # Errors
    /// As [`Roster::publish`].
    pub async fn leave(&self, instance: &str) -> Result<(), RosterError> {
        self.appender.publish(&self.topic, Some(instance.as_bytes()), None).await?;
        Ok(())
    }

    /// Follows from so long ago on.
    ///
    /// # Errors
    /// [`ReadError::Io`] if Kafka doesn't answer.
    pub async fn watch(&self, last: Duration) -> Result<RosterWatch, ReadError> {
        let roster = self.clone();
        let begin = tokio::task::spawn_blocking(move || roster.begin(last)).await;
        begin.map_err(|error| ReadError::Io(io::Error::other(error)))?
    }

    fn begin(self, last: Duration) -> Result<RosterWatch, ReadError> {
        let wake = Arc::new(Notify::new());
        let config = client::reading(&self.shared.core.options, AHEAD_BYTES);
        let mut consumer: BaseConsumer<_> =
            config.create_with_context(Context::new(&self.shared.core)).map_err(io_error)?;
        let waker = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || waker.notify_one());
        let last_millis = i64::try_from(last.as_millis()).unwrap_or(i64::MAX);
        let since = clock::now().as_millis().saturating_sub(last_millis).max(0);
        let list = self.list(Offset::Offset(since))?;
        let found = consumer.offsets_for_times(list, PATIENCE).map_err(io_error)?;
        // Nothing is that young: the end.
        let end = consumer.fetch_watermarks(&self.topic, 0, PATIENCE).map_err(io_error)?.1;
        let first =
            found.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset);
        let next = match first {
            Some(Offset::Offset(offset)) if offset >= 0 => offset,
            _ => end,
        };
        consumer.assign(&self.list(Offset::Offset(next))?).map_err(io_error)?;
        let closed = self.shared.closed.subscribe();
        Ok(RosterWatch { roster: self, consumer: Some(Arc::new(consumer)), wake, closed, next })
    }

    fn list(&self, offset: Offset) -> Result<TopicPartitionList, ReadError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, 0).set_offset(offset).map_err(io_error)?;
        Ok(list)
    }
}

/// Follows the roster.
pub struct RosterWatch {
    roster: Roster,
    /// `None` only while it is dropped.
    consumer: Option<Arc<BaseConsumer<Context>>>,
    wake: Arc<Notify>,
    closed: watch::Receiver<bool>,
    /// The next offset to come.
    next: i64,
}

impl std::fmt::Debug for RosterWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RosterWatch").field("next", &self.next).finish_non_exhaustive()
    }
}

impl RosterWatch {
    /// The next sightings in their order, at least one; waits while there is none. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError::Closed`] once the log is closed; [`ReadError::Io`] if its place is gone (watch anew).
    pub async fn next(&mut self) -> Result<Vec<Sighting>, ReadError> {
        loop {
            if *self.closed.borrow_and_update() {
                return Err(ReadError::Closed);
            }
            let sightings = self.drain()?;
            if !sightings.is_empty() {
                return Ok(sightings);
            }
            tokio::select! {
                () = self.wake.notified() => {}
                // The sender lives as long as this does.
                _ = self.closed.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Those that are there now; none means that all was given that was published before the call.
    ///
    /// # Errors
    /// As [`RosterWatch::next`], and [`ReadError::Io`] if Kafka doesn't answer.
    pub async fn next_now(&mut self) -> Result<Vec<Sighting>, ReadError> {
        let sightings = self.drain()?;
        if !sightings.is_empty() {
            return Ok(sightings);
        }
        let end = self.end().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sightings = self.drain()?;
            if !sightings.is_empty() || self.next >= end {
                return Ok(sightings);
            }
            if Instant::now() > deadline {
                return Err(ReadError::Io(io::ErrorKind::TimedOut.into()));
            }
            // Its time is over or it has come: the queue is looked at either way.
            drop(tokio::time::timeout(Duration::from_millis(50), self.wake.notified()).await);
        }
    }

    /// The roster's end, asked on a thread that may block.
    async fn end(&self) -> Result<i64, ReadError> {
        let consumer = self.consumer.clone().ok_or(ReadError::Closed)?;
        let roster = self.roster.clone();
        let ask = move || {
            let end = consumer.fetch_watermarks(&roster.topic, 0, PATIENCE).map(|(_, end)| end);
            roster.shared.reaper.take(consumer);
            end.map_err(io_error)
        };
        tokio::task::spawn_blocking(ask).await.map_err(|error| ReadError::Io(io::Error::other(error)))?
    }

    fn drain(&mut self) -> Result<Vec<Sighting>, ReadError> {
        let mut sightings = Vec::new();
        let Some(consumer) = &self.consumer else {
            return Err(ReadError::Closed);
        };
        let mut empty_looks = 0;
        while sightings.len() < BATCH_MAX && empty_looks < EMPTY_LOOKS {
            match consumer.poll(Duration::ZERO) {
                None => empty_looks += 1,
                Some(Ok(message)) => {
                    self.next = message.offset() + 1;
                    // Somebody else's, if its key is no text.
                    let Some(instance) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else {
                        continue;
                    };
                    let now = clock::now().as_millis();
                    let age = now.saturating_sub(message.timestamp().to_millis().unwrap_or_default());
                    sightings.push(Sighting {
                        instance: instance.to_owned(),
                        json: message.payload().map(Bytes::copy_from_slice),
                        age: Duration::from_millis(u64::try_from(age).unwrap_or_default()),
                    });
                }
                Some(Err(error)) if is_final(&error) => return Err(io_error(error)),
                // The broker is away; the client looks for it.
                Some(Err(error)) => {
                    tracing::debug!(%error, "the roster waits");
                    break;
                }
            }
        }
        Ok(sightings)
    }
}

fn is_final(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode::AutoOffsetReset;
    matches!(error, KafkaError::MessageConsumptionFatal(_) | KafkaError::MessageConsumption(AutoOffsetReset))
}

impl Drop for RosterWatch {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            self.roster.shared.reaper.take(consumer);
        }
    }
}
