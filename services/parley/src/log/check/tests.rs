use parley_domain::{CursorAdvance, KeyId, MessageKind, RollbackReason, Stamp, Timestamp};
use parley_eventlog::Record;

use super::*;

const GROUP: GroupId = GroupId(uuid::Uuid::from_bytes([7; 16]));

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn place(topic: Topic) -> TopicPartition {
    TopicPartition { topic, partition: partition_of(GROUP.to_string().as_bytes(), PartitionCount::DEFAULT) }
}

fn claim(topic: Topic, offset: u64) -> StoredRecord {
    let record = Record {
        key: None,
        value: bytes::Bytes::new(),
        id: EventId::from_bytes([u8::try_from(offset).unwrap() + 200; 16]),
        kind: event::CLAIM_TYPE.into(),
        source: "test".into(),
        time: Timestamp(0),
        stamp: Stamp::Claim,
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    };
    StoredRecord { at: place(topic), offset, record }
}

fn of_fact(offset: u64, fact: &Fact) -> StoredRecord {
    let record = Record {
        key: Some(fact.group_id.to_string().into()),
        value: event::encode_fact(fact, &mut bytes::BytesMut::new()),
        id: fact.event_id,
        kind: event::fact_type(&fact.event).into(),
        source: "test".into(),
        time: Timestamp(0),
        stamp: Stamp::Event { claim: 0, index: offset - 1 },
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    };
    StoredRecord { at: place(Topic::Events), offset, record }
}

fn of_cursors(offset: u64, advances: Vec<CursorAdvance>) -> StoredRecord {
    let event_id = EventId::from_bytes([u8::try_from(offset).unwrap() + 100; 16]);
    let cursors = CursorsAdvanced { group_id: GROUP, event_id, at: Timestamp(0), advances };
    let record = Record {
        key: Some(GROUP.to_string().into()),
        value: event::encode_cursors(&cursors, &mut bytes::BytesMut::new()),
        id: event_id,
        kind: event::CURSORS_TYPE.into(),
        source: "test".into(),
        time: Timestamp(0),
        stamp: Stamp::Event { claim: 0, index: offset - 1 },
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    };
    StoredRecord { at: place(Topic::Acks), offset, record }
}

fn check(records: &[StoredRecord]) -> Checker {
    let mut checker = Checker::new(PartitionCount::DEFAULT);
    records.iter().for_each(|record| checker.record(record));
    checker
}

#[test]
fn a_log_that_ends_before_what_read_models_know_lost_records() {
    let mut checker = check(&log(&[created()]));
    checker.known(place(Topic::Events), 2);
    assert_eq!(checker.counts.faults, 0);
    checker.known(place(Topic::Events), 3);
    checker.known(place(Topic::Acks), 1);
    assert_eq!(checker.counts.faults, 2);
    assert!(checker.faults.iter().all(|fault| fault.contains("lost records")), "{:?}", checker.faults);
}

fn log(facts: &[Fact]) -> Vec<StoredRecord> {
    let facts = (1..).zip(facts).map(|(offset, fact)| of_fact(offset, fact));
    std::iter::once(claim(Topic::Events, 0)).chain(facts).collect()
}

fn faults(facts: &[Fact]) -> Vec<String> {
    check(&log(facts)).faults
}

fn cursor(name: &str, delivered: Seq, read: Seq) -> CursorAdvance {
    CursorAdvance {
        user: user(name),
        delivered,
        read,
        delivered_before: 0,
        read_before: 0,
        at: Timestamp(0),
        notified: None,
    }
}

fn cursor_faults(advances: Vec<CursorAdvance>) -> Vec<String> {
    let mut records = log(&[created(), added(2, "bob", 2)]);
    records.extend([claim(Topic::Acks, 0), of_cursors(1, advances)]);
    check(&records).faults
}

fn fact(seq: Seq, event: Event) -> Fact {
    let id = EventId::from_bytes([u8::try_from(seq).unwrap(); 16]);
    Fact { group_id: GROUP, seq, event_id: id, at: Timestamp(0), message_count: 0, event }
}

fn created_with(members: &[&str]) -> Fact {
    let members = members.iter().map(|name| user(name)).collect();
    let (name, description) = ("g".to_owned(), String::new());
    fact(1, Event::GroupCreated { name, description, creator: user("ann"), members, recipe: [0; 32] })
}

fn created() -> Fact {
    created_with(&["ann"])
}

fn added(seq: Seq, name: &str, member_count: u32) -> Fact {
    fact(seq, Event::MembersAdded { actor: user("ann"), users: vec![user(name)], member_count })
}

fn removed(seq: Seq, name: &str, member_count: u32) -> Fact {
    fact(seq, Event::MembersRemoved { actor: user("ann"), users: vec![user(name)], member_count })
}

fn sent(seq: Seq, sender: &str, id: &str, sender_nth: u64, message_count: u64) -> Fact {
    let message = MessageSent {
        message_id: MessageId::from_bytes([u8::try_from(seq).unwrap(); 16]),
        client_message_id: ClientMessageId::parse(id).unwrap(),
        sender: user(sender),
        sender_nth,
        kind: MessageKind::Text,
        media: None,
        key_id: KeyId::from_bytes([1; 16]),
        sealed: vec![0; 29].into(),
        mac: [0; 32],
        text_bytes: 1,
    };
    Fact { message_count, ..fact(seq, Event::MessageSent(message)) }
}

fn rolled_back(seq: Seq, message_seq: Seq, sender: &str) -> Fact {
    let message_id = MessageId::from_bytes([u8::try_from(message_seq).unwrap(); 16]);
    let (sender, reason) = (user(sender), RollbackReason::MediaMissing);
    let event = Event::MessageRolledBack { message_id, message_seq, sender, reason };
    Fact { message_count: 1, ..fact(seq, event) }
}

fn transferred(seq: Seq, owner: &str) -> Fact {
    fact(seq, Event::OwnerTransferred { actor: user("ann"), owner: user(owner) })
}

#[test]
fn a_sound_log_has_no_faults() {
    let message_after = |seq, event| Fact { message_count: 1, ..fact(seq, event) };
    let facts = [
        created(),
        added(2, "bob", 2),
        sent(3, "bob", "1", 1, 1),
        rolled_back(4, 3, "bob"),
        Fact { message_count: 1, ..removed(5, "bob", 1) },
        Fact { message_count: 1, ..added(6, "bob", 2) },
        sent(7, "bob", "2", 2, 2),
        Fact { message_count: 2, ..transferred(8, "bob") },
        Fact { message_count: 2, ..removed(9, "ann", 1) },
        Fact { message_count: 2, ..message_after(10, Event::GroupDissolved { actor: user("bob") }) },
    ];
    assert_eq!(faults(&facts), Vec::<String>::new());
    assert_eq!(cursor_faults(vec![cursor("bob", 2, 0), cursor("ann", 2, 2)]), Vec::<String>::new());
}

#[test]
fn each_planted_fault_is_found() {
    let dissolved = || fact(2, Event::GroupDissolved { actor: user("ann") });
    let role = |name| {
        let (actor, user) = (user("ann"), user(name));
        fact(2, Event::RoleChanged { actor, user, role: Role::Admin })
    };
    let cases = [
        (vec![created(), added(3, "bob", 2)], "seq is dense"),
        (vec![added(1, "bob", 2)], "begins with its creation"),
        (vec![created(), created()], "created once"),
        (vec![created_with(&["bob", "ann"])], "creator is the first member"),
        (vec![created_with(&["ann", "bob", "bob"])], "nobody is twice"),
        (vec![created(), added(2, "bob", 3)], "number of members"),
        (vec![created(), added(2, "bob", 2), added(3, "bob", 3)], "was no member"),
        (vec![created(), removed(2, "bob", 0)], "was a member"),
        (vec![created(), added(2, "bob", 2), removed(3, "bob", 2)], "number of members"),
        (vec![created(), removed(2, "ann", 0)], "the owner is a member"),
        (vec![created(), transferred(2, "bob")], "a role is a member's"),
        (vec![created(), role("bob")], "a role is a member's"),
        (vec![created(), role("ann")], "the owner is a member"),
        (vec![created(), dissolved(), added(3, "bob", 2)], "nothing follows"),
        (vec![created(), Fact { message_count: 1, ..added(2, "bob", 2) }], "count of messages"),
        (vec![created(), sent(2, "ann", "1", 1, 2)], "count of messages"),
        (vec![created(), sent(2, "ann", "1", 2, 1)], "sender's running count"),
        (vec![created(), sent(2, "eve", "1", 1, 1)], "the sender is a member"),
        (vec![created(), sent(2, "ann", "1", 1, 1), sent(3, "ann", "1", 2, 2)], "client message id"),
        (vec![created(), Fact { event_id: created().event_id, ..added(2, "bob", 2) }], "occurs once"),
        (vec![created(), rolled_back(2, 1, "ann")], "is a message before it"),
        (vec![created(), sent(2, "ann", "1", 1, 1), rolled_back(3, 2, "bob")], "is a message before it"),
        (
            vec![created(), sent(2, "ann", "1", 1, 1), rolled_back(3, 2, "ann"), rolled_back(4, 2, "ann")],
            "rolled back once",
        ),
    ];
    for (facts, expected) in cases {
        let found = faults(&facts);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn faults_of_cursors_are_found() {
    let cases = [
        (cursor("bob", 3, 0), "beyond the head"),
        (cursor("bob", 0, 9), "beyond the head"),
        (cursor("eve", 1, 0), "a cursor is a member's"),
    ];
    for (advance, expected) in cases {
        let found = cursor_faults(vec![advance]);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
    let orphan = check(&[claim(Topic::Acks, 0), of_cursors(1, vec![cursor("ann", 1, 0)])]).faults;
    assert!(orphan.iter().any(|fault| fault.contains("a group that exists")), "{orphan:?}");
}

#[test]
fn faults_of_the_record_around_the_value_are_found() {
    let plant = |change: fn(&mut StoredRecord)| {
        let mut records = log(&[created()]);
        change(records.last_mut().unwrap());
        check(&records).faults
    };
    type Case = (fn(&mut StoredRecord), &'static str);
    let cases: [Case; 6] = [
        (|stored| stored.at.partition ^= 1, "first record is a claim"),
        (|stored| stored.record.key = Some("x".into()), "partition is that of the key"),
        (|stored| stored.record.key = Some("x".into()), "the key is the group's id"),
        (|stored| stored.record.id = EventId::from_bytes([9; 16]), "ce_id is the event's id"),
        (|stored| stored.record.kind = "parley.events.v9.Unknown".into(), "can be understood"),
        (|stored| stored.offset = 5, "offsets of the embedded log are dense"),
    ];
    for (change, expected) in cases {
        let found = plant(change);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
    }
    let mut records = log(&[created()]);
    for stored in &mut records {
        stored.at.partition ^= 1;
    }
    let found = check(&records).faults;
    assert!(found.iter().any(|fault| fault.contains("partition is that of the key")), "{found:?}");
}

#[test]
fn void_records_are_counted_and_passed_over() {
    let mut records = log(&[created(), added(9, "bob", 9)]);
    records.last_mut().unwrap().record.stamp = Stamp::Event { claim: 0, index: 5 };
    let checker = check(&records);
    assert_eq!((checker.counts.void, checker.counts.faults), (1, 0));
}

#[test]
fn all_faults_are_counted_but_only_some_are_kept() {
    let facts: Vec<Fact> = std::iter::repeat_with(created).take(150).collect();
    let checker = check(&log(&facts));
    assert!(checker.counts.faults > 149);
    assert_eq!(checker.faults.len(), FAULTS_MAX);
}
