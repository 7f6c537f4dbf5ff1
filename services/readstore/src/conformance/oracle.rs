//! What the answers must be, by brute force over the whole log.

use parley_domain::{
    Event, Group, GroupId, MediaId, Membership, NotificationKind, ProfileChanged, Seq, UserId,
};

use super::world::{Entry, World, value_of};
use crate::{EventRow, GroupRow, MembershipRow, StatusRow, UNREAD_MAX, UserGroupRow};

impl World {
    pub(super) fn group_row(&self, group: &Group) -> GroupRow {
        GroupRow {
            group_id: group.id,
            name: group.name.clone(),
            description: group.description.clone(),
            owner: group.owner.clone(),
            creator: group.creator.clone(),
            created_at: group.created_at,
            updated_at: group.updated_at,
            member_count: group.member_count,
            head: group.head,
            message_count: group.message_count,
            last_message: self.messages(group.id).last().map(|(seq, _)| seq),
            dissolved: group.dissolved,
        }
    }

    pub(super) fn membership_row(&self, group: &Group, user: &UserId) -> Option<MembershipRow> {
        let Membership { role, joined_at, stay, .. } = group.members.get(user)?;
        let (joining, _) = self.facts(group.id).find(|(fact, _)| fact.seq == stay.joined).expect("a joining");
        let (added_by, kind) = if let Event::MembersAdded { actor, .. } = &joining.event {
            (actor.clone(), NotificationKind::Added)
        } else {
            (group.creator.clone(), NotificationKind::Created)
        };
        Some(MembershipRow {
            user: user.clone(),
            role: *role,
            joined: stay.joined,
            joined_at: *joined_at,
            added_by,
            kind,
            left: stay.left,
            delivered: stay.delivered,
            read: stay.read,
        })
    }

    pub(super) fn member_rows(&self, group: &Group) -> Vec<MembershipRow> {
        let mut users: Vec<_> = group.members.keys().filter(|user| group.member(user).is_some()).collect();
        users.sort();
        users.into_iter().filter_map(|user| self.membership_row(group, user)).collect()
    }

    pub(super) fn user_group_row(&self, group: &Group, user: &UserId) -> Option<UserGroupRow> {
        Some(UserGroupRow {
            group_id: group.id,
            membership: self.membership_row(group, user)?,
            notified: group.members.get(user)?.notified,
            head: group.head,
            dissolved: group.dissolved,
            unread: self.unread(group, user),
        })
    }

    fn unread(&self, group: &Group, user: &UserId) -> u32 {
        let Some(member) = group.member(user) else { return 0 };
        let unread = self.messages(group.id).filter(|(seq, message)| {
            *seq > member.stay.read && message.sender != *user && !group.rolled_back.contains(seq)
        });
        u32::try_from(unread.count()).unwrap().min(UNREAD_MAX)
    }

    pub(super) fn group_count(&self, user: &UserId) -> usize {
        let is_in = |group: &&Group| group.member(user).is_some() && group.dissolved.is_none();
        self.groups.values().filter(is_in).count()
    }

    pub(super) fn event_rows(&self, group: &Group) -> Vec<EventRow> {
        let rows = self.facts(group.id).map(|(fact, offset)| EventRow {
            seq: fact.seq,
            position: parley_domain::Position { partition: 0, offset },
            value: value_of(group.id, fact.seq),
            rolled_back: group.rolled_back.contains(&fact.seq),
        });
        rows.collect()
    }

    pub(super) fn message_rows(&self, group: &Group) -> Vec<EventRow> {
        let seqs: Vec<Seq> = self.messages(group.id).map(|(seq, _)| seq).collect();
        self.event_rows(group).into_iter().filter(|row| seqs.contains(&row.seq)).collect()
    }

    pub(super) fn status_rows(&self, group: &Group, seq: Seq, sender: &UserId) -> Vec<StatusRow> {
        let mut rows: Vec<StatusRow> = group
            .members
            .iter()
            .filter(|(user, _)| *user != sender)
            .filter_map(|(user, membership)| {
                let stay = membership.stay_at(seq)?;
                let mut row =
                    StatusRow { user: user.clone(), delivered: false, read: false, updated_at: None };
                if group.rolled_back.contains(&seq) {
                    return Some(row);
                }
                let mut steps = self.log.iter().filter_map(|entry| match entry {
                    Entry::Ack(of, step) if *of == group.id && step.user == *user => Some(step),
                    Entry::Ack(..) | Entry::Event(..) | Entry::Profile(_) => None,
                });
                let within = |value: Seq| value >= seq && stay.sees(value);
                let read_at = steps.clone().find(|step| within(step.read)).map(|step| step.at);
                let delivered_at = steps.find(|step| within(step.delivered)).map(|step| step.at);
                row.read = read_at.is_some();
                row.delivered = row.read || delivered_at.is_some();
                row.updated_at = read_at.or(delivered_at);
                Some(row)
            })
            .collect();
        rows.sort_by(|a, b| a.user.cmp(&b.user));
        rows
    }

    pub(super) fn media(&self, media: MediaId) -> Vec<(GroupId, Seq)> {
        let of = |id: GroupId| {
            let carries = move |message: &parley_domain::MessageSent| {
                message.media.as_ref().is_some_and(|found| found.media_id == media)
            };
            self.messages(id).filter(move |(_, message)| carries(message)).map(move |(seq, _)| (id, seq))
        };
        self.groups.keys().flat_map(|id| of(*id)).collect()
    }

    pub(super) fn profile(&self, user: &UserId) -> Option<ProfileChanged> {
        let profiles = self.log.iter().rev().filter_map(|entry| match entry {
            Entry::Profile(profile) => Some(profile),
            Entry::Event(..) | Entry::Ack(..) => None,
        });
        profiles.clone().find(|profile| profile.user == *user).cloned()
    }
}
