//! Which client message ids were seen.
//!
//! The newest are remembered exactly. For all others a filter says "certainly not" (then nothing is looked up) or "maybe"
//! (then the read model is asked). An id is forgotten only once its message is in the read model.

use std::collections::{HashMap, VecDeque};

use fastbloom::BloomFilter;
use parley_domain::{ClientMessageId, GroupId, KeyId, MessageId, Position, Seq, Timestamp, UserId};

/// Names a message from its sender's view.
pub(crate) type SentKey = (GroupId, UserId, ClientMessageId);

/// What is remembered of a message that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) message_id: MessageId,
    pub(crate) seq: Seq,
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    pub(crate) key_id: KeyId,
    pub(crate) mac: [u8; 32],
}

/// Ids of the first filter; each further one has twice as many.
const FIRST_FILTER_IDS: usize = 100_000;
/// Share of lookups that the read model is asked in vain.
const FALSE_POSITIVES: f64 = 0.01;

struct Filter {
    bloom: BloomFilter,
    room: usize,
}

/// The ids of a shard's partitions.
pub(crate) struct Dedupe {
    recent: HashMap<SentKey, Sent>,
    order: VecDeque<SentKey>,
    recent_max: usize,
    filters: Vec<Filter>,
}

impl Dedupe {
    pub(crate) fn new(recent_max: usize) -> Self {
        Self { recent: HashMap::new(), order: VecDeque::new(), recent_max, filters: Vec::new() }
    }

    pub(crate) fn recent(&self, key: &SentKey) -> Option<&Sent> {
        self.recent.get(key)
    }

    /// `false`: certainly never seen.
    pub(crate) fn maybe(&self, key: &SentKey) -> bool {
        self.filters.iter().any(|filter| filter.bloom.contains(key))
    }

    /// Whether there is room for another `count` ids, if the read models have come to `projected` in each partition.
    pub(crate) fn has_room(&self, count: usize, projected: impl Fn(u32) -> u64) -> bool {
        let excess = (self.recent.len() + count).saturating_sub(self.recent_max);
        self.order.iter().take(excess).all(|key| {
            self.recent.get(key).is_none_or(|sent| sent.position.offset < projected(sent.position.partition))
        })
    }

    pub(crate) fn remember(&mut self, key: SentKey, sent: Sent) {
        if self.filters.last().is_none_or(|filter| filter.room == 0) {
            let room = FIRST_FILTER_IDS << self.filters.len().min(16);
            let bloom = BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(room);
            self.filters.push(Filter { bloom, room });
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.bloom.insert(&key);
            filter.room -= 1;
        }
        if self.recent.insert(key.clone(), sent).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.recent_max {
            if let Some(oldest) = self.order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }
}

impl Sent {
    pub(crate) fn of(
        message: &parley_domain::MessageSent,
        seq: Seq,
        at: Timestamp,
        position: Position,
    ) -> Self {
        Self { message_id: message.message_id, seq, position, at, key_id: message.key_id, mac: message.mac }
    }
}
