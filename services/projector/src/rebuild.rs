//! Building the next version of the read models beside the live one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parley_eventlog::{EventLog, Offsets as _, ReadError, TopicPartition};
use parley_readstore::{CheckpointKey, Error, Page, ReadModel, ReadStore};
use parley_wire::rpc::{Pausable, Paused};
use tokio::time::Instant;

use crate::apply::{Applier, Scope, Step};
use crate::projector::waits;

/// Rows that are read in one go: to begin reading costs as much as some hundred of them. Few in tests, so that they have many pages.
const PAGE_ROWS: usize = if cfg!(test) { 7 } else { 4_096 };
/// How long the live projectors stand still at a time while rows are compared; reads wait that long, and much longer, for
/// what their clients were told of.
const HALT: Duration = Duration::from_secs(1);
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
    /// The live projector has ended.
    #[error("the server is stopping")]
    Stopping,
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
    let mut applier = resume(log.as_ref(), next.clone()).await?;
    let total = ends(log.as_ref()).await?.values().sum();
    let mut comparison = Comparison::default();
    let projected = |done| step(RebuildStep::Projected(done, total));
    comparison.records = project_all(&mut applier, projected).await?;
    let mut place = Place::default();
    let mut halted = None;
    loop {
        let begun = Instant::now();
        let paused = pause(live).await?;
        // Both must stand at the same place: the live one is brought to the end, the next one reads what came meanwhile, and
        // not a record more.
        let goal = match halt(&log, &reads, &mut halted).await {
            Err(error) if verify_only || !matches!(error, RebuildError::Store(_)) => return Err(error),
            Err(error) => {
                comparison.unreadable = true;
                log_unreadable(&error);
                ends(log.as_ref()).await?
            }
            Ok(goal) => goal,
        };
        comparison.records += project_upto(&mut applier, &goal).await?;
        let until = Instant::now() + HALT;
        let (one, other) = (reads.live(), next.as_ref());
        let is_over = comparison.unreadable
            || match compare(one.as_ref(), other, &mut place, &mut comparison, until).await {
                Ok(is_over) => is_over,
                Err(Side::Live(error)) if !verify_only => {
                    comparison.unreadable = true;
                    log_unreadable(&error);
                    true
                }
                Err(Side::Live(error) | Side::Next(error)) => return Err(error.into()),
            };
        step(RebuildStep::Compared(comparison.rows));
        if live.is_some() && !stands_at(one.as_ref(), &goal).await {
            return Err(RebuildError::Moved);
        }
        if is_over {
            if !verify_only {
                reads.switch().await?;
            }
            return Ok(comparison);
        }
        if let Some(paused) = paused {
            drop(paused);
            tokio::time::sleep(RUN_ON.max(begun.elapsed())).await;
        }
        comparison.records += project_all(&mut applier, |_| {}).await?;
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
    let former = reads.former().await?;
    let mut applier = resume(log, former).await?;
    project_all(&mut applier, |_| {}).await?;
    let _paused = pause(live).await?;
    project_all(&mut applier, |_| {}).await?;
    drop(applier);
    reads.switch_back().await?;
    Ok(())
}

/// The running projectors, if there are any, stand still until what this gives is dropped.
async fn pause(live: Option<&dyn Pausable>) -> Result<Option<Paused>, RebuildError> {
    match live {
        Some(handle) => handle.pause().await.map(Some).ok_or(RebuildError::Stopping),
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
) -> Result<HashMap<TopicPartition, u64>, RebuildError> {
    let version = reads.live_version();
    let applier = match halted {
        Some((of, applier)) if *of == version => {
            let model = applier.model();
            let written = patiently(|| model.checkpoints()).await?;
            applier.resume_again(log.as_ref(), written).await?;
            applier
        }
        // Also if another version is live now.
        _ => &mut halted.insert((version, resume(log.as_ref(), reads.live()).await?)).1,
    };
    project_all(applier, |_| {}).await?;
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

async fn project_all(applier: &mut Applier, mut done: impl FnMut(u64)) -> Result<u64, RebuildError> {
    let mut count = 0;
    loop {
        let records = applier.next_now().await?;
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
) -> Result<u64, RebuildError> {
    let mut count = 0;
    let mut later = Vec::new();
    let wanted = |at: &TopicPartition| goal.get(at).copied().unwrap_or(0);
    while applier.reached().iter().any(|(at, checkpoint)| checkpoint.offset < wanted(at)) {
        let records = applier.next().await?;
        let (records, beyond): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|stored| stored.offset < wanted(&stored.at));
        later.extend(beyond);
        count += records.len() as u64;
        let step = applier.admit(records);
        write(applier, &step).await?;
    }
    applier.put_back(later);
    Ok(count)
}

/// Whose rows can't be read.
enum Side {
    Live(parley_readstore::Error),
    Next(parley_readstore::Error),
}

/// How far a comparison has come.
#[derive(Debug, Default)]
struct Place {
    /// Tables that are compared as a whole.
    tables: usize,
    /// The last row of the next one that is compared, if any.
    row: Option<Vec<u8>>,
}

/// Compares rows from a place on, to the end (`true`) or until a time (`false`), but at least what was read first.
async fn compare(
    live: &dyn ReadModel,
    next: &dyn ReadModel,
    place: &mut Place,
    comparison: &mut Comparison,
    until: Instant,
) -> Result<bool, Side> {
    let mut is_first = true;
    while let Some(table) = next.tables().get(place.tables) {
        let from = place.row.clone();
        let (mut left, mut right) = (Pages::new(live, table, from.clone()), Pages::new(next, table, from));
        loop {
            if !std::mem::take(&mut is_first)
                && (left.is_used_up() || right.is_used_up())
                && Instant::now() >= until
            {
                return Ok(false);
            }
            let (one, other) = tokio::join!(left.fill(), right.fill());
            one.map_err(Side::Live)?;
            other.map_err(Side::Next)?;
            let (mine, theirs) = (left.first(), right.first());
            let Some(order) = order(mine, theirs) else { break };
            let same = left.same(&right);
            let compared = if same > 0 {
                comparison.rows += same as u64;
                left.pass(same);
                right.pass(same)
            } else {
                comparison.different += 1;
                comparison.rows += u64::from(order.is_ge());
                let one = if order.is_le() { left.pass(1) } else { None };
                let other = if order.is_ge() { right.pass(1) } else { None };
                other.or(one)
            };
            place.row = compared;
        }
        *place = Place { tables: place.tables + 1, row: None };
    }
    Ok(true)
}

/// Which row comes first; `None` if there are none.
fn order(one: Option<Pair<'_>>, other: Option<Pair<'_>>) -> Option<Ordering> {
    match (one, other) {
        (Some((one, _)), Some((other, _))) => Some(one.cmp(other)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// A table, read in pages.
struct Pages<'a> {
    model: &'a dyn ReadModel,
    table: &'static str,
    /// The page at hand, and how many of its rows are compared.
    page: Page,
    passed: usize,
    last: Option<Vec<u8>>,
    is_at_end: bool,
}

impl<'a> Pages<'a> {
    fn new(model: &'a dyn ReadModel, table: &'static str, after: Option<Vec<u8>>) -> Self {
        Self { model, table, page: Page::default(), passed: 0, last: after, is_at_end: false }
    }

    /// Whether the next page must be read.
    fn is_used_up(&self) -> bool {
        !self.is_at_end && self.passed >= self.page.len()
    }

    fn first(&self) -> Option<Pair<'_>> {
        self.page.get(self.passed)
    }

    /// How many of the rows at hand are the same.
    fn same(&self, other: &Self) -> usize {
        if (self.passed, other.passed) == (0, 0) && self.page == other.page {
            return self.page.len();
        }
        let rest = (self.passed..).map_while(|place| self.page.get(place));
        let others = (other.passed..).map_while(|place| other.page.get(place));
        rest.zip(others).take_while(|(one, other)| one == other).count()
    }

    /// Goes past some rows; the key of the last of them.
    fn pass(&mut self, rows: usize) -> Option<Vec<u8>> {
        self.passed += rows;
        self.page.get(self.passed.checked_sub(1)?).map(|(key, _)| key.to_vec())
    }

    /// Reads the next page if it must be; nothing is left afterwards only at the end of the table.
    async fn fill(&mut self) -> Result<(), Error> {
        if !self.is_used_up() {
            return Ok(());
        }
        let (model, table, last) = (self.model, self.table, self.last.as_deref());
        let page = &mut self.page;
        *page = patiently(|| model.canonical(table, last, PAGE_ROWS, std::mem::take(page))).await?;
        match page.last() {
            Some((key, _)) => self.last = Some(key.to_vec()),
            None => self.is_at_end = true,
        }
        self.passed = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
