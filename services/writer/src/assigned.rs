//! A writer among several: owns the partitions that it is assigned, one shard each.
//!
//! ```text
//!  assignment ──▶ task ──▶ take over, all that are new in one pass ──▶ a shard a partition ──▶ [`Owned`]: term and queue
//!                   └────▶ stop those that were taken away, let what is in flight land, release
//! ```

mod owned;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hashbrown::{HashMap, HashSet};
use parley_eventlog::{Assignment, ReadError};
use parley_wire::seldom::Seldom;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use owned::Owned;

use crate::options::{Engines, Options, StartError};
use crate::shard::{Ended, Opening, RETRY_MS, Shard, fold};

/// How long who lost a partition waits to be told that it isn't his. Then he claims it again: if it is another's all the same that
/// one claims it back, and both have lost a second.
const LOST_WAIT: Duration = Duration::from_secs(30);

/// Called with the generation of an assignment once nothing is in flight any more in the partitions that it took away.
pub type Release = Arc<dyn Fn(u64) + Send + Sync>;

/// The tasks of a writer among several.
pub struct AssignedWriter {
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

struct Task {
    options: Options,
    engines: Engines,
    owned: Arc<Owned>,
    tracker: TaskTracker,
    release: Release,
    /// One task a partition, ended by its token.
    tasks: JoinSet<()>,
    owners: HashMap<Id, (u32, CancellationToken)>,
    panics: Seldom,
}

impl AssignedWriter {
    /// Owns what it is assigned, from now on until it is shut down or the assignments end.
    #[must_use]
    pub fn start(
        options: Options,
        engines: Engines,
        assignments: watch::Receiver<Assignment>,
        release: Release,
    ) -> (Arc<Owned>, Self) {
        let owned = Arc::new(Owned::new(engines.log.partitions()));
        let stop = CancellationToken::new();
        let task = Task {
            options,
            engines,
            owned: owned.clone(),
            tracker: TaskTracker::new(),
            release,
            tasks: JoinSet::new(),
            owners: HashMap::new(),
            panics: Seldom::default(),
        };
        let task = tokio::spawn(task.run(assignments, stop.clone()));
        (owned, Self { task, stop })
    }

    /// Refuses what comes now, answers what came before, and ends.
    pub async fn shut_down(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the writer panicked");
        }
    }
}

impl Task {
    async fn run(mut self, mut assignments: watch::Receiver<Assignment>, stop: CancellationToken) {
        loop {
            let assignment = assignments.borrow_and_update().clone();
            self.follow(assignment).await;
            tokio::select! {
                () = stop.cancelled() => break,
                changed = assignments.changed() => if changed.is_err() { break },
                // Nobody told it to, so it panicked. `parley` itself doesn't outlive that; who embeds a writer might.
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.ended(ended);
                    tokio::select! {
                        () = stop.cancelled() => break,
                        changed = assignments.changed() => if changed.is_err() { break },
                        () = tokio::time::sleep(Duration::from_millis(rand::random_range(RETRY_MS))) => {}
                    }
                    // Of one cause there may be many.
                    while let Some(ended) = self.tasks.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
            }
        }
        self.follow(Assignment::default()).await;
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Gives up what isn't assigned any more, says so, and takes over what is new.
    async fn follow(&mut self, assignment: Assignment) {
        for (partition, stop) in self.owners.values() {
            if !assignment.partitions.contains(partition) {
                stop.cancel();
            }
        }
        while self.owners.values().any(|(_, stop)| stop.is_cancelled())
            && let Some(ended) = self.tasks.join_next_with_id().await
        {
            self.ended(ended);
        }
        (self.release)(assignment.generation);
        let owned: HashSet<u32> = self.owners.values().map(|(partition, _)| *partition).collect();
        let is_new = |partition: &u32| !owned.contains(partition);
        let new: Vec<u32> = assignment.partitions.iter().copied().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        tracing::info!(partitions = ?new, generation = assignment.generation, "taking partitions over");
        let options = Options { generation: assignment.generation, ..self.options.clone() };
        let claimed = CancellationToken::new();
        let mut senders = Vec::new();
        for partition in &new {
            let (tx, rx) = oneshot::channel();
            senders.push(tx);
            let stop = CancellationToken::new();
            let one = One {
                partition: *partition,
                options: options.clone(),
                engines: self.engines.clone(),
                owned: self.owned.clone(),
                tracker: self.tracker.clone(),
                stop: stop.clone(),
            };
            let task = self.tasks.spawn(one.run(rx, claimed.clone()));
            self.owners.insert(task.id(), (*partition, stop));
        }
        // All that are new in one pass: a claim and a read of the log each would take many times as long.
        let (engines, tracker) = (self.engines.clone(), self.tracker.clone());
        let claiming = claimed.drop_guard();
        self.tracker.spawn(async move {
            let sets: Vec<Vec<u32>> = new.iter().map(|partition| vec![*partition]).collect();
            let nobody_waits = join_all(senders.iter_mut().map(oneshot::Sender::closed));
            let folded = tokio::select! {
                _ = nobody_waits => return,
                folded = fold(&options, &engines, &sets, Opening::Meanwhile, Some(claiming)) => folded,
            };
            match folded {
                Ok(states) => {
                    for ((partition, sender), state) in new.into_iter().zip(senders).zip(states) {
                        let (options, engines) = (options.clone(), engines.clone());
                        let shard = Shard::new(options, engines, vec![partition], tracker.clone(), state);
                        drop(sender.send(shard)); // it may have been taken away meanwhile
                    }
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "partitions can't be taken over together; trying on with each"
                ),
            }
        });
    }

    /// The owner of a partition has ended, told to or not.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some((partition, _)) = self.owners.remove(&id) else { return };
        if let Err(error) = ended {
            self.owned.remove(partition);
            if self.panics.is_due() {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, partition, "the owner of a partition panicked");
            }
        }
    }
}

/// The owner of one partition.
struct One {
    partition: u32,
    options: Options,
    engines: Engines,
    owned: Arc<Owned>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl One {
    /// Owns the partition, given the shard that is being taken over, until it is told to stop.
    async fn run(self, first: oneshot::Receiver<Shard>, claimed: CancellationToken) {
        let mut shard = tokio::select! {
            () = self.is_to_go(&claimed) => None,
            shard = first => shard.ok(),
        };
        loop {
            if self.stop.is_cancelled() {
                return;
            }
            let mut serving = match shard.take() {
                Some(shard) => shard,
                None => match self.take_over().await {
                    Some(shard) => shard,
                    None => return,
                },
            };
            if self.serve(&mut serving).await == Ended::Stopped {
                return;
            }
            let is_lost = self.is_lost(&serving).await;
            drop(serving); // all that it knew of the partition
            if is_lost && !self.stop.is_cancelled() {
                tracing::info!(partition = self.partition, "the partition is another writer's now");
                // Where it is ours again by now, or the other's clock was ahead of ours, nobody else will say so.
                drop(tokio::time::timeout(LOST_WAIT, self.stop.cancelled()).await);
            }
        }
    }

    /// Serves, visibly to the edges, as long as it can.
    async fn serve(&self, shard: &mut Shard) -> Ended {
        let (tx, mut requests) = mpsc::channel(self.options.queue_requests_max);
        tracing::debug!(partition = self.partition, term = shard.term(), "partition taken over");
        self.owned.add(self.partition, shard.term(), tx.clone());
        let withdrawn = async {
            tx.closed().await; // told to stop, it may be of use for a while yet
            self.owned.remove(self.partition);
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = shard.serve(&mut requests, &self.stop) => ended,
            () = withdrawn => Ended::Stopped,
        };
        self.owned.remove(self.partition);
        requests.close();
        while let Some(queued) = requests.recv().await {
            queued.into_reply_to().answer(Ok(parley_wire::service::Reply::NotOwner));
        }
        ended
    }

    /// Returns once it was told to stop and no claim of the partition is on its way.
    async fn is_to_go(&self, claimed: &CancellationToken) {
        self.stop.cancelled().await;
        claimed.cancelled().await;
    }

    /// Takes the partition over, however often that has to be tried; `None`: it was taken away.
    async fn take_over(&self) -> Option<Shard> {
        let mut trouble = Seldom::default();
        loop {
            let wait = Duration::from_millis(rand::random_range(RETRY_MS));
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
            let (options, engines) = (self.options.clone(), self.engines.clone());
            let (claimed, tracker) = (CancellationToken::new(), self.tracker.clone());
            let claiming = Some(claimed.clone().drop_guard());
            let taking = Shard::take_over(options, engines, vec![self.partition], tracker, claiming);
            let taken: Result<Shard, StartError> = tokio::select! {
                () = self.is_to_go(&claimed) => return None,
                taken = taking => taken,
            };
            match taken {
                Ok(shard) => return Some(shard),
                Err(error) if trouble.is_due() => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    partition = self.partition,
                    "a partition can't be taken over; trying on"
                ),
                Err(_) => {}
            }
        }
    }

    /// Whether the partition was given to somebody else, and this process merely hasn't heard.
    async fn is_lost(&self, shard: &Shard) -> bool {
        let asked: Result<bool, ReadError> = tokio::select! {
            () = self.stop.cancelled() => return true,
            asked = shard.is_theirs() => asked,
        };
        asked.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, partition = self.partition, "the log can't be asked who owns a partition");
            false
        })
    }
}
