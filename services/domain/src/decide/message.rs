//! A message is sent, or taken back by the system.

use super::{Context, Decision, access, append};
use crate::command::SendMessage;
use crate::event::{Event, MessageKind, MessageSent, RollbackReason};
use crate::group::Group;
use crate::ids::{MessageId, Seq, UserId};
use crate::media::{MediaDescription, MediaFault};
use crate::rejection::{Code, Rejection};

/// A repeat is answered before membership, rate and media are looked at: what was accepted stays accepted.
pub(super) fn send(
    group: Option<&Group>,
    wish: &SendMessage,
    context: &Context,
) -> Result<Decision, Rejection> {
    if let Some(earlier) = wish.earlier {
        return if earlier.same_content {
            Ok(Decision::Repeat(earlier))
        } else {
            Err(Rejection::new(
                Code::IdempotencyConflict,
                "you sent another message under this client_message_id: use a fresh one",
            ))
        };
    }
    let access = access(group, context)?;
    if let Some(rejection) = &wish.over_rate {
        return Err(rejection.clone());
    }
    if wish.content.text_bytes as usize > context.limits.text_bytes_max {
        return Err(Rejection::new(
            Code::TooLarge,
            format!("a text has at most {} bytes", context.limits.text_bytes_max),
        ));
    }
    let media = media(wish)?;
    let message = MessageSent {
        message_id: MessageId(context.event_id.0),
        client_message_id: wish.client_message_id.clone(),
        sender: context.actor.clone(),
        sender_nth: access.membership.sent + 1,
        kind: wish.kind,
        media,
        key_id: wish.content.key_id,
        sealed: wish.content.sealed.clone(),
        mac: wish.content.mac,
        text_bytes: wish.content.text_bytes,
    };
    Ok(append(group, context, Event::MessageSent(message)))
}

fn media(wish: &SendMessage) -> Result<Option<MediaDescription>, Rejection> {
    match (&wish.media, wish.kind) {
        (None, MessageKind::Text) => Ok(None),
        (None, _) => Err(Rejection::bad_request(
            "a message of this type needs a media_url: POST /v1/media/uploads makes one",
        )),
        (Some(_), MessageKind::Text) => {
            Err(Rejection::bad_request("a text has no media_url: use type image, video or audio"))
        }
        (Some(Err(fault)), _) => Err(media_fault(*fault)),
        (Some(Ok(media)), kind) if !kind.fits(&media.content_type) => Err(Rejection::new(
            Code::MediaMismatch,
            "the message's type doesn't fit the content type of its media: send it with the type that does",
        )),
        (Some(Ok(media)), _) => Ok(Some(media.clone())),
    }
}

fn media_fault(fault: MediaFault) -> Rejection {
    match fault {
        MediaFault::Forbidden => Rejection::new(
            Code::MediaForbidden,
            "this media_url was not made for you and this group: upload the media yourself",
        ),
        MediaFault::NotUploaded => Rejection::new(
            Code::MediaNotUploaded,
            "nothing was uploaded for this media_url yet: PUT the bytes to the upload URL first",
        ),
        MediaFault::Mismatch => Rejection::new(
            Code::MediaMismatch,
            "what was uploaded is not what was announced (type, length, checksum): ask for a new upload",
        ),
        MediaFault::Unavailable => {
            Rejection::new(Code::Unavailable, "the media store can't be reached: try again")
                .retry_after(1_000)
        }
    }
}

pub(super) fn roll_back(
    group: Option<&Group>,
    message_id: MessageId,
    message_seq: Seq,
    sender: &UserId,
    reason: RollbackReason,
) -> Result<Option<Event>, Rejection> {
    let group = group.ok_or_else(Rejection::group_not_found)?;
    if message_seq == 0 || message_seq > group.head {
        return Err(Rejection::new(Code::MessageNotFound, "the group has no such message"));
    }
    if group.dissolved.is_some() || group.rolled_back.contains(&message_seq) {
        return Ok(None);
    }
    Ok(Some(Event::MessageRolledBack { message_id, message_seq, sender: sender.clone(), reason }))
}
