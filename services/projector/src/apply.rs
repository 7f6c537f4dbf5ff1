//! From records to rows, for any version of a read model.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use parley_domain::{Position, Row, Verdict, project, project_cursor, project_profile};
use parley_eventlog::{EventLog, Offsets as _, ReadError, StoredRecord, Tail, Topic, TopicPartition};
use parley_readstore::{Checkpoint, CheckpointKey, ReadModel, Source, Write};
use parley_wire::event;

/// Records that are projected in one go, and so the rows of one write.
const BATCH_RECORDS_MAX: usize = 8_192;

fn key(at: TopicPartition) -> CheckpointKey {
    (at.topic as u8, at.partition)
}

/// Every partition of every topic.
pub(crate) fn places(log: &dyn EventLog) -> Vec<TopicPartition> {
    let partitions = log.partitions().get();
    let of = |topic| (0..partitions).map(move |partition| TopicPartition { topic, partition });
    Topic::ALL.into_iter().flat_map(of).collect()
}

/// Which partitions, of every topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    All,
    /// These.
    Some(BTreeSet<u32>),
}

impl Scope {
    pub(crate) fn has(&self, at: TopicPartition) -> bool {
        match self {
            Self::All => true,
            Self::Some(partitions) => partitions.contains(&at.partition),
        }
    }
}

/// The checkpoints of a model.
pub(crate) type Written = Vec<(CheckpointKey, Checkpoint)>;

/// Where a model stands; where it has nothing, the beginning of the log.
async fn begin_at(
    log: &dyn EventLog,
    written: Written,
    scope: &Scope,
) -> Result<HashMap<TopicPartition, Checkpoint>, ReadError> {
    let written: HashMap<CheckpointKey, Checkpoint> = written.into_iter().collect();
    let mut at = HashMap::new();
    for place in places(log).into_iter().filter(|place| scope.has(*place)) {
        let checkpoint = match written.get(&key(place)) {
            Some(checkpoint) => *checkpoint,
            None => Checkpoint { offset: log.start_offset(place).await?, ..Checkpoint::default() },
        };
        at.insert(place, checkpoint);
    }
    Ok(at)
}

/// Some records to project.
pub(crate) struct Step {
    valid: Vec<Arc<StoredRecord>>,
    /// Where that leads.
    pub(crate) moved: Vec<(TopicPartition, Checkpoint)>,
}

impl Step {
    /// Writes the rows of the records and then the checkpoints. They are projected anew at each try, so that the first, which
    /// nearly always is the only one, copies nothing.
    pub(crate) async fn write(&self, model: &dyn ReadModel) -> Result<(), parley_readstore::Error> {
        let mut writes = Vec::with_capacity(self.valid.len() * 4);
        self.valid.iter().for_each(|stored| rows(stored, &mut writes));
        let checkpoints = self.moved.iter().map(|(at, checkpoint)| (key(*at), *checkpoint)).collect();
        model.apply(writes, checkpoints).await
    }
}

/// One reader of the log that writes one version of the read models.
pub(crate) struct Applier {
    model: Arc<dyn ReadModel>,
    tail: Box<dyn Tail>,
    scope: Scope,
    at: HashMap<TopicPartition, Checkpoint>,
    /// Taken from the tail, and put back.
    ahead: Vec<Arc<StoredRecord>>,
}

impl Applier {
    /// Goes on from the checkpoints of a model, which were `written`.
    pub(crate) async fn resume(
        log: &dyn EventLog,
        model: Arc<dyn ReadModel>,
        written: Written,
        scope: Scope,
    ) -> Result<Self, ReadError> {
        let at = begin_at(log, written, &scope).await?;
        let from = at.iter().map(|(place, checkpoint)| (*place, checkpoint.offset)).collect();
        Ok(Self { model, tail: log.tail(from).await?, scope, at, ahead: Vec::new() })
    }

    /// Goes on from the checkpoints as they are now, which another has moved meanwhile. Cheaper than beginning anew where a
    /// reader of the log costs a connection.
    pub(crate) async fn resume_again(
        &mut self,
        log: &dyn EventLog,
        written: Written,
    ) -> Result<(), ReadError> {
        let at = begin_at(log, written, &self.scope).await?;
        let ahead: BTreeSet<TopicPartition> = self.ahead.drain(..).map(|stored| stored.at).collect();
        let has_moved = |(place, checkpoint): &(&TopicPartition, &Checkpoint)| {
            ahead.contains(*place) || self.at.get(*place).is_none_or(|at| at.offset != checkpoint.offset)
        };
        let moved: Vec<_> = at.iter().filter(has_moved).map(|(place, to)| (*place, to.offset)).collect();
        let places: Vec<_> = moved.iter().map(|(place, _)| *place).collect();
        self.tail.remove(&places);
        self.tail.add(moved).await?;
        self.at = at;
        Ok(())
    }

    /// Waits for records and collects what they mean. Cancel-safe up to its return.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let again = self.again();
        if !again.is_empty() {
            return Ok(again);
        }
        self.tail.next(BATCH_RECORDS_MAX).await
    }

    /// The same without waiting.
    pub(crate) async fn next_now(&mut self) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let again = self.again();
        if !again.is_empty() {
            return Ok(again);
        }
        self.tail.next_now(BATCH_RECORDS_MAX).await
    }

    /// The next of those that were put back, no more than the tail would give.
    fn again(&mut self) -> Vec<Arc<StoredRecord>> {
        let count = self.ahead.len().min(BATCH_RECORDS_MAX);
        self.ahead.drain(..count).collect()
    }

    /// Gives records back that were not admitted, in the order in which they came: they are the next ones again.
    pub(crate) fn put_back(&mut self, records: Vec<Arc<StoredRecord>>) {
        self.ahead.splice(0..0, records);
    }

    /// Moves on past some records: those that count, and the checkpoints behind them.
    pub(crate) fn admit(&mut self, mut records: Vec<Arc<StoredRecord>>) -> Step {
        let mut moved = HashMap::new();
        records.retain(|stored| {
            let checkpoint = self.at.entry(stored.at).or_default();
            let verdict = parley_eventlog::admit(&mut checkpoint.validity, stored);
            checkpoint.offset = stored.offset + 1;
            moved.insert(stored.at, *checkpoint);
            verdict == Verdict::Valid
        });
        Step { valid: records, moved: moved.into_iter().collect() }
    }

    /// What it writes to.
    pub(crate) fn model(&self) -> Arc<dyn ReadModel> {
        self.model.clone()
    }

    /// How far it has come.
    pub(crate) fn reached(&self) -> &HashMap<TopicPartition, Checkpoint> {
        &self.at
    }
}

/// The rows of a record. One that can't be understood has none, is counted and logged, and holds nothing up.
fn rows(stored: &StoredRecord, writes: &mut Vec<Write>) {
    if let Err(error) = try_rows(stored, writes) {
        metrics::counter!("parley_projector_unprojectable_total").increment(1);
        tracing::error!(
            error = &error as &dyn std::error::Error,
            topic = stored.at.topic.name(),
            partition = stored.at.partition,
            offset = stored.offset,
            "a record can't be projected and is left out of the read models"
        );
    }
}

fn try_rows(stored: &StoredRecord, writes: &mut Vec<Write>) -> Result<(), event::DecodeError> {
    let value = stored.record.value.clone();
    let plain = |row: Row| Write { row, event: None };
    let position = Position { partition: stored.at.partition, offset: stored.offset };
    match stored.at.topic {
        Topic::Events => {
            let kind = &stored.record.kind;
            let tag = event::tag(kind).ok_or_else(|| event::DecodeError::UnknownType(kind.to_string()))?;
            let fact = stored.record.fact()?;
            writes.extend(project(&fact).into_iter().map(|row| {
                let source = || Source { position, tag, value: value.clone() };
                Write { event: matches!(row, Row::Timeline { .. }).then(source), row }
            }));
        }
        Topic::Acks => {
            let cursors = stored.record.cursors()?;
            let rows = cursors.advances.iter().flat_map(|advance| project_cursor(cursors.group_id, advance));
            writes.extend(rows.map(plain));
        }
        // With its place, which says which of two is the later one: edges' clocks differ.
        Topic::Users => {
            let row = project_profile(&event::decode_profile(value)?);
            writes.push(Write { row, event: Some(Source { position, ..Source::default() }) });
        }
    }
    Ok(())
}

/// Why a projector can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log can't be read.
    #[error("the log can't be read")]
    Log(#[from] ReadError),
    /// The read store can't be asked.
    #[error("the read store can't be asked")]
    Store(#[source] parley_readstore::Error),
}
