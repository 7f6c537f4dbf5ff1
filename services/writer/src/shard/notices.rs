//! What members are told of a new group, by its creator or, where he is silent, by the server.

use std::time::Duration;

use parley_domain::{Group, GroupId, NotificationKind};
use parley_wire::clock;
use parley_wire::service::{Audience, GroupSummary, Notice, Reply, ReplyTo};
use tokio::time::Instant;

use super::Shard;

/// How long after a group was made its creator's notice may still be missing, as far as a new owner can tell.
const NOTIFY_LATE_MS: i64 = 60_000;

impl Shard {
    /// Groups that were made just before their partition was taken over: their creators' notices may be missing.
    pub(super) fn remember_to_notify(&mut self) {
        let since = clock::now().plus_millis(-NOTIFY_LATE_MS);
        let at = Instant::now() + Duration::from_millis(self.options.notify_after_ms);
        let groups = self.state.groups.values().filter_map(|slot| slot.group.as_ref());
        let late = groups.filter(|group| self.options.generation > 0 && group.created_at > since);
        self.to_notify.extend(late.map(|group| ((at, group.id), ())));
    }

    /// Tells those who are online; if the creator has done so before, nobody: there is one notification for each member.
    pub(super) fn notify_then_answer(&mut self, mut notice: Notice, reply_to: ReplyTo) {
        self.to_notify.retain(|(_, group), ()| *group != notice.group.group_id);
        let slot = self.state.groups.get_mut(&notice.group.group_id);
        if slot.is_some_and(|slot| std::mem::replace(&mut slot.is_notified, true)) {
            notice.audience = Audience::Nobody;
        }
        let notices = self.engines.notices.clone();
        self.tracker.spawn(async move {
            let all = notice.users.len();
            let online = notices.notify(notice).await.len();
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let reply = Reply::Notified { online: count(online), pending: count(all.saturating_sub(online)) };
            reply_to.answer(Ok(reply));
        });
    }

    pub(super) fn notify_overdue(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.to_notify.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, group), ()) = entry.remove_entry();
            // To every session that isn't subscribed, also of those who acknowledged it already: that was a session that came after
            // the creation, and one that was there before knows nothing of the group yet. One that is subscribed was told at
            // connecting, or asked by itself.
            if let Some(notice) = self.creation_notice(group) {
                let notice = Notice { audience: Audience::Unsubscribed, ..notice };
                let notices = self.engines.notices.clone();
                self.tracker.spawn(async move { drop(notices.notify(notice).await) });
            }
        }
    }

    /// The notice to those who are members since the creation, the creator not among them.
    pub(super) fn creation_notice(&self, group: GroupId) -> Option<Notice> {
        let group =
            self.state.groups.get(&group)?.group.as_ref().filter(|group| group.dissolved.is_none())?;
        let told = group.members.iter().filter(|(user, membership)| {
            membership.is_current() && membership.stay.joined == 1 && **user != group.creator
        });
        Some(Notice {
            group: summary(group),
            kind: NotificationKind::Created,
            added_by: group.creator.clone(),
            seq: 1,
            at: group.created_at,
            users: told.map(|(user, _)| user.clone()).collect(),
            audience: Audience::All,
        })
    }
}

pub(super) fn summary(group: &Group) -> GroupSummary {
    GroupSummary {
        group_id: group.id,
        name: group.name.clone(),
        description: group.description.clone(),
        owner: group.owner.clone(),
        created_by: group.creator.clone(),
        created_at: group.created_at,
        updated_at: group.updated_at,
        member_count: group.member_count,
        head: group.head,
    }
}
