//! Follows partitions with a consumer of its own, which isn't in any group.
//!
//! There is no thread here: the client fetches ahead, up to a number of bytes, and wakes whoever waits; the records are
//! taken out of its queue by the reader itself.
//!
//! A client of librdkafka may stand still for good after all brokers were away: it keeps partitions at a broker that it has
//! let go of. So it is looked now and then whether the log goes on where the tail doesn't; then it goes on with a fresh client.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture, join_all};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use tokio::sync::{Notify, watch};

use super::Shared;
use super::client::{self, Context};
use super::codec::Decoder;
use super::core::Core;
use super::readers::io_error;
use crate::port::{Bound, ReadError, Tail, TopicPartition};
use crate::record::StoredRecord;

/// The most that is taken at once, since the runtime's thread is held meanwhile.
const BATCH_RECORDS_MAX: usize = 4_096;
/// The client's queue looks empty once for each line that it logs.
const EMPTY_LOOKS: usize = 4;
/// A waiting reader looks at the queue anyway, so that no lost wake-up can hold it up for long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long records that must be there may take to come before it is looked whether they are holes.
const HOLE_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether the tail stands still while the log goes on.
const STANDSTILL_LOOK: Duration = Duration::from_secs(10);
/// How long `next_now` waits for records that must be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reader's place in the log on Kafka.
pub(super) struct KafkaTail {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    consumer: Option<BaseConsumer<Context>>,
    decoder: Decoder,
    wake: Arc<Notify>,
    closed: watch::Receiver<bool>,
    /// By slot the next offset to give; `None` where none is wanted.
    next: Vec<Option<u64>>,
    /// A broker is away: said once.
    is_away: bool,
    /// The client found a position that isn't there any more.
    is_off: bool,
    look_at: Instant,
    looking: Option<BoxFuture<'static, Look>>,
    /// By slot, where the last look found it behind the log's end: the next offset then.
    behind_at: Vec<Option<u64>>,
}

fn fresh_client(core: &Arc<Core>, wake: &Arc<Notify>) -> Result<BaseConsumer<Context>, ReadError> {
    let config = client::reading(&core.options, core.options.tail_bytes_max);
    let mut consumer: BaseConsumer<_> = config.create_with_context(Context::new(core)).map_err(io_error)?;
    let waker = Arc::clone(wake);
    consumer.set_nonempty_callback(move || waker.notify_one());
    Ok(consumer)
}

impl KafkaTail {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, ReadError> {
        let core = &shared.core;
        let wake = Arc::new(Notify::new());
        let consumer = fresh_client(core, &wake)?;
        Ok(Self {
            behind_at: vec![None; core.slots()],
            look_at: Instant::now() + STANDSTILL_LOOK,
            looking: None,
            next: vec![None; core.slots()],
            closed: shared.closed.subscribe(),
            shared: Arc::clone(shared),
            consumer: Some(consumer),
            decoder: Decoder::default(),
            wake,
            is_away: false,
            is_off: false,
        })
    }

    /// Takes what lies in the client's queue, without waiting. There is no `await` in here, so nothing taken can be lost.
    fn drain(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let records_max = records_max.clamp(1, BATCH_RECORDS_MAX);
        let mut records = Vec::new();
        let Some(consumer) = &self.consumer else {
            return Err(ReadError::Closed);
        };
        let core = &self.shared.core;
        let mut empty_looks = 0;
        let mut failure = None;
        while records.len() < records_max && empty_looks < EMPTY_LOOKS {
            match consumer.poll(Duration::ZERO) {
                None => empty_looks += 1,
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
                Some(Ok(message)) => {
                    let Some(at) = core.place(message.topic(), message.partition()) else {
                        continue;
                    };
                    let Some(Some(next)) = core.slot(at).and_then(|slot| self.next.get_mut(slot)) else {
                        continue;
                    };
                    let stored = self.decoder.decode(at, &message);
                    if let Some(stored) = stored.filter(|stored| stored.offset >= *next) {
                        *next = stored.offset + 1;
                        records.push(Arc::new(stored));
                    }
                }
            }
        }
        if !records.is_empty() && std::mem::take(&mut self.is_away) {
            tracing::info!("a tail of the log goes on");
        }
        self.note(failure)?;
        self.reached(&records);
        Ok(records)
    }

    /// What the log is known to have held can't be missing later.
    fn reached(&self, records: &[Arc<StoredRecord>]) {
        for stored in records {
            if let Some(slot) = self.shared.core.slot(stored.at) {
                self.shared.core.reached(slot, stored.offset + 1);
            }
        }
    }

    /// A broker that is away is no error of the tail.
    fn note(&mut self, failure: Option<KafkaError>) -> Result<(), ReadError> {
        match failure {
            None => {}
            Some(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(io_error(error)),
            Some(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => self.is_off = true,
            Some(error) if !std::mem::replace(&mut self.is_away, true) => {
                tracing::warn!(%error, "a tail of the log waits for its broker");
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn places(&self) -> Vec<TopicPartition> {
        let places = self.shared.core.places();
        places.into_iter().filter(|at| self.next_of(*at).is_some()).collect()
    }

    fn next_of(&self, at: TopicPartition) -> Option<u64> {
        self.shared.core.slot(at).and_then(|slot| self.next.get(slot).copied().flatten())
    }

    fn set_next(&mut self, at: TopicPartition, offset: Option<u64>) {
        if let Some(next) = self.shared.core.slot(at).and_then(|slot| self.next.get_mut(slot)) {
            *next = offset;
        }
    }

    /// The first of these places where not everything was given.
    fn behind(&self, places: &[TopicPartition], ends: &[u64]) -> Option<(TopicPartition, u64, u64)> {
        places.iter().zip(ends).find_map(|(at, end)| {
            let next = self.next_of(*at)?;
            (next < *end).then_some((*at, next, *end))
        })
    }

    /// Finds out why the client has given up a position: an error if it is out of range, else it goes on from there.
    async fn set_right(&mut self) -> Result<(), ReadError> {
        let places = self.places();
        let from: Vec<_> = places.iter().filter_map(|at| Some((*at, self.next_of(*at)?))).collect();
        self.shared.check_range(&from).await?;
        self.is_off = false;
        let list = self.list(&from)?;
        let consumer = self.consumer.as_ref().ok_or(ReadError::Closed)?;
        consumer.assign(&list).map_err(io_error)
    }

    fn list(&self, from: &[(TopicPartition, u64)]) -> Result<rdkafka::TopicPartitionList, ReadError> {
        let from =
            from.iter().map(|(at, offset)| (*at, Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX))));
        self.shared.core.list(from).map_err(io_error)
    }

    /// Begins a look, if it is time.
    fn begin_look(&mut self) {
        if self.looking.is_none() && self.look_at <= Instant::now() {
            self.look_at = Instant::now() + STANDSTILL_LOOK;
            let behind_at = |at| self.shared.core.slot(at).and_then(|slot| *self.behind_at.get(slot)?);
            let places = self.places().into_iter();
            let places = places.filter_map(|at| Some((at, self.next_of(at)?, behind_at(at)))).collect();
            self.looking = Some(look(Arc::clone(&self.shared), places).boxed());
        }
    }

    /// Takes what a look found.
    fn looked(&mut self, found: Look) -> Result<(), ReadError> {
        self.looking = None;
        self.behind_at.fill(None);
        for (at, next) in found.behind {
            if let Some(behind_at) = self.shared.core.slot(at).and_then(|slot| self.behind_at.get_mut(slot)) {
                *behind_at = Some(next);
            }
        }
        match found.stands {
            Some((at, next)) if self.next_of(at) == Some(next) => self.go_on_afresh(at, next),
            Some(_) | None => Ok(()),
        }
    }

    /// With another client, from where it stands.
    fn go_on_afresh(&mut self, at: TopicPartition, next: u64) -> Result<(), ReadError> {
        let fresh = fresh_client(&self.shared.core, &self.wake)?;
        let places = self.places();
        let from: Vec<_> = places.iter().filter_map(|at| Some((*at, self.next_of(*at)?))).collect();
        let assigned = self.list(&from).and_then(|list| fresh.assign(&list).map_err(io_error));
        // The former one, or this one: letting go of either takes a while.
        let other = match &assigned {
            Ok(()) => self.consumer.replace(fresh),
            Err(_) => Some(fresh),
        };
        if let Some(other) = other {
            self.shared.reaper.take(other);
        }
        assigned?;
        (self.decoder, self.is_off) = (Decoder::default(), false);
        self.behind_at.fill(None);
        let (topic, partition) = (at.topic.name(), at.partition);
        tracing::warn!(
            topic,
            partition,
            next,
            "a tail of the log stood still while the log went on: it goes on with a fresh client"
        );
        Ok(())
    }

    /// The rest of what was in the log when this was called; none if all of it was given.
    async fn rest(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let places = self.places();
        let ends = self.shared.bounds.ask(&places, Bound::End).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.drain(records_max)?;
            if !records.is_empty() {
                return Ok(records);
            }
            let Some((at, next, end)) = self.behind(&places, &ends) else {
                return Ok(Vec::new());
            };
            if self.is_off {
                self.set_right().await?;
            }
            if tokio::time::timeout(HOLE_PATIENCE, self.wake.notified()).await.is_err() {
                self.pass_hole(at, next, end).await?;
            }
            if Instant::now() > deadline {
                let reason = "records of the log don't come";
                return Err(ReadError::Io(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
        }
    }

    /// Where no record lies up to an end (they were compacted away), nothing will come.
    ///
    /// A leader that has just taken over may not know yet how far the log goes, and shows its end before records that were
    /// acknowledged; they aren't passed over. So it is asked anew, and twice, since it may have changed between question and read.
    async fn pass_hole(&mut self, at: TopicPartition, next: u64, end: u64) -> Result<(), ReadError> {
        for _ in 0..2 {
            let ends = self.shared.bounds.ask(&[at], Bound::End).await?;
            let knows_all = ends.iter().all(|known| *known >= end);
            if !knows_all || !self.shared.readers.read(at, next, end, 1).await?.is_empty() {
                return Ok(());
            }
        }
        if self.next_of(at) == Some(next) {
            self.set_next(at, Some(end));
        }
        Ok(())
    }
}

/// What a look found.
struct Look {
    /// Places where the log goes on beyond the tail, with the tail's next offset.
    behind: Vec<(TopicPartition, u64)>,
    /// One where the tail stands where it stood at the last look, though others can read on.
    stands: Option<(TopicPartition, u64)>,
}

/// Whether a tail stands still: its places, each with the next offset, and with that of the last look if the log went on beyond it then.
/// Where nobody can read on there is a hole at the end; what can't be told now is told another time.
async fn look(shared: Arc<Shared>, places: Vec<(TopicPartition, u64, Option<u64>)>) -> Look {
    let asks = places.iter().map(|(at, ..)| async { shared.bounds.ask(&[*at], Bound::End).await });
    let ends = join_all(asks).await;
    let mut found = Look { behind: Vec::new(), stands: None };
    for ((at, next, behind_at), end) in places.into_iter().zip(ends) {
        let Some(end) = end.ok().and_then(|ends| ends.first().copied()).filter(|end| next < *end) else {
            continue;
        };
        found.behind.push((at, next));
        if behind_at == Some(next) && found.stands.is_none() {
            let read = shared.readers.read(at, next, end, 1).await;
            found.stands = read.is_ok_and(|records| !records.is_empty()).then_some((at, next));
        }
    }
    found
}

#[async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        loop {
            // Before looking, so that what is closed after the look still wakes this.
            let is_closed = *self.closed.borrow_and_update();
            let records = self.drain(records_max)?;
            if !records.is_empty() {
                return Ok(records);
            }
            if is_closed {
                let rest = self.rest(records_max).await;
                return rest.ok().filter(|rest| !rest.is_empty()).ok_or(ReadError::Closed);
            }
            if self.is_off {
                self.set_right().await?;
            }
            // Whoever reads on without a pause is behind for no other reason than that there is so much.
            self.begin_look();
            tokio::select! {
                () = self.wake.notified() => {}
                // Beside the waiting: partitions whose leader is away hold up no others.
                Some(found) = OptionFuture::from(self.looking.as_mut()) => self.looked(found)?,
                // The sender lives as long as this does, in `shared`.
                _ = self.closed.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn next_now(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let is_closed = *self.closed.borrow_and_update();
        let records = self.drain(records_max)?;
        if !records.is_empty() {
            return Ok(records);
        }
        let rest = self.rest(records_max).await;
        if is_closed { rest.ok().filter(|rest| !rest.is_empty()).ok_or(ReadError::Closed) } else { rest }
    }

    async fn add(&mut self, from: Vec<(TopicPartition, u64)>) -> Result<(), ReadError> {
        let is_new = |(at, _): &(TopicPartition, u64)| self.next_of(*at).is_none();
        let mut from: Vec<_> = from.into_iter().filter(is_new).collect();
        // Of a place named twice the earlier offset counts.
        from.sort_unstable();
        from.dedup_by_key(|(at, _)| *at);
        if from.is_empty() {
            return Ok(());
        }
        self.shared.check_range(&from).await?;
        let list = self.list(&from)?;
        let consumer = self.consumer.as_ref().ok_or(ReadError::Closed)?;
        consumer.incremental_assign(&list).map_err(io_error)?;
        for (at, offset) in from {
            self.set_next(at, Some(offset));
        }
        Ok(())
    }

    fn remove(&mut self, places: &[TopicPartition]) {
        let mut had: Vec<_> = places.iter().filter_map(|at| Some((*at, self.next_of(*at)?))).collect();
        had.sort_unstable();
        had.dedup();
        for (at, _) in &had {
            self.set_next(*at, None);
        }
        let (Ok(list), Some(consumer)) = (self.list(&had), &self.consumer) else {
            return;
        };
        if !had.is_empty()
            && let Err(error) = consumer.incremental_unassign(&list)
        {
            // It would fetch in vain; what comes is dropped.
            tracing::warn!(%error, "a tail can't let go of partitions");
        }
    }
}

impl Drop for KafkaTail {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            self.shared.reaper.take(consumer);
        }
    }
}
