//! The live projector: one task that keeps the live read models up with the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parley_eventlog::{Assignment, EventLog, ReadError, StoredRecord};
use parley_readstore::ReadStore;
use parley_wire::rpc::{NotPaused, Pausable, Paused};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applier, Scope, StartError};
use crate::progress::Reached;

/// Waits between tries while an engine fails, at first.
const RETRY_MS: [u64; 4] = [50, 200, 500, 1_000];
/// Waits after those.
const RETRY_MS_MAX: u64 = 2_000;

/// A pause that was asked for: sent when the projector stands still; it goes on when the other end is dropped.
type Pause = oneshot::Sender<oneshot::Sender<()>>;

/// How long it is waited until the projector stands still. It does so between two writes, of which one may take as long as the
/// read store's slowest answer.
const PAUSE_WAIT: Duration = Duration::from_secs(30);

/// How often it is asked again which version is live, after standing still.
const REFRESHES_MORE_MAX: usize = 2;

/// How often it is looked whether the live read models were switched by another process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Called with the generation of an assignment once nothing is written any more for the partitions that it took away.
pub type Release = Arc<dyn Fn(u64) + Send + Sync>;

/// What a projector among several is to do.
struct Share {
    assignments: watch::Receiver<Assignment>,
    release: Release,
}

/// The live projector's task.
pub struct Projector {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Asks the live projector to stand still. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pauses: mpsc::Sender<Pause>,
    reached: Arc<Reached>,
}

impl Handle {
    /// How far it has come.
    #[must_use]
    pub fn reached(&self) -> Arc<Reached> {
        self.reached.clone()
    }
}

#[async_trait]
impl Pausable for Handle {
    async fn pause(&self) -> Result<Paused, NotPaused> {
        let (tx, rx) = oneshot::channel();
        let pausing = async {
            self.pauses.send(tx).await.ok()?;
            rx.await.ok()
        };
        match tokio::time::timeout(PAUSE_WAIT, pausing).await {
            Ok(Some(resume)) => Ok(Paused::new(resume)),
            Ok(None) => Err(NotPaused::Stopping),
            Err(_) => Err(NotPaused::Running {
                projector: "the projector of this process".to_owned(),
                why: format!("it is still at a write after {} s", PAUSE_WAIT.as_secs()),
            }),
        }
    }
}

/// Pauses before what failed is tried again: short ones at first.
pub(crate) fn waits() -> impl Iterator<Item = Duration> {
    RETRY_MS.into_iter().chain(std::iter::repeat(RETRY_MS_MAX)).map(Duration::from_millis)
}

struct Task {
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    reached: Arc<Reached>,
    pauses: mpsc::Receiver<Pause>,
    stop: CancellationToken,
    share: Option<Share>,
    /// The version of the read models that is written.
    version: u64,
}

impl Projector {
    /// Starts projecting all of the log from where the live read models stand.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        log: Arc<dyn EventLog>,
        reads: Arc<dyn ReadStore>,
    ) -> Result<(Handle, Self), StartError> {
        let (handle, mut task) = Task::new(log, reads, None);
        let stop = task.stop.clone();
        let applier = task.open().await?;
        let task = tokio::spawn(task.run(applier));
        Ok((handle, Self { task, stop }))
    }

    /// Starts projecting the partitions that this process is assigned, for as long as it has them.
    #[must_use]
    pub fn start_assigned(
        log: Arc<dyn EventLog>,
        reads: Arc<dyn ReadStore>,
        assignments: watch::Receiver<Assignment>,
        release: Release,
    ) -> (Handle, Self) {
        let (handle, mut task) = Task::new(log, reads, Some(Share { assignments, release }));
        let stop = task.stop.clone();
        let task = tokio::spawn(async move {
            if let Some(applier) = task.open_again().await {
                task.run(applier).await;
            }
        });
        (handle, Self { task, stop })
    }

    /// Stops after the write that is under way.
    pub async fn shut_down(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the projector panicked");
        }
    }
}

impl Task {
    fn new(log: Arc<dyn EventLog>, reads: Arc<dyn ReadStore>, share: Option<Share>) -> (Handle, Self) {
        let reached = Reached::new(log.clone(), reads.clone());
        let (tx, pauses) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let task = Self { log, reads, reached: reached.clone(), pauses, stop, share, version: 0 };
        (Handle { pauses: tx, reached }, task)
    }

    /// Begins with what is assigned now; what isn't any more may be another's from here on.
    async fn open(&mut self) -> Result<Applier, StartError> {
        let scope = match &mut self.share {
            None => Scope::All,
            Some(share) => {
                let assignment = share.assignments.borrow_and_update().clone();
                (share.release)(assignment.generation);
                Scope::Some(assignment.partitions)
            }
        };
        // Another process may have switched since this one looked: what is written must be live.
        self.reads.refresh().await.map_err(StartError::Store)?;
        self.version = self.reads.live_version();
        let model = self.reads.live();
        let written = model.checkpoints().await.map_err(StartError::Store)?;
        let applier = Applier::resume(self.log.as_ref(), model, written, scope).await?;
        self.show(&applier);
        Ok(applier)
    }

    /// Tells those who wait for rows where it stands.
    fn show(&self, applier: &Applier) {
        let offsets = applier.reached().iter().map(|(at, checkpoint)| (*at, checkpoint.offset));
        self.reached.reset(self.version, offsets);
    }

    /// Whether what is written, and for which partitions, is still what should be.
    fn is_current(&self) -> bool {
        let share = self.share.as_ref();
        self.version == self.reads.live_version()
            && share.is_none_or(|share| share.assignments.has_changed().is_ok_and(|changed| !changed))
    }

    async fn run(mut self, mut applier: Applier) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            if !self.is_current() {
                if self.is_over() {
                    return;
                }
                let Some(fresh) = self.open_again().await else { return };
                applier = fresh;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(pause) = self.pauses.recv() => {
                    if !self.stand_still(pause).await {
                        return;
                    }
                    if !self.go_on(&mut applier).await {
                        let Some(fresh) = self.open_again().await else { return };
                        applier = fresh;
                    }
                }
                _ = look.tick() => {}
                records = applier.next() => match records {
                    Ok(records) => if !self.apply(&mut applier, records).await {
                        let Some(fresh) = self.open_again().await else { return };
                        applier = fresh;
                    },
                    Err(ReadError::Closed) => return,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the projector can't read the log; trying on"
                        );
                        tokio::select! {
                            () = self.stop.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_millis(RETRY_MS_MAX)) => {}
                        }
                        let Some(fresh) = self.open_again().await else { return };
                        applier = fresh;
                    }
                },
            }
        }
    }

    /// Whether nothing will be assigned any more; what was is given back.
    fn is_over(&self) -> bool {
        let Some(share) = &self.share else { return false };
        let over = share.assignments.has_changed().is_err();
        if over {
            (share.release)(u64::MAX);
        }
        over
    }

    /// Stands still for as long as it is asked to; `false`: it is to stop.
    async fn stand_still(&self, pause: Pause) -> bool {
        let (resume, resumed) = oneshot::channel();
        if pause.send(resume).is_err() {
            return true; // whoever asked has given up waiting
        }
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = resumed => true,
        }
    }

    /// Goes on from the checkpoints, which were moved while this stood still; whether it can. Another version may have become
    /// live meanwhile, and a row more that is written to the former one would be seen by nobody, while its checkpoint would be.
    async fn go_on(&self, applier: &mut Applier) -> bool {
        // All projectors ask at this moment, and one that hears nothing would have to open its reader of the log anew.
        let mut waits = waits().take(REFRESHES_MORE_MAX);
        while self.reads.refresh().await.is_err() {
            let Some(wait) = waits.next() else { return false };
            tokio::time::sleep(wait).await;
        }
        if !self.is_current() {
            return false;
        }
        let Ok(written) = applier.model().checkpoints().await else { return false };
        let outcome = applier.resume_again(self.log.as_ref(), written).await;
        self.show(applier);
        outcome.is_ok()
    }

    /// Goes on from the checkpoints, however long it takes until it can; `None`: it is to stop.
    async fn open_again(&mut self) -> Option<Applier> {
        let mut waits = waits();
        let mut logged = false;
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            match self.open().await {
                Ok(fresh) => return Some(fresh),
                Err(StartError::Log(ReadError::Closed)) => return None,
                Err(error) => {
                    if !std::mem::replace(&mut logged, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the projector can't go on; trying on");
                    }
                }
            }
            let wait = waits.next().unwrap_or_default();
            self.wait_or_stand_still(wait).await?;
        }
    }

    /// Waits before another try, or for as long as it is to stand still, which it does meanwhile. `None`: it is to stop. Else
    /// whether it stood still.
    async fn wait_or_stand_still(&mut self, wait: Duration) -> Option<bool> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(wait) => Some(false),
            Some(pause) = self.pauses.recv() => self.stand_still(pause).await.then_some(true),
        }
    }

    /// Writes what some records mean, however long it takes; `false`: it isn't written, and whoever goes on, with whatever is live
    /// then, begins at the checkpoints.
    async fn apply(&mut self, applier: &mut Applier, records: Vec<Arc<StoredRecord>>) -> bool {
        let count = records.len() as u64;
        let (step, model) = (applier.admit(records), applier.model());
        let mut waits = waits();
        let mut logged = false;
        while let Err(error) = step.write(model.as_ref()).await {
            if !logged {
                logged = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the read store takes no rows; trying on"
                );
            }
            let wait = waits.next().unwrap_or_default();
            if self.wait_or_stand_still(wait).await != Some(false) || !self.is_current() {
                return false;
            }
        }
        metrics::counter!("parley_projector_records_total").increment(count);
        let moved = step.moved.iter().map(|(at, checkpoint)| (*at, checkpoint.offset));
        self.reached.set(self.version, moved);
        let trouble = if self.reads.trouble().is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("parley_reads_trouble").set(trouble);
        true
    }
}

#[cfg(test)]
mod tests;
