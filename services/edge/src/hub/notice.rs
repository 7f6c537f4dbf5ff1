//! Telling members who are online that they are in a group now.

use async_trait::async_trait;
use parley_domain::{NotificationKind, UserId, notification_id};
use parley_wire::frame::{NotificationBody, names};
use parley_wire::rest::GroupBody;
use parley_wire::service::{GroupSummary, Notice, Notices};
use parley_wire::time;
use uuid::Uuid;

use super::Hub;
use crate::ws;

/// A group without its members.
pub(crate) fn group_body(group: &GroupSummary, epoch: Uuid) -> GroupBody {
    GroupBody {
        group_id: group.group_id.0,
        name: group.name.clone(),
        description: group.description.clone(),
        owner: group.owner.to_string(),
        created_by: group.created_by.to_string(),
        created_at: time::format(group.created_at),
        updated_at: time::format(group.updated_at),
        member_count: group.member_count,
        members: None,
        head_seq: group.head,
        epoch,
    }
}

/// The frame's name.
pub(crate) fn notification_name(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Created => names::A_GROUP_CREATED,
        NotificationKind::Added => names::ADDED_TO_GROUP,
    }
}

#[async_trait]
impl Notices for Hub {
    async fn notify(&self, notice: Notice) -> Vec<UserId> {
        let group = group_body(&notice.group, self.epoch());
        let mut online = Vec::new();
        for user in notice.users.iter() {
            let sessions = self.sessions_of(user);
            if sessions.is_empty() {
                continue;
            }
            let notification_id = notification_id(notice.group.group_id, user, notice.seq, notice.at);
            let body =
                NotificationBody { notification_id, group: &group, added_by: notice.added_by.as_str() };
            let frame = ws::text(notification_name(notice.kind), None, &body);
            for session in sessions {
                session.outbox.push(frame.clone());
            }
            online.push(user.clone());
        }
        online
    }
}
