//! Building the next version of the read models beside the live one.

use std::collections::HashMap;
use std::sync::Arc;

use parley_eventlog::{EventLog, ReadError, TopicPartition};
use parley_readstore::{Checkpoint, ReadModel, ReadStore};

use crate::apply::{Applier, StartError};
use crate::projector::Handle;

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
}

/// Builds the next version from the beginning of the log, compares it with the live one at a common position, and makes
/// it live unless `verify_only`. With a running projector (`live`) that stands still only for the comparison and the
/// switch.
///
/// # Errors
/// [`RebuildError`].
pub async fn rebuild(
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    live: Option<&Handle>,
    verify_only: bool,
    mut step: impl FnMut(RebuildStep) + Send,
) -> Result<Comparison, RebuildError> {
    let next = reads.create_next().await?;
    let mut applier = Applier::resume(log.as_ref(), next.clone()).await?;
    let mut total = 0;
    for at in crate::apply::places(log.as_ref()) {
        total += log.end_offset(at).await?;
    }
    let mut records = project_all(&mut applier, |done| step(RebuildStep::Projected(done, total))).await?;
    // Both must stand at the same place: the live one halts (without a projector it is brought to the end first), the next
    // one reads the little that came meanwhile, and not a record more.
    let _paused = match live {
        Some(handle) => Some(handle.pause().await.ok_or(RebuildError::Stopping)?),
        None => None,
    };
    let mut halted = Applier::resume(log.as_ref(), reads.live()).await?;
    project_all(&mut halted, |_| {}).await?;
    records += project_upto(&mut applier, halted.reached()).await?;
    let compared = compare(reads.live().as_ref(), next.as_ref(), &mut step).await?;
    if !verify_only {
        reads.switch().await?;
    }
    Ok(Comparison { records, ..compared })
}

async fn project_all(applier: &mut Applier, mut done: impl FnMut(u64)) -> Result<u64, RebuildError> {
    let mut count = 0;
    loop {
        let records = applier.next_now().await?;
        if records.is_empty() {
            return Ok(count);
        }
        let (writes, moved) = applier.project(&records);
        applier.write(writes, &moved).await?;
        count += records.len() as u64;
        done(count);
    }
}

/// Projects up to given places, and nothing beyond them.
async fn project_upto(
    applier: &mut Applier,
    goal: &HashMap<TopicPartition, Checkpoint>,
) -> Result<u64, RebuildError> {
    let mut count = 0;
    let wanted = |at: &TopicPartition| goal.get(at).map_or(0, |checkpoint| checkpoint.offset);
    while applier.reached().iter().any(|(at, checkpoint)| checkpoint.offset < wanted(at)) {
        let mut records = applier.next().await?;
        records.retain(|stored| stored.offset < wanted(&stored.at));
        let (writes, moved) = applier.project(&records);
        applier.write(writes, &moved).await?;
        count += records.len() as u64;
    }
    Ok(count)
}

async fn compare(
    live: &dyn ReadModel,
    next: &dyn ReadModel,
    step: &mut (impl FnMut(RebuildStep) + Send),
) -> Result<Comparison, RebuildError> {
    let mut comparison = Comparison::default();
    for table in next.tables() {
        let (mut left, mut right) = (Pages::new(live, table), Pages::new(next, table));
        let (mut one, mut other) = (left.next().await?, right.next().await?);
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
                other = right.next().await?;
            }
            if order.is_le() {
                one = left.next().await?;
            }
            if comparison.rows.is_multiple_of(COMPARED_ROWS_MAX as u64) {
                step(RebuildStep::Compared(comparison.rows));
            }
        }
    }
    step(RebuildStep::Compared(comparison.rows));
    Ok(comparison)
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
