//! What a client asks, one function a frame.

use std::sync::Arc;

use parley_domain::{Code, CursorWish, GroupId, Rejection, UserId, notification_id};
use parley_readstore::UserGroupRow;
use parley_wire::clock;
use parley_wire::code::Close;
use parley_wire::frame::{
    AckStatus, AcknowledgeMessage, Authenticated, ClientEvent, CreateNotified, ErrorBody, Incoming, Pong,
    names,
};
use parley_wire::service::{Reply, Wish};
use parley_wire::time;
use tokio::time::Instant;
use uuid::Uuid;

use super::underway::Underway;
use super::{Session, messages, subscriptions, welcome};
use crate::acks::{Acknowledgement, Answer, What};
use crate::edge::{Shared, broken};
use crate::ws;

/// Members up to which typing is passed on.
const TYPING_MEMBERS_MAX: u32 = 200;
/// Of a session's time, how much may go into looking for notifications that it wasn't told of: one part in so many. It waits for the rest.
const LOOK_SHARE: u32 = 10;

/// Answers a frame, now or later; says if the connection must be closed after it.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    incoming: Incoming,
) -> Option<Close> {
    let Incoming { id, event } = incoming;
    let (group, outcome) = match event {
        Err(unreadable) => {
            if unreadable.is_send {
                shared.over_rate(&session.user); // it counts, as every send does
            }
            let body = ErrorBody {
                group_id: unreadable.group_id,
                client_message_id: unreadable.client_message_id,
                ..ErrorBody::new(&unreadable.rejection)
            };
            session.refuse(id.as_deref(), &body);
            return None;
        }
        Ok(ClientEvent::Ping) => {
            let body = Pong { server_time: time::format(clock::now()) };
            session.outbox.push(ws::text(names::PONG, id.as_deref(), &body));
            (None, Ok(()))
        }
        Ok(ClientEvent::Authenticate(token)) => {
            return authenticate(shared, session, id.as_deref(), &token).await;
        }
        Ok(ClientEvent::Send(send)) => {
            messages::send(shared, session, id, send).await;
            return None;
        }
        Ok(ClientEvent::AcknowledgeMessage(acknowledge)) => {
            match acknowledged(shared, session, acknowledge).await {
                Ok(wish) => {
                    let answer = Answer::Client(Underway::begin(session, 0).await, id, What::Cursors);
                    shared.acks.add(Acknowledgement { group: acknowledge.group_id, wish, answer });
                    return None;
                }
                Err(rejection) => (Some(acknowledge.group_id), Err(rejection)),
            }
        }
        Ok(ClientEvent::AcknowledgeNotification(notification)) => {
            (None, acknowledge_notification(shared, session, id.clone(), notification).await)
        }
        Ok(ClientEvent::Subscribe(wish)) => (
            Some(GroupId(wish.group_id)),
            subscriptions::subscribe(shared, session, id.as_deref(), &wish).await,
        ),
        Ok(ClientEvent::Resume { groups, all, limit }) => {
            (None, subscriptions::resume(shared, session, id.as_deref(), &groups, all, limit).await)
        }
        Ok(ClientEvent::Unsubscribe(group)) => {
            (Some(group), subscriptions::unsubscribe(shared, session, id.as_deref(), group).await)
        }
        Ok(ClientEvent::NotifyCreateGroup(group)) => {
            (Some(group), notify_created(shared, session, id.as_deref(), group).await)
        }
        Ok(ClientEvent::Typing(group)) => (Some(group), typing(shared, session, group).await),
    };
    if let Err(rejection) = outcome {
        let body = ErrorBody { group_id: group.map(|group| group.0), ..ErrorBody::new(&rejection) };
        session.refuse(id.as_deref(), &body);
    }
    None
}

async fn authenticate(shared: &Shared, session: &Session, id: Option<&str>, token: &str) -> Option<Close> {
    let rejection = match shared.engines.auth.verify_for_socket(token, clock::now()).await {
        Ok(identity) if identity.user_id == session.user => {
            session.renew(identity.expires_at);
            let body = Authenticated { expires_at: time::format(identity.expires_at) };
            session.outbox.push(ws::text(names::AUTHENTICATED, id, &body));
            return None;
        }
        Ok(_) => Rejection::new(
            Code::Unauthenticated,
            "the token is another user's: open a connection of its own for it",
        ),
        Err(error) => error.of_frame(),
    };
    session.refuse(id, &ErrorBody::new(&rejection));
    Some(Close::BadToken)
}

async fn acknowledged(
    shared: &Shared,
    session: &Session,
    acknowledge: AcknowledgeMessage,
) -> Result<CursorWish, Rejection> {
    let seq = match acknowledge.upto {
        Ok(seq) => seq,
        Err(message) => messages::seq_of(shared, session, acknowledge.group_id, message).await?,
    };
    let (delivered, read) = match acknowledge.status {
        AckStatus::Delivered => (seq, 0),
        AckStatus::Read => (0, seq),
    };
    Ok(CursorWish { user: session.user.clone(), delivered, read, notified: false })
}

async fn acknowledge_notification(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    id: Option<String>,
    notification: Uuid,
) -> Result<(), Rejection> {
    let known = match session.notified_of(notification) {
        Some(group) => still_of(shared, session, group, notification).await?,
        None => None,
    };
    let group = match known {
        Some(group) => group,
        None => look_for(shared, session, notification).await?,
    };
    let wish = CursorWish { user: session.user.clone(), delivered: 0, read: 0, notified: true };
    let underway = Underway::begin(session, 0).await;
    let answer = Answer::Client(underway, id, What::Notification(notification));
    shared.acks.add(Acknowledgement { group, wish, answer });
    Ok(())
}

/// The id of the notification that a membership began with. Notifications are derived, so they are recognised by deriving them again.
fn id_of(row: &UserGroupRow, user: &UserId) -> Uuid {
    notification_id(row.group_id, user, row.membership.joined, row.membership.joined_at)
}

/// The group, if the notification is of the user's latest membership there.
async fn still_of(
    shared: &Shared,
    session: &Session,
    group: GroupId,
    notification: Uuid,
) -> Result<Option<GroupId>, Rejection> {
    shared.caught_up(Some(group)).await?;
    let row = shared.engines.reads.live().user_group(&session.user, group).await;
    let row = row.map_err(|error| broken("a user's group can't be read", &error))?;
    Ok(row.filter(|row| id_of(row, &session.user) == notification).map(|row| row.group_id))
}

/// Looks for a notification among all groups of the user, which may be thousands: so not over and over.
async fn look_for(shared: &Shared, session: &Session, notification: Uuid) -> Result<GroupId, Rejection> {
    let at = *session.looks_again_at.lock();
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
    let begun = Instant::now();
    let rows = welcome::all_groups(shared, session).await?;
    let mut found = None;
    for row in rows {
        let id = id_of(&row, &session.user);
        let is_it = id == notification;
        if is_it || !row.notified {
            session.add_notification(id, row.group_id);
        }
        found = found.or_else(|| is_it.then_some(row.group_id));
    }
    *session.looks_again_at.lock() = Some(Instant::now() + begun.elapsed() * LOOK_SHARE);
    found.ok_or_else(|| {
        Rejection::new(
            Code::NotificationNotFound,
            "you have no such notification; it may be of a group that you left",
        )
    })
}

async fn notify_created(
    shared: &Shared,
    session: &Session,
    id: Option<&str>,
    group: GroupId,
) -> Result<(), Rejection> {
    let reply = shared.call(group, &session.user, Wish::NotifyCreated).await?;
    let Reply::Notified { online, pending } = reply else {
        return Err(parley_wire::service::outcome_unknown());
    };
    let body = CreateNotified { group_id: group.0, online, pending };
    session.outbox.push(ws::text(names::CREATE_GROUP_NOTIFIED, id, &body));
    Ok(())
}

async fn typing(shared: &Shared, session: &Session, group: GroupId) -> Result<(), Rejection> {
    if !session.is_subscribed(group) {
        subscriptions::need_member(shared, session, group).await?;
    }
    if !shared.hub.may_type(group, &session.user) {
        return Ok(());
    }
    let row = shared.engines.reads.live().group(group).await;
    let row = row.map_err(|error| broken("a group can't be read", &error))?;
    if row.is_none_or(|row| row.member_count > TYPING_MEMBERS_MAX) {
        return Ok(());
    }
    shared.engines.peers.typing(group, &session.user);
    if let Some(channel) = shared.hub.channel(group) {
        channel.tell_typing(&session.user);
    }
    Ok(())
}
