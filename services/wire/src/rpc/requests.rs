//! Requests, to protobuf and back.

use parley_domain::{
    ClientMessageId, CursorWish, GroupId, MediaDescription, MediaFault, MediaId, MessageId, MessageKind,
    ProfileChanged, Role, RollbackReason, Timestamp, UserId,
};

use super::replies::{rejection_from, rejection_to};
use super::{BadMessage, proto};
use crate::event::Content;
use crate::proto as events;
use crate::service::{Request, Send, Wish};
use crate::trace::TraceContext;

pub(super) fn user(text: &str) -> Result<UserId, BadMessage> {
    UserId::parse(text).map_err(|_| BadMessage("user id"))
}

pub(super) fn users(texts: &[String]) -> Result<Vec<UserId>, BadMessage> {
    texts.iter().map(|text| user(text)).collect()
}

pub(super) fn texts<'a>(users: impl IntoIterator<Item = &'a UserId>) -> Vec<String> {
    users.into_iter().map(|user| user.as_str().to_owned()).collect()
}

pub(super) fn group(bytes: &[u8]) -> Result<GroupId, BadMessage> {
    GroupId::from_slice(bytes).ok_or(BadMessage("group_id"))
}

fn role_to(role: Role) -> i32 {
    let role = match role {
        Role::Owner => events::Role::Owner,
        Role::Admin => events::Role::Admin,
        Role::Member => events::Role::Member,
    };
    role.into()
}

fn role_from(role: events::Role) -> Result<Role, BadMessage> {
    match role {
        events::Role::Owner => Ok(Role::Owner),
        events::Role::Admin => Ok(Role::Admin),
        events::Role::Member => Ok(Role::Member),
        events::Role::Unspecified => Err(BadMessage("role")),
    }
}

fn kind_to(kind: MessageKind) -> i32 {
    let kind = match kind {
        MessageKind::Text => events::MessageType::Text,
        MessageKind::Image => events::MessageType::Image,
        MessageKind::Video => events::MessageType::Video,
        MessageKind::Audio => events::MessageType::Audio,
    };
    kind.into()
}

fn kind_from(kind: events::MessageType) -> Result<MessageKind, BadMessage> {
    match kind {
        events::MessageType::Text => Ok(MessageKind::Text),
        events::MessageType::Image => Ok(MessageKind::Image),
        events::MessageType::Video => Ok(MessageKind::Video),
        events::MessageType::Audio => Ok(MessageKind::Audio),
        events::MessageType::Unspecified => Err(BadMessage("type")),
    }
}

fn fault_to(fault: MediaFault) -> i32 {
    let fault = match fault {
        MediaFault::Forbidden => proto::MediaFault::Forbidden,
        MediaFault::NotUploaded => proto::MediaFault::NotUploaded,
        MediaFault::Mismatch => proto::MediaFault::Mismatch,
        MediaFault::Unavailable => proto::MediaFault::Unavailable,
    };
    fault.into()
}

fn fault_from(fault: i32) -> Result<MediaFault, BadMessage> {
    match proto::MediaFault::try_from(fault) {
        Ok(proto::MediaFault::Forbidden) => Ok(MediaFault::Forbidden),
        Ok(proto::MediaFault::NotUploaded) => Ok(MediaFault::NotUploaded),
        Ok(proto::MediaFault::Mismatch) => Ok(MediaFault::Mismatch),
        Ok(proto::MediaFault::Unavailable) => Ok(MediaFault::Unavailable),
        Ok(proto::MediaFault::Unspecified) | Err(_) => Err(BadMessage("fault")),
    }
}

fn reason_to(reason: RollbackReason) -> i32 {
    let reason = match reason {
        RollbackReason::MediaMissing => events::RollbackReason::MediaMissing,
        RollbackReason::Unprojectable => events::RollbackReason::Unprojectable,
    };
    reason.into()
}

fn reason_from(reason: events::RollbackReason) -> Result<RollbackReason, BadMessage> {
    match reason {
        events::RollbackReason::MediaMissing => Ok(RollbackReason::MediaMissing),
        events::RollbackReason::Unprojectable => Ok(RollbackReason::Unprojectable),
        events::RollbackReason::Unspecified => Err(BadMessage("reason")),
    }
}

fn send_to(send: &Send) -> proto::Send {
    use proto::send::Media;
    let media = send.media.as_ref().map(|media| match media {
        Ok(found) => Media::Found(events::Media {
            media_id: found.media_id.as_bytes().to_vec().into(),
            content_type: found.content_type.clone(),
            content_length: found.content_length,
        }),
        Err(fault) => Media::Fault(fault_to(*fault)),
    });
    let content =
        events::Content { text: send.content.text.clone(), media_url: send.content.media_url.clone() };
    proto::Send {
        client_message_id: send.client_message_id.as_str().to_owned(),
        r#type: kind_to(send.kind),
        content: Some(content),
        media,
        over_rate: send.over_rate.as_ref().map(rejection_to),
        traceparent: send.trace.map(|trace| trace.traceparent()),
    }
}

fn send_from(send: proto::Send) -> Result<Send, BadMessage> {
    use proto::send::Media;
    let kind = kind_from(send.r#type())?;
    let content = send.content.ok_or(BadMessage("content"))?;
    let media = match send.media {
        None => None,
        Some(Media::Fault(fault)) => Some(Err(fault_from(fault)?)),
        Some(Media::Found(media)) => Some(Ok(MediaDescription {
            media_id: MediaId::from_slice(&media.media_id).ok_or(BadMessage("media_id"))?,
            content_type: media.content_type,
            content_length: media.content_length,
        })),
    };
    let client_message_id = ClientMessageId::parse(&send.client_message_id);
    Ok(Send {
        client_message_id: client_message_id.map_err(|_| BadMessage("client_message_id"))?,
        kind,
        content: Content { text: content.text, media_url: content.media_url },
        media,
        over_rate: send.over_rate.map(rejection_from).transpose()?,
        trace: send.traceparent.as_deref().and_then(TraceContext::parse),
    })
}

fn cursor_to(wish: &CursorWish) -> proto::CursorWish {
    proto::CursorWish {
        user: wish.user.as_str().to_owned(),
        delivered_seq: wish.delivered,
        read_seq: wish.read,
        notified: wish.notified,
    }
}

fn cursor_from(wish: proto::CursorWish) -> Result<CursorWish, BadMessage> {
    Ok(CursorWish {
        user: user(&wish.user)?,
        delivered: wish.delivered_seq,
        read: wish.read_seq,
        notified: wish.notified,
    })
}

/// A request under a number of its stream and a term.
pub(super) fn to(number: u64, term: u64, request: &Request) -> proto::Request {
    use proto::request::Wish as To;
    let wish = match &request.wish {
        Wish::Create { name, description, members, recipe } => To::Create(proto::Create {
            name: name.clone(),
            description: description.clone(),
            members: texts(members),
            recipe: recipe.to_vec(),
        }),
        Wish::Update { name, description } => {
            To::Update(proto::Update { name: name.clone(), description: description.clone() })
        }
        Wish::AddMembers(users) => To::AddMembers(proto::AddMembers { users: texts(users) }),
        Wish::RemoveMember(user) => To::RemoveMember(proto::RemoveMember { user: user.as_str().to_owned() }),
        Wish::TransferOwnership(user) => {
            To::TransferOwnership(proto::TransferOwnership { user: user.as_str().to_owned() })
        }
        Wish::SetRole(user, role) => {
            To::SetRole(proto::SetRole { user: user.as_str().to_owned(), role: role_to(*role) })
        }
        Wish::Dissolve => To::Dissolve(proto::Dissolve {}),
        Wish::Send(send) => To::Send(send_to(send)),
        Wish::AdvanceCursors(wishes) => {
            To::AdvanceCursors(proto::AdvanceCursors { wishes: wishes.iter().map(cursor_to).collect() })
        }
        Wish::NotifyCreated => To::NotifyCreated(proto::NotifyCreated {}),
        Wish::RollBack { message_id, message_seq, sender, reason } => To::RollBack(proto::RollBack {
            message_id: message_id.as_bytes().to_vec(),
            message_seq: *message_seq,
            sender: sender.as_str().to_owned(),
            reason: reason_to(*reason),
        }),
        Wish::CountReceipts(messages) => {
            let one = |(seq, sender): &(u64, UserId)| proto::MessageRef {
                seq: *seq,
                sender: sender.as_str().to_owned(),
            };
            To::CountReceipts(proto::CountReceipts { messages: messages.iter().map(one).collect() })
        }
    };
    proto::Request {
        number,
        group_id: request.group_id.as_bytes().to_vec(),
        actor: request.actor.as_str().to_owned(),
        term,
        wish: Some(wish),
    }
}

/// The request itself.
pub(super) fn from(request: proto::Request) -> Result<Request, BadMessage> {
    use proto::request::Wish as From;
    let wish = match request.wish.ok_or(BadMessage("wish"))? {
        From::Create(create) => Wish::Create {
            name: create.name,
            description: create.description,
            members: users(&create.members)?,
            recipe: create.recipe.as_slice().try_into().map_err(|_| BadMessage("recipe"))?,
        },
        From::Update(update) => Wish::Update { name: update.name, description: update.description },
        From::AddMembers(add) => Wish::AddMembers(users(&add.users)?),
        From::RemoveMember(remove) => Wish::RemoveMember(user(&remove.user)?),
        From::TransferOwnership(transfer) => Wish::TransferOwnership(user(&transfer.user)?),
        From::SetRole(set) => Wish::SetRole(user(&set.user)?, role_from(set.role())?),
        From::Dissolve(_) => Wish::Dissolve,
        From::Send(send) => Wish::Send(Box::new(send_from(send)?)),
        From::AdvanceCursors(advance) => {
            let wishes: Result<_, _> = advance.wishes.into_iter().map(cursor_from).collect();
            Wish::AdvanceCursors(wishes?)
        }
        From::NotifyCreated(_) => Wish::NotifyCreated,
        From::RollBack(back) => Wish::RollBack {
            message_id: MessageId::from_slice(&back.message_id).ok_or(BadMessage("message_id"))?,
            message_seq: back.message_seq,
            sender: user(&back.sender)?,
            reason: reason_from(back.reason())?,
        },
        From::CountReceipts(count) => {
            let one = |message: proto::MessageRef| Ok((message.seq, user(&message.sender)?));
            let messages: Result<_, BadMessage> = count.messages.into_iter().map(one).collect();
            Wish::CountReceipts(messages?)
        }
    };
    Ok(Request { group_id: group(&request.group_id)?, actor: user(&request.actor)?, wish })
}

/// A profile under a term.
pub(super) fn profile_to(term: u64, profile: &ProfileChanged) -> proto::PutProfileRequest {
    proto::PutProfileRequest {
        user: profile.user.as_str().to_owned(),
        display_name: profile.display_name.clone(),
        avatar_url: profile.avatar_url.clone(),
        at_ms: profile.at.as_millis(),
        term,
    }
}

/// The profile itself.
pub(super) fn profile_from(request: proto::PutProfileRequest) -> Result<ProfileChanged, BadMessage> {
    Ok(ProfileChanged {
        user: user(&request.user)?,
        display_name: request.display_name,
        avatar_url: request.avatar_url,
        at: Timestamp(request.at_ms),
    })
}
