//! The bytes: bincode behind a version. Only this program reads them, and what it can't read it does without.

use std::collections::HashSet;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use bytes::Bytes;
use hashbrown::HashMap;
use parley_domain::{
    ClientMessageId, Epoch, EventId, Group, GroupId, KeyId, Membership, MessageId, Position, Role, Stay,
    Timestamp, UserId, Validity,
};

use crate::dedupe::{Dedupe, FilterParts, Sent};
use crate::shard::Slot;
use crate::snapshot::Place;

/// Another number is another format: such a snapshot is discarded, never converted.
const VERSION: u8 = 2;
/// Hostile lengths must not allocate without end.
const BYTES_MAX: usize = 1 << 30;
const CONFIG: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> =
    bincode::config::standard().with_limit::<BYTES_MAX>();

type Id = [u8; 16];

#[derive(Encode, Decode)]
struct Snapshot {
    epoch: Id,
    partition: u32,
    /// Of `parley.events` and `parley.acks`.
    places: [PlaceBytes; 2],
    groups: Vec<GroupBytes>,
    recents: Vec<SentBytes>,
    filters: Vec<FilterParts>,
}

/// Last offset, the event there, claim, next index.
type PlaceBytes = (u64, Id, Option<u64>, u64);

#[derive(Encode, Decode)]
struct GroupBytes {
    id: Id,
    name: String,
    description: String,
    creator: String,
    owner: String,
    created_at: i64,
    updated_at: i64,
    recipe: [u8; 32],
    head: u64,
    message_count: u64,
    members: Vec<MemberBytes>,
    member_count: u32,
    dissolved: Option<u64>,
    rolled_back: Vec<u64>,
}

/// joined, left, delivered, read.
type StayBytes = (u64, Option<u64>, u64, u64);

#[derive(Encode, Decode)]
struct MemberBytes {
    user: String,
    role: u8,
    joined_at: i64,
    stay: StayBytes,
    past: Vec<StayBytes>,
    notified: bool,
    sent: u64,
}

#[derive(Encode, Decode)]
struct SentBytes {
    group: Id,
    sender: String,
    client_message_id: String,
    message_id: Id,
    seq: u64,
    partition: u32,
    offset: u64,
    at: i64,
    key_id: Id,
    mac: [u8; 32],
}

/// What a snapshot holds.
pub(super) struct Decoded {
    pub(super) places: [Place; 2],
    pub(super) groups: HashMap<GroupId, Slot>,
    pub(super) dedupe: Dedupe,
}

pub(super) fn encode(
    epoch: Epoch,
    partition: u32,
    places: [Place; 2],
    groups: &HashMap<GroupId, Slot>,
    dedupe: &Dedupe,
) -> Option<Bytes> {
    let snapshot = Snapshot {
        epoch: *epoch.as_bytes(),
        partition,
        places: places.map(place_to),
        groups: groups.values().filter_map(|slot| slot.group.as_ref()).map(group_to).collect(),
        recents: dedupe.recents().map(|(key, sent)| sent_to(key, sent)).collect(),
        filters: dedupe.filters().collect(),
    };
    let mut bytes = vec![VERSION];
    bincode::encode_into_std_write(snapshot, &mut bytes, CONFIG).ok()?;
    Some(bytes.into())
}

/// `None`: of another version, log or partition, or damaged.
pub(super) fn decode(bytes: &[u8], epoch: Epoch, partition: u32, recent_max: usize) -> Option<Decoded> {
    let (version, bytes) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (snapshot, read): (Snapshot, usize) = bincode::decode_from_slice(bytes, CONFIG).ok()?;
    if read != bytes.len() || snapshot.epoch != *epoch.as_bytes() || snapshot.partition != partition {
        return None;
    }
    let mut groups = HashMap::with_capacity(snapshot.groups.len());
    for bytes in snapshot.groups {
        let group = group_from(bytes)?;
        groups.insert(group.id, Slot { durable_head: group.head, group: Some(group), is_notified: false });
    }
    let recents: Option<Vec<_>> = snapshot.recents.into_iter().map(sent_from).collect();
    Some(Decoded {
        places: snapshot.places.map(place_from),
        groups,
        dedupe: Dedupe::restored(recent_max, recents?, snapshot.filters),
    })
}

fn place_to(Place { last: (offset, id), validity }: Place) -> PlaceBytes {
    (offset, *id.0.as_bytes(), validity.claim, validity.next_index)
}

fn place_from((offset, id, claim, next_index): PlaceBytes) -> Place {
    Place { last: (offset, EventId::from_bytes(id)), validity: Validity { claim, next_index } }
}

fn group_to(group: &Group) -> GroupBytes {
    GroupBytes {
        id: *group.id.as_bytes(),
        name: group.name.clone(),
        description: group.description.clone(),
        creator: group.creator.as_str().to_owned(),
        owner: group.owner.as_str().to_owned(),
        created_at: group.created_at.as_millis(),
        updated_at: group.updated_at.as_millis(),
        recipe: group.recipe,
        head: group.head,
        message_count: group.message_count,
        members: group.members.iter().map(|(user, membership)| member_to(user, membership)).collect(),
        member_count: group.member_count,
        dissolved: group.dissolved,
        rolled_back: group.rolled_back.iter().copied().collect(),
    }
}

fn group_from(bytes: GroupBytes) -> Option<Group> {
    let members: Option<_> = bytes.members.into_iter().map(member_from).collect();
    Some(Group {
        id: GroupId::from_bytes(bytes.id),
        name: bytes.name,
        description: bytes.description,
        creator: UserId::parse(&bytes.creator).ok()?,
        owner: UserId::parse(&bytes.owner).ok()?,
        created_at: Timestamp(bytes.created_at),
        updated_at: Timestamp(bytes.updated_at),
        recipe: bytes.recipe,
        head: bytes.head,
        message_count: bytes.message_count,
        members: members?,
        member_count: bytes.member_count,
        dissolved: bytes.dissolved,
        rolled_back: bytes.rolled_back.into_iter().collect::<HashSet<_>>(),
    })
}

fn stay_to(stay: &Stay) -> StayBytes {
    (stay.joined, stay.left, stay.delivered, stay.read)
}

fn stay_from((joined, left, delivered, read): StayBytes) -> Stay {
    Stay { joined, left, delivered, read }
}

fn member_to(user: &UserId, membership: &Membership) -> MemberBytes {
    let role = match membership.role {
        Role::Owner => 1,
        Role::Admin => 2,
        Role::Member => 3,
    };
    MemberBytes {
        user: user.as_str().to_owned(),
        role,
        joined_at: membership.joined_at.as_millis(),
        stay: stay_to(&membership.stay),
        past: membership.past.iter().map(stay_to).collect(),
        notified: membership.notified,
        sent: membership.sent,
    }
}

fn member_from(bytes: MemberBytes) -> Option<(UserId, Membership)> {
    let role = match bytes.role {
        1 => Role::Owner,
        2 => Role::Admin,
        3 => Role::Member,
        _ => return None,
    };
    let membership = Membership {
        role,
        joined_at: Timestamp(bytes.joined_at),
        stay: stay_from(bytes.stay),
        past: bytes.past.into_iter().map(stay_from).collect(),
        notified: bytes.notified,
        sent: bytes.sent,
    };
    Some((UserId::parse(&bytes.user).ok()?, membership))
}

fn sent_to((group, sender, client_message_id): &crate::dedupe::SentKey, sent: &Sent) -> SentBytes {
    SentBytes {
        group: *group.as_bytes(),
        sender: sender.as_str().to_owned(),
        client_message_id: client_message_id.as_str().to_owned(),
        message_id: *sent.message_id.as_bytes(),
        seq: sent.seq,
        partition: sent.position.partition,
        offset: sent.position.offset,
        at: sent.at.as_millis(),
        key_id: *sent.key_id.as_bytes(),
        mac: sent.mac,
    }
}

fn sent_from(bytes: SentBytes) -> Option<(crate::dedupe::SentKey, Sent)> {
    let key = (
        GroupId::from_bytes(bytes.group),
        UserId::parse(&bytes.sender).ok()?,
        ClientMessageId::parse(&bytes.client_message_id).ok()?,
    );
    let sent = Sent {
        message_id: MessageId::from_bytes(bytes.message_id),
        seq: bytes.seq,
        position: Position { partition: bytes.partition, offset: bytes.offset },
        at: Timestamp(bytes.at),
        key_id: KeyId::from_bytes(bytes.key_id),
        mac: bytes.mac,
    };
    Some((key, sent))
}
