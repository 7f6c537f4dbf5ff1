//! A group, folded from its events: what the owner of a partition decides by.

use std::collections::HashSet;

use hashbrown::HashMap;

use crate::event::{CursorAdvance, Event, Fact};
use crate::ids::{GroupId, Seq, UserId};
use crate::time::Timestamp;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything. There is exactly one.
    Owner,
    /// Changes the group, adds and removes plain members.
    Admin,
    /// Reads, writes, leaves.
    Member,
}

/// A time of membership, with its cursors. Both cursors start at the joining event and only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// The event that made the user a member.
    pub joined: Seq,
    /// The event that ended it, if it has ended.
    pub left: Option<Seq>,
    /// Everything up to here was delivered.
    pub delivered: Seq,
    /// Everything up to here was read.
    pub read: Seq,
}

impl Stay {
    fn new(joined: Seq) -> Self {
        Self { joined, left: None, delivered: joined, read: joined }
    }

    /// Whether the event at `seq` is one that this member sees (its own joining and leaving included).
    #[must_use]
    pub fn sees(&self, seq: Seq) -> bool {
        seq >= self.joined && self.left.is_none_or(|left| seq <= left)
    }

    fn advance(&mut self, delivered: Seq, read: Seq) {
        self.read = self.read.max(read);
        self.delivered = self.delivered.max(delivered).max(self.read);
    }
}

/// A user who is or was a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The role; the last one, if the user is no member any more.
    pub role: Role,
    /// When the present (or last) stay began.
    pub joined_at: Timestamp,
    /// The present or last stay.
    pub stay: Stay,
    /// Stays before that one; usually none.
    pub past: Vec<Stay>,
    /// Whether the notification of the present stay was acknowledged.
    pub notified: bool,
    /// Messages sent to this group, in all stays.
    pub sent: u64,
}

impl Membership {
    fn new(role: Role, joined: Seq, joined_at: Timestamp, notified: bool) -> Self {
        Self { role, joined_at, stay: Stay::new(joined), past: Vec::new(), notified, sent: 0 }
    }

    /// Whether the user is a member now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.stay.left.is_none()
    }

    /// The stay during which the event at `seq` happened, if the user was a member then.
    #[must_use]
    pub fn stay_at(&self, seq: Seq) -> Option<&Stay> {
        std::iter::once(&self.stay).chain(&self.past).find(|stay| stay.sees(seq))
    }
}

/// Who has a message, counted: members at the time of the message, the sender not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptCounts {
    /// Delivered.
    pub delivered: u32,
    /// Read.
    pub read: u32,
    /// All of them.
    pub members: u32,
}

/// A group's state after some prefix of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Who made it.
    pub creator: UserId,
    /// Who owns it now.
    pub owner: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed, messages aside.
    pub updated_at: Timestamp,
    /// Digest of the request that made it.
    pub recipe: [u8; 32],
    /// `seq` of the last event.
    pub head: Seq,
    /// Messages so far.
    pub message_count: u64,
    /// Everybody who is or was a member.
    pub members: HashMap<UserId, Membership>,
    /// How many are members now.
    pub member_count: u32,
    /// The event that ended the group.
    pub dissolved: Option<Seq>,
    /// Messages that were rolled back; few.
    pub rolled_back: HashSet<Seq>,
}

impl Group {
    /// Folds one more fact into a group that may not exist yet.
    ///
    /// Total: a fact that is not the next one of this group (a repeat, a hole) changes nothing.
    pub fn evolve(slot: &mut Option<Self>, fact: &Fact) {
        match slot {
            Some(group) if group.id == fact.group_id && fact.seq == group.head + 1 => group.apply(fact),
            None if fact.seq == 1 => *slot = Self::created(fact),
            _ => {}
        }
    }

    fn created(fact: &Fact) -> Option<Self> {
        let Event::GroupCreated { name, description, creator, members, recipe } = &fact.event else {
            return None;
        };
        let mut group = Self {
            id: fact.group_id,
            name: name.clone(),
            description: description.clone(),
            creator: creator.clone(),
            owner: creator.clone(),
            created_at: fact.at,
            updated_at: fact.at,
            recipe: *recipe,
            head: 1,
            message_count: fact.message_count,
            members: HashMap::with_capacity(members.len()),
            member_count: 0,
            dissolved: None,
            rolled_back: HashSet::new(),
        };
        group.join(members, fact);
        group.set_role(creator, Role::Owner);
        if let Some(membership) = group.members.get_mut(creator) {
            membership.notified = true; // who made it needs no telling
        }
        Some(group)
    }

    fn apply(&mut self, fact: &Fact) {
        self.head = fact.seq;
        self.message_count = fact.message_count;
        match &fact.event {
            Event::MessageSent(message) => {
                if let Some(membership) = self.members.get_mut(&message.sender) {
                    membership.sent = message.sender_nth;
                }
                return;
            }
            Event::GroupCreated { .. } => {}
            Event::MembersAdded { users, .. } => self.join(users, fact),
            Event::MembersRemoved { users, .. } => self.leave(users, fact.seq),
            Event::RoleChanged { user, role, .. } => self.set_role(user, *role),
            Event::OwnerTransferred { actor, owner } => {
                self.set_role(actor, Role::Admin);
                self.set_role(owner, Role::Owner);
                self.owner = owner.clone();
            }
            Event::GroupUpdated { name, description, .. } => {
                self.name.clone_from(name);
                self.description.clone_from(description);
            }
            Event::GroupDissolved { .. } => self.dissolved = Some(fact.seq),
            Event::MessageRolledBack { message_seq, .. } => {
                self.rolled_back.insert(*message_seq);
            }
        }
        self.updated_at = fact.at;
    }

    fn join(&mut self, users: &[UserId], fact: &Fact) {
        for user in users {
            let fresh = || Membership::new(Role::Member, fact.seq, fact.at, false);
            let membership = self.members.entry(user.clone()).or_insert_with(fresh);
            if membership.stay.joined != fact.seq {
                if membership.is_current() {
                    continue;
                }
                let past = std::mem::replace(&mut membership.stay, Stay::new(fact.seq));
                membership.past.push(past);
                membership.role = Role::Member;
                membership.joined_at = fact.at;
                membership.notified = false;
            }
            self.member_count += 1;
        }
    }

    fn leave(&mut self, users: &[UserId], seq: Seq) {
        for user in users {
            if let Some(membership) = self.members.get_mut(user)
                && membership.is_current()
            {
                membership.stay.left = Some(seq);
                self.member_count = self.member_count.saturating_sub(1);
            }
        }
    }

    fn set_role(&mut self, user: &UserId, role: Role) {
        if let Some(membership) = self.members.get_mut(user) {
            membership.role = role;
        }
    }

    /// Folds one entry of a `CursorsAdvanced`. Any order and any repeat give the same state.
    pub fn apply_cursor(&mut self, advance: &CursorAdvance) {
        let Some(membership) = self.members.get_mut(&advance.user) else { return };
        let stays = std::iter::once(&mut membership.stay).chain(&mut membership.past);
        for stay in stays {
            if stay.sees(advance.delivered.max(advance.read)) {
                stay.advance(advance.delivered, advance.read);
                break;
            }
        }
        if advance.notified == Some(membership.stay.joined) {
            membership.notified = true;
        }
    }

    /// The membership of a user who is a member now.
    #[must_use]
    pub fn member(&self, user: &UserId) -> Option<&Membership> {
        self.members.get(user).filter(|membership| membership.is_current())
    }

    /// Counts who has each of some messages, given by `seq` and sender; in their order. A message that was rolled back nobody has.
    ///
    /// Each member is looked at once for all of them: there may be a hundred thousand, most of them in no cache.
    #[must_use]
    pub fn receipts(&self, messages: &[(Seq, UserId)]) -> Vec<ReceiptCounts> {
        let mut seqs: Vec<Seq> = messages.iter().map(|(seq, _)| *seq).collect();
        seqs.sort_unstable();
        seqs.dedup();
        let before = |seq: Seq| seqs.partition_point(|known| *known < seq);
        let upto = |seq: Seq| seqs.partition_point(|known| *known <= seq);
        let mut counts = vec![ReceiptCounts::default(); seqs.len()];
        let stays =
            self.members.values().flat_map(|member| std::iter::once(&member.stay).chain(&member.past));
        for stay in stays {
            let (first, end) = (before(stay.joined), stay.left.map_or(seqs.len(), upto));
            let (delivered, read) = (upto(stay.delivered), upto(stay.read));
            for (place, counts) in counts.iter_mut().enumerate().take(end).skip(first) {
                counts.members += 1;
                counts.delivered += u32::from(place < delivered);
                counts.read += u32::from(place < read);
            }
        }
        let of = |(seq, sender): &(Seq, UserId)| {
            let mut counts = counts.get(before(*seq)).copied().unwrap_or_default();
            if let Some(stay) = self.members.get(sender).and_then(|member| member.stay_at(*seq)) {
                counts.members -= 1;
                counts.delivered -= u32::from(stay.delivered >= *seq);
                counts.read -= u32::from(stay.read >= *seq);
            }
            match self.rolled_back.contains(seq) {
                true => ReceiptCounts { members: counts.members, ..ReceiptCounts::default() },
                false => counts,
            }
        };
        messages.iter().map(of).collect()
    }
}
