//! Short names for the values that the tests are made of.

use parley_domain::{
    ClientMessageId, Command, Context, CreateGroup, Event, EventId, Fact, Group, GroupId, KeyId, Limits,
    MediaDescription, MediaId, MessageId, MessageKind, MessageSent, Role, RollbackReason, SealedContent,
    SendMessage, Seq, Timestamp, UserId,
};

pub(crate) const GROUP: GroupId = GroupId(uuid::Uuid::from_u128(0x6702));
pub(crate) const RECIPE: [u8; 32] = [7; 32];

/// Small, so that tests reach them.
pub(crate) const LIMITS: Limits = Limits { group_members_max: 8, text_bytes_max: 100 };

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(crate) fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

pub(crate) fn event_id(seq: Seq) -> EventId {
    EventId::from_bytes((0xe0_0000 + u128::from(seq)).to_be_bytes())
}

pub(crate) fn message_id(seq: Seq) -> MessageId {
    MessageId(event_id(seq).0)
}

/// When the event at `seq` happens.
pub(crate) fn at(seq: Seq) -> Timestamp {
    Timestamp(1_000 * seq.cast_signed())
}

/// What `actor` is known by when the next event would get `seq`.
pub(crate) fn context(actor: &str, seq: Seq) -> Context {
    Context { group_id: GROUP, actor: user(actor), now: at(seq), event_id: event_id(seq), limits: LIMITS }
}

/// The events with their places: dense, in order, messages counted.
pub(crate) fn facts(events: &[Event]) -> Vec<Fact> {
    let mut message_count = 0;
    (1..)
        .zip(events)
        .map(|(seq, event)| {
            message_count += u64::from(matches!(event, Event::MessageSent(_)));
            let event = event.clone();
            Fact { group_id: GROUP, seq, event_id: event_id(seq), at: at(seq), message_count, event }
        })
        .collect()
}

pub(crate) fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Option<Group> {
    let mut group = None;
    for fact in facts {
        Group::evolve(&mut group, fact);
    }
    group
}

pub(crate) fn created(members: &[&str]) -> Event {
    Event::GroupCreated {
        name: "Rust".into(),
        description: "about Rust".into(),
        creator: user(members[0]),
        members: users(members),
        recipe: RECIPE,
    }
}

pub(crate) fn added(actor: &str, names: &[&str], member_count: u32) -> Event {
    Event::MembersAdded { actor: user(actor), users: users(names), member_count }
}

pub(crate) fn removed(actor: &str, name: &str, member_count: u32) -> Event {
    Event::MembersRemoved { actor: user(actor), users: users(&[name]), member_count }
}

pub(crate) fn role_changed(actor: &str, name: &str, role: Role) -> Event {
    Event::RoleChanged { actor: user(actor), user: user(name), role }
}

pub(crate) fn transferred(actor: &str, owner: &str) -> Event {
    Event::OwnerTransferred { actor: user(actor), owner: user(owner) }
}

pub(crate) fn updated(actor: &str, name: &str, description: &str) -> Event {
    Event::GroupUpdated { actor: user(actor), name: name.into(), description: description.into() }
}

pub(crate) fn dissolved(actor: &str) -> Event {
    Event::GroupDissolved { actor: user(actor) }
}

/// The message that [`send`] becomes at `seq`.
pub(crate) fn sent(seq: Seq, sender: &str, sender_nth: u64) -> Event {
    Event::MessageSent(MessageSent {
        message_id: message_id(seq),
        client_message_id: ClientMessageId::parse("c1").unwrap(),
        sender: user(sender),
        sender_nth,
        kind: MessageKind::Text,
        media: None,
        key_id: KeyId::from_bytes([9; 16]),
        sealed: vec![1, 2, 3].into(),
        mac: [4; 32],
        text_bytes: 5,
    })
}

pub(crate) fn rolled_back(message_seq: Seq, sender: &str) -> Event {
    Event::MessageRolledBack {
        message_id: message_id(message_seq),
        message_seq,
        sender: user(sender),
        reason: RollbackReason::MediaMissing,
    }
}

pub(crate) fn create(members: &[&str]) -> CreateGroup {
    CreateGroup {
        name: "Rust".into(),
        description: "about Rust".into(),
        members: users(members),
        recipe: RECIPE,
    }
}

pub(crate) fn update(name: Option<&str>, description: Option<&str>) -> Command {
    Command::Update { name: name.map(Into::into), description: description.map(Into::into) }
}

pub(crate) fn add(names: &[&str]) -> Command {
    Command::AddMembers { users: users(names) }
}

pub(crate) fn remove(name: &str) -> Command {
    Command::RemoveMember { user: user(name) }
}

pub(crate) fn transfer(name: &str) -> Command {
    Command::TransferOwnership { user: user(name) }
}

pub(crate) fn set_role(name: &str, role: Role) -> Command {
    Command::SetRole { user: user(name), role }
}

/// A text; tests change what they are about.
pub(crate) fn send() -> SendMessage {
    SendMessage {
        client_message_id: ClientMessageId::parse("c1").unwrap(),
        kind: MessageKind::Text,
        content: SealedContent {
            key_id: KeyId::from_bytes([9; 16]),
            sealed: vec![1, 2, 3].into(),
            mac: [4; 32],
            text_bytes: 5,
        },
        media: None,
        earlier: None,
        over_rate: None,
    }
}

pub(crate) fn picture() -> MediaDescription {
    MediaDescription {
        media_id: MediaId::from_bytes([3; 16]),
        content_type: "image/png".into(),
        content_length: 70,
    }
}

pub(crate) fn roll_back(message_seq: Seq, sender: &str) -> Command {
    Command::RollBack {
        message_id: message_id(message_seq),
        message_seq,
        sender: user(sender),
        reason: RollbackReason::MediaMissing,
    }
}
