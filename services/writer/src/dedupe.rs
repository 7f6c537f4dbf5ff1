//! Which client message ids were seen.
//!
//! The newest are remembered exactly. For all others a filter says "certainly not" (then nothing is looked up) or "maybe"
//! (then the read model is asked). An id is forgotten only once its message is in the read model.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use fastbloom::BloomFilter;
use hashbrown::HashTable;
use parley_domain::{ClientMessageId, GroupId, KeyId, MessageId, Position, Seq, Timestamp, UserId};

/// Names a message from its sender's view.
pub(crate) type SentKey = (GroupId, UserId, ClientMessageId);

/// A key with its hashes: a message is looked up several times on its way, and hashing costs more than a look does.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    pub(crate) key: SentKey,
    /// Where the exact ids lie.
    place: u64,
    /// In the filters.
    filter: u64,
}

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

/// An id that is remembered exactly.
struct Recent {
    key: SentKey,
    sent: Sent,
    /// Of the key.
    hash: u64,
}

/// The ids of a shard's partitions.
pub(crate) struct Dedupe {
    /// The oldest first.
    recent: VecDeque<Recent>,
    /// How many there were before the first of them.
    forgotten: u64,
    /// How many ids there were before each one of them, with its hash. Beside the ids, since a table is copied as it grows.
    places: HashTable<(u64, u64)>,
    /// Clients choose their ids: no one may know where they come to lie.
    hasher: RandomState,
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
        Self {
            recent: VecDeque::new(),
            forgotten: 0,
            places: HashTable::new(),
            hasher: RandomState::new(),
            recent_max,
            filters: Vec::new(),
        }
    }

    /// A key, ready to be looked up here.
    pub(crate) fn hashed(&self, key: SentKey) -> Hashed {
        Hashed { place: self.hasher.hash_one(&key), filter: hash(&key), key }
    }

    pub(crate) fn recent(&self, hashed: &Hashed) -> Option<&Sent> {
        let place = self.place(&hashed.key, hashed.place)?;
        self.recent.get(place).map(|recent| &recent.sent)
    }

    fn place(&self, key: &SentKey, hash: u64) -> Option<usize> {
        let index = |number: u64| usize::try_from(number - self.forgotten).ok();
        let is_it =
            |number: u64| index(number).and_then(|at| self.recent.get(at)).is_some_and(|it| it.key == *key);
        let (_, number) = self.places.find(hash, |(of, number)| *of == hash && is_it(*number))?;
        index(*number)
    }

    /// `false`: certainly never seen.
    pub(crate) fn maybe(&self, hashed: &Hashed) -> bool {
        self.filters.iter().any(|filter| filter.bloom.contains_hash(hashed.filter))
    }

    /// Whether there is room for another `count` ids, if the read models have come to `projected` in each partition.
    pub(crate) fn has_room(&self, count: usize, projected: impl Fn(u32) -> u64) -> bool {
        let excess = (self.recent.len() + count).saturating_sub(self.recent_max);
        let is_projected = |at: Position| at.offset < projected(at.partition);
        self.recent.iter().take(excess).all(|recent| is_projected(recent.sent.position))
    }

    pub(crate) fn remember(&mut self, hashed: Hashed, sent: Sent) {
        if self.filters.last().is_none_or(|filter| filter.room == 0) {
            let room = FIRST_FILTER_IDS << self.filters.len().min(16);
            let bloom = BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(room);
            self.filters.push(Filter { bloom, room });
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.bloom.insert_hash(hashed.filter);
            filter.room -= 1;
        }
        self.remember_recent(hashed, sent);
    }

    fn remember_recent(&mut self, Hashed { key, place: hash, .. }: Hashed, sent: Sent) {
        if let Some(known) = self.place(&key, hash).and_then(|at| self.recent.get_mut(at)) {
            known.sent = sent;
            return;
        }
        let number = self.forgotten + self.recent.len() as u64;
        self.recent.push_back(Recent { key, sent, hash });
        self.places.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        while self.recent.len() > self.recent_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let (number, Some(Recent { hash, .. })) = (self.forgotten, self.recent.pop_front()) else { return };
        self.forgotten += 1;
        if let Ok(place) = self.places.find_entry(hash, |(_, other)| *other == number) {
            place.remove();
        }
    }

    /// What is remembered exactly, the oldest first.
    pub(crate) fn recents(&self) -> impl Iterator<Item = (&SentKey, &Sent)> {
        self.recent.iter().map(|recent| (&recent.key, &recent.sent))
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
            let hashed = dedupe.hashed(key);
            dedupe.remember_recent(hashed, sent);
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

    fn sent(seq: Seq) -> Sent {
        Sent {
            message_id: MessageId::from_bytes([1; 16]),
            seq,
            position: Position { partition: 0, offset: seq },
            at: Timestamp(0),
            key_id: KeyId::from_bytes([2; 16]),
            mac: [3; 32],
        }
    }

    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(hash(&key(1)), 0xd345_4907_eb0d_0602, "snapshots in the field hold filters made with it");
    }

    #[test]
    fn what_was_seen_is_never_unseen_also_after_a_snapshot() {
        let sent = sent(1);
        let mut dedupe = Dedupe::new(10);
        for number in 0..1_000 {
            dedupe.remember(dedupe.hashed(key(number)), sent);
        }
        let recents = dedupe.recents().map(|(key, sent)| (key.clone(), *sent)).collect();
        let restored = Dedupe::restored(10, recents, dedupe.filters().collect());
        for dedupe in [&dedupe, &restored] {
            assert!((0..1_000).all(|number| dedupe.maybe(&dedupe.hashed(key(number)))));
            let recent = |number| dedupe.recent(&dedupe.hashed(key(number)));
            assert!((0..990).all(|number| recent(number).is_none()));
            assert!((990..1_000).all(|number| recent(number) == Some(&sent)));
            let wrong = (1_000..11_000).filter(|number| dedupe.maybe(&dedupe.hashed(key(*number)))).count();
            assert!(wrong < 300, "about 1 % at worst: {wrong} of 10,000");
        }
    }

    #[test]
    fn who_is_remembered_again_keeps_its_place_in_the_row() {
        let mut dedupe = Dedupe::new(3);
        for (number, seq) in [(1, 1), (2, 2), (1, 3), (3, 4), (4, 5)] {
            dedupe.remember(dedupe.hashed(key(number)), sent(seq));
        }
        let seq = |number| dedupe.recent(&dedupe.hashed(key(number))).map(|sent| sent.seq);
        assert_eq!([1, 2, 3, 4].map(seq), [None, Some(2), Some(4), Some(5)]);
        assert_eq!(dedupe.recents().map(|(_, sent)| sent.seq).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn there_is_room_once_what_must_be_forgotten_is_in_the_read_models() {
        let mut dedupe = Dedupe::new(3);
        (1..=3).for_each(|number| dedupe.remember(dedupe.hashed(key(number)), sent(number)));
        let has_room = |count, projected| dedupe.has_room(count, |_| projected);
        assert!(has_room(0, 0) && !has_room(1, 1) && has_room(1, 2) && !has_room(2, 2) && has_room(2, 3));
    }
}
