//! Which partitions this process is responsible for, shared out among a group of processes by Kafka.
//!
//! Nothing is read and no offset is committed here: the group is only used to agree on who does what. Who should own a
//! partition is a hint; what fences writers is the claim in the log.
//!
//! ```text
//!  thread: polls ──▶ more partitions ──▶ published
//!                ──▶ fewer ──▶ published ▸ waits for `release`, or its patience ▸ lets go: others may get them
//!                ──▶ lost (this process was away for too long) ──▶ published; they are others' already
//! ```
//!
//! Partitions move one by one ("cooperative"): those that stay aren't touched by another member's coming or going. That takes
//! two rounds: in the first this process learns what it is to give up, in the second another one gets it. As that one's client
//! joins the second no sooner than 1 s after the first, what is to move is kept for a while yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use parley_wire::clock;
use parley_wire::seldom::Seldom;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::client;
use super::options::KafkaOptions;
use crate::assignment::Assignment;
use crate::port::Topic;

/// How often the thread looks whether it should end.
const POLL: Duration = Duration::from_millis(50);
/// How long the brokers may take to let a member go, beyond what the release of its partitions takes.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// How long partitions that are to move are kept, as nobody else could have them sooner: told of a rebalance, librdkafka joins
/// no sooner than 1 s after it joined last (`rkcg_join_intvl`), and who came new, and is to get them, joined shortly before.
/// What is left of the second is for their release, and for telling of the rebalance.
const KEEP: Duration = Duration::from_millis(600);
/// After so long without any assignment, or two sessions if that is longer, the client is made anew: a join waits no longer than for a
/// member that went without a word (a session), and one of librdkafka's that lost the answer to its first question, to a broker that was slow, asks again when it next
/// looks for topics, or never. Doubled each time up to [`JOIN_PATIENCE_MAX`], as brokers may be away.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
const JOIN_PATIENCE_MAX: Duration = Duration::from_secs(120);
/// Who has no partitions is either one too many, or its client was left without brokers by an outage of all of them. That one learns nothing
/// from the brokers, which may take so long.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// After so long without partitions it joins anew even if the brokers answer: where there is nothing for it the others keep what they have.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);
/// How often the client looks for its topic, which is also when it goes on with a join that waits for it.
const TOPIC_LOOK_MS: &str = "3000";
/// A member tells that it lives this many times within a session, and learns of changes at the same moments.
const HEARTBEATS: u32 = 30;

/// How to take part in a group.
#[derive(Debug, Clone)]
pub struct AssignmentOptions {
    /// The group, e.g. `parley.writers`. The log's prefix is put before it.
    pub group: String,
    /// After so long without a sign of life a member counts as dead. The broker's `group.min.session.timeout.ms` (6 s by
    /// default) is the least that it takes.
    pub session_timeout: Duration,
    /// How long a partition that is to move waits for [`Assignments::release`].
    pub release_patience: Duration,
}

impl AssignmentOptions {
    /// Sessions of 6 s, 1.5 s to release.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            session_timeout: Duration::from_secs(6),
            release_patience: Duration::from_millis(1_500),
        }
    }
}

/// Why a group can't be joined.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// The client refused.
    #[error("can't join the group {group}")]
    Kafka {
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: KafkaError,
    },
    /// A thread can't be started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
}

/// Membership in a group. Dropping it leaves the group too, without waiting.
#[derive(Debug)]
pub struct Assignments {
    member: Arc<Member>,
    patience: Duration,
    assignment: watch::Receiver<Assignment>,
}

impl Assignments {
    /// Joins. The first assignment comes a moment later, through [`Assignments::watch`]; brokers that are away are waited
    /// for.
    ///
    /// # Errors
    /// If the client can't be made. (Brokers that don't answer are no error.)
    pub fn join(log: &KafkaOptions, options: AssignmentOptions) -> Result<Self, AssignmentError> {
        let group = match &log.prefix {
            Some(prefix) => format!("{prefix}.{}", options.group),
            None => options.group.clone(),
        };
        let (sender, assignment) = watch::channel(Assignment::default());
        let member = Arc::new(Member::default());
        let named = group.clone();
        let fail = |source| AssignmentError::Kafka { group: named, source };
        let patience = options.release_patience;
        let (config, topic) = (config(log, &options, &group), log.topic(Topic::Events));
        let join_patience = JOIN_PATIENCE.max(options.session_timeout * 2);
        let of_thread = Arc::clone(&member);
        let make = move || {
            let (member, assignment) = (Arc::clone(&of_thread), sender.clone());
            let context =
                Context { group: group.clone(), topic: topic.clone(), member, patience, assignment };
            let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
            consumer.subscribe(&[&topic])?;
            Ok(consumer)
        };
        let consumer = make().map_err(fail)?;
        let thread = std::thread::Builder::new().name("parley-group".to_owned());
        thread.spawn(move || run(consumer, join_patience, make)).map_err(AssignmentError::Thread)?;
        Ok(Self { member, patience, assignment })
    }

    /// The present assignment, and each later one. A value with fewer partitions than before means: stop with the missing
    /// ones, then call [`Assignments::release`]. Only the newest is kept.
    ///
    /// When the membership ends, the last value has no partitions and then the channel closes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Assignment> {
        self.assignment.clone()
    }

    /// Says that everything that was in flight for partitions which the assignment of this generation has no more is
    /// finished: they may move. Until then, or until the patience ends, no other member gets them. Releases a generation
    /// and all before it; not needed where no partition was taken away, and harmless there.
    pub fn release(&self, generation: u64) {
        let mut released = self.member.released.lock();
        *released = generation.max(*released);
        drop(released);
        self.member.has_released.notify_all();
    }

    /// Gives all partitions back (published as an assignment of none; waits for its release within the patience) and
    /// leaves, so that they move at once. Call [`Assignments::release`] meanwhile.
    pub async fn leave(&self) {
        self.member.is_leaving.store(true, Ordering::Release);
        let mut assignment = self.assignment.clone();
        // Until the thread has dropped its end; brokers that are away don't hold it up for ever.
        let ended = async { while assignment.changed().await.is_ok() {} };
        if tokio::time::timeout(self.patience + LEAVE_PATIENCE, ended).await.is_err() {
            tracing::warn!("the group wasn't told in time that this process leaves it");
        }
    }
}

impl Drop for Assignments {
    fn drop(&mut self) {
        self.member.is_leaving.store(true, Ordering::Release);
    }
}

/// What owner and thread tell each other.
#[derive(Debug, Default)]
struct Member {
    /// The newest generation that was released.
    released: Mutex<u64>,
    has_released: Condvar,
    is_leaving: AtomicBool,
}

impl Member {
    /// Waits, but not for who leaves: what it gives up moves at once.
    fn keep(&self) {
        let until = Instant::now() + KEEP;
        while !self.is_leaving.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a generation is released, or for so long.
    fn wait(&self, generation: u64, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut released = self.released.lock();
        while *released < generation {
            if self.has_released.wait_until(&mut released, deadline).timed_out() {
                tracing::warn!(generation, "partitions move though they weren't released in time");
                return;
            }
        }
    }
}

fn config(log: &KafkaOptions, options: &AssignmentOptions, group: &str) -> rdkafka::ClientConfig {
    let session = options.session_timeout.max(Duration::from_secs(1));
    let mut config = client::config(log);
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("heartbeat.interval.ms", (session / HEARTBEATS).as_millis().to_string())
        .set("topic.metadata.refresh.interval.ms", TOPIC_LOOK_MS)
        // The thread below does nothing but poll.
        .set("max.poll.interval.ms", "300000")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Nothing is read; but where something would be read from must not be looked for.
        .set("auto.offset.reset", "latest")
        .set("queued.min.messages", "1")
        .set("queued.max.messages.kbytes", "64");
    config
}

/// Polls, so that the calls back come, until the owner leaves. Letting go of the consumer leaves the group.
fn run(
    mut consumer: BaseConsumer<Context>,
    mut patience: Duration,
    make: impl Fn() -> KafkaResult<BaseConsumer<Context>>,
) {
    let mut last_error = None;
    let mut said = Seldom::default();
    let shortest = patience;
    // Since when it has no partitions, and when it was looked last whether it should.
    let (mut idle_since, mut looked) = (Instant::now(), Instant::now());
    while !consumer.context().member.is_leaving.load(Ordering::Acquire) {
        if consumer.context().has_partitions() {
            (idle_since, looked, patience) = (Instant::now(), Instant::now(), shortest);
        }
        if looked.elapsed() > patience {
            let is_answered = answers(&consumer);
            if !is_answered || consumer.context().waits() || idle_since.elapsed() > IDLE_PATIENCE {
                let (group, waited_s) = (&consumer.context().group, idle_since.elapsed().as_secs());
                if said.is_due() {
                    tracing::warn!(
                        group,
                        waited_s,
                        is_answered,
                        "the brokers assigned nothing: joining anew"
                    );
                }
                match make() {
                    Ok(made) => consumer = made,
                    Err(error) => tracing::warn!(%error, "no other client can be made"),
                }
                idle_since = Instant::now();
                // Who reaches nobody troubles nobody, and the next client may find them.
                let longer = (patience * 2).min(JOIN_PATIENCE_MAX.max(patience));
                patience = if is_answered { longer } else { shortest };
            }
            looked = Instant::now();
        }
        match consumer.poll(POLL) {
            // At most what was fetched before the pause.
            None | Some(Ok(_)) => {}
            Some(Err(error)) if last_error.as_ref() == Some(&error) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "the group of this process");
                last_error = Some(error);
            }
        }
        // Any question wakes the client's own thread. While a join waits for its time nothing else does, and that thread looks
        // at the clock but once a second: a partition was nobody's for half a second longer.
        drop(consumer.group_metadata());
    }
    drop(consumer);
}

/// Whether a client still knows a broker that answers.
fn answers(consumer: &BaseConsumer<Context>) -> bool {
    consumer.fetch_metadata(Some(&consumer.context().topic), LOOK_PATIENCE).is_ok()
}

/// Gets the calls back.
struct Context {
    group: String,
    topic: String,
    member: Arc<Member>,
    patience: Duration,
    assignment: watch::Sender<Assignment>,
}

impl Context {
    /// Whether there was no assignment yet, not even of no partitions.
    fn waits(&self) -> bool {
        self.assignment.borrow().generation == 0
    }

    fn has_partitions(&self) -> bool {
        !self.assignment.borrow().partitions.is_empty()
    }

    /// Publishes a change, if it is one, and gives its generation.
    fn publish(&self, change: impl FnOnce(&mut BTreeSet<u32>)) -> Option<u64> {
        let mut published = None;
        self.assignment.send_if_modified(|assignment| {
            let mut partitions = assignment.partitions.clone();
            change(&mut partitions);
            let is_news = assignment.generation == 0 || partitions != assignment.partitions;
            if is_news {
                assignment.partitions = partitions;
                assignment.generation = now_millis().max(assignment.generation + 1);
                published = Some(assignment.generation);
                tracing::info!(
                    group = self.group,
                    generation = assignment.generation,
                    partitions = assignment.partitions.len(),
                    "assigned"
                );
            }
            is_news
        });
        published
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        // An offset of the log, so that no committed one is asked for.
        list.set_all_offsets(Offset::End)?;
        consumer.incremental_assign(list)?;
        if list.count() > 0 {
            consumer.pause(list)?;
        }
        Ok(())
    }
}

fn partitions(list: &TopicPartitionList) -> BTreeSet<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

fn now_millis() -> u64 {
    u64::try_from(clock::now().as_millis()).unwrap_or_default()
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the group of this process");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let outcome = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let gained = partitions(list);
            let outcome = self.assign(consumer, list);
            self.publish(|partitions| partitions.extend(gained));
            outcome
        } else {
            // Asked before anything changes.
            let is_lost = consumer.assignment_lost();
            let gone = partitions(list);
            let moves = !is_lost && !gone.is_empty();
            if moves {
                self.member.keep();
            }
            let published =
                self.publish(|partitions| partitions.retain(|partition| !gone.contains(partition)));
            if let Some(generation) = published.filter(|_| moves) {
                self.member.wait(generation, self.patience);
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = outcome {
            // The group goes on without this member after the session's time, and it joins again.
            tracing::error!(%error, "partitions can't be taken on or let go");
        }
    }
}
