//! Building the next version of the read models beside the live one.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parley_eventlog::{EventLog, Offsets as _, ReadError, StoredRecord, TopicPartition};
use parley_readstore::{CheckpointKey, Error, ReadModel, ReadStore};
use parley_wire::rpc::{NotPaused, Pausable, Paused};
use tokio::time::Instant;

use crate::apply::{Applier, Scope, Step};
use crate::projector::waits;
use compare::{Place, Side, compare};

mod compare;

/// Rows that are read in one go: to begin reading costs as much as some hundred of them. Few in tests, so that they have many pages.
const PAGE_ROWS: usize = if cfg!(test) { 7 } else { 4_096 };
/// How long the live projectors stand still at a time while rows are compared; reads wait that long, and much longer, for
/// what their clients were told of.
const HALT: Duration = Duration::from_secs(1);
/// How long they stand still, at most, until both versions are at a common position: where log or read store are slow, reads would
/// wait for all of it.
const LEVEL_WAIT: Duration = Duration::from_secs(10);
/// After so many slices in a row that got nowhere in that time a rebuild is given up.
const LATE_SLICES_MAX: u32 = 10;
/// How often what the store failed to do is tried again.
const TRIES_MORE: usize = 4;
/// How long they run in between, at least.
const RUN_ON: Duration = Duration::from_secs(1);

/// What a rebuild is doing, for progress bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildStep {
    /// So many of so many records are projected.
    Projected(u64, u64),
    /// So many rows are compared.
    Compared(u64),
}

/// What the comparison of both versions gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Records that were projected.
    pub records: u64,
    /// Rows of the new version.
    pub rows: u64,
    /// Rows that only one of them has, or that differ.
    pub different: u64,
    /// The live version couldn't be read: it was replaced, and nothing is known of how much of it was right.
    pub unreadable: bool,
}

/// Why a rebuild failed. The live version is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log can't be read.
    #[error("the log can't be read")]
    Log(#[from] ReadError),
    /// The read store failed.
    #[error("the read store failed")]
    Store(#[from] parley_readstore::Error),
    /// There is nothing to switch back to.
    #[error("can't switch back: {0}")]
    NoFormer(String),
    /// The live projector has ended.
    #[error("the server is stopping")]
    Stopping,
    /// A projector can't be made to stand still.
    #[error(
        "{projector} doesn't stand still ({why}): run the rebuild again once it does, or stop that projector"
    )]
    Running {
        /// Which one.
        projector: String,
        /// What is known of the reason.
        why: String,
    },
    /// Both versions couldn't be brought to a common position while the projectors stood still.
    #[error(
        "the read models can't be brought to the end of the log within {} s, for which the projectors stand still: run the \
         rebuild again when the log and the read store are faster",
        LEVEL_WAIT.as_secs()
    )]
    Slow,
    /// A projector that nobody had asked to stand still wrote during the comparison: it had just started.
    #[error("a projector started during the comparison: run the rebuild again")]
    Moved,
}

/// Builds the next version from the beginning of the log, compares it with the live one, and makes it live unless
/// `verify_only`. A live version that can't be read is replaced all the same, as that is what a rebuild is for.
///
/// Every row is compared while both versions stand at a common position. That is done in slices: running projectors (`live`)
/// halt, some rows are compared, and they run on; so reads never wait for long, however many rows there are. The last slice
/// ends with the switch.
///
/// # Errors
/// [`RebuildError`]; with `verify_only` also if the live version can't be read.
pub async fn rebuild(
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    live: Option<&dyn Pausable>,
    verify_only: bool,
    mut step: impl FnMut(RebuildStep) + Send,
) -> Result<Comparison, RebuildError> {
    let next = reads.create_next().await?;
    let applier = resume(log.as_ref(), next.clone()).await?;
    let total = ends(log.as_ref()).await?.values().sum();
    let (is_live, comparison) = (live.is_some(), Comparison::default());
    let (place, halted) = (Place::default(), None);
    let mut work = Rebuild {
        log,
        reads,
        next,
        applier,
        is_live,
        verify_only,
        halted,
        place,
        comparison,
        late: 0,
        failed: 0,
    };
    let projected = |done| step(RebuildStep::Projected(done, total));
    work.comparison.records = project_all(&mut work.applier, None, projected).await?;
    loop {
        let begun = Instant::now();
        let paused = pause(live).await?;
        let is_over = work.slice_in_time().await?;
        step(RebuildStep::Compared(work.comparison.rows));
        if is_over {
            return Ok(work.comparison);
        }
        if let Some(paused) = paused {
            drop(paused);
            tokio::time::sleep(RUN_ON.max(begun.elapsed())).await;
        }
        work.comparison.records += project_all(&mut work.applier, None, |_| {}).await?;
    }
}

/// A rebuild that is under way.
struct Rebuild {
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    next: Arc<dyn ReadModel>,
    /// What brings the next version on.
    applier: Applier,
    /// Whether projectors run, which stand still during a slice.
    is_live: bool,
    verify_only: bool,
    /// What brings the live version on during a slice, with the number of that version.
    halted: Option<(u64, Applier)>,
    place: Place,
    comparison: Comparison,
    /// Slices without a comparison and without any progress, one after the other.
    late: u32,
    /// Slices in a row in which the live version couldn't be written.
    failed: u32,
}

impl Rebuild {
    /// Does a slice; one that comes to no comparison in time is to be tried again. Whether all is done.
    async fn slice_in_time(&mut self) -> Result<bool, RebuildError> {
        let before = self.position();
        match self.slice().await {
            Err(RebuildError::Slow) => {
                self.late = if self.position() > before { 0 } else { self.late + 1 };
                if self.late >= LATE_SLICES_MAX {
                    return Err(RebuildError::Slow);
                }
                tracing::warn!(
                    seconds = LEVEL_WAIT.as_secs(),
                    "both versions couldn't be brought to the end of the log in time: the projectors go on, and stand still \
                     again later"
                );
                Ok(false)
            }
            outcome => {
                self.late = 0;
                outcome
            }
        }
    }

    /// How far both versions have come, as a number that grows with either.
    fn position(&self) -> u64 {
        let of = |applier: &Applier| applier.reached().values().map(|at| at.offset).sum::<u64>();
        of(&self.applier) + self.halted.as_ref().map_or(0, |(_, applier)| of(applier))
    }

    /// Brings both versions to a common position and compares some rows, and switches behind the last of them. Whether all is done.
    async fn slice(&mut self) -> Result<bool, RebuildError> {
        // Whoever holds nobody up has all the time there is.
        let until = self.is_live.then(|| Instant::now() + LEVEL_WAIT);
        // Both must stand at the same place: the live one is brought to the end, the next one reads what came meanwhile, and
        // not a record more.
        let goal = match halt(&self.log, &self.reads, &mut self.halted, until).await {
            Err(error) if self.verify_only || !matches!(error, RebuildError::Store(_)) => return Err(error),
            // A write that was late, say: whether rows differ is worth another try, several times.
            Err(RebuildError::Store(error @ Error::Engine(_))) if self.failed + 1 < LATE_SLICES_MAX => {
                self.failed += 1;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the live read models can't be brought to the end of the log; trying on"
                );
                return Err(RebuildError::Slow);
            }
            Err(error) => {
                self.comparison.unreadable = true;
                log_unreadable(&error);
                ends(self.log.as_ref()).await?
            }
            Ok(goal) => {
                self.failed = 0;
                goal
            }
        };
        self.comparison.records += project_upto(&mut self.applier, &goal, until).await?;
        let until = Instant::now() + HALT;
        let (one, other) = (self.reads.live(), self.next.as_ref());
        let is_over = self.comparison.unreadable
            || match compare(one.as_ref(), other, &mut self.place, &mut self.comparison, until).await {
                Ok(is_over) => is_over,
                Err(Side::Live(error)) if !self.verify_only => {
                    self.comparison.unreadable = true;
                    log_unreadable(&error);
                    true
                }
                Err(Side::Live(error) | Side::Next(error)) => return Err(error.into()),
            };
        if self.is_live && !stands_at(one.as_ref(), &goal).await {
            return Err(RebuildError::Moved);
        }
        if is_over && !self.verify_only {
            let reads = &self.reads;
            patiently(|| reads.switch()).await?;
        }
        Ok(is_over)
    }
}

/// Makes the version before the live one live again, once it has been brought to the end of the log: reads never go back in
/// time. With running projectors (`live`), which stand still for the last of it.
///
/// # Errors
/// [`RebuildError`]; the store's if there is no such version.
pub async fn switch_back(
    log: &dyn EventLog,
    reads: &dyn ReadStore,
    live: Option<&dyn Pausable>,
) -> Result<(), RebuildError> {
    let former = reads.former().await.map_err(|error| match error {
        Error::Unfit(why) => RebuildError::NoFormer(why),
        error @ (Error::Engine(_) | Error::Damaged(_) | Error::OtherLog { .. }) => error.into(),
    })?;
    let mut applier = resume(log, former).await?;
    for _ in 0..LATE_SLICES_MAX {
        project_all(&mut applier, None, |_| {}).await?;
        let _paused = pause(live).await?;
        let until = live.map(|_| Instant::now() + LEVEL_WAIT);
        match project_all(&mut applier, until, |_| {}).await {
            Err(RebuildError::Slow) => continue,
            outcome => outcome?,
        };
        drop(applier);
        reads.switch_back().await?;
        return Ok(());
    }
    Err(RebuildError::Slow)
}

/// The running projectors, if there are any, stand still until what this gives is dropped.
async fn pause(live: Option<&dyn Pausable>) -> Result<Option<Paused>, RebuildError> {
    match live {
        Some(handle) => handle.pause().await.map(Some).map_err(|error| match error {
            NotPaused::Stopping => RebuildError::Stopping,
            NotPaused::Running { projector, why } => RebuildError::Running { projector, why },
        }),
        None => Ok(None),
    }
}

fn log_unreadable(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, "the live read models can't be read: they are replaced");
}

/// Reads the whole log from where a version stands.
async fn resume(log: &dyn EventLog, model: Arc<dyn ReadModel>) -> Result<Applier, RebuildError> {
    let written = patiently(|| model.checkpoints()).await?;
    Ok(Applier::resume(log, model, written, Scope::All).await?)
}

/// Brings the live version, of which no projector is running, to the end of the log: that is where both are compared. `halted`,
/// with the number of the version, is kept from one time to the next.
async fn halt(
    log: &Arc<dyn EventLog>,
    reads: &Arc<dyn ReadStore>,
    halted: &mut Option<(u64, Applier)>,
    until: Option<Instant>,
) -> Result<HashMap<TopicPartition, u64>, RebuildError> {
    let version = reads.live_version();
    let mut applier = match halted.take() {
        Some((of, mut applier)) if of == version => {
            let model = applier.model();
            let written = patiently(|| model.checkpoints()).await?;
            // Half of it done would be neither here nor there: out of time, it is given up with its reader.
            in_time(until, applier.resume_again(log.as_ref(), written)).await??;
            applier
        }
        // Also if another version is live now.
        _ => in_time(until, resume(log.as_ref(), reads.live())).await??,
    };
    // Up to where the log is now: to follow it on, as it grows, might have no end.
    let goal = in_time(until, ends(log.as_ref())).await??;
    let outcome = project_upto(&mut applier, &goal, until).await;
    let applier = &halted.insert((version, applier)).1;
    outcome?;
    Ok(applier.reached().iter().map(|(at, checkpoint)| (*at, checkpoint.offset)).collect())
}

/// Whether a version still is where both were compared, as far as it can be read.
async fn stands_at(model: &dyn ReadModel, goal: &HashMap<TopicPartition, u64>) -> bool {
    let Ok(checkpoints) = patiently(|| model.checkpoints()).await else { return true };
    let wanted = |key: CheckpointKey| {
        goal.iter().find(|(at, _)| (at.topic as u8, at.partition) == key).map_or(0, |(_, offset)| *offset)
    };
    checkpoints.into_iter().all(|(key, checkpoint)| checkpoint.offset <= wanted(key))
}

async fn ends(log: &dyn EventLog) -> Result<HashMap<TopicPartition, u64>, RebuildError> {
    let mut ends = HashMap::new();
    for at in crate::apply::places(log) {
        ends.insert(at, log.end_offset(at).await?);
    }
    Ok(ends)
}

/// Asks the read store, and again, after pauses, if the engine fails: a rebuild takes long, and one slow answer is no reason to
/// begin anew.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    mut asking: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut waits = waits().take(TRIES_MORE);
    loop {
        match (asking().await, waits.next()) {
            (Err(error @ Error::Engine(_)), Some(wait)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the read store failed; trying again"
                );
                tokio::time::sleep(wait).await;
            }
            (outcome, _) => return outcome,
        }
    }
}

async fn write(applier: &mut Applier, step: &Step) -> Result<(), Error> {
    let model = applier.model();
    patiently(|| step.write(model.as_ref())).await
}

/// Waits for something that may be given up, but not beyond a time.
async fn in_time<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Result<T, RebuildError> {
    match until {
        Some(until) => tokio::time::timeout_at(until, work).await.map_err(|_| RebuildError::Slow),
        None => Ok(work.await),
    }
}

fn is_late(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// Projects all that there is, or what there is time for. A write that is under way is always waited for: it could come to its end
/// behind what others write next.
async fn project_all(
    applier: &mut Applier,
    until: Option<Instant>,
    mut done: impl FnMut(u64),
) -> Result<u64, RebuildError> {
    let mut count = 0;
    loop {
        if is_late(until) {
            return Err(RebuildError::Slow);
        }
        let records = in_time(until, applier.next_now()).await??;
        if records.is_empty() {
            return Ok(count);
        }
        count += records.len() as u64;
        let step = applier.admit(records);
        write(applier, &step).await?;
        done(count);
    }
}

/// Projects up to given places, and nothing beyond them yet.
async fn project_upto(
    applier: &mut Applier,
    goal: &HashMap<TopicPartition, u64>,
    until: Option<Instant>,
) -> Result<u64, RebuildError> {
    let mut later = Vec::new();
    let outcome = try_project_upto(applier, goal, until, &mut later).await;
    applier.put_back(later);
    outcome
}

async fn try_project_upto(
    applier: &mut Applier,
    goal: &HashMap<TopicPartition, u64>,
    until: Option<Instant>,
    later: &mut Vec<Arc<StoredRecord>>,
) -> Result<u64, RebuildError> {
    let mut count = 0;
    let wanted = |at: &TopicPartition| goal.get(at).copied().unwrap_or(0);
    while applier.reached().iter().any(|(at, checkpoint)| checkpoint.offset < wanted(at)) {
        if is_late(until) {
            return Err(RebuildError::Slow);
        }
        let records = in_time(until, applier.next()).await??;
        let (records, beyond): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|stored| stored.offset < wanted(&stored.at));
        later.extend(beyond);
        count += records.len() as u64;
        let step = applier.admit(records);
        write(applier, &step).await?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
