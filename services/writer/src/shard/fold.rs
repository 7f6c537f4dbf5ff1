//! Folding partitions up to fresh claims: from the newest snapshot, if there is one that fits, else from the beginning.

use std::collections::HashMap;

use futures::{StreamExt as _, stream};
use parley_domain::{Event, Group, Position, Validity, Verdict};
use parley_eventlog::{Bound, StoredRecord, Tail, Topic, TopicPartition, admit};
use parley_wire::event;

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

/// Where a fold stands in one place: the next offset, the claims up to there, and where it ends.
struct Reading {
    validity: Validity,
    end: u64,
    /// Which of the states it belongs to.
    state: usize,
}

/// The places of a topic, from where each is to be folded on.
struct Open {
    readings: HashMap<TopicPartition, Reading>,
    tail: Box<dyn Tail>,
}

/// From where on places are to be folded, and the claims up to there. Places that aren't named are folded from their beginning.
type Starts = HashMap<TopicPartition, (u64, Validity)>;

/// Claims partitions, all in one go, and folds what lies before the claims, in one pass a topic: one state for each of the
/// given sets.
pub(crate) async fn fold(
    options: &Options,
    engines: &Engines,
    sets: &[Vec<u32>],
) -> Result<Vec<State>, StartError> {
    let all: Vec<u32> = sets.iter().flatten().copied().collect();
    let lanes = claim_all(options, engines, &all).await.map_err(StartError::Claim)?;
    // Nobody is served meanwhile, so whatever can wait for the others' answers together does.
    let loads: Vec<_> = sets.iter().map(|owned| load(options, engines, owned, &lanes)).collect();
    let snapshots: Vec<_> = stream::iter(loads).buffered(SNAPSHOTS_AT_ONCE).collect().await;
    let mut states = Vec::with_capacity(sets.len());
    let mut starts = Starts::new();
    for (owned, found) in sets.iter().zip(snapshots) {
        let own = lanes.iter().filter(|(at, _)| owned.contains(&at.partition));
        let mut state = State {
            lanes: own.map(|(at, lane)| (*at, *lane)).collect(),
            groups: HashMap::new(),
            dedupe: Dedupe::new(options.recent_ids_max),
            folded_records: 0,
        };
        if let Some(found) = found {
            starts.extend(found.starts);
            state.groups = found.groups;
            state.dedupe = found.dedupe;
        }
        states.push(state);
    }
    let (events, acks) = tokio::try_join!(
        open(Topic::Events, engines, &states, &starts),
        open(Topic::Acks, engines, &states, &starts),
    )?;
    // Cursors name events, so the events come first: between topics the log has no order.
    for topic in [events, acks] {
        topic.fold_into(&mut states).await?;
    }
    for slot in states.iter_mut().flat_map(|state| state.groups.values_mut()) {
        slot.durable_head = slot.group.as_ref().map_or(0, |group| group.head);
    }
    Ok(states)
}

/// What was kept of a partition that makes a set of its own.
async fn load(
    options: &Options,
    engines: &Engines,
    owned: &[u32],
    lanes: &HashMap<TopicPartition, Lane>,
) -> Option<snapshot::Found> {
    let [partition] = owned else { return None };
    snapshot::load(engines, *partition, lanes, options.recent_ids_max).await
}

async fn open(
    topic: Topic,
    engines: &Engines,
    states: &[State],
    starts: &Starts,
) -> Result<Open, StartError> {
    let lanes = states.iter().enumerate().flat_map(|(number, state)| {
        let own = state.lanes.iter().filter(|(at, _)| at.topic == topic);
        own.map(move |(at, lane)| (number, *at, *lane))
    });
    let lanes: Vec<(usize, TopicPartition, Lane)> = lanes.collect();
    let places: Vec<TopicPartition> = lanes.iter().map(|(_, at, _)| *at).collect();
    let beginnings = engines.log.offsets(&places, Bound::Start).await?;
    let (mut readings, mut from) = (HashMap::new(), Vec::new());
    for ((number, at, lane), beginning) in lanes.into_iter().zip(beginnings) {
        let (start, validity) = starts.get(&at).copied().unwrap_or((beginning, Validity::default()));
        from.push((at, start));
        readings.insert(at, Reading { validity, end: lane.next_offset(), state: number });
    }
    Ok(Open { readings, tail: engines.log.tail(from).await? })
}

impl Open {
    async fn fold_into(mut self, states: &mut [State]) -> Result<(), StartError> {
        while !self.readings.is_empty() {
            for stored in self.tail.next(FOLD_RECORDS_MAX).await? {
                let Some(reading) = self.readings.get_mut(&stored.at) else {
                    continue; // behind our claim: void, or it will be found out when our first record lands
                };
                if admit(&mut reading.validity, &stored) == Verdict::Valid
                    && let Some(state) = states.get_mut(reading.state)
                {
                    state.fold_record(&stored)?;
                }
                if stored.offset + 1 == reading.end {
                    self.readings.remove(&stored.at);
                    self.tail.remove(&[stored.at]);
                }
            }
        }
        Ok(())
    }
}

impl State {
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
                    self.dedupe.remember(key, Sent::of(message, fact.seq, fact.at, position));
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
