//! `send_group_message`, and finding messages by id.

use std::sync::Arc;

use parley_domain::{ClientMessageId, Code, GroupId, MessageId, Rejection, Seq};
use parley_readstore::MessageKey;
use parley_wire::code;
use parley_wire::event::Content;
use parley_wire::frame::{Accepted, ErrorBody, SendMessage, names};
use parley_wire::service::{Reply, ReplyTo, Request, Send, Wish};
use parley_wire::time;
use parley_wire::trace::{self, Begun, SpanKind};
use uuid::Uuid;

use super::underway::Underway;
use super::{Session, subscriptions};
use crate::edge::{Shared, broken};
use crate::hub::Hub;
use crate::{media, ws};

/// Sends a message; the reply comes when it is durable.
pub(super) async fn send(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    id: Option<String>,
    mut message: SendMessage,
) {
    let span = trace::root(names::SEND_GROUP_MESSAGE, SpanKind::Server);
    let bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let session = Underway::begin(session, bytes(&message.text) + bytes(&message.media_url)).await;
    let group = GroupId(message.group_id);
    let client_message_id = std::mem::take(&mut message.client_message_id);
    match prepare(shared, &session, &client_message_id, message).await {
        Ok(mut send) => {
            send.trace = span.as_ref().map(|span| span.context);
            let actor = session.user.clone();
            let answer = answer(
                shared.hub.clone(),
                session,
                id,
                group.0,
                send.client_message_id.clone(),
                shared.opener.epoch(),
                span,
            );
            let wish = Wish::Send(Box::new(send));
            let request = Request { group_id: group, actor, wish };
            shared.engines.commands.submit(request, answer);
        }
        Err(rejection) => {
            session.refuse(id.as_deref(), &error(&rejection, group.0, client_message_id));
            end(span, Some(code::name(rejection.code)));
        }
    }
}

fn end(span: Option<Begun>, error: Option<&'static str>) {
    if let Some(span) = span {
        span.end(Vec::new(), error);
    }
}

fn error(rejection: &Rejection, group: Uuid, client_message_id: String) -> ErrorBody {
    ErrorBody {
        group_id: Some(group),
        client_message_id: Some(client_message_id),
        ..ErrorBody::new(rejection)
    }
}

async fn prepare(
    shared: &Arc<Shared>,
    session: &Session,
    client_message_id: &str,
    message: SendMessage,
) -> Result<Send, Rejection> {
    // Every send counts, refused ones too.
    let over_rate = shared.over_rate(&session.user);
    let group = GroupId(message.group_id);
    let kind = message.kind()?;
    let client_message_id = ClientMessageId::parse(client_message_id)
        .map_err(|error| Rejection::bad_request(format!("client_message_id: {error}")))?;
    let text_bytes_max = shared.options.limits.text_bytes;
    if message.text.as_ref().is_some_and(|text| text.len() > text_bytes_max) {
        let why = format!("a text has at most {text_bytes_max} bytes");
        return Err(Rejection::new(Code::TooLarge, why));
    }
    let media = match &message.media_url {
        // Somebody over the rate must not make us ask the object store; a repeat needs no look at its media.
        Some(_) if over_rate.is_some() => None,
        Some(url) => Some(media::check(shared, &session.user, group, url).await),
        None => None,
    };
    let content = Content { text: message.text, media_url: message.media_url };
    Ok(Send { client_message_id, kind, content, media, over_rate, trace: None })
}

fn answer(
    hub: Arc<Hub>,
    session: Underway,
    id: Option<String>,
    group_id: Uuid,
    client_message_id: ClientMessageId,
    epoch: Uuid,
    span: Option<Begun>,
) -> ReplyTo {
    ReplyTo::new(move |result| {
        let id = id.as_deref();
        let code = result.as_ref().err().map(|rejection| code::name(rejection.code));
        let refuse = |rejection: &Rejection| {
            session.refuse(id, &error(rejection, group_id, client_message_id.as_str().to_owned()));
        };
        match result {
            Ok(Reply::Accepted { message_id, seq, position, created_at, duplicate }) => {
                let body = Accepted {
                    group_id,
                    message_id: message_id.0,
                    client_message_id: client_message_id.as_str(),
                    seq,
                    epoch,
                    position: position.into(),
                    created_at: time::text(created_at),
                    duplicate,
                };
                if !session.is_subscribed(GroupId(group_id)) {
                    hub.has_sent(GroupId(group_id), &session);
                }
                session.outbox.push(ws::quick_text(names::GROUP_MESSAGE_ACCEPTED, id, &body));
            }
            Ok(_) => refuse(&parley_wire::service::outcome_unknown()),
            Err(rejection) => refuse(&rejection),
        }
        end(span, code);
    })
}

/// The place of a message that the user may see.
pub(super) async fn seq_of(
    shared: &Shared,
    session: &Session,
    group: GroupId,
    message: MessageId,
) -> Result<Seq, Rejection> {
    let row = subscriptions::need_member(shared, session, group).await?;
    let found = shared.engines.reads.live().find(group, &MessageKey::Id(message)).await;
    found
        .map_err(|error| broken("a message can't be looked up", &error))?
        .filter(|seq| *seq >= row.membership.joined)
        .ok_or_else(|| {
            Rejection::new(Code::MessageNotFound, "the group has no message with this id that you may see")
        })
}
