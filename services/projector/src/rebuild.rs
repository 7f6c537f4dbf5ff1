//! Building the next version of the read models beside the live one.

use std::collections::HashMap;
use std::sync::Arc;

use parley_eventlog::{EventLog, Offsets as _, ReadError, TopicPartition};
use parley_readstore::{CheckpointKey, ReadModel, ReadStore};
use parley_wire::rpc::Pausable;

use crate::apply::{Applier, Scope, StartError};

/// Rows compared in one go.
const COMPARED_ROWS_MAX: usize = 4_096;

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
    /// It couldn't start.
    #[error("the rebuild can't start")]
    Start(#[from] StartError),
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

/// Builds the next version from the beginning of the log, compares it with the live one at a common position, and makes
/// it live unless `verify_only`. With a running projector (`live`) that stands still only for the comparison and the
/// switch. A live version that can't be read is replaced all the same, as that is what a rebuild is for.
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
    let mut applier = Applier::resume(log.as_ref(), next.clone(), &Scope::All).await?;
    let total = ends(log.as_ref()).await?.values().sum();
    let mut records = project_all(&mut applier, |done| step(RebuildStep::Projected(done, total))).await?;
    // Both must stand at the same place: the live one halts (without a projector it is brought to the end first), the next
    // one reads the little that came meanwhile, and not a record more.
    let _paused = match live {
        Some(handle) => Some(handle.pause().await.ok_or(RebuildError::Stopping)?),
        None => None,
    };
    let mut comparison = Comparison::default();
    let goal = match halt(&log, &reads).await {
        Err(error) if verify_only || !error.is_of_the_store() => return Err(error),
        Err(error) => {
            comparison.unreadable = true;
            log_unreadable(&error);
            ends(log.as_ref()).await?
        }
        Ok(goal) => goal,
    };
    records += project_upto(&mut applier, &goal).await?;
    if !comparison.unreadable {
        match compare(reads.live().as_ref(), next.as_ref(), &mut comparison, &mut step).await {
            Ok(()) => {}
            Err(Side::Live(error)) if !verify_only => {
                comparison.unreadable = true;
                log_unreadable(&error);
            }
            Err(Side::Live(error) | Side::Next(error)) => return Err(error.into()),
        }
    }
    if live.is_some() && !stands_at(reads.live().as_ref(), &goal).await? {
        return Err(RebuildError::Moved);
    }
    if !verify_only {
        reads.switch().await?;
    }
    Ok(Comparison { records, ..comparison })
}

fn log_unreadable(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, "the live read models can't be read: they are replaced");
}

impl RebuildError {
    fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Start(StartError::Store(_)))
    }
}

/// Brings the live version, of which no projector is running, to the end of the log: that is where both are compared.
async fn halt(
    log: &Arc<dyn EventLog>,
    reads: &Arc<dyn ReadStore>,
) -> Result<HashMap<TopicPartition, u64>, RebuildError> {
    let mut halted = Applier::resume(log.as_ref(), reads.live(), &Scope::All).await?;
    project_all(&mut halted, |_| {}).await?;
    Ok(halted.reached().iter().map(|(at, checkpoint)| (*at, checkpoint.offset)).collect())
}

/// Whether a version still is where both were compared, as far as it can be read.
async fn stands_at(model: &dyn ReadModel, goal: &HashMap<TopicPartition, u64>) -> Result<bool, RebuildError> {
    let Ok(checkpoints) = model.checkpoints().await else { return Ok(true) };
    let wanted = |key: CheckpointKey| {
        goal.iter().find(|(at, _)| (at.topic as u8, at.partition) == key).map_or(0, |(_, offset)| *offset)
    };
    Ok(checkpoints.into_iter().all(|(key, checkpoint)| checkpoint.offset <= wanted(key)))
}

async fn ends(log: &dyn EventLog) -> Result<HashMap<TopicPartition, u64>, RebuildError> {
    let mut ends = HashMap::new();
    for at in crate::apply::places(log) {
        ends.insert(at, log.end_offset(at).await?);
    }
    Ok(ends)
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
        applier.write(&step).await?;
        done(count);
    }
}

/// Projects up to given places, and nothing beyond them.
async fn project_upto(
    applier: &mut Applier,
    goal: &HashMap<TopicPartition, u64>,
) -> Result<u64, RebuildError> {
    let mut count = 0;
    let wanted = |at: &TopicPartition| goal.get(at).copied().unwrap_or(0);
    while applier.reached().iter().any(|(at, checkpoint)| checkpoint.offset < wanted(at)) {
        let mut records = applier.next().await?;
        records.retain(|stored| stored.offset < wanted(&stored.at));
        count += records.len() as u64;
        let step = applier.admit(records);
        applier.write(&step).await?;
    }
    Ok(count)
}

/// Whose rows can't be read.
enum Side {
    Live(parley_readstore::Error),
    Next(parley_readstore::Error),
}

async fn compare(
    live: &dyn ReadModel,
    next: &dyn ReadModel,
    comparison: &mut Comparison,
    step: &mut (impl FnMut(RebuildStep) + Send),
) -> Result<(), Side> {
    for table in next.tables() {
        let (mut left, mut right) = (Pages::new(live, table), Pages::new(next, table));
        let mut one = left.next().await.map_err(Side::Live)?;
        let mut other = right.next().await.map_err(Side::Next)?;
        while one.is_some() || other.is_some() {
            let order = match (&one, &other) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, _) => std::cmp::Ordering::Greater,
            };
            let equal = order.is_eq() && one == other;
            comparison.different += u64::from(!equal);
            if order.is_ge() {
                comparison.rows += 1;
                other = right.next().await.map_err(Side::Next)?;
            }
            if order.is_le() {
                one = left.next().await.map_err(Side::Live)?;
            }
            if comparison.rows.is_multiple_of(COMPARED_ROWS_MAX as u64) {
                step(RebuildStep::Compared(comparison.rows));
            }
        }
    }
    step(RebuildStep::Compared(comparison.rows));
    Ok(())
}

type Pair = (Vec<u8>, Vec<u8>);

/// A table, row by row, read in pages.
struct Pages<'a> {
    model: &'a dyn ReadModel,
    table: &'static str,
    page: std::vec::IntoIter<Pair>,
    last: Option<Vec<u8>>,
}

impl<'a> Pages<'a> {
    fn new(model: &'a dyn ReadModel, table: &'static str) -> Self {
        Self { model, table, page: Vec::new().into_iter(), last: None }
    }

    async fn next(&mut self) -> Result<Option<Pair>, parley_readstore::Error> {
        if let Some(pair) = self.page.next() {
            return Ok(Some(pair));
        }
        let page = self.model.canonical(self.table, self.last.as_deref(), COMPARED_ROWS_MAX).await?;
        self.last = page.last().map(|(key, _)| key.clone());
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}
