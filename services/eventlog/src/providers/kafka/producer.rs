//! The one idempotent producer, and its successor when it breaks.
//!
//! ```text
//!  append ──▶ lanes of its partitions locked ──▶ librdkafka's queue ──▶ brokers
//!                                                                         │
//!  outcome ◀── `Append` once all reports are in ◀── thread that polls ◀───┘
//! ```
//!
//! A lane is held while the records of one append are handed over, so that those of another one to the same partition
//! don't get between them. What was handed over to a broken producer has an unknown outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::{oneshot, watch};

use super::append::{Append, Pending, Reports, Ticket};
use super::core::{Core, signed};
use super::error::OpenError;
use super::options::MESSAGE_BYTES_MAX;
use super::{client, codec};
use crate::port::{AppendError, Appending, Topic, TopicPartition};
use crate::record::Record;

/// How often the thread looks whether it should end.
const POLL: Duration = Duration::from_millis(100);
/// Between two tries to make a successor.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the brokers may take to tell where the partitions are, when the log is opened.
const WARM_UP_PATIENCE: Duration = Duration::from_secs(10);
/// Memory of a record under way beyond its bytes, roughly: its headers, and what librdkafka keeps with it.
const OVERHEAD_BYTES: usize = 512;

/// A request without answer is sent again after so long, to another leader if there is one: no record is doubled by that.
const REQUEST_MILLIS_MAX: u128 = 3_000;

/// How long a record waits for others to be sent with it, in milliseconds. While one request is under way more records
/// gather anyway, so that a busy log has large requests.
const LINGER_MS: &str = "0";

type Producer = BaseProducer<Reports>;

struct Current {
    /// `None` once it has ended. The thread has it too, so that polling needs no lock.
    producer: Option<Arc<Producer>>,
    is_closing: bool,
}

struct Inner {
    core: Arc<Core>,
    current: RwLock<Current>,
    /// By slot.
    lanes: Vec<Mutex<()>>,
    pending: Arc<Pending>,
    has_ended: watch::Sender<bool>,
}

/// Hands records over to the brokers, until it is closed.
#[derive(Clone)]
pub(super) struct Appender {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").finish_non_exhaustive()
    }
}

/// A message, with its headers made already, since the lanes are locked when it is handed over.
struct Outgoing<'a> {
    topic: &'a str,
    partition: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    time: Option<i64>,
    headers: Option<OwnedHeaders>,
}

impl<'a> Outgoing<'a> {
    fn of(core: &'a Core, at: TopicPartition, record: &'a Record) -> Self {
        Self {
            topic: core.name(at.topic),
            partition: signed(at.partition),
            key: record.key.as_deref(),
            value: Some(&record.value),
            // librdkafka takes 0 for now.
            time: Some(record.time.as_millis()).filter(|millis| *millis > 0),
            headers: Some(codec::headers(record)),
        }
    }

    fn hand_over(self, producer: &Producer, ticket: Ticket) -> Result<(), KafkaError> {
        let record = BaseRecord::<[u8], [u8], Box<Ticket>> {
            topic: self.topic,
            partition: Some(self.partition),
            payload: self.value,
            key: self.key,
            timestamp: self.time,
            headers: self.headers,
            delivery_opaque: Box::new(ticket),
        };
        producer.send(record).map_err(|(error, _)| error)
    }
}

impl Appender {
    /// Makes the producer and starts its thread. Blocks until the producer knows the partitions.
    pub(super) fn start(core: &Arc<Core>) -> Result<Self, OpenError> {
        let producer = make(core).map_err(OpenError::kafka(&core.options, "make a producer"))?;
        for topic in Topic::ALL {
            let name = core.name(topic);
            producer
                .client()
                .fetch_metadata(Some(name), WARM_UP_PATIENCE)
                .map_err(OpenError::kafka(&core.options, format!("find {name}")))?;
        }
        let inner = Arc::new(Inner {
            core: Arc::clone(core),
            current: RwLock::new(Current { producer: Some(Arc::new(producer)), is_closing: false }),
            lanes: (0..core.slots()).map(|_| Mutex::new(())).collect(),
            pending: Arc::new(Pending::new(core.options.pending_bytes_max)),
            has_ended: watch::Sender::new(false),
        });
        let thread = std::thread::Builder::new().name("parley-append".to_owned());
        let of_thread = Arc::clone(&inner);
        thread.spawn(move || run(&of_thread)).map_err(OpenError::Thread)?;
        Ok(Self { inner })
    }

    /// Hands the records over, in their order. They must have been looked at already.
    pub(super) fn append(&self, records: &[(TopicPartition, Record)]) -> Appending {
        let bytes = records.iter().map(|(_, record)| bytes_of(record)).sum();
        let core = &self.inner.core;
        let outgoing = records.iter().map(|(at, record)| (Some(*at), Outgoing::of(core, *at, record)));
        self.hand_over(bytes, outgoing.collect())
    }

    /// Writes a message without headers to another topic.
    pub(super) async fn publish(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<u64, AppendError> {
        let bytes = OVERHEAD_BYTES + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let outgoing = Outgoing { topic, partition: 0, key, value, time: None, headers: None };
        let offsets = self.hand_over(bytes, vec![(None, outgoing)]).await;
        let offsets =
            offsets.unwrap_or_else(|_| Err(AppendError::Unknown("the producer has ended".into())))?;
        offsets.first().copied().ok_or_else(|| AppendError::Unknown("no offset came".into()))
    }

    fn hand_over(&self, bytes: usize, outgoing: Vec<(Option<TopicPartition>, Outgoing<'_>)>) -> Appending {
        let inner = &*self.inner;
        let (reply, appending) = oneshot::channel();
        if !inner.pending.take(bytes) {
            let reason = AppendError::NotAppended("too much waits for the brokers already".into());
            drop(reply.send(Err(reason)));
            return appending;
        }
        let count = outgoing.len();
        let append = Arc::new(Append::new(count, bytes, &inner.pending, reply));
        if count == 0 {
            append.cut_short(0, None);
            return appending;
        }
        let current = inner.current.read();
        let producer = match &current.producer {
            Some(producer) if !current.is_closing => producer,
            Some(_) | None => {
                append.refuse("the log is closed".into());
                return appending;
            }
        };
        let _lanes = inner.lock(outgoing.iter().filter_map(|(at, _)| *at));
        for (index, (at, outgoing)) in outgoing.into_iter().enumerate() {
            let floor = at.and_then(|at| Some((at, inner.core.known_end(inner.core.slot(at)?))));
            let ticket = Ticket { append: Arc::clone(&append), index, floor };
            let Err(error) = outgoing.hand_over(producer, ticket) else {
                continue;
            };
            producer.context().judge(&error);
            let reason: Arc<str> = format!("the client took no record: {error}").into();
            if index == 0 {
                append.refuse(reason);
            } else {
                append.cut_short(count - index, Some(reason));
            }
            break;
        }
        appending
    }

    /// Takes nothing more; what was handed over is sent within the time of an append, by the thread.
    pub(super) fn begin_close(&self) {
        self.inner.current.write().is_closing = true;
    }

    /// Waits for the end of that.
    pub(super) async fn close(&self) {
        self.begin_close();
        let mut has_ended = self.inner.has_ended.subscribe();
        // It can't fail: the sender lives in `inner`.
        drop(has_ended.wait_for(|has_ended| *has_ended).await);
    }
}

impl Inner {
    /// The lanes of these places, in one order for all, so that nobody waits for each other.
    fn lock(&self, places: impl Iterator<Item = TopicPartition>) -> Vec<parking_lot::MutexGuard<'_, ()>> {
        let mut slots: Vec<_> = places.filter_map(|at| self.core.slot(at)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter_map(|slot| self.lanes.get(slot)).map(Mutex::lock).collect()
    }
}

/// What a record counts as in memory.
fn bytes_of(record: &Record) -> usize {
    OVERHEAD_BYTES + record.value.len() + record.key.as_ref().map_or(0, |key| 2 * key.len())
}

fn make(core: &Arc<Core>) -> KafkaResult<Producer> {
    let options = &core.options;
    let patience = options.produce_timeout.as_millis();
    // librdkafka counts headers and its own structures in part only, and ours is the limit that counts.
    let queue_kbytes = (options.pending_bytes_max >> 10) * 2 + (64 << 10);
    client::config(options)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", LINGER_MS)
        .set("message.timeout.ms", patience.to_string())
        .set("request.timeout.ms", patience.min(REQUEST_MILLIS_MAX).to_string())
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", queue_kbytes.to_string())
        // Connections to all brokers at once, so that the first append doesn't wait for them.
        .set("enable.sparse.connections", "false")
        .create_with_context(Reports::new(core))
}

/// Polls for reports until closed; then sends what is left.
fn run(inner: &Arc<Inner>) {
    let _last_words = LastWords(Arc::clone(inner));
    loop {
        let (producer, is_closing) = {
            let current = inner.current.read();
            (current.producer.clone(), current.is_closing)
        };
        let Some(producer) = producer else {
            return;
        };
        if is_closing {
            if let Err(error) = producer.flush(inner.core.options.produce_timeout) {
                tracing::error!(%error, "the log was closed before everything was sent");
            }
            return;
        }
        producer.poll(POLL);
        if producer.context().is_broken() {
            replace(inner);
        }
    }
}

/// Makes a successor. What the former one had under way is reported as unknown when it goes.
fn replace(inner: &Inner) {
    match make(&inner.core) {
        Ok(producer) => {
            let former = inner.current.write().producer.replace(Arc::new(producer));
            drop(former);
        }
        Err(error) => {
            inner.core.health.fail(&format!("no producer can be made: {error}"));
            let until = Instant::now() + PAUSE;
            while Instant::now() < until && !inner.current.read().is_closing {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Tells everybody that the thread is gone, whether it ended or panicked.
struct LastWords(Arc<Inner>);

impl Drop for LastWords {
    fn drop(&mut self) {
        let former = {
            let mut current = self.0.current.write();
            current.is_closing = true;
            current.producer.take()
        };
        // Reports what never was sent.
        drop(former);
        if std::thread::panicking() {
            self.0.core.health.fail("the thread of the log's producer has panicked");
        }
        self.0.has_ended.send_replace(true);
    }
}
