//! One append: the reports of its records come together here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rdkafka::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use tokio::sync::oneshot;

use super::client;
use super::core::Core;
use crate::port::{AppendError, TopicPartition};

/// How long nothing may get through before another producer takes over.
const SILENCE_MS: u64 = 20_000;

/// Bytes of appends that aren't answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Pending {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Takes room, if there is enough.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.bytes_max);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// An append under way.
#[derive(Debug)]
pub(super) struct Append {
    pending: Arc<Pending>,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In the order of the records.
    offsets: Vec<u64>,
    /// Records without a report.
    left: usize,
    /// Why the outcome is unknown; the first reason counts.
    failure: Option<Arc<str>>,
    reply: Option<oneshot::Sender<Result<Vec<u64>, AppendError>>>,
}

impl Append {
    /// The room must have been taken already.
    pub(super) fn new(
        records: usize,
        bytes: usize,
        pending: &Arc<Pending>,
        reply: oneshot::Sender<Result<Vec<u64>, AppendError>>,
    ) -> Self {
        let state = State { offsets: vec![0; records], left: records, failure: None, reply: Some(reply) };
        Self { pending: Arc::clone(pending), bytes, state: Mutex::new(state) }
    }

    /// The report of one record.
    pub(super) fn report(&self, index: usize, outcome: Result<u64, Arc<str>>) {
        let mut state = self.state.lock();
        match outcome {
            Ok(offset) => {
                if let Some(place) = state.offsets.get_mut(index) {
                    *place = offset;
                }
            }
            Err(reason) => state.failure = state.failure.take().or(Some(reason)),
        }
        self.settle(state, 1);
    }

    /// No report will come for the last records, which were not handed over.
    pub(super) fn cut_short(&self, records: usize, reason: Option<Arc<str>>) {
        let mut state = self.state.lock();
        state.failure = state.failure.take().or(reason);
        self.settle(state, records);
    }

    /// Nothing of it was handed over, and so nothing will be in the log.
    pub(super) fn refuse(&self, reason: Arc<str>) {
        let reply = self.state.lock().reply.take();
        self.answer(reply, Err(AppendError::NotAppended(reason)));
    }

    fn settle(&self, mut state: parking_lot::MutexGuard<'_, State>, records: usize) {
        state.left = state.left.saturating_sub(records);
        if state.left > 0 {
            return;
        }
        let reply = state.reply.take();
        let outcome = match state.failure.take() {
            None => Ok(std::mem::take(&mut state.offsets)),
            Some(reason) => Err(AppendError::Unknown(reason)),
        };
        drop(state);
        if let Ok(offsets) = &outcome {
            metrics::counter!("parley_log_records_appended_total").increment(offsets.len() as u64);
        }
        self.answer(reply, outcome);
    }

    fn answer(
        &self,
        reply: Option<oneshot::Sender<Result<Vec<u64>, AppendError>>>,
        outcome: Result<Vec<u64>, AppendError>,
    ) {
        if let Some(reply) = reply {
            // Before the answer, so that who got it finds the room for its next append.
            self.pending.give_back(self.bytes);
            // That nobody listens any more is fine.
            drop(reply.send(outcome));
        }
    }
}

/// What librdkafka carries along with a record.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) append: Arc<Append>,
    /// Which of its records.
    pub(super) index: usize,
    /// The record's place, and the end that this was known to have reached when the record was handed over: it can't
    /// land before that. `None` outside the topics of events.
    pub(super) floor: Option<(TopicPartition, u64)>,
}

/// Gets the reports of a producer.
#[derive(Debug)]
pub(super) struct Reports {
    core: Arc<Core>,
    /// Set once this producer can't be used any more.
    broken: std::sync::atomic::AtomicBool,
    begun: Instant,
    /// Since when nothing got through, in milliseconds since `begun`; 0: something does.
    failing_ms: AtomicU64,
}

impl Reports {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            broken: false.into(),
            begun: Instant::now(),
            failing_ms: AtomicU64::new(0),
        }
    }

    /// Whether another producer must take over.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Looks at an error for what it says about the producer.
    pub(super) fn judge(&self, error: &KafkaError) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
            && !self.broken.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "the producer of the log has broken; another one takes over");
        }
    }

    /// A message wasn't taken in time. Where none is for long, the client may have been left without brokers, as after an outage of all
    /// of them; another one finds them again.
    fn timed_out(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        match self.failing_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Err(since)
                if now.saturating_sub(since) >= SILENCE_MS && !self.broken.swap(true, Ordering::AcqRel) =>
            {
                tracing::warn!("nothing gets through to the log; another producer takes over");
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn landed(&self, ticket: &Ticket, offset: i64) -> Result<u64, Arc<str>> {
        let offset = u64::try_from(offset).map_err(|_| Arc::from("the brokers gave no offset"))?;
        if let Some((at, floor)) = ticket.floor {
            if offset < floor {
                self.core.lost(at, floor, offset);
                return Err("the log has lost records".into());
            }
            if let Some(slot) = self.core.slot(at) {
                self.core.reached(slot, offset + 1);
            }
        }
        Ok(offset)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::note(&self.core, &error, reason);
        self.judge(&error);
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match delivery {
            Ok(message) => {
                self.failing_ms.store(0, Ordering::Relaxed);
                self.landed(&ticket, message.offset())
            }
            Err((error, _)) => {
                self.judge(error);
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.timed_out();
                }
                let reason = format!("the brokers didn't confirm an append: {error}");
                self.core.health.fail(&reason);
                Err(reason.into())
            }
        };
        ticket.append.report(ticket.index, outcome);
    }
}
