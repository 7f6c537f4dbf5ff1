//! What a fact means for the read models. Rows only say what the fact says: nothing is read, nothing is counted,
//! so that applying a fact twice, or out of turn with another topic's, gives the same rows.

use crate::event::{CursorAdvance, Event, Fact, ProfileChanged};
use crate::group::Role;
use crate::ids::{ClientMessageId, GroupId, MediaId, MessageId, Seq, UserId};
use crate::notification::NotificationKind;
use crate::time::Timestamp;

/// A row of a read model. Keys are in each variant's description; a later row with the same key replaces an earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// `(group, seq)`: the event itself. The provider adds the event's bytes as they lie in the log.
    Timeline {
        /// Key.
        group_id: GroupId,
        /// Key.
        seq: Seq,
        /// Messages up to here.
        message_count: u64,
        /// Whether it is a message.
        is_message: bool,
    },
    /// `(group, message_id)`, `(group, sender, client_message_id)` and `(group, sender, seq)`: finds a message.
    Message {
        /// Key.
        group_id: GroupId,
        /// Value, or key of the third.
        seq: Seq,
        /// Key.
        message_id: MessageId,
        /// Key.
        sender: UserId,
        /// Key.
        client_message_id: ClientMessageId,
        /// How many messages this sender has sent up to here.
        sender_nth: u64,
    },
    /// `(media, group, seq)`: which messages carry an object.
    Media {
        /// Key.
        media_id: MediaId,
        /// Key.
        group_id: GroupId,
        /// Key.
        seq: Seq,
    },
    /// `(group, seq)`: the message there was rolled back.
    RolledBack {
        /// Key.
        group_id: GroupId,
        /// Key: the message's `seq`, not the roll-back's.
        seq: Seq,
        /// Who had sent it.
        sender: UserId,
    },
    /// `(group)`: what never changes.
    Origin {
        /// Key.
        group_id: GroupId,
        /// Who made it.
        creator: UserId,
        /// When.
        created_at: Timestamp,
    },
    /// `(group)`: name and description.
    Description {
        /// Key.
        group_id: GroupId,
        /// Name.
        name: String,
        /// Description.
        description: String,
    },
    /// `(group)`: the owner.
    Owner {
        /// Key.
        group_id: GroupId,
        /// Who.
        owner: UserId,
    },
    /// `(group)`: how many members.
    MemberCount {
        /// Key.
        group_id: GroupId,
        /// How many.
        member_count: u32,
    },
    /// `(group)`: the last event that changed the group itself.
    Changed {
        /// Key.
        group_id: GroupId,
        /// When.
        updated_at: Timestamp,
    },
    /// `(group)`: the last event.
    Head {
        /// Key.
        group_id: GroupId,
        /// Its place.
        seq: Seq,
        /// Messages so far.
        message_count: u64,
    },
    /// `(group)`: the last message.
    LastMessage {
        /// Key.
        group_id: GroupId,
        /// Its place.
        seq: Seq,
    },
    /// `(group)`: it was dissolved.
    Dissolved {
        /// Key.
        group_id: GroupId,
        /// By which event.
        seq: Seq,
    },
    /// `(group, user, seq)` and `(user, group, seq)`: a step in a user's membership.
    Membership {
        /// Key.
        group_id: GroupId,
        /// Key.
        user: UserId,
        /// Key.
        seq: Seq,
        /// When.
        at: Timestamp,
        /// What happened.
        change: MembershipChange,
    },
    /// `(group, user, delivered)` and `(group, user, read)`: a step of a member's cursors; 0 is no step.
    Cursor {
        /// Key.
        group_id: GroupId,
        /// Key.
        user: UserId,
        /// Key of the first.
        delivered: Seq,
        /// Key of the second.
        read: Seq,
        /// When.
        at: Timestamp,
    },
    /// `(user, group, seq)`: the notification of that joining was acknowledged.
    Notified {
        /// Key.
        group_id: GroupId,
        /// Key.
        user: UserId,
        /// Key: the joining event.
        seq: Seq,
    },
    /// `(user)`: the profile.
    Profile(ProfileChanged),
}

/// A step in a user's membership of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChange {
    /// Became a member.
    Joined {
        /// As what.
        role: Role,
        /// By whom.
        by: UserId,
        /// What the user is told.
        kind: NotificationKind,
    },
    /// Another role.
    Role(Role),
    /// Is no member any more.
    Left,
}

/// The rows of a group's fact.
#[must_use]
pub fn project(fact: &Fact) -> Vec<Row> {
    let Fact { group_id, seq, at, message_count, .. } = *fact;
    let is_message = matches!(fact.event, Event::MessageSent(_));
    let mut rows = Vec::with_capacity(5);
    rows.push(Row::Timeline { group_id, seq, message_count, is_message });
    rows.push(Row::Head { group_id, seq, message_count });
    if let Event::MessageSent(message) = &fact.event {
        rows.push(Row::Message {
            group_id,
            seq,
            message_id: message.message_id,
            sender: message.sender.clone(),
            client_message_id: message.client_message_id.clone(),
            sender_nth: message.sender_nth,
        });
        rows.push(Row::LastMessage { group_id, seq });
        rows.extend(message.media.as_ref().map(|media| Row::Media {
            media_id: media.media_id,
            group_id,
            seq,
        }));
        return rows;
    }
    rows.push(Row::Changed { group_id, updated_at: at });
    project_change(fact, &mut rows);
    rows
}

fn project_change(fact: &Fact, rows: &mut Vec<Row>) {
    let Fact { group_id, seq, at, .. } = *fact;
    let step = |user: &UserId, change| Row::Membership { group_id, user: user.clone(), seq, at, change };
    match &fact.event {
        Event::GroupCreated { name, description, creator, members, .. } => {
            rows.push(Row::Origin { group_id, creator: creator.clone(), created_at: at });
            rows.push(Row::Description { group_id, name: name.clone(), description: description.clone() });
            rows.push(Row::Owner { group_id, owner: creator.clone() });
            let member_count = u32::try_from(members.len()).unwrap_or(u32::MAX);
            rows.push(Row::MemberCount { group_id, member_count });
            rows.extend(members.iter().map(|user| {
                let role = if user == creator { Role::Owner } else { Role::Member };
                let kind = NotificationKind::Created;
                step(user, MembershipChange::Joined { role, by: creator.clone(), kind })
            }));
        }
        Event::MembersAdded { actor, users, member_count } => {
            rows.push(Row::MemberCount { group_id, member_count: *member_count });
            rows.extend(users.iter().map(|user| {
                let (role, kind) = (Role::Member, NotificationKind::Added);
                step(user, MembershipChange::Joined { role, by: actor.clone(), kind })
            }));
        }
        Event::MembersRemoved { users, member_count, .. } => {
            rows.push(Row::MemberCount { group_id, member_count: *member_count });
            rows.extend(users.iter().map(|user| step(user, MembershipChange::Left)));
        }
        Event::RoleChanged { user, role, .. } => rows.push(step(user, MembershipChange::Role(*role))),
        Event::OwnerTransferred { actor, owner } => {
            rows.push(Row::Owner { group_id, owner: owner.clone() });
            rows.push(step(actor, MembershipChange::Role(Role::Admin)));
            rows.push(step(owner, MembershipChange::Role(Role::Owner)));
        }
        Event::GroupUpdated { name, description, .. } => {
            rows.push(Row::Description { group_id, name: name.clone(), description: description.clone() });
        }
        Event::GroupDissolved { .. } => rows.push(Row::Dissolved { group_id, seq }),
        Event::MessageRolledBack { message_seq, sender, .. } => {
            rows.push(Row::RolledBack { group_id, seq: *message_seq, sender: sender.clone() });
        }
        Event::MessageSent(_) => {}
    }
}

/// The rows of one entry of a `CursorsAdvanced`.
#[must_use]
pub fn project_cursor(group_id: GroupId, advance: &CursorAdvance) -> Vec<Row> {
    let CursorAdvance { user, delivered, read, at, notified, .. } = advance;
    let moved = delivered.max(read) > &0;
    let cursor = moved.then(|| Row::Cursor {
        group_id,
        user: user.clone(),
        delivered: *delivered,
        read: *read,
        at: *at,
    });
    let notified = notified.map(|seq| Row::Notified { group_id, user: user.clone(), seq });
    cursor.into_iter().chain(notified).collect()
}

/// The row of a profile.
#[must_use]
pub fn project_profile(profile: &ProfileChanged) -> Row {
    Row::Profile(profile.clone())
}
