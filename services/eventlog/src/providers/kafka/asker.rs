//! Asks the brokers where partitions begin and end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::client::{self, Context};
use super::core::Core;
use super::error::OpenError;
use crate::port::{Bound, TopicPartition};

/// How often an end that lies before a known one is asked for again, and how long after, before it is believed: a broker
/// that doesn't know yet that it leads no more may give an old one.
const LOWER_TRIES: u32 = 5;
const LOWER_PAUSE: Duration = Duration::from_millis(500);
const LOWER_PATIENCE: Duration = Duration::from_secs(1);
/// After so long without an answer the client is made anew: librdkafka lets go of brokers that an answer doesn't name, and one
/// that is just coming up may name none, not even itself. Such a client finds no broker any more. (confluentinc/librdkafka, issue 5301)
const SILENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the brokers don't tell the bounds of partitions")]
    Kafka(#[from] KafkaError),
    #[error("no offset came for partition {0}")]
    Missing(u32),
    #[error("a partition lies before what it had reached")]
    Lower(Lower),
}

/// A partition whose end lies before what it had reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lower {
    at: TopicPartition,
    known: u64,
    found: u64,
}

/// The connection for questions; several threads may ask at the same time.
pub(super) struct Asker {
    core: Arc<Core>,
    consumer: RwLock<Arc<BaseConsumer<Context>>>,
    /// Since when nothing was answered, or the client was made anew for that.
    silent_since: Mutex<Option<Instant>>,
}

fn consumer(core: &Arc<Core>) -> Result<BaseConsumer<Context>, KafkaError> {
    client::config(&core.options)
        .set("isolation.level", "read_uncommitted")
        // Connections to all brokers at once, so that the first question doesn't wait for them.
        .set("enable.sparse.connections", "false")
        .create_with_context(Context::new(core))
}

impl Asker {
    pub(super) fn new(core: &Arc<Core>) -> Result<Self, OpenError> {
        let consumer = consumer(core).map_err(OpenError::kafka(&core.options, "make a consumer"))?;
        let (consumer, silent_since) = (RwLock::new(Arc::new(consumer)), Mutex::default());
        Ok(Self { core: Arc::clone(core), consumer, silent_since })
    }

    pub(super) fn consumer(&self) -> Arc<BaseConsumer<Context>> {
        Arc::clone(&self.consumer.read())
    }

    /// Notes whether a question was answered. Where none was for a while, whoever was asked, the client is made anew.
    pub(super) fn note(&self, is_answered: bool) {
        let mut silent_since = self.silent_since.lock();
        if is_answered {
            *silent_since = None;
            return;
        }
        if silent_since.get_or_insert_with(Instant::now).elapsed() < SILENCE {
            return;
        }
        *silent_since = Some(Instant::now());
        drop(silent_since);
        match consumer(&self.core) {
            Ok(made) => {
                let former = std::mem::replace(&mut *self.consumer.write(), Arc::new(made));
                tracing::debug!(
                    "no broker tells the bounds of partitions: they are asked for by a fresh client"
                );
                drop(former); // it goes with the last of those who ask it just now
            }
            Err(error) => tracing::warn!(%error, "no other client can be made"),
        }
    }

    /// What the client has to say lies in a queue that somebody must empty.
    pub(super) fn serve_log(&self) {
        // It reads nothing, so what comes is at most an error, which the context has seen.
        drop(self.consumer().poll(Duration::ZERO));
    }

    /// Asks the leaders of all these places, all at once.
    pub(super) fn query(
        &self,
        places: &BTreeSet<TopicPartition>,
        bound: Bound,
        patience: Duration,
    ) -> Result<BTreeMap<TopicPartition, u64>, AskError> {
        let logical = match bound {
            Bound::Start => Offset::Beginning,
            Bound::End => Offset::End,
        };
        let known: Vec<_> = places.iter().map(|at| self.known_end(*at)).collect();
        // These logical offsets are, as numbers, the times by which the protocol names the bounds.
        let list = self.core.list(places.iter().map(|at| (*at, logical)))?;
        let list = self.consumer().offsets_for_times(list, patience);
        self.note(list.is_ok());
        let list = list?;
        let mut found = BTreeMap::new();
        for element in list.elements() {
            element.error()?;
            let place = self.core.place(element.topic(), element.partition());
            if let (Some(at), Some(offset)) = (place, plain(element.offset())) {
                found.insert(at, offset);
            }
        }
        for (at, known) in places.iter().zip(known) {
            let found = *found.get(at).ok_or(AskError::Missing(at.partition))?;
            if bound == Bound::End {
                if found < known {
                    return Err(AskError::Lower(Lower { at: *at, known, found }));
                }
                self.reached(*at, found);
            }
        }
        Ok(found)
    }

    fn known_end(&self, at: TopicPartition) -> u64 {
        self.core.slot(at).map_or(0, |slot| self.core.known_end(slot))
    }

    fn reached(&self, at: TopicPartition, end: u64) {
        if let Some(slot) = self.core.slot(at) {
            self.core.reached(slot, end);
        }
    }

    /// Whether an end still lies before what it had been after some time. Then the log is stopped.
    pub(super) fn confirm_lower(&self, first: &Lower, places: &BTreeSet<TopicPartition>) -> bool {
        let mut last = *first;
        for _ in 0..LOWER_TRIES {
            std::thread::sleep(LOWER_PAUSE);
            // That it leads no more is found out by asking others.
            drop(self.consumer().fetch_metadata(Some(self.core.name(last.at.topic)), LOWER_PATIENCE));
            match self.query(places, Bound::End, LOWER_PATIENCE) {
                Err(AskError::Lower(lower)) => last = lower,
                // Well, or not known: the next question finds it again.
                Ok(_) | Err(AskError::Kafka(_) | AskError::Missing(_)) => return false,
            }
        }
        self.core.lost(last.at, last.known, last.found);
        true
    }
}

fn plain(offset: Offset) -> Option<u64> {
    match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}
