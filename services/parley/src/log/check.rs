//! What every log must hold, checked record by record. A function of the records: values in, faults out.

use std::collections::{HashMap, HashSet};

use parley_domain::{
    ClientMessageId, Event, EventId, Fact, Group, GroupId, PartitionCount, UserId, Validity, Verdict,
    partition_of,
};
use parley_eventlog::{StoredRecord, Topic, TopicPartition};
use parley_wire::event::{self, CursorsAdvanced};

/// Faults that are kept; all are counted.
const FAULTS_MAX: usize = 100;

/// What was found so far.
pub(super) struct Checker {
    partitions: PartitionCount,
    validity: HashMap<TopicPartition, Validity>,
    next_offset: HashMap<TopicPartition, u64>,
    ids: HashSet<(TopicPartition, EventId)>,
    sent: HashSet<(GroupId, UserId, ClientMessageId)>,
    groups: HashMap<GroupId, Option<Group>>,
    pub(super) faults: Vec<String>,
    pub(super) counts: Counts,
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
        let expected = self.next_offset.entry(stored.at).or_insert(stored.offset);
        let in_order = *expected == stored.offset;
        *expected = stored.offset + 1;
        self.expect(in_order, stored, "offsets of the embedded log are dense");
        match self.validity.entry(stored.at).or_default().admit(stored.offset, stored.record.stamp) {
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

    fn expect(&mut self, holds: bool, stored: &StoredRecord, what: &str) {
        if holds {
            return;
        }
        self.counts.faults += 1;
        if self.faults.len() < FAULTS_MAX {
            let (topic, partition) = (stored.at.topic.name(), stored.at.partition);
            self.faults.push(format!("{topic}/{partition}@{}: not so: {what}", stored.offset));
        }
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
            Topic::Acks => event::decode_cursors(value).map(|cursors| self.cursors(stored, &key, &cursors)),
            Topic::Users => event::decode_profile(value).map(|profile| {
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
        if let Some(group) = &slot {
            let owners = group.member(&group.owner).is_some();
            self.expect(owners, stored, "the owner is a member");
            let current = group.members.values().filter(|membership| membership.is_current()).count();
            let counts_right =
                matches!(fact.event, Event::MessageSent(_)) || current == group.member_count as usize;
            self.expect(counts_right, stored, "the number of members is right");
        }
        self.groups.insert(fact.group_id, slot);
    }

    fn event(&mut self, stored: &StoredRecord, group: Option<&Group>, fact: &Fact) {
        let Some(group) = group else {
            let created = matches!(fact.event, Event::GroupCreated { .. });
            return self.expect(created, stored, "a group begins with its creation");
        };
        self.expect(group.dissolved.is_none(), stored, "nothing follows a dissolution");
        match &fact.event {
            Event::GroupCreated { .. } => self.expect(false, stored, "a group is created once"),
            Event::MessageSent(message) => {
                self.counts.messages += 1;
                let member = group.member(&message.sender);
                self.expect(member.is_some(), stored, "the sender is a member");
                let nth = member.map_or(0, |membership| membership.sent) + 1;
                self.expect(message.sender_nth == nth, stored, "the sender's running count is right");
                let key = (fact.group_id, message.sender.clone(), message.client_message_id.clone());
                let fresh = self.sent.insert(key);
                self.expect(fresh, stored, "a client message id occurs once for its sender and group");
            }
            Event::MembersAdded { users, member_count, .. } => {
                let none = users.iter().all(|user| group.member(user).is_none());
                self.expect(none, stored, "who is added was no member");
                let right = *member_count as usize == group.member_count as usize + users.len();
                self.expect(right, stored, "the number of members is right");
            }
            Event::MembersRemoved { users, member_count, .. } => {
                let all = users.iter().all(|user| group.member(user).is_some());
                self.expect(all, stored, "who is removed was a member");
                let right = *member_count as usize + users.len() == group.member_count as usize;
                self.expect(right, stored, "the number of members is right");
            }
            Event::RoleChanged { user, .. } | Event::OwnerTransferred { owner: user, .. } => {
                self.expect(group.member(user).is_some(), stored, "a role is a member's");
            }
            Event::MessageRolledBack { message_seq, .. } => {
                self.expect(*message_seq < fact.seq, stored, "what is rolled back lies before");
            }
            Event::GroupUpdated { .. } | Event::GroupDissolved { .. } => {}
        }
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
mod tests {
    use parley_domain::{Stamp, Timestamp};
    use parley_eventlog::Record;

    use super::*;

    const GROUP: GroupId = GroupId(uuid::Uuid::from_bytes([7; 16]));

    fn stored(offset: u64, stamp: Stamp, fact: Option<&Fact>) -> StoredRecord {
        let partition = partition_of(GROUP.to_string().as_bytes(), PartitionCount::DEFAULT);
        let record = Record {
            key: fact.map(|fact| fact.group_id.to_string().into()),
            value: fact.map(event::encode_fact).unwrap_or_default(),
            id: fact.map_or(EventId::from_bytes([0; 16]), |fact| fact.event_id),
            kind: fact.map_or(event::CLAIM_TYPE, |fact| event::fact_type(&fact.event)).into(),
            source: "test".into(),
            time: Timestamp(0),
            stamp,
        };
        StoredRecord { at: TopicPartition { topic: Topic::Events, partition }, offset, record }
    }

    fn fact(seq: u64, event: Event) -> Fact {
        let id = EventId::from_bytes([u8::try_from(seq).unwrap(); 16]);
        Fact { group_id: GROUP, seq, event_id: id, at: Timestamp(0), message_count: 0, event }
    }

    fn faults(facts: &[Fact]) -> Vec<String> {
        let mut checker = Checker::new(PartitionCount::DEFAULT);
        checker.record(&stored(0, Stamp::Claim, None));
        for (index, fact) in (0..).zip(facts) {
            checker.record(&stored(index + 1, Stamp::Event { claim: 0, index }, Some(fact)));
        }
        checker.faults
    }

    fn created() -> Fact {
        let ann = UserId::parse("ann").unwrap();
        let members = vec![ann.clone()];
        let (name, description) = ("g".to_owned(), String::new());
        fact(1, Event::GroupCreated { name, description, creator: ann, members, recipe: [0; 32] })
    }

    fn added(seq: u64, member_count: u32) -> Fact {
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        fact(seq, Event::MembersAdded { actor: ann, users: vec![bob], member_count })
    }

    #[test]
    fn a_sound_log_has_no_faults_and_each_planted_one_is_found() {
        assert_eq!(faults(&[created(), added(2, 2)]), Vec::<String>::new());
        let cases = [
            (vec![created(), added(3, 2)], "seq is dense"),
            (vec![added(1, 2)], "begins with its creation"),
            (vec![created(), created()], "seq is dense"),
            (vec![created(), added(2, 3)], "number of members"),
            (vec![created(), added(2, 2), added(3, 3)], "was no member"),
            (vec![created(), Fact { message_count: 1, ..added(2, 2) }], "count of messages"),
            (vec![created(), Fact { event_id: created().event_id, ..added(2, 2) }], "occurs once"),
        ];
        for (facts, expected) in cases {
            let found = faults(&facts);
            assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
        }
    }

    #[test]
    fn void_records_are_counted_and_passed_over() {
        let mut checker = Checker::new(PartitionCount::DEFAULT);
        checker.record(&stored(0, Stamp::Claim, None));
        checker.record(&stored(1, Stamp::Event { claim: 0, index: 0 }, Some(&created())));
        checker.record(&stored(2, Stamp::Event { claim: 0, index: 5 }, Some(&added(9, 9))));
        assert_eq!((checker.counts.void, checker.counts.faults), (1, 0));
    }
}
