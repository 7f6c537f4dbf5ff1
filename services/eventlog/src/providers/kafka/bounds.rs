//! Where partitions begin and end: one question to a broker for all who ask at the same time.
//!
//! ```text
//!  ask ─┬▶ lane of leader 1 ──▶ thread: takes all that waits ▸ one query ▸ answers; after a failure it tries again
//!       ├▶ lane of leader 2 ──▶ …                              until the questions' deadline
//!       └▶ lane of those that nobody leads
//! ```
//!
//! An answer is always from a query that began after the question was asked, since it may prove that nothing was appended
//! by somebody else. Each leader has a lane of its own, so that nobody waits for a broker that isn't asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::asker::{AskError, Asker};
use super::core::Core;
use super::error::OpenError;
use super::leaders::Leaders;
use super::probe;
use crate::port::{Bound, ReadError, TopicPartition};

/// Leaders are dealt to so many lanes by their ids; one more is for partitions without a leader.
const LEADER_LANES: usize = 6;
/// How long one query may take.
const QUERY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a question may take in all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the brokers are looked at while there may be trouble.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Questions that may wait in a lane.
const WAITING_MAX: usize = 65_536;

type Answer = Result<Vec<u64>, ReadError>;

struct Question {
    places: Vec<TopicPartition>,
    bound: Bound,
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
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

#[derive(Default)]
struct Waiting {
    questions: Vec<Question>,
    closed: bool,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

enum Work {
    Questions(Vec<Question>),
    /// Nothing came for a while.
    Idle,
    Closed,
}

impl Lane {
    fn push(&self, question: Question) {
        let mut waiting = self.waiting.lock();
        if waiting.questions.len() >= WAITING_MAX {
            drop(waiting);
            question.answer(Err(failure("too many ask for offsets already")));
        } else {
            waiting.questions.push(question);
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// All that waits.
    fn take(&self) -> Work {
        let mut waiting = self.waiting.lock();
        loop {
            if !waiting.questions.is_empty() {
                return Work::Questions(std::mem::take(&mut waiting.questions));
            }
            if waiting.closed {
                return Work::Closed;
            }
            if self.filled.wait_for(&mut waiting, PROBE_EVERY).timed_out() && waiting.questions.is_empty() {
                return Work::Idle;
            }
        }
    }
}

/// What all lanes share.
struct Lanes {
    core: Arc<Core>,
    asker: Asker,
    leaders: Leaders,
    lanes: Vec<Lane>,
}

impl Lanes {
    /// The lane of a place, by who leads it as far as is known.
    fn of(&self, at: TopicPartition) -> usize {
        let leader = self.leaders.of(self.core.slot(at).unwrap_or_default());
        leader.and_then(|id| usize::try_from(id).ok()).map_or(LEADER_LANES, |id| id % LEADER_LANES)
    }

    /// The lane for a question that failed: one that nobody can answer now must not hold up the others.
    fn of_failed(&self, question: &Question) -> usize {
        question.places.iter().map(|at| self.of(*at)).max().unwrap_or(LEADER_LANES)
    }

    fn push(&self, lane: usize, question: Question) {
        match self.lanes.get(lane) {
            Some(lane) => lane.push(question),
            None => question.answer(Err(failure("no lane"))),
        }
    }

    fn run(&self, number: usize) {
        let Some(lane) = self.lanes.get(number) else {
            return;
        };
        loop {
            match lane.take() {
                Work::Questions(questions) => {
                    let (starts, ends) = questions
                        .into_iter()
                        .partition::<Vec<_>, _>(|question| question.bound == Bound::Start);
                    self.serve(starts, Bound::Start);
                    self.serve(ends, Bound::End);
                }
                Work::Idle if number == LEADER_LANES => self.look_after(),
                Work::Idle => {}
                Work::Closed => return,
            }
        }
    }

    /// One query for all of them.
    fn serve(&self, questions: Vec<Question>, bound: Bound) {
        let places: BTreeSet<_> =
            questions.iter().flat_map(|question| question.places.iter().copied()).collect();
        if places.is_empty() {
            return;
        }
        match self.asker.query(&places, bound, QUERY_PATIENCE) {
            Ok(found) => questions.into_iter().for_each(|question| question.answer_from(&found)),
            Err(AskError::Lower(lower)) => {
                let is_so = self.asker.confirm_lower(&lower, &places);
                let reason = if is_so { "the log has lost records" } else { "a broker gave an old end" };
                questions.into_iter().for_each(|question| question.answer(Err(failure(reason))));
            }
            Err(error) => self.fail(questions, error),
        }
    }

    /// Those that have time left go on, once it was looked who leads now.
    fn fail(&self, questions: Vec<Question>, error: AskError) {
        tracing::debug!(%error, "a query of offsets failed");
        let error = Arc::new(error);
        std::thread::sleep(PAUSE);
        self.leaders.look(&self.core, &self.asker.consumer());
        for question in questions {
            if question.deadline <= Instant::now() {
                self.core.health.suspect();
                question.answer(Err(ReadError::Io(io::Error::other(Arc::clone(&error)))));
            } else {
                self.push(self.of_failed(&question), question);
            }
        }
    }

    /// Looks at the brokers, if they may be in trouble; and empties the queue of what the client logs.
    fn look_after(&self) {
        self.asker.serve_log();
        if self.core.health.is_suspect() {
            self.asker.note(probe::look(&self.core, &self.asker.consumer()));
        }
    }
}

fn failure(reason: &'static str) -> ReadError {
    ReadError::Io(io::Error::other(reason))
}

/// The asking of all. Dropping it ends its threads within the time of a query.
pub(super) struct Bounds {
    lanes: Arc<Lanes>,
}

impl std::fmt::Debug for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounds").finish_non_exhaustive()
    }
}

impl Bounds {
    /// Connects, looks who leads, and starts a thread for each lane. Blocks.
    pub(super) fn start(core: &Arc<Core>) -> Result<Self, OpenError> {
        let asker = Asker::new(core)?;
        let leaders = Leaders::new(core.slots());
        leaders.look(core, &asker.consumer());
        let lanes = (0..=LEADER_LANES).map(|_| Lane::default()).collect();
        let bounds = Self { lanes: Arc::new(Lanes { core: Arc::clone(core), asker, leaders, lanes }) };
        for number in 0..=LEADER_LANES {
            let lanes = Arc::clone(&bounds.lanes);
            let thread = std::thread::Builder::new().name(format!("parley-ends-{number}"));
            thread.spawn(move || lanes.run(number)).map_err(OpenError::Thread)?;
        }
        Ok(bounds)
    }

    /// The bounds of places, in the order given, as they are at some moment after the call.
    pub(super) async fn ask(&self, places: &[TopicPartition], bound: Bound) -> Answer {
        if let Some(at) = places.iter().find(|at| self.lanes.core.slot(**at).is_none()) {
            return Err(ReadError::OutOfRange { at: *at, offset: 0 });
        }
        let mut by_lane: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, at) in places.iter().enumerate() {
            by_lane.entry(self.lanes.of(*at)).or_default().push(index);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(by_lane.len());
        for (lane, indexes) in by_lane {
            let (reply, answer) = oneshot::channel();
            let places = indexes.iter().filter_map(|index| places.get(*index)).copied().collect();
            self.lanes.push(lane, Question { places, bound, deadline, reply });
            answers.push((indexes, answer));
        }
        let mut offsets = vec![0; places.len()];
        for (indexes, answer) in answers {
            let found = answer.await.unwrap_or(Err(ReadError::Closed))?;
            for (index, found) in indexes.into_iter().zip(found) {
                if let Some(offset) = offsets.get_mut(index) {
                    *offset = found;
                }
            }
        }
        Ok(offsets)
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        for lane in &self.lanes.lanes {
            lane.waiting.lock().closed = true;
            lane.filled.notify_all();
        }
    }
}
