//! What every log must hold, checked record by record. A function of the records: values in, faults out.

use std::collections::{HashMap, HashSet};

use parley_domain::{
    ClientMessageId, Event, EventId, Fact, Group, GroupId, MessageId, MessageSent, PartitionCount, Role, Seq,
    Stamp, UserId, Validity, Verdict, partition_of,
};
use parley_eventlog::{StoredRecord, Topic, TopicPartition};
use parley_wire::event::{self, CursorsAdvanced};

use crate::engines::lost;

/// Faults that are kept; all are counted.
const FAULTS_MAX: usize = 100;

/// What was found so far.
pub(super) struct Checker {
    partitions: PartitionCount,
    validity: HashMap<TopicPartition, Validity>,
    next_offset: HashMap<TopicPartition, u64>,
    ids: HashSet<(TopicPartition, EventId)>,
    sent: HashSet<(GroupId, UserId, ClientMessageId)>,
    messages: HashMap<(GroupId, Seq), (MessageId, UserId)>,
    groups: HashMap<GroupId, Option<Group>>,
    pub(super) faults: Vec<String>,
    pub(super) counts: Counts,
}

fn are_distinct(users: &[UserId]) -> bool {
    let mut seen = HashSet::with_capacity(users.len());
    users.iter().all(|user| seen.insert(user))
}

/// What was counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) claims: u64,
    pub(super) void: u64,
    pub(super) messages: u64,
    pub(super) faults: u64,
}

impl Checker {
    pub(super) fn new(partitions: PartitionCount) -> Self {
        Self {
            partitions,
            validity: HashMap::new(),
            next_offset: HashMap::new(),
            ids: HashSet::new(),
            sent: HashSet::new(),
            messages: HashMap::new(),
            groups: HashMap::new(),
            faults: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, stored: &StoredRecord) {
        self.counts.records += 1;
        if !self.next_offset.contains_key(&stored.at) {
            self.expect(stored.record.stamp == Stamp::Claim, stored, "the first record is a claim");
        }
        let expected = self.next_offset.entry(stored.at).or_default();
        let in_order = *expected == stored.offset;
        *expected = stored.offset + 1;
        self.expect(in_order, stored, "offsets of the embedded log are dense");
        match parley_eventlog::admit(self.validity.entry(stored.at).or_default(), stored) {
            Verdict::Claim => {
                self.counts.claims += 1;
                self.expect(stored.record.key.is_none(), stored, "a claim has no key");
                self.expect(
                    stored.record.kind == event::CLAIM_TYPE,
                    stored,
                    "a claim is of the claims' type",
                );
            }
            Verdict::Void => self.counts.void += 1,
            Verdict::Valid => self.valid(stored),
        }
    }

    /// Takes how far read models have come in a partition, once all records were taken: what they were built from was durable.
    pub(super) fn known(&mut self, at: TopicPartition, offset: u64) {
        let end = self.next_offset.get(&at).copied().unwrap_or(0);
        if let Some(lost) = lost(at, end, offset) {
            self.fault(lost);
        }
    }

    fn fault(&mut self, what: String) {
        self.counts.faults += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    fn expect(&mut self, holds: bool, stored: &StoredRecord, what: &str) {
        if holds {
            return;
        }
        let (topic, partition) = (stored.at.topic.name(), stored.at.partition);
        self.fault(format!("{topic}/{partition}@{}: not so: {what}", stored.offset));
    }

    fn valid(&mut self, stored: &StoredRecord) {
        let fresh = self.ids.insert((stored.at, stored.record.id));
        self.expect(fresh, stored, "an event id occurs once");
        let key = stored.record.key.clone().unwrap_or_default();
        let partition = partition_of(&key, self.partitions);
        self.expect(partition == stored.at.partition, stored, "the partition is that of the key");
        let value = stored.record.value.clone();
        let outcome = match stored.at.topic {
            Topic::Events => {
                event::decode_fact(&stored.record.kind, value).map(|fact| self.fact(stored, &key, &fact))
            }
            Topic::Acks => event::decode_cursors(value).map(|cursors| {
                self.expect(stored.record.kind == event::CURSORS_TYPE, stored, "ce_type is the value's");
                self.cursors(stored, &key, &cursors);
            }),
            Topic::Users => event::decode_profile(value).map(|profile| {
                self.expect(stored.record.kind == event::PROFILE_TYPE, stored, "ce_type is the value's");
                self.expect(profile.user.as_str().as_bytes() == key, stored, "the key is the user's id");
            }),
        };
        if let Err(error) = outcome {
            self.expect(false, stored, &format!("the value can be understood ({error})"));
        }
    }

    fn fact(&mut self, stored: &StoredRecord, key: &[u8], fact: &Fact) {
        self.expect(fact.group_id.to_string().as_bytes() == key, stored, "the key is the group's id");
        self.expect(fact.event_id == stored.record.id, stored, "ce_id is the event's id");
        let mut slot = self.groups.remove(&fact.group_id).flatten();
        let (head, messages) = slot.as_ref().map_or((0, 0), |group| (group.head, group.message_count));
        self.expect(fact.seq == head + 1, stored, "seq is dense");
        let is_message = matches!(fact.event, Event::MessageSent(_));
        self.expect(
            fact.message_count == messages + u64::from(is_message),
            stored,
            "the running count of messages is right",
        );
        self.event(stored, slot.as_ref(), fact);
        Group::evolve(&mut slot, fact);
        if let Some(group) = slot.as_ref().filter(|_| !is_message) {
            self.members(stored, group);
        }
        self.groups.insert(fact.group_id, slot);
    }

    /// Who is in a group after an event that may have changed it.
    fn members(&mut self, stored: &StoredRecord, group: &Group) {
        let current = group.members.values().filter(|membership| membership.is_current());
        let (mut count, mut owners) = (0, 0);
        for membership in current {
            count += 1;
            owners += u32::from(membership.role == Role::Owner);
        }
        self.expect(count == group.member_count, stored, "the number of members is right");
        let is_owner = group.member(&group.owner).is_some_and(|membership| membership.role == Role::Owner);
        self.expect(is_owner && owners == 1, stored, "the owner is a member, and the only owner");
    }

    fn event(&mut self, stored: &StoredRecord, group: Option<&Group>, fact: &Fact) {
        let Some(group) = group else {
            return self.created(stored, &fact.event);
        };
        self.expect(group.dissolved.is_none(), stored, "nothing follows a dissolution");
        match &fact.event {
            Event::GroupCreated { .. } => self.expect(false, stored, "a group is created once"),
            Event::MessageSent(message) => self.message(stored, group, fact, message),
            Event::MembersAdded { users, member_count, .. } => {
                let none = users.iter().all(|user| group.member(user).is_none());
                self.expect(none && are_distinct(users), stored, "who is added was no member");
                let right = *member_count as usize == group.member_count as usize + users.len();
                self.expect(right, stored, "the number of members is right");
            }
            Event::MembersRemoved { users, member_count, .. } => {
                let all = users.iter().all(|user| group.member(user).is_some());
                self.expect(all && are_distinct(users), stored, "who is removed was a member");
                let right = *member_count as usize + users.len() == group.member_count as usize;
                self.expect(right, stored, "the number of members is right");
            }
            Event::RoleChanged { user, .. } | Event::OwnerTransferred { owner: user, .. } => {
                self.expect(group.member(user).is_some(), stored, "a role is a member's");
            }
            Event::MessageRolledBack { message_id, message_seq, sender, .. } => {
                let message = self.messages.get(&(fact.group_id, *message_seq));
                let exists = message.is_some_and(|(id, by)| id == message_id && by == sender);
                self.expect(exists, stored, "what is rolled back is a message before it");
                let first = !group.rolled_back.contains(message_seq);
                self.expect(first, stored, "a message is rolled back once");
            }
            Event::GroupUpdated { .. } | Event::GroupDissolved { .. } => {}
        }
    }

    fn created(&mut self, stored: &StoredRecord, event: &Event) {
        let Event::GroupCreated { creator, members, .. } = event else {
            return self.expect(false, stored, "a group begins with its creation");
        };
        let sound = members.first() == Some(creator) && are_distinct(members);
        self.expect(sound, stored, "the creator is the first member, and nobody is twice");
    }

    fn message(&mut self, stored: &StoredRecord, group: &Group, fact: &Fact, message: &MessageSent) {
        self.counts.messages += 1;
        let member = group.member(&message.sender);
        self.expect(member.is_some(), stored, "the sender is a member");
        let nth = member.map_or(0, |membership| membership.sent) + 1;
        self.expect(message.sender_nth == nth, stored, "the sender's running count is right");
        let key = (fact.group_id, message.sender.clone(), message.client_message_id.clone());
        let fresh = self.sent.insert(key);
        self.expect(fresh, stored, "a client message id occurs once for its sender and group");
        self.messages.insert((fact.group_id, fact.seq), (message.message_id, message.sender.clone()));
    }

    /// Only at the end of the events before them can cursors be judged; the embedded log has all in one order.
    fn cursors(&mut self, stored: &StoredRecord, key: &[u8], cursors: &CursorsAdvanced) {
        self.expect(cursors.group_id.to_string().as_bytes() == key, stored, "the key is the group's id");
        self.expect(cursors.event_id == stored.record.id, stored, "ce_id is the event's id");
        let slot = self.groups.remove(&cursors.group_id).flatten();
        let Some(mut group) = slot else {
            return self.expect(false, stored, "cursors are of a group that exists");
        };
        for advance in &cursors.advances {
            let highest = advance.delivered.max(advance.read);
            let member = group.members.contains_key(&advance.user);
            self.expect(member, stored, "a cursor is a member's");
            self.expect(highest <= group.head, stored, "no cursor is beyond the head");
            let before = group.members.get(&advance.user).map(|membership| membership.stay.clone());
            group.apply_cursor(advance);
            let after = group.members.get(&advance.user).map(|membership| membership.stay.clone());
            if let (Some(before), Some(after)) = (before, after) {
                let grown = after.delivered >= before.delivered && after.read >= before.read;
                self.expect(
                    grown && after.read <= after.delivered,
                    stored,
                    "cursors only grow, read implies delivered",
                );
            }
        }
        self.groups.insert(cursors.group_id, Some(group));
    }
}

#[cfg(test)]
mod tests;
