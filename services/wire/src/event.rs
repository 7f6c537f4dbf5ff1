//! The event codec: facts to protobuf values and back.
//!
//! A value alone doesn't say what it is; in the log the header `ce_type` does, elsewhere (rows of the read model) a tag
//! byte in front ([`tag`], [`untagged`]).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parley_domain::{
    ClientMessageId, CursorAdvance, Event, EventId, Fact, GroupId, KeyId, MediaDescription, MediaId,
    MessageId, MessageKind, MessageSent, ProfileChanged, Role, RollbackReason, Timestamp, UserId,
};
use prost::Message;

use crate::proto;

/// Bytes that are no event of ours, or one of a newer writer.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No protobuf of this type.
    #[error("not a valid protobuf value")]
    Protobuf(#[from] prost::DecodeError),
    /// A type that this version doesn't know.
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// A field that must be there is missing or impossible.
    #[error("field {0} is missing or impossible")]
    Field(&'static str),
}

/// `ce_type` of claims.
pub const CLAIM_TYPE: &str = "parley.writer.claimed.v1";
/// `ce_type` of [`CursorsAdvanced`].
pub const CURSORS_TYPE: &str = "parley.events.v1.CursorsAdvanced";
/// `ce_type` of profiles.
pub const PROFILE_TYPE: &str = "parley.events.v1.ProfileChanged";

/// Facts by `ce_type`; the index is the tag byte of [`tagged`], so the order never changes.
const FACT_TYPES: [&str; 9] = [
    "parley.events.v1.GroupCreated",
    "parley.events.v1.MembersAdded",
    "parley.events.v1.MembersRemoved",
    "parley.events.v1.RoleChanged",
    "parley.events.v1.OwnerTransferred",
    "parley.events.v1.GroupUpdated",
    "parley.events.v1.GroupDissolved",
    "parley.events.v1.MessageSent",
    "parley.events.v1.MessageRolledBack",
];

/// `ce_type` of a fact.
#[must_use]
pub fn fact_type(event: &Event) -> &'static str {
    let [created, added, removed, role, owner, updated, dissolved, sent, rolled_back] = FACT_TYPES;
    match event {
        Event::GroupCreated { .. } => created,
        Event::MembersAdded { .. } => added,
        Event::MembersRemoved { .. } => removed,
        Event::RoleChanged { .. } => role,
        Event::OwnerTransferred { .. } => owner,
        Event::GroupUpdated { .. } => updated,
        Event::GroupDissolved { .. } => dissolved,
        Event::MessageSent(_) => sent,
        Event::MessageRolledBack { .. } => rolled_back,
    }
}

/// The byte that stands before a value of some type where types aren't written out. `None` for a type that is no fact.
#[must_use]
pub fn tag(ce_type: &str) -> Option<u8> {
    FACT_TYPES.iter().position(|known| *known == ce_type)?.try_into().ok()
}

/// Decodes a fact behind the [`tag`] of its type.
///
/// # Errors
/// [`DecodeError`].
pub fn untagged(mut bytes: Bytes) -> Result<Fact, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Field("tag"));
    }
    let value = bytes.split_off(1);
    decode_tagged(bytes.first().copied().unwrap_or(u8::MAX), value)
}

fn header(fact: &Fact, buffer: &mut BytesMut) -> Option<proto::EventHeader> {
    Some(proto::EventHeader {
        group_id: bytes(fact.group_id.as_bytes(), buffer),
        seq: fact.seq,
        event_id: bytes(fact.event_id.as_bytes(), buffer),
        at_ms: fact.at.as_millis(),
        message_count: fact.message_count,
    })
}

/// A copy in the buffer's memory.
fn bytes(bytes: &[u8], buffer: &mut BytesMut) -> Bytes {
    buffer.extend_from_slice(bytes);
    buffer.split().freeze()
}

fn encoded(message: &impl Message, buffer: &mut BytesMut) -> Bytes {
    buffer.reserve(message.encoded_len());
    // It grows, so there is room.
    let _: Result<(), prost::EncodeError> = message.encode(buffer);
    buffer.split().freeze()
}

fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

/// The protobuf value of a fact, in the buffer's memory.
#[must_use]
pub fn encode_fact(fact: &Fact, buffer: &mut BytesMut) -> Bytes {
    let header = header(fact, buffer);
    match &fact.event {
        Event::GroupCreated { name, description, creator, members, recipe } => encoded(
            &proto::GroupCreated {
                header,
                name: name.clone(),
                description: description.clone(),
                creator: creator.to_string(),
                members: texts(members),
                recipe: bytes(recipe, buffer),
            },
            buffer,
        ),
        Event::MembersAdded { actor, users, member_count } => {
            let (actor, users, member_count) = (actor.to_string(), texts(users), *member_count);
            encoded(&proto::MembersAdded { header, actor, users, member_count }, buffer)
        }
        Event::MembersRemoved { actor, users, member_count } => {
            let (actor, users, member_count) = (actor.to_string(), texts(users), *member_count);
            encoded(&proto::MembersRemoved { header, actor, users, member_count }, buffer)
        }
        Event::RoleChanged { actor, user, role } => {
            let (actor, user, role) = (actor.to_string(), user.to_string(), role_to_proto(*role).into());
            encoded(&proto::RoleChanged { header, actor, user, role }, buffer)
        }
        Event::OwnerTransferred { actor, owner } => {
            let (actor, owner) = (actor.to_string(), owner.to_string());
            encoded(&proto::OwnerTransferred { header, actor, owner }, buffer)
        }
        Event::GroupUpdated { actor, name, description } => {
            let (actor, name, description) = (actor.to_string(), name.clone(), description.clone());
            encoded(&proto::GroupUpdated { header, actor, name, description }, buffer)
        }
        Event::GroupDissolved { actor } => {
            encoded(&proto::GroupDissolved { header, actor: actor.to_string() }, buffer)
        }
        Event::MessageSent(message) => encoded(&message_of(header, message, buffer), buffer),
        Event::MessageRolledBack { message_id, message_seq, sender, reason } => encoded(
            &proto::MessageRolledBack {
                header,
                message_id: bytes(message_id.as_bytes(), buffer),
                message_seq: *message_seq,
                sender: sender.to_string(),
                reason: match reason {
                    RollbackReason::MediaMissing => proto::RollbackReason::MediaMissing,
                    RollbackReason::Unprojectable => proto::RollbackReason::Unprojectable,
                }
                .into(),
            },
            buffer,
        ),
    }
}

fn message_of(
    header: Option<proto::EventHeader>,
    message: &MessageSent,
    buffer: &mut BytesMut,
) -> proto::MessageSent {
    proto::MessageSent {
        header,
        client_message_id: message.client_message_id.as_str().to_owned(),
        sender: message.sender.as_str().to_owned(),
        sender_nth: message.sender_nth,
        r#type: match message.kind {
            MessageKind::Text => proto::MessageType::Text,
            MessageKind::Image => proto::MessageType::Image,
            MessageKind::Video => proto::MessageType::Video,
            MessageKind::Audio => proto::MessageType::Audio,
        }
        .into(),
        media: message.media.as_ref().map(|media| proto::Media {
            media_id: bytes(media.media_id.as_bytes(), buffer),
            content_type: media.content_type.clone(),
            content_length: media.content_length,
        }),
        key_id: bytes(message.key_id.as_bytes(), buffer),
        sealed: message.sealed.clone(),
        mac: bytes(&message.mac, buffer),
        text_bytes: message.text_bytes,
    }
}

fn role_to_proto(role: Role) -> proto::Role {
    match role {
        Role::Owner => proto::Role::Owner,
        Role::Admin => proto::Role::Admin,
        Role::Member => proto::Role::Member,
    }
}

fn user(text: &str) -> Result<UserId, DecodeError> {
    UserId::parse(text).map_err(|_| DecodeError::Field("user id"))
}

fn users(texts: &[String]) -> Result<Vec<UserId>, DecodeError> {
    texts.iter().map(|text| user(text)).collect()
}

fn fixed<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

/// Decodes a record of `parley.events` by its `ce_type`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_fact(ce_type: &str, value: Bytes) -> Result<Fact, DecodeError> {
    let tag = tag(ce_type).ok_or_else(|| DecodeError::UnknownType(ce_type.to_owned()))?;
    decode_tagged(tag, value)
}

fn decode_tagged(tag: u8, value: Bytes) -> Result<Fact, DecodeError> {
    let (header, event) = match tag {
        0 => decode_created(proto::GroupCreated::decode(value)?)?,
        1 => {
            let m = proto::MembersAdded::decode(value)?;
            let (actor, users) = (user(&m.actor)?, users(&m.users)?);
            (m.header, Event::MembersAdded { actor, users, member_count: m.member_count })
        }
        2 => {
            let m = proto::MembersRemoved::decode(value)?;
            let (actor, users) = (user(&m.actor)?, users(&m.users)?);
            (m.header, Event::MembersRemoved { actor, users, member_count: m.member_count })
        }
        3 => {
            let m = proto::RoleChanged::decode(value)?;
            let role = match m.role() {
                proto::Role::Owner => Role::Owner,
                proto::Role::Admin => Role::Admin,
                proto::Role::Member => Role::Member,
                proto::Role::Unspecified => return Err(DecodeError::Field("role")),
            };
            (m.header, Event::RoleChanged { actor: user(&m.actor)?, user: user(&m.user)?, role })
        }
        4 => {
            let m = proto::OwnerTransferred::decode(value)?;
            (m.header, Event::OwnerTransferred { actor: user(&m.actor)?, owner: user(&m.owner)? })
        }
        5 => {
            let m = proto::GroupUpdated::decode(value)?;
            let event =
                Event::GroupUpdated { actor: user(&m.actor)?, name: m.name, description: m.description };
            (m.header, event)
        }
        6 => {
            let m = proto::GroupDissolved::decode(value)?;
            (m.header, Event::GroupDissolved { actor: user(&m.actor)? })
        }
        7 => decode_message(proto::MessageSent::decode(value)?)?,
        8 => decode_rolled_back(proto::MessageRolledBack::decode(value)?)?,
        _ => return Err(DecodeError::UnknownType(format!("tag {tag}"))),
    };
    fact(header, event)
}

fn fact(header: Option<proto::EventHeader>, event: Event) -> Result<Fact, DecodeError> {
    let header = header.ok_or(DecodeError::Field("header"))?;
    if header.seq == 0 {
        return Err(DecodeError::Field("seq"));
    }
    Ok(Fact {
        group_id: GroupId::from_bytes(fixed(&header.group_id, "group_id")?),
        seq: header.seq,
        event_id: EventId::from_bytes(fixed(&header.event_id, "event_id")?),
        at: Timestamp(header.at_ms),
        message_count: header.message_count,
        event,
    })
}

type Decoded = (Option<proto::EventHeader>, Event);

fn decode_created(m: proto::GroupCreated) -> Result<Decoded, DecodeError> {
    let event = Event::GroupCreated {
        name: m.name,
        description: m.description,
        creator: user(&m.creator)?,
        members: users(&m.members)?,
        recipe: fixed(&m.recipe, "recipe")?,
    };
    Ok((m.header, event))
}

fn decode_message(m: proto::MessageSent) -> Result<Decoded, DecodeError> {
    let kind = match m.r#type() {
        proto::MessageType::Text => MessageKind::Text,
        proto::MessageType::Image => MessageKind::Image,
        proto::MessageType::Video => MessageKind::Video,
        proto::MessageType::Audio => MessageKind::Audio,
        proto::MessageType::Unspecified => return Err(DecodeError::Field("type")),
    };
    let header = m.header.as_ref().ok_or(DecodeError::Field("header"))?;
    let message_id = MessageId::from_bytes(fixed(&header.event_id, "event_id")?);
    let media = match m.media {
        Some(media) => Some(MediaDescription {
            media_id: MediaId::from_bytes(fixed(&media.media_id, "media_id")?),
            content_type: media.content_type,
            content_length: media.content_length,
        }),
        None => None,
    };
    let message = MessageSent {
        message_id,
        client_message_id: ClientMessageId::parse(&m.client_message_id)
            .map_err(|_| DecodeError::Field("client_message_id"))?,
        sender: user(&m.sender)?,
        sender_nth: m.sender_nth,
        kind,
        media,
        key_id: KeyId::from_bytes(fixed(&m.key_id, "key_id")?),
        sealed: m.sealed,
        mac: fixed(&m.mac, "mac")?,
        text_bytes: m.text_bytes,
    };
    Ok((m.header, Event::MessageSent(message)))
}

fn decode_rolled_back(m: proto::MessageRolledBack) -> Result<Decoded, DecodeError> {
    let reason = match m.reason() {
        proto::RollbackReason::MediaMissing => RollbackReason::MediaMissing,
        proto::RollbackReason::Unprojectable | proto::RollbackReason::Unspecified => {
            RollbackReason::Unprojectable
        }
    };
    let event = Event::MessageRolledBack {
        message_id: MessageId::from_bytes(fixed(&m.message_id, "message_id")?),
        message_seq: m.message_seq,
        sender: user(&m.sender)?,
        reason,
    };
    Ok((m.header, event))
}

/// Cursors of several members of one group, as one record of `parley.acks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorsAdvanced {
    /// The group.
    pub group_id: GroupId,
    /// Unique in the log.
    pub event_id: EventId,
    /// When; the time of each entry.
    pub at: Timestamp,
    /// At most [`parley_domain::Limits::CURSORS_PER_EVENT_MAX`].
    pub advances: Vec<CursorAdvance>,
}

/// The protobuf value, in the buffer's memory.
#[must_use]
pub fn encode_cursors(cursors: &CursorsAdvanced, buffer: &mut BytesMut) -> Bytes {
    let advances = cursors.advances.iter().map(|advance| proto::CursorAdvance {
        user: advance.user.as_str().to_owned(),
        delivered_seq: advance.delivered,
        read_seq: advance.read,
        notified_seq: advance.notified.unwrap_or(0),
        delivered_before_seq: advance.delivered_before,
        read_before_seq: advance.read_before,
    });
    let message = proto::CursorsAdvanced {
        group_id: bytes(cursors.group_id.as_bytes(), buffer),
        event_id: bytes(cursors.event_id.as_bytes(), buffer),
        at_ms: cursors.at.as_millis(),
        advances: advances.collect(),
    };
    encoded(&message, buffer)
}

/// Decodes a record of `parley.acks`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_cursors(value: Bytes) -> Result<CursorsAdvanced, DecodeError> {
    let message = proto::CursorsAdvanced::decode(value)?;
    let at = Timestamp(message.at_ms);
    let advances = message.advances.iter().map(|advance| {
        Ok(CursorAdvance {
            user: user(&advance.user)?,
            delivered: advance.delivered_seq,
            read: advance.read_seq,
            delivered_before: advance.delivered_before_seq,
            read_before: advance.read_before_seq,
            at,
            notified: (advance.notified_seq > 0).then_some(advance.notified_seq),
        })
    });
    Ok(CursorsAdvanced {
        group_id: GroupId::from_bytes(fixed(&message.group_id, "group_id")?),
        event_id: EventId::from_bytes(fixed(&message.event_id, "event_id")?),
        at,
        advances: advances.collect::<Result<_, DecodeError>>()?,
    })
}

/// The protobuf value of a profile.
#[must_use]
pub fn encode_profile(profile: &ProfileChanged, event_id: EventId) -> Bytes {
    let message = proto::ProfileChanged {
        event_id: Bytes::copy_from_slice(event_id.as_bytes()),
        user: profile.user.to_string(),
        display_name: profile.display_name.clone(),
        avatar_url: profile.avatar_url.clone(),
        at_ms: profile.at.as_millis(),
    };
    message.encode_to_vec().into()
}

/// Decodes a record of `parley.users`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_profile(value: Bytes) -> Result<ProfileChanged, DecodeError> {
    let message = proto::ProfileChanged::decode(value)?;
    Ok(ProfileChanged {
        user: user(&message.user)?,
        display_name: message.display_name,
        avatar_url: message.avatar_url,
        at: Timestamp(message.at_ms),
    })
}

/// The protobuf value of a claim.
#[must_use]
pub fn encode_claim(event_id: EventId, writer: &Arc<str>, generation: u64, at: Timestamp) -> Bytes {
    let message = proto::WriterClaimed {
        event_id: Bytes::copy_from_slice(event_id.as_bytes()),
        writer: writer.to_string(),
        generation,
        at_ms: at.as_millis(),
    };
    message.encode_to_vec().into()
}

/// A claim, read back: who took the partition over, and under which assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The writer's instance.
    pub writer: String,
    /// Of the assignment of partitions to writers.
    pub generation: u64,
}

/// Decodes a [`CLAIM_TYPE`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_claim(value: Bytes) -> Result<Claimed, DecodeError> {
    let claim = proto::WriterClaimed::decode(value)?;
    Ok(Claimed { writer: claim.writer, generation: claim.generation })
}

/// What is sealed of a message.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The text.
    pub text: Option<String>,
    /// Where its object is described.
    pub media_url: Option<String>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content(not shown)")
    }
}

/// The bytes to seal.
#[must_use]
pub fn encode_content(content: Content) -> Vec<u8> {
    proto::Content { text: content.text, media_url: content.media_url }.encode_to_vec()
}

/// Decodes what was sealed.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_content(bytes: &[u8]) -> Result<Content, DecodeError> {
    let message = proto::Content::decode(bytes)?;
    Ok(Content { text: message.text, media_url: message.media_url })
}
