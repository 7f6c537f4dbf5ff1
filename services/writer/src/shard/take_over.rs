//! Taking partitions over: claim, read up to the claim, only then serve.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use parley_domain::{Event, EventId, Group, Stamp, Validity, Verdict};
use parley_eventlog::{AppendError, Offsets as _, Record, StoredRecord, Topic, TopicPartition};
use parley_wire::{clock, event};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::lane::Lane;
use super::{InFlight, Shard, State};
use crate::dedupe::{Dedupe, Sent};
use crate::options::{Engines, Options, StartError};

/// Records read in one go while folding.
const FOLD_RECORDS_MAX: usize = 4_096;

impl Shard {
    pub(crate) async fn take_over(
        options: Options,
        engines: Engines,
        owned: Vec<u32>,
        tracker: TaskTracker,
    ) -> Result<Self, StartError> {
        let state = Self::fold(&options, &engines, &owned).await?;
        Ok(Self {
            options,
            engines,
            owned,
            tracker,
            state,
            to_notify: std::collections::BTreeMap::new(),
            deferred: Vec::new(),
        })
    }

    /// Claims partitions and folds what lies before the claims.
    pub(super) async fn fold(
        options: &Options,
        engines: &Engines,
        owned: &[u32],
    ) -> Result<State, StartError> {
        let lanes = claim_all(options, engines, owned).await.map_err(StartError::Claim)?;
        let mut state = State { lanes, groups: HashMap::new(), dedupe: Dedupe::new(options.recent_ids_max) };
        // Cursors name events, so the events come first: between topics the log has no order.
        for topic in [Topic::Events, Topic::Acks] {
            state.fold_topic(topic, engines).await?;
        }
        for slot in state.groups.values_mut() {
            slot.durable_head = slot.group.as_ref().map_or(0, |group| group.head);
        }
        Ok(state)
    }

    /// When the claims of now are to be followed by new ones.
    pub(super) fn next_claim(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.options.claim_seconds)
    }

    /// Claims the partitions once more and goes on under the new claims; what was folded stays, as nobody else wrote.
    /// `false` if that isn't so, and everything is to be folded anew.
    ///
    /// With nothing in flight: an event may name a claim only once its offset is known. One that named a claim still
    /// under way could count as another writer's first, if that writer's claim got the offset.
    pub(super) async fn claim_anew(&mut self, in_flight: &mut InFlight) -> bool {
        while let Some(landed) = in_flight.next().await {
            if !self.landed(landed, in_flight) {
                return false;
            }
        }
        match claim_all(&self.options, &self.engines, &self.owned).await {
            Ok(lanes) => {
                let follows = |(at, lane): (&TopicPartition, &Lane)| {
                    self.state.lanes.get(at).is_some_and(|before| lane.follows(before))
                };
                if !lanes.iter().all(follows) {
                    tracing::error!("somebody else wrote to this writer's partitions: folding them anew");
                    return false;
                }
                self.state.lanes = lanes;
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "the partitions can't be claimed anew: folding them anew");
                false
            }
        }
    }
}

/// Claims partitions of every topic.
async fn claim_all(
    options: &Options,
    engines: &Engines,
    owned: &[u32],
) -> Result<HashMap<TopicPartition, Lane>, AppendError> {
    let places: Vec<TopicPartition> = Topic::ALL
        .iter()
        .flat_map(|topic| {
            owned.iter().map(|partition| TopicPartition { topic: *topic, partition: *partition })
        })
        .collect();
    let claims = places.iter().map(|at| (*at, claim(options))).collect();
    let appended = engines.log.append(claims).await;
    let offsets = appended.map_err(|_| AppendError::Unknown("the log gave no answer".into()))??;
    Ok(places.iter().zip(&offsets).map(|(at, offset)| (*at, Lane::claimed(*offset))).collect())
}

fn claim(options: &Options) -> Record {
    let (id, now) = (EventId(Uuid::now_v7()), clock::now());
    Record {
        key: None,
        value: event::encode_claim(id, &options.instance, 0, now),
        id,
        kind: event::CLAIM_TYPE.into(),
        source: options.instance.clone(),
        time: now,
        stamp: Stamp::Claim,
    }
}

impl State {
    async fn fold_topic(&mut self, topic: Topic, engines: &Engines) -> Result<(), StartError> {
        let mut open: HashMap<TopicPartition, (Validity, u64)> = HashMap::new();
        let mut from = Vec::new();
        for (at, lane) in self.lanes.iter().filter(|(at, _)| at.topic == topic) {
            from.push((*at, engines.log.start_offset(*at).await?));
            open.insert(*at, (Validity::default(), lane.next_offset()));
        }
        let mut tail = engines.log.tail(from).await?;
        while !open.is_empty() {
            for stored in tail.next(FOLD_RECORDS_MAX).await? {
                let Some((validity, end)) = open.get_mut(&stored.at) else {
                    return Err(StartError::Superseded); // nobody may write behind our claim
                };
                if parley_eventlog::admit(validity, &stored) == Verdict::Valid {
                    self.fold_record(&stored)?;
                }
                if stored.offset + 1 == *end {
                    open.remove(&stored.at);
                }
            }
        }
        Ok(())
    }

    fn fold_record(&mut self, stored: &StoredRecord) -> Result<(), StartError> {
        let decode = |source| StartError::Decode {
            topic: stored.at.topic.name(),
            partition: stored.at.partition,
            offset: stored.offset,
            source,
        };
        let value = stored.record.value.clone();
        match stored.at.topic {
            Topic::Events => {
                let fact = event::decode_fact(&stored.record.kind, value).map_err(decode)?;
                let position =
                    parley_domain::Position { partition: stored.at.partition, offset: stored.offset };
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
