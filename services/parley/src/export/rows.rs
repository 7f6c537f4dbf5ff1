//! Events and cursors as rows. Pure: a record in, rows out.

use parley_domain::{Event, Fact, MessageKind, Timestamp, UserId};
use parley_eventlog::{StoredRecord, Topic};
use parley_wire::event::CursorsAdvanced;
use parley_wire::frame::{role_name, rollback_name};

use super::table::{Cell, Column, Kind, Row};

/// What became of a message's sealed content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Opened {
    /// Nobody asked for it.
    #[default]
    Sealed,
    /// The text, if the message has one.
    Text(Option<String>),
    /// Its data key was destroyed.
    Erased,
}

/// One event of `parley.events`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EventRow {
    partition: u32,
    offset: u64,
    event_id: String,
    kind: String,
    source: String,
    group_id: Option<String>,
    at: Timestamp,
    /// What is in the value; `None` if this version doesn't understand it.
    value: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Value {
    seq: u64,
    message_count: u64,
    actor: Option<String>,
    user_ids: Option<Vec<String>>,
    member_count: Option<u64>,
    role: Option<&'static str>,
    name: Option<String>,
    description: Option<String>,
    message: Option<Message>,
    rolled_back_seq: Option<u64>,
    reason: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    message_id: String,
    sender: String,
    client_message_id: Option<String>,
    message_type: Option<&'static str>,
    sender_nth: Option<u64>,
    size_bytes: Option<u64>,
    key_id: Option<String>,
    media_id: Option<String>,
    media_content_type: Option<String>,
    media_content_length: Option<u64>,
    text: Option<String>,
    withheld: Option<&'static str>,
}

/// One entry of one record of `parley.acks`: a member's cursors after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AckRow {
    partition: u32,
    offset: u64,
    entry: u64,
    event_id: String,
    group_id: String,
    at: Timestamp,
    user_id: String,
    delivered_seq: u64,
    read_seq: u64,
    delivered_before_seq: u64,
    read_before_seq: u64,
    notified_seq: Option<u64>,
}

fn texts(users: &[UserId]) -> Option<Vec<String>> {
    Some(users.iter().map(ToString::to_string).collect())
}

fn message_type(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Text => "text",
        MessageKind::Image => "image",
        MessageKind::Video => "video",
        MessageKind::Audio => "audio",
    }
}

fn value(fact: &Fact, opened: Opened) -> Value {
    let base = Value { seq: fact.seq, message_count: fact.message_count, ..Value::default() };
    let by = |actor: &UserId| Some(actor.to_string());
    match &fact.event {
        Event::GroupCreated { name, description, creator, members, .. } => Value {
            actor: by(creator),
            user_ids: texts(members),
            member_count: Some(members.len() as u64),
            name: Some(name.clone()),
            description: Some(description.clone()),
            ..base
        },
        Event::MembersAdded { actor, users, member_count }
        | Event::MembersRemoved { actor, users, member_count } => Value {
            actor: by(actor),
            user_ids: texts(users),
            member_count: Some(u64::from(*member_count)),
            ..base
        },
        Event::RoleChanged { actor, user, role } => Value {
            actor: by(actor),
            user_ids: texts(std::slice::from_ref(user)),
            role: Some(role_name(*role)),
            ..base
        },
        Event::OwnerTransferred { actor, owner } => {
            Value { actor: by(actor), user_ids: texts(std::slice::from_ref(owner)), ..base }
        }
        Event::GroupUpdated { actor, name, description } => Value {
            actor: by(actor),
            name: Some(name.clone()),
            description: Some(description.clone()),
            ..base
        },
        Event::GroupDissolved { actor } => Value { actor: by(actor), ..base },
        Event::MessageSent(sent) => {
            Value { actor: by(&sent.sender), message: Some(message(sent, opened)), ..base }
        }
        Event::MessageRolledBack { message_id, message_seq, sender, reason } => Value {
            message: Some(Message {
                message_id: message_id.to_string(),
                sender: sender.to_string(),
                ..Message::default()
            }),
            rolled_back_seq: Some(*message_seq),
            reason: Some(rollback_name(*reason)),
            ..base
        },
    }
}

fn message(sent: &parley_domain::MessageSent, opened: Opened) -> Message {
    let (text, withheld) = match opened {
        Opened::Sealed => (None, None),
        Opened::Text(text) => (text, None),
        Opened::Erased => (None, Some("erased")),
    };
    let media = sent.media.as_ref();
    Message {
        message_id: sent.message_id.to_string(),
        sender: sent.sender.to_string(),
        client_message_id: Some(sent.client_message_id.to_string()),
        message_type: Some(message_type(sent.kind)),
        sender_nth: Some(sent.sender_nth),
        size_bytes: Some(u64::from(sent.text_bytes)),
        key_id: Some(sent.key_id.to_string()),
        media_id: media.map(|media| media.media_id.to_string()),
        media_content_type: media.map(|media| media.content_type.clone()),
        media_content_length: media.map(|media| media.content_length),
        text,
        withheld,
    }
}

/// The row of an event; `fact` is `None` where this version doesn't understand the value, of which a newer writer's
/// headers still tell what it is.
pub(crate) fn event_row(stored: &StoredRecord, fact: Option<&Fact>, opened: Opened) -> EventRow {
    let record = &stored.record;
    EventRow {
        partition: stored.at.partition,
        offset: stored.offset,
        event_id: record.id.to_string(),
        kind: record.kind.clone().into_owned(),
        source: record.source.to_string(),
        group_id: record.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
        at: fact.map_or(record.time, |fact| fact.at),
        value: fact.map(|fact| value(fact, opened)),
    }
}

/// The rows of a record of `parley.acks`, in its order.
pub(crate) fn ack_rows(stored: &StoredRecord, cursors: &CursorsAdvanced) -> Vec<AckRow> {
    let rows = (0..).zip(&cursors.advances).map(|(entry, advance)| {
        let after = advance.after();
        AckRow {
            partition: stored.at.partition,
            offset: stored.offset,
            entry,
            event_id: stored.record.id.to_string(),
            group_id: cursors.group_id.to_string(),
            at: advance.at,
            user_id: advance.user.to_string(),
            delivered_seq: after.delivered,
            read_seq: after.read,
            delivered_before_seq: advance.delivered_before,
            read_before_seq: advance.read_before,
            notified_seq: advance.notified,
        }
    });
    rows.collect()
}

impl EventRow {
    /// When.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    fn message(&self) -> Option<&Message> {
        self.value.as_ref()?.message.as_ref()
    }
}

impl AckRow {
    /// When.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }
}

/// Parquet's integers are signed, as DuckDB's and Spark's are; no offset or length comes near the limit.
fn int(number: u64) -> Cell<'static> {
    Cell::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn maybe(number: Option<u64>) -> Cell<'static> {
    number.map_or(Cell::Int(None), int)
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Some(text))
}

macro_rules! columns {
    ($($name:literal $kind:ident $get:expr),* $(,)?) => {
        &[$(Column { name: $name, kind: Kind::$kind, get: $get }),*]
    };
}

impl Row for EventRow {
    const TABLE: &'static str = "events";
    const COLUMNS: &'static [Column<Self>] = columns![
        "topic" Text |_| text(Topic::Events.name()),
        "partition" Int |row| int(u64::from(row.partition)),
        "offset" Int |row| int(row.offset),
        "event_id" Text |row| text(&row.event_id),
        "type" Text |row| text(&row.kind),
        "source" Text |row| text(&row.source),
        "group_id" Text |row| Cell::Text(row.group_id.as_deref()),
        "seq" Int |row| maybe(row.value.as_ref().map(|value| value.seq)),
        "at" Time |row| Cell::Int(Some(row.at.as_millis())),
        "message_count" Int |row| maybe(row.value.as_ref().map(|value| value.message_count)),
        "actor" Text |row| Cell::Text(row.value.as_ref().and_then(|value| value.actor.as_deref())),
        "user_ids" Texts |row| Cell::Texts(row.value.as_ref().and_then(|value| value.user_ids.as_deref())),
        "member_count" Int |row| maybe(row.value.as_ref().and_then(|value| value.member_count)),
        "role" Text |row| Cell::Text(row.value.as_ref().and_then(|value| value.role)),
        "name" Text |row| Cell::Text(row.value.as_ref().and_then(|value| value.name.as_deref())),
        "description" Text
            |row| Cell::Text(row.value.as_ref().and_then(|value| value.description.as_deref())),
        "message_id" Text |row| Cell::Text(row.message().map(|message| message.message_id.as_str())),
        "sender" Text |row| Cell::Text(row.message().map(|message| message.sender.as_str())),
        "client_message_id" Text
            |row| Cell::Text(row.message().and_then(|message| message.client_message_id.as_deref())),
        "message_type" Text |row| Cell::Text(row.message().and_then(|message| message.message_type)),
        "sender_nth" Int |row| maybe(row.message().and_then(|message| message.sender_nth)),
        "size_bytes" Int |row| maybe(row.message().and_then(|message| message.size_bytes)),
        "key_id" Text |row| Cell::Text(row.message().and_then(|message| message.key_id.as_deref())),
        "media_id" Text |row| Cell::Text(row.message().and_then(|message| message.media_id.as_deref())),
        "media_content_type" Text
            |row| Cell::Text(row.message().and_then(|message| message.media_content_type.as_deref())),
        "media_content_length" Int
            |row| maybe(row.message().and_then(|message| message.media_content_length)),
        "rolled_back_seq" Int |row| maybe(row.value.as_ref().and_then(|value| value.rolled_back_seq)),
        "reason" Text |row| Cell::Text(row.value.as_ref().and_then(|value| value.reason)),
        "text" Text |row| Cell::Text(row.message().and_then(|message| message.text.as_deref())),
        "withheld" Text |row| Cell::Text(row.message().and_then(|message| message.withheld)),
    ];
}

impl Row for AckRow {
    const TABLE: &'static str = "acks";
    const COLUMNS: &'static [Column<Self>] = columns![
        "topic" Text |_| text(Topic::Acks.name()),
        "partition" Int |row| int(u64::from(row.partition)),
        "offset" Int |row| int(row.offset),
        "entry" Int |row| int(row.entry),
        "event_id" Text |row| text(&row.event_id),
        "group_id" Text |row| text(&row.group_id),
        "at" Time |row| Cell::Int(Some(row.at.as_millis())),
        "user_id" Text |row| text(&row.user_id),
        "delivered_seq" Int |row| int(row.delivered_seq),
        "read_seq" Int |row| int(row.read_seq),
        "delivered_before_seq" Int |row| int(row.delivered_before_seq),
        "read_before_seq" Int |row| int(row.read_before_seq),
        "notified_seq" Int |row| maybe(row.notified_seq),
    ];
}
