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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A filter as a snapshot keeps it: bits, hashes an id, and how many more ids it takes.
pub(crate) type FilterParts = (Vec<u64>, u32, u64);

/// The ids of a shard's partitions.
pub(crate) struct Dedupe {
    recent: HashMap<SentKey, Sent>,
    order: VecDeque<SentKey>,
    recent_max: usize,
    filters: Vec<Filter>,
}

/// Filters are kept in snapshots, which another build may read: so the hash is our own, and the same for good.
fn hash((group, sender, client_message_id): &SentKey) -> u64 {
    // FNV-1a, and the finish of SplitMix64, since the filter wants all bits to depend on all of the input.
    let text = [sender.as_str().as_bytes(), &[0], client_message_id.as_str().as_bytes()];
    let bytes = group.as_bytes().iter().chain(text.into_iter().flatten());
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
        let hash = hash(key);
        self.filters.iter().any(|filter| filter.bloom.contains_hash(hash))
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
            filter.bloom.insert_hash(hash(&key));
            filter.room -= 1;
        }
        self.remember_recent(key, sent);
    }

    fn remember_recent(&mut self, key: SentKey, sent: Sent) {
        if self.recent.insert(key.clone(), sent).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.recent_max {
            if let Some(oldest) = self.order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }

    /// What is remembered exactly, the oldest first.
    pub(crate) fn recents(&self) -> impl Iterator<Item = (&SentKey, &Sent)> {
        self.order.iter().filter_map(|key| Some((key, self.recent.get(key)?)))
    }

    /// The filters, for a snapshot.
    pub(crate) fn filters(&self) -> impl Iterator<Item = FilterParts> {
        self.filters
            .iter()
            .map(|filter| (filter.bloom.as_slice().to_vec(), filter.bloom.num_hashes(), filter.room as u64))
    }

    /// From a snapshot.
    pub(crate) fn restored(
        recent_max: usize,
        recents: Vec<(SentKey, Sent)>,
        filters: Vec<FilterParts>,
    ) -> Self {
        let mut dedupe = Self::new(recent_max);
        dedupe.filters = filters
            .into_iter()
            .map(|(bits, hashes, room)| Filter {
                bloom: BloomFilter::from_vec(bits).hashes(hashes),
                room: usize::try_from(room).unwrap_or(0),
            })
            .collect();
        for (key, sent) in recents {
            dedupe.remember_recent(key, sent);
        }
        dedupe
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn key(number: u64) -> SentKey {
        let group = GroupId::from_bytes([7; 16]);
        let id = ClientMessageId::parse(&format!("id-{number}")).unwrap();
        (group, UserId::parse("ann").unwrap(), id)
    }

    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(hash(&key(1)), 0xd345_4907_eb0d_0602, "snapshots in the field hold filters made with it");
    }

    #[test]
    fn what_was_seen_is_never_unseen_also_after_a_snapshot() {
        let sent = Sent {
            message_id: MessageId::from_bytes([1; 16]),
            seq: 1,
            position: Position { partition: 0, offset: 1 },
            at: Timestamp(0),
            key_id: KeyId::from_bytes([2; 16]),
            mac: [3; 32],
        };
        let mut dedupe = Dedupe::new(10);
        for number in 0..1_000 {
            dedupe.remember(key(number), sent);
        }
        let recents = dedupe.recents().map(|(key, sent)| (key.clone(), *sent)).collect();
        let restored = Dedupe::restored(10, recents, dedupe.filters().collect());
        for dedupe in [&dedupe, &restored] {
            assert!((0..1_000).all(|number| dedupe.maybe(&key(number))));
            assert!((0..990).all(|number| dedupe.recent(&key(number)).is_none()));
            assert!((990..1_000).all(|number| dedupe.recent(&key(number)) == Some(&sent)));
            let wrong = (1_000..11_000).filter(|number| dedupe.maybe(&key(*number))).count();
            assert!(wrong < 300, "about 1 % at worst: {wrong} of 10,000");
        }
    }
}
