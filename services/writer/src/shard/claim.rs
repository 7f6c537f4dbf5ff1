//! Claims: a writer's word, in the log, that a partition is its own from here on.

use hashbrown::HashMap;
use parley_domain::{EventId, Stamp};
use parley_eventlog::{AppendError, Bound, ReadError, Record, Topic, TopicPartition};
use parley_wire::{clock, event};
use uuid::Uuid;

use super::State;
use super::lane::Lane;
use crate::flight::answered;
use crate::options::{Engines, Options};

/// Records looked at in one go for claims of others.
const LOOK_RECORDS_MAX: usize = 1_000;

/// Claims partitions of every topic that is under the claim rule.
pub(super) async fn claim_all(
    options: &Options,
    engines: &Engines,
    owned: &[u32],
) -> Result<HashMap<TopicPartition, Lane>, AppendError> {
    let topics = Topic::ALL.iter().filter(|topic| engines.log.is_fenced(**topic));
    let places: Vec<TopicPartition> = topics
        .flat_map(|topic| {
            owned.iter().map(|partition| TopicPartition { topic: *topic, partition: *partition })
        })
        .collect();
    let claims: Vec<_> = places.iter().map(|at| (*at, claim(options))).collect();
    let ids: Vec<EventId> = claims.iter().map(|(_, record)| record.id).collect();
    let offsets = answered(engines.log.append(claims)).await?;
    let lanes = offsets.into_iter().zip(ids).map(|(offset, id)| Lane::claimed(offset, id));
    Ok(places.into_iter().zip(lanes).collect())
}

fn claim(options: &Options) -> Record {
    let (id, now) = (EventId(Uuid::now_v7()), clock::now());
    Record {
        key: None,
        value: event::encode_claim(id, &options.instance, options.generation, now),
        id,
        kind: event::CLAIM_TYPE.into(),
        source: options.instance.clone(),
        time: now,
        stamp: Stamp::Claim,
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    }
}

/// Whether somebody claimed a partition behind this state under a newer assignment than ours: then it is theirs, and to
/// claim it back would only make both lose what they have in flight.
pub(super) async fn is_theirs(
    options: &Options,
    engines: &Engines,
    state: &State,
    owned: &[u32],
) -> Result<bool, ReadError> {
    for partition in owned {
        let at = TopicPartition { topic: Topic::Events, partition: *partition };
        let Some(lane) = state.lanes.get(&at) else { continue };
        let mut from = lane.confirmed();
        let end = engines.log.offsets(&[at], Bound::End).await?.first().copied().unwrap_or_default();
        while from < end {
            let records = engines.log.read(at, from, LOOK_RECORDS_MAX).await?;
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            for stored in records.iter().filter(|stored| stored.record.stamp == Stamp::Claim) {
                let claimed = event::decode_claim(stored.record.value.clone());
                if claimed.is_ok_and(|claimed| claimed.generation > options.generation) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
