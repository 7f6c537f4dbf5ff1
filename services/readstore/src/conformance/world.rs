//! A log, made by playing a script against the domain.

use std::collections::{BTreeMap, HashSet};

use bytes::{Buf, Bytes};
use parley_domain::{
    ClientMessageId, CursorAdvance, CursorWish, Event, EventId, Fact, Group, GroupId, KeyId,
    MediaDescription, MediaId, MessageId, MessageKind, MessageSent, Position, ProfileChanged, Role,
    RollbackReason, Row, Seq, Timestamp, UserId, advance_cursors, project, project_cursor, project_profile,
};

use crate::{Source, Write};

/// A wish, in numbers, so that any numbers are one: what, in which group, who, whom, how much.
pub type Op = (u8, u8, u8, u8, u8);

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Of the topic of events, with its offset.
    Event(Fact, u64),
    /// Of the topic of acknowledgements.
    Ack(GroupId, CursorAdvance),
    /// Of the topic of users.
    Profile(ProfileChanged),
}

impl Entry {
    /// The rows of an entry, as a projector writes them.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        let plain = |row| Write { row, event: None };
        match self {
            Self::Event(fact, offset) => {
                let mut value = value_of(fact.group_id, fact.seq);
                let tag = value.get_u8();
                let event = Source { position: Position { partition: 0, offset: *offset }, tag, value };
                let rows = project(fact).into_iter();
                rows.map(|row| Write {
                    event: matches!(row, Row::Timeline { .. }).then(|| event.clone()),
                    row,
                })
                .collect()
            }
            Self::Ack(group, advance) => project_cursor(*group, advance).into_iter().map(plain).collect(),
            Self::Profile(profile) => vec![plain(project_profile(profile))],
        }
    }
}

/// The bytes that stand for an event.
#[must_use]
pub(super) fn value_of(group: GroupId, seq: Seq) -> Bytes {
    format!("{group} {seq}").into()
}

/// A log and the domain's fold of it.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The log in the order in which it came to be.
    pub log: Vec<Entry>,
    /// The groups at its end.
    pub groups: BTreeMap<GroupId, Group>,
    clock: u64,
}

/// Names that are beginnings of one another, with blanks, with bytes beyond ASCII.
const USERS: [&str; 7] = ["ann", "ann b", "anna", "bob", "b", "zoë", "日本"];

const GROUPS: u8 = 3;

/// Every user that appears in a world, and one that doesn't.
#[must_use]
pub(super) fn users() -> Vec<UserId> {
    USERS.iter().chain(&["nobody"]).map(|name| user(name)).collect()
}

/// A user id.
#[must_use]
pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A group's id.
#[must_use]
pub(super) fn group(number: u8) -> GroupId {
    GroupId::from_bytes([number; 16])
}

/// A script of pseudo-random wishes, the same for the same seed.
#[must_use]
pub fn script(seed: u64, len: usize) -> Vec<Op> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [_, a, b, c, d, e, ..] = state.to_be_bytes();
        (a, b, c, d, e)
    };
    std::iter::repeat_with(next).take(len).collect()
}

impl World {
    /// Plays a script. Wishes that make no sense where they stand change nothing.
    #[must_use]
    pub fn play(script: &[Op]) -> Self {
        let mut world = Self::default();
        for op in script {
            world.step(*op);
        }
        world
    }

    fn step(&mut self, (what, group_nr, who, whom, amount): Op) {
        self.clock += 1;
        let id = group(group_nr % GROUPS + 1);
        let pick = |number: u8| user(USERS[usize::from(number) % USERS.len()]);
        let (who, whom) = (pick(who), pick(whom));
        if what % 23 == 22 {
            let avatar_url = amount.is_multiple_of(2).then(|| format!("https://x/{amount}"));
            let display_name = format!("{who} {amount}");
            self.log.push(Entry::Profile(ProfileChanged {
                user: who,
                display_name,
                avatar_url,
                at: self.now(),
            }));
            return;
        }
        let Some(group) = self.groups.get(&id).cloned() else {
            self.create(id, &who, &[pick(amount), whom]);
            return;
        };
        if (12..19).contains(&(what % 23)) {
            self.acknowledge(id, &who, amount);
            return;
        }
        if group.dissolved.is_some() {
            return;
        }
        if let Some(event) = self.event(&group, what % 23, &who, &whom, amount) {
            self.push(id, event);
        }
    }

    fn event(&self, group: &Group, what: u8, who: &UserId, whom: &UserId, amount: u8) -> Option<Event> {
        let owner = group.owner.clone();
        let is_member = |user: &UserId| group.member(user).is_some();
        Some(match what {
            0..=6 => {
                let sent = group.member(who)?.sent;
                let kind = if amount.is_multiple_of(4) { MessageKind::Image } else { MessageKind::Text };
                Event::MessageSent(self.message(who, sent + 1, kind, amount))
            }
            7 | 8 if !is_member(whom) => {
                let member_count = group.member_count + 1;
                Event::MembersAdded { actor: owner, users: vec![whom.clone()], member_count }
            }
            9 | 10 if is_member(whom) && *whom != owner => {
                let member_count = group.member_count - 1;
                Event::MembersRemoved { actor: owner, users: vec![whom.clone()], member_count }
            }
            11 if is_member(whom) && *whom != owner => {
                let role = if amount.is_multiple_of(2) { Role::Admin } else { Role::Member };
                Event::RoleChanged { actor: owner, user: whom.clone(), role }
            }
            19 if is_member(whom) && *whom != owner => {
                Event::OwnerTransferred { actor: owner, owner: whom.clone() }
            }
            20 if amount < 20 => Event::GroupDissolved { actor: owner },
            20 => {
                let (name, description) = (format!("name {amount}"), "d".repeat(amount.into()));
                Event::GroupUpdated { actor: owner, name, description }
            }
            21 => self.roll_back(group, amount)?,
            _ => return None,
        })
    }

    /// A message with a made-up content.
    #[must_use]
    pub fn message(&self, sender: &UserId, sender_nth: u64, kind: MessageKind, media: u8) -> MessageSent {
        let description = MediaDescription {
            media_id: MediaId::from_bytes([media % 8; 16]),
            content_type: "image/png".to_owned(),
            content_length: 1,
        };
        MessageSent {
            message_id: MessageId::from_bytes(u128::from(self.clock).to_be_bytes()),
            client_message_id: ClientMessageId::parse(&format!("\0{}", self.clock)).unwrap(),
            sender: sender.clone(),
            sender_nth,
            kind,
            media: (kind != MessageKind::Text).then_some(description),
            key_id: KeyId::from_bytes([0; 16]),
            sealed: Bytes::new(),
            mac: [0; 32],
            text_bytes: 0,
        }
    }

    fn roll_back(&self, group: &Group, amount: u8) -> Option<Event> {
        let open = self.messages(group.id).filter(|(seq, _)| !group.rolled_back.contains(seq));
        let open: Vec<_> = open.collect();
        let (message_seq, message) = open.get(usize::from(amount) % open.len().max(1))?;
        Some(Event::MessageRolledBack {
            message_id: message.message_id,
            message_seq: *message_seq,
            sender: message.sender.clone(),
            reason: RollbackReason::Unprojectable,
        })
    }

    /// Appends the creation of a group by a user with others.
    pub fn create(&mut self, id: GroupId, creator: &UserId, others: &[UserId]) {
        let mut seen = HashSet::new();
        let members = std::iter::once(creator).chain(others).filter(|user| seen.insert((*user).clone()));
        let members = members.cloned().collect();
        let (name, description) = (format!("group {id}"), String::new());
        self.push(
            id,
            Event::GroupCreated { name, description, creator: creator.clone(), members, recipe: [0; 32] },
        );
    }

    /// Appends an event of a group.
    pub fn push(&mut self, group_id: GroupId, event: Event) -> Seq {
        self.clock += 1;
        let mut slot = self.groups.remove(&group_id);
        let (head, messages) = slot.as_ref().map_or((0, 0), |group| (group.head, group.message_count));
        let fact = Fact {
            group_id,
            seq: head + 1,
            event_id: EventId::from_bytes(u128::from(self.clock).to_be_bytes()),
            at: self.now(),
            message_count: messages + u64::from(matches!(event, Event::MessageSent(_))),
            event,
        };
        Group::evolve(&mut slot, &fact);
        self.groups.extend(slot.map(|group| (group_id, group)));
        self.log.push(Entry::Event(fact, self.clock));
        head + 1
    }

    /// Appends a message of a user, and gives its place.
    pub fn send(&mut self, group_id: GroupId, sender: &str) -> Seq {
        let sender = user(sender);
        let sent = self.groups[&group_id].members[&sender].sent;
        self.clock += 1;
        let message = self.message(&sender, sent + 1, MessageKind::Text, 0);
        self.push(group_id, Event::MessageSent(message))
    }

    /// Appends the acknowledgement that the writer would make of a wish, if any; gives its time.
    pub fn advance(
        &mut self,
        group_id: GroupId,
        user: &UserId,
        delivered: Seq,
        read: Seq,
        notified: bool,
    ) -> Timestamp {
        self.clock += 1;
        let group = self.groups.get_mut(&group_id).expect("a group");
        let wish = CursorWish { user: user.clone(), delivered, read, notified };
        let at = Timestamp(1_700_000_000_000 + i64::try_from(self.clock).unwrap());
        for advance in advance_cursors(Some(group), &[wish], group.head, at).advances {
            group.apply_cursor(&advance);
            self.log.push(Entry::Ack(group_id, advance));
        }
        at
    }

    fn acknowledge(&mut self, id: GroupId, who: &UserId, amount: u8) {
        let head = self.groups[&id].head;
        let part = |sixteenths: u8| head * u64::from(sixteenths) / 15;
        let (delivered, read) = (part(amount / 16), part(amount % 16));
        self.advance(id, who, delivered, read, amount.is_multiple_of(5));
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000).plus_millis(i64::try_from(self.clock).unwrap())
    }

    /// The facts of a group.
    pub fn facts(&self, id: GroupId) -> impl Iterator<Item = (&Fact, u64)> {
        self.log.iter().filter_map(move |entry| match entry {
            Entry::Event(fact, offset) => (fact.group_id == id).then_some((fact, *offset)),
            Entry::Ack(..) | Entry::Profile(_) => None,
        })
    }

    /// The messages of a group, with their places.
    pub fn messages(&self, id: GroupId) -> impl Iterator<Item = (Seq, &MessageSent)> {
        self.facts(id).filter_map(|(fact, _)| match &fact.event {
            Event::MessageSent(message) => Some((fact.seq, message)),
            Event::GroupCreated { .. }
            | Event::MembersAdded { .. }
            | Event::MembersRemoved { .. }
            | Event::RoleChanged { .. }
            | Event::OwnerTransferred { .. }
            | Event::GroupUpdated { .. }
            | Event::GroupDissolved { .. }
            | Event::MessageRolledBack { .. } => None,
        })
    }
}
