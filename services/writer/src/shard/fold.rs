//! Folding partitions up to fresh claims: from the newest snapshot, if there is one that fits, else from the beginning.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use hashbrown::HashMap;
use parley_domain::{Event, EventId, Group, Position, Validity, Verdict};
use parley_eventlog::{Bound, ReadError, StoredRecord, Tail, Topic, TopicPartition, admit};
use parley_wire::event;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::State;
use super::claim::claim_all;
use super::lane::Lane;
use crate::dedupe::{Dedupe, Sent};
use crate::options::{Engines, Options, StartError};
use crate::snapshot;

/// Records read in one go while folding.
const FOLD_RECORDS_MAX: usize = 4_096;

/// Snapshots loaded at the same time.
const SNAPSHOTS_AT_ONCE: usize = 8;

/// How long a log that several writers share may give nothing though claims of ours lie further on. Then what is to be folded together
/// fails, and each partition is tried by itself: one that can't be read mustn't keep the others without an owner. An embedded log may
/// well read on for longer until it meets a record that is wanted.
const NEXT_WAIT: Duration = Duration::from_secs(10);

/// When snapshots are loaded and readers opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opening {
    /// While the claims are on their way: nobody is served meanwhile, so all answers are waited for together.
    Meanwhile,
    /// Once they are in the log: whoever tries again and again, since it takes no claims, asks for nothing in vain.
    Afterwards,
}

/// Why a fold ends early.
enum Failed {
    /// The snapshot of this partition isn't of this log, and what showed it.
    Snapshot(u32, Mismatch),
    Start(StartError),
}

/// What shows that a snapshot isn't of a log.
#[derive(Debug, Clone, Copy)]
enum Mismatch {
    /// The log doesn't reach from where the snapshot ends.
    NotThere,
    /// The snapshot ends after our claim, which is newer than any snapshot.
    PastTheClaim { snapshot: u64, claim: u64 },
    /// Another record lies where the snapshot ends.
    OtherRecord(u64),
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotThere => f.write_str("the log has no record where the snapshot ends"),
            Self::PastTheClaim { snapshot, claim } => {
                write!(f, "the snapshot ends at offset {snapshot}, after our own claim at {claim}")
            }
            Self::OtherRecord(offset) => {
                write!(f, "another record lies at {offset}, where the snapshot ends")
            }
        }
    }
}

/// What can be got ready while the claims are on their way.
struct Ready {
    states: Vec<State>,
    events: Open,
    acks: Open,
}

/// Where a fold stands in one place.
struct Reading {
    validity: Validity,
    /// The record with which the reading must begin: the last one that the snapshot knows.
    known: Option<(u64, EventId)>,
    /// Which of the states it belongs to.
    state: usize,
}

/// The places of a topic, from where each is to be folded on.
struct Open {
    readings: HashMap<TopicPartition, Reading>,
    tail: Box<dyn Tail>,
    /// How long for the next records; `None`: as long as it takes.
    waits: Option<Duration>,
}

/// Claims partitions, all in one go, and folds what lies before the claims, in one pass a topic: one state for each of the
/// given sets.
///
/// Whether a snapshot is of this log shows at the first record that is read. If one isn't, the log was restored from a copy
/// most likely, and the others aren't either: then all is folded from the beginning.
///
/// `claiming` is dropped once no claim is on its way any more. Until then the partitions mustn't be handed to the next owner: the
/// claim could land after his, and he would lose what he has in flight.
pub(crate) async fn fold(
    options: &Options,
    engines: &Engines,
    sets: &[Vec<u32>],
    opening: Opening,
    claiming: Option<DropGuard>,
) -> Result<Vec<State>, StartError> {
    let begun = Instant::now();
    let all: Vec<u32> = sets.iter().flatten().copied().collect();
    let claims = async {
        let _claiming = claiming;
        claim_all(options, engines, &all).await.map_err(StartError::Claim)
    };
    let opening_readers = async { Ok(ready(options, engines, sets, true).await) };
    let (lanes, mut ready) = match opening {
        Opening::Meanwhile => tokio::try_join!(claims, opening_readers)?,
        Opening::Afterwards => (claims.await?, opening_readers.await?),
    };
    let ready_ms = begun.elapsed().as_millis();
    loop {
        let folded = match ready {
            Ok(ready) => ready.fold(sets, &lanes).await,
            Err(failed) => Err(failed),
        };
        match folded {
            Ok(states) => {
                let records: u64 = states.iter().map(|state| state.folded_records).sum();
                let ms = begun.elapsed().as_millis();
                tracing::info!(
                    partitions = all.len(),
                    records,
                    ready_ms,
                    ms,
                    "partitions claimed and folded"
                );
                return Ok(states);
            }
            Err(Failed::Start(error)) => return Err(error),
            Err(Failed::Snapshot(partition, mismatch)) => {
                tracing::warn!(partition, %mismatch, "a snapshot disagrees with the log: none is used");
            }
        }
        ready = self::ready(options, engines, sets, false).await;
    }
}

/// Loads snapshots, if they are to be trusted, and opens readers at the last record that each knows.
async fn ready(
    options: &Options,
    engines: &Engines,
    sets: &[Vec<u32>],
    is_trusted: bool,
) -> Result<Ready, Failed> {
    let patience = snapshot::Patience::new();
    // Only a partition that makes a set of its own has one.
    let load = async |owned: &Vec<u32>| match owned[..] {
        [partition] if is_trusted => {
            snapshot::load(engines, partition, options.recent_ids_max, &patience).await
        }
        _ => None,
    };
    let loads: Vec<_> = sets.iter().map(load).collect();
    let found: Vec<Option<snapshot::Found>> = stream::iter(loads).buffered(SNAPSHOTS_AT_ONCE).collect().await;
    let opened = tokio::try_join!(
        Open::begin(Topic::Events, options, engines, sets, &found),
        Open::begin(Topic::Acks, options, engines, sets, &found),
    );
    let (events, acks) = opened.map_err(|error| {
        if let ReadError::OutOfRange { at, .. } = &error
            && is_trusted
        {
            return Failed::Snapshot(at.partition, Mismatch::NotThere);
        }
        error.into()
    })?;
    let states = found.into_iter().map(|found| State::of(found, options)).collect();
    Ok(Ready { states, events, acks })
}

impl Ready {
    async fn fold(
        self,
        sets: &[Vec<u32>],
        lanes: &HashMap<TopicPartition, Lane>,
    ) -> Result<Vec<State>, Failed> {
        let mut states = self.states;
        for (owned, state) in sets.iter().zip(&mut states) {
            let own = lanes.iter().filter(|(at, _)| owned.contains(&at.partition));
            state.lanes = own.map(|(at, lane)| (*at, *lane)).collect();
        }
        // The claim comes after all that a true snapshot knows. Where it doesn't, nothing may ever come to be read.
        for (at, reading) in [&self.events, &self.acks].into_iter().flat_map(|open| &open.readings) {
            let claim = lanes.get(at).map_or(0, Lane::claim);
            if let Some((offset, _)) = reading.known
                && offset >= claim
            {
                return Err(Failed::Snapshot(
                    at.partition,
                    Mismatch::PastTheClaim { snapshot: offset, claim },
                ));
            }
        }
        // Cursors name events, so the events come first: between topics the log has no order.
        for topic in [self.events, self.acks] {
            topic.fold_into(&mut states, lanes).await?;
        }
        for slot in states.iter_mut().flat_map(|state| state.groups.values_mut()) {
            slot.durable_head = slot.group.as_ref().map_or(0, |group| group.head);
        }
        Ok(states)
    }
}

impl Open {
    /// Opens a reader of a topic, of each partition behind its snapshot or at its beginning.
    async fn begin(
        topic: Topic,
        options: &Options,
        engines: &Engines,
        sets: &[Vec<u32>],
        found: &[Option<snapshot::Found>],
    ) -> Result<Self, ReadError> {
        let mut readings = HashMap::new();
        let (mut from, mut whole) = (Vec::new(), Vec::new());
        for (state, (owned, found)) in sets.iter().zip(found).enumerate() {
            for partition in owned {
                let at = TopicPartition { topic, partition: *partition };
                let place = found.as_ref().and_then(|found| found.places.get(&topic));
                match place {
                    Some(place) => from.push((at, place.last.0)),
                    None => whole.push(at),
                }
                let validity = place.map(|place| place.validity).unwrap_or_default();
                readings.insert(at, Reading { validity, known: place.map(|place| place.last), state });
            }
        }
        if !whole.is_empty() {
            let beginnings = engines.log.offsets(&whole, Bound::Start).await?;
            from.extend(whole.into_iter().zip(beginnings));
        }
        let waits = (options.generation > 0).then_some(NEXT_WAIT);
        Ok(Self { readings, tail: engines.log.tail(from).await?, waits })
    }

    /// Up to the claims.
    async fn fold_into(
        mut self,
        states: &mut [State],
        lanes: &HashMap<TopicPartition, Lane>,
    ) -> Result<(), Failed> {
        while !self.readings.is_empty() {
            let next = self.tail.next(FOLD_RECORDS_MAX);
            let records = match self.waits {
                Some(wait) => tokio::time::timeout(wait, next).await.unwrap_or_else(|_| Err(silence()))?,
                None => next.await?,
            };
            for stored in records {
                let Some(reading) = self.readings.get_mut(&stored.at) else {
                    continue; // behind our claim: void, or it will be found out when our first record lands
                };
                let end = lanes.get(&stored.at).map_or(0, Lane::next_offset);
                if let Some(known) = reading.known.take() {
                    if known != (stored.offset, stored.record.id) {
                        let mismatch = Mismatch::OtherRecord(known.0);
                        return Err(Failed::Snapshot(stored.at.partition, mismatch));
                    }
                } else if admit(&mut reading.validity, &stored) == Verdict::Valid
                    && let Some(state) = states.get_mut(reading.state)
                {
                    state.fold_record(&stored)?;
                }
                if stored.offset + 1 >= end {
                    self.readings.remove(&stored.at);
                    self.tail.remove(&[stored.at]);
                }
            }
        }
        Ok(())
    }
}

fn silence() -> ReadError {
    ReadError::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the log gives none of the records before a claim that it has",
    ))
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::Start(error.into())
    }
}

impl State {
    /// What a snapshot knows, or nothing; under no claims yet.
    pub(super) fn of(found: Option<snapshot::Found>, options: &Options) -> Self {
        let (groups, dedupe) = match found {
            Some(found) => (found.groups, found.dedupe),
            None => (HashMap::new(), Dedupe::new(options.recent_ids_max)),
        };
        Self { lanes: HashMap::new(), groups, dedupe, folded_records: 0 }
    }

    fn fold_record(&mut self, stored: &StoredRecord) -> Result<(), StartError> {
        let decode = |source| StartError::Decode {
            topic: stored.at.topic.name(),
            partition: stored.at.partition,
            offset: stored.offset,
            source,
        };
        self.folded_records += 1;
        let value = stored.record.value.clone();
        match stored.at.topic {
            Topic::Events => {
                let fact = event::decode_fact(&stored.record.kind, value).map_err(decode)?;
                let position = Position { partition: stored.at.partition, offset: stored.offset };
                if let Event::MessageSent(message) = &fact.event {
                    let key = (fact.group_id, message.sender.clone(), message.client_message_id.clone());
                    let name = self.dedupe.hashed(key);
                    self.dedupe.remember(name, Sent::of(message, fact.seq, fact.at, position));
                }
                Group::evolve(&mut self.groups.entry(fact.group_id).or_default().group, &fact);
            }
            Topic::Acks => {
                let cursors = event::decode_cursors(value).map_err(decode)?;
                let slot = self.groups.get_mut(&cursors.group_id);
                if let Some(group) = slot.and_then(|slot| slot.group.as_mut()) {
                    for advance in &cursors.advances {
                        group.apply_cursor(advance);
                    }
                }
            }
            Topic::Users => {}
        }
        Ok(())
    }
}
