//! Telling members who are online that they are in a group now.

use async_trait::async_trait;
use parley_domain::{GroupId, NotificationKind, UserId, notification_id};
use parley_wire::frame::{NotificationBody, names};
use parley_wire::service::{Audience, Notice, Notices, Peers};

use super::Hub;
use crate::{body, ws};

/// The frame's name.
pub(crate) fn notification_name(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Created => names::A_GROUP_CREATED,
        NotificationKind::Added => names::ADDED_TO_GROUP,
    }
}

/// As another edge sees this one: whoever is subscribed here is told.
impl Peers for Hub {
    fn typing(&self, group: GroupId, user: &UserId) {
        if let Some(channel) = self.channel(group) {
            channel.tell_typing(user);
        }
    }
}

#[async_trait]
impl Notices for Hub {
    async fn notify(&self, notice: Notice) -> Vec<UserId> {
        let group = body::of_summary(notice.group.clone(), self.epoch());
        let mut online = Vec::new();
        for user in notice.users.iter() {
            let sessions = self.sessions_of(user);
            if sessions.is_empty() {
                continue;
            }
            online.push(user.clone());
            if notice.audience == Audience::Nobody {
                continue;
            }
            let notification_id = notification_id(notice.group.group_id, user, notice.seq, notice.at);
            let body =
                NotificationBody { notification_id, group: &group, added_by: notice.added_by.as_str() };
            let frame = ws::text(notification_name(notice.kind), None, &body);
            for session in sessions {
                let is_meant =
                    notice.audience == Audience::All || !session.is_subscribed(notice.group.group_id);
                if is_meant {
                    let tell = || session.outbox.insist(frame.clone());
                    session.tell_once(notification_id, notice.group.group_id, tell);
                }
            }
        }
        online
    }
}
