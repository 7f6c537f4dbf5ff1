//! Folding partitions up to fresh claims: from the newest snapshot, if there is one that fits, else from the beginning.

use std::collections::HashMap;

use parley_domain::{Event, Group, Position, Validity, Verdict};
use parley_eventlog::{Offsets as _, StoredRecord, Topic, TopicPartition, admit};
use parley_wire::event;

use super::State;
use super::claim::claim_all;
use crate::dedupe::{Dedupe, Sent};
use crate::options::{Engines, Options, StartError};
use crate::snapshot;

/// Records read in one go while folding.
const FOLD_RECORDS_MAX: usize = 4_096;

/// Where a fold stands in one place: the next offset, the claims up to there, and where it ends.
struct Reading {
    validity: Validity,
    end: u64,
    /// Which of the states it belongs to.
    state: usize,
}

/// Claims partitions, all in one go, and folds what lies before the claims, in one pass a topic: one state for each of the
/// given sets.
pub(crate) async fn fold(
    options: &Options,
    engines: &Engines,
    sets: &[Vec<u32>],
) -> Result<Vec<State>, StartError> {
    let all: Vec<u32> = sets.iter().flatten().copied().collect();
    let lanes = claim_all(options, engines, &all).await.map_err(StartError::Claim)?;
    let mut states = Vec::with_capacity(sets.len());
    let mut starts = HashMap::new();
    for owned in sets {
        let own = lanes.iter().filter(|(at, _)| owned.contains(&at.partition));
        let mut state = State {
            lanes: own.map(|(at, lane)| (*at, *lane)).collect(),
            groups: HashMap::new(),
            dedupe: Dedupe::new(options.recent_ids_max),
            folded_records: 0,
        };
        if let [partition] = owned.as_slice()
            && let Some(found) =
                snapshot::load(engines, *partition, &state.lanes, options.recent_ids_max).await
        {
            starts.extend(found.starts);
            state.groups = found.groups;
            state.dedupe = found.dedupe;
        }
        states.push(state);
    }
    // Cursors name events, so the events come first: between topics the log has no order.
    for topic in [Topic::Events, Topic::Acks] {
        fold_topic(topic, engines, &mut states, &starts).await?;
    }
    for slot in states.iter_mut().flat_map(|state| state.groups.values_mut()) {
        slot.durable_head = slot.group.as_ref().map_or(0, |group| group.head);
    }
    Ok(states)
}

async fn fold_topic(
    topic: Topic,
    engines: &Engines,
    states: &mut [State],
    starts: &HashMap<TopicPartition, (u64, Validity)>,
) -> Result<(), StartError> {
    let mut open: HashMap<TopicPartition, Reading> = HashMap::new();
    let mut from = Vec::new();
    for (number, state) in states.iter().enumerate() {
        for (at, lane) in state.lanes.iter().filter(|(at, _)| at.topic == topic) {
            let (start, validity) = match starts.get(at) {
                Some(start) => *start,
                None => (engines.log.start_offset(*at).await?, Validity::default()),
            };
            from.push((*at, start));
            open.insert(*at, Reading { validity, end: lane.next_offset(), state: number });
        }
    }
    let mut tail = engines.log.tail(from).await?;
    while !open.is_empty() {
        for stored in tail.next(FOLD_RECORDS_MAX).await? {
            let Some(reading) = open.get_mut(&stored.at) else {
                continue; // behind our claim: void, or it will be found out when our first record lands
            };
            if admit(&mut reading.validity, &stored) == Verdict::Valid
                && let Some(state) = states.get_mut(reading.state)
            {
                state.fold_record(&stored)?;
            }
            if stored.offset + 1 == reading.end {
                open.remove(&stored.at);
                tail.remove(&[stored.at]);
            }
        }
    }
    Ok(())
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
