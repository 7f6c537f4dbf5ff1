//! Where partitions begin and end: one question to the brokers for all who ask at the same time.
//!
//! ```text
//!  offsets() ──▶ quick ──▶ thread: takes all that waits ▸ one query of the union ▸ answers
//!                             │ it failed (a broker is away): each of them on its own
//!                             ▼
//!                           slow ───▶ thread: one after the other, again and again until its deadline
//! ```
//!
//! An answer is always from a query that began after the question was asked, since it may prove that nothing was appended
//! by somebody else. Places whose broker is away go straight to the slow lane, so that the others don't wait for them.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use super::client::{self, Context};
use super::core::Core;
use super::error::OpenError;
use super::probe;
use crate::port::{Bound, ReadError, TopicPartition};

/// How long one query may take before those who wait for it are asked for one by one.
const QUERY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a question may take in all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries in the slow lane.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the brokers are looked at while there may be trouble.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Questions that may wait.
const WAITING_MAX: usize = 65_536;
/// How often an end that lies before a known one is asked for again, and how long after, before it is believed: a broker
/// that doesn't know yet that it leads no more may give an old one.
const LOWER_TRIES: u32 = 5;
const LOWER_PAUSE: Duration = Duration::from_millis(500);

type Answer = Result<Vec<u64>, ReadError>;

struct Question {
    places: Vec<TopicPartition>,
    bound: Bound,
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Waiting {
    quick: Vec<Question>,
    slow: VecDeque<Question>,
    /// Places whose last query failed.
    sick: HashSet<TopicPartition>,
    closed: bool,
}

#[derive(Default)]
struct Lanes {
    waiting: Mutex<Waiting>,
    quick: Condvar,
    slow: Condvar,
}

/// The asking of all. Dropping it ends its threads within the time of a query.
pub(super) struct Bounds {
    core: Arc<Core>,
    lanes: Arc<Lanes>,
}

impl std::fmt::Debug for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounds").finish_non_exhaustive()
    }
}

impl Bounds {
    /// Starts both threads, each with a connection of its own.
    pub(super) fn start(core: &Arc<Core>) -> Result<Self, OpenError> {
        let lanes = Arc::new(Lanes::default());
        let bounds = Self { core: Arc::clone(core), lanes: Arc::clone(&lanes) };
        let spawn = |name: &str, run: fn(&Asker, &Lanes)| {
            let asker = Asker::new(core)?;
            let lanes = Arc::clone(&lanes);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || run(&asker, &lanes)).map_err(OpenError::Thread)
        };
        spawn("parley-ends", run_quick)?;
        spawn("parley-ends-slow", run_slow)?;
        Ok(bounds)
    }

    /// The bounds of places, in the order given, as they are at some moment after the call.
    pub(super) async fn ask(&self, places: &[TopicPartition], bound: Bound) -> Answer {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(at) = places.iter().find(|at| self.core.slot(**at).is_none()) {
            return Err(ReadError::OutOfRange { at: *at, offset: 0 });
        }
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + PATIENCE;
        self.lanes.push(Question { places: places.to_vec(), bound, deadline, reply });
        answer.await.unwrap_or(Err(ReadError::Closed))
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.lanes.waiting.lock().closed = true;
        self.lanes.quick.notify_all();
        self.lanes.slow.notify_all();
    }
}

impl Lanes {
    fn push(&self, question: Question) {
        let mut waiting = self.waiting.lock();
        if waiting.quick.len() + waiting.slow.len() >= WAITING_MAX {
            drop(waiting);
            question.answer(Err(failure("too many ask for offsets already")));
        } else if question.places.iter().any(|at| waiting.sick.contains(at)) {
            waiting.slow.push_back(question);
            drop(waiting);
            self.slow.notify_one();
        } else {
            waiting.quick.push(question);
            drop(waiting);
            self.quick.notify_one();
        }
    }

    /// All that waits, at least one; `None` once nobody can ask any more.
    fn take_quick(&self) -> Option<Vec<Question>> {
        let mut waiting = self.waiting.lock();
        while waiting.quick.is_empty() {
            if waiting.closed {
                return None;
            }
            self.quick.wait(&mut waiting);
        }
        Some(std::mem::take(&mut waiting.quick))
    }

    fn delay(&self, questions: Vec<Question>) {
        self.waiting.lock().slow.extend(questions);
        self.slow.notify_one();
    }

    fn take_slow(&self) -> Slow {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(question) = waiting.slow.pop_front() {
                return Slow::Question(question);
            }
            if waiting.closed {
                return Slow::Closed;
            }
            if self.slow.wait_for(&mut waiting, PROBE_EVERY).timed_out() {
                return Slow::Idle;
            }
        }
    }

    fn mark(&self, places: &[TopicPartition], is_sick: bool) {
        let mut waiting = self.waiting.lock();
        for at in places {
            if is_sick {
                waiting.sick.insert(*at);
            } else {
                waiting.sick.remove(at);
            }
        }
    }
}

enum Slow {
    Question(Question),
    Idle,
    Closed,
}

impl Question {
    /// That nobody listens any more is fine.
    fn answer(self, answer: Answer) {
        drop(self.reply.send(answer));
    }

    fn answer_from(self, found: &BTreeMap<TopicPartition, u64>) {
        let offsets = self.places.iter().map(|at| found.get(at).copied());
        let answer = offsets.collect::<Option<Vec<_>>>();
        self.answer(answer.ok_or_else(|| failure("a broker left a partition out")));
    }
}

fn run_quick(asker: &Asker, lanes: &Lanes) {
    while let Some(questions) = lanes.take_quick() {
        let (starts, ends) = questions.into_iter().partition::<Vec<_>, _>(|q| q.bound == Bound::Start);
        for (bound, questions) in [(Bound::Start, starts), (Bound::End, ends)] {
            let places: BTreeSet<_> = questions.iter().flat_map(|q| q.places.iter().copied()).collect();
            if places.is_empty() {
                continue;
            }
            match asker.query(&places, bound, QUERY_PATIENCE) {
                Ok(found) => questions.into_iter().for_each(|question| question.answer_from(&found)),
                Err(error) => {
                    tracing::debug!(%error, "a query of offsets failed; each question goes its own way now");
                    lanes.delay(questions);
                }
            }
        }
    }
}

fn run_slow(asker: &Asker, lanes: &Lanes) {
    loop {
        match lanes.take_slow() {
            Slow::Question(question) => again(asker, lanes, question),
            Slow::Idle => {
                asker.consumer.poll(Duration::ZERO);
                if asker.core.health.is_suspect() {
                    probe::look(&asker.core, &asker.consumer);
                }
            }
            Slow::Closed => return,
        }
    }
}

/// One more try of a question that failed.
fn again(asker: &Asker, lanes: &Lanes, question: Question) {
    let left = question.deadline.saturating_duration_since(Instant::now());
    let places: BTreeSet<_> = question.places.iter().copied().collect();
    match asker.query(&places, question.bound, left.min(QUERY_PATIENCE).max(PAUSE)) {
        Ok(found) => {
            lanes.mark(&question.places, false);
            question.answer_from(&found);
        }
        Err(error) if left.is_zero() => {
            asker.core.health.suspect();
            question.answer(Err(ReadError::Io(io::Error::other(error))));
        }
        Err(AskError::Lower { .. }) => {
            let reason = match asker.confirm_lower(&places) {
                true => "the log has lost records",
                false => "a broker gave an old end",
            };
            question.answer(Err(failure(reason)));
        }
        Err(AskError::Kafka(_) | AskError::Missing(_)) => {
            lanes.mark(&question.places, true);
            std::thread::sleep(PAUSE);
            lanes.delay(vec![question]);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("no offset came for partition {0}")]
    Missing(i32),
    #[error("offset {found} of partition {partition} lies before {known}, which it had reached")]
    Lower { partition: u32, known: u64, found: u64 },
}

fn failure(reason: &'static str) -> ReadError {
    ReadError::Io(io::Error::other(reason))
}

/// One thread's connection.
struct Asker {
    core: Arc<Core>,
    consumer: BaseConsumer<Context>,
}

impl Asker {
    fn new(core: &Arc<Core>) -> Result<Self, OpenError> {
        let consumer = client::config(&core.options)
            .set("isolation.level", "read_uncommitted")
            .set("enable.sparse.connections", "false")
            .create_with_context(Context::new(core))
            .map_err(OpenError::kafka(&core.options, "make a consumer"))?;
        Ok(Self { core: Arc::clone(core), consumer })
    }

    /// Asks the leaders of all these places, all at once.
    fn query(
        &self,
        places: &BTreeSet<TopicPartition>,
        bound: Bound,
        patience: Duration,
    ) -> Result<BTreeMap<TopicPartition, u64>, AskError> {
        let logical = match bound {
            Bound::Start => Offset::Beginning,
            Bound::End => Offset::End,
        };
        // What librdkafka has to say lies in a queue; nobody else empties it.
        self.consumer.poll(Duration::ZERO);
        let known: Vec<_> = places.iter().map(|at| self.known_end(*at)).collect();
        // These logical offsets are, as numbers, the times by which the protocol names the bounds.
        let list = self.core.list(places.iter().map(|at| (*at, logical)))?;
        let list = self.consumer.offsets_for_times(list, patience)?;
        let mut found = BTreeMap::new();
        for element in list.elements() {
            element.error()?;
            let place = self.core.place(element.topic(), element.partition());
            let (Some(at), Some(offset)) = (place, plain(element.offset())) else {
                return Err(AskError::Missing(element.partition()));
            };
            found.insert(at, offset);
        }
        for (at, known) in places.iter().zip(known) {
            let found = *found.get(at).ok_or(AskError::Missing(super::core::signed(at.partition)))?;
            if bound == Bound::End {
                if found < known {
                    return Err(AskError::Lower { partition: at.partition, known, found });
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

    /// Whether an end still lies before what it had been, after some time and with the leader looked for anew. Then the
    /// log is stopped.
    fn confirm_lower(&self, places: &BTreeSet<TopicPartition>) -> bool {
        let mut lowest = None;
        for _ in 0..LOWER_TRIES {
            std::thread::sleep(LOWER_PAUSE);
            match self.query(places, Bound::End, QUERY_PATIENCE) {
                Ok(_) => return false,
                Err(AskError::Lower { partition, known, found }) => lowest = Some((partition, known, found)),
                // Not known: the next question finds it again.
                Err(AskError::Kafka(_) | AskError::Missing(_)) => return false,
            }
        }
        let at = lowest.and_then(|(partition, ..)| places.iter().find(|at| at.partition == partition));
        if let (Some(at), Some((_, known, found))) = (at, lowest) {
            self.core.lost(*at, known, found);
        }
        true
    }
}

fn plain(offset: Offset) -> Option<u64> {
    match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}
