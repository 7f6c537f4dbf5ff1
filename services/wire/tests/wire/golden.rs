//! One of each event with its bytes, as they have always been. Logs outlive programs: if this fails, the change can't be
//! read by who has the older schema, or what is in older logs can't be read any more.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    ClientMessageId, CursorAdvance, Event, EventId, Fact, GroupId, KeyId, MediaDescription, MediaId,
    MessageId, MessageKind, MessageSent, ProfileChanged, Role, RollbackReason, Timestamp, UserId,
};
use parley_wire::event::{
    Content, CursorsAdvanced, decode_content, decode_cursors, decode_fact, decode_profile, encode_claim,
    encode_content, encode_cursors, encode_fact, encode_profile, fact_type,
};

/// `name hex`, a value a line.
const GOLDEN: &str = include_str!("golden.txt");

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn fact(event: Event) -> Fact {
    Fact {
        group_id: GroupId::from_bytes([0x11; 16]),
        seq: 300,
        event_id: EventId::from_bytes([0x22; 16]),
        at: Timestamp(1_795_557_430_123),
        message_count: 7,
        event,
    }
}

fn events() -> Vec<Event> {
    let (ann, bob) = (|| user("ann"), || user("bob"));
    vec![
        Event::GroupCreated {
            name: "Rust".into(),
            description: "über Rust".into(),
            creator: ann(),
            members: vec![ann(), bob()],
            recipe: [0x33; 32],
        },
        Event::MembersAdded { actor: ann(), users: vec![bob(), user("cat")], member_count: 3 },
        Event::MembersRemoved { actor: ann(), users: vec![bob()], member_count: 2 },
        Event::RoleChanged { actor: ann(), user: bob(), role: Role::Admin },
        Event::OwnerTransferred { actor: ann(), owner: bob() },
        Event::GroupUpdated { actor: ann(), name: "Go".into(), description: String::new() },
        Event::GroupDissolved { actor: ann() },
        Event::MessageSent(MessageSent {
            message_id: MessageId::from_bytes([0x22; 16]),
            client_message_id: ClientMessageId::parse("c-1").unwrap(),
            sender: ann(),
            sender_nth: 4,
            kind: MessageKind::Image,
            media: Some(MediaDescription {
                media_id: MediaId::from_bytes([0x44; 16]),
                content_type: "image/png".into(),
                content_length: 70_000,
            }),
            key_id: KeyId::from_bytes([0x55; 16]),
            sealed: vec![1, 2, 3].into(),
            mac: [0x66; 32],
            text_bytes: 5,
        }),
        Event::MessageRolledBack {
            message_id: MessageId::from_bytes([0x77; 16]),
            message_seq: 299,
            sender: bob(),
            reason: RollbackReason::MediaMissing,
        },
    ]
}

fn cursors() -> CursorsAdvanced {
    let at = Timestamp(1_795_557_430_123);
    let advance = CursorAdvance {
        user: user("ann"),
        delivered: 300,
        read: 299,
        delivered_before: 2,
        read_before: 1,
        at,
        notified: Some(1),
    };
    let (group_id, event_id) = (GroupId::from_bytes([0x11; 16]), EventId::from_bytes([0x22; 16]));
    CursorsAdvanced { group_id, event_id, at, advances: vec![advance] }
}

fn profile() -> ProfileChanged {
    ProfileChanged {
        user: user("ann"),
        display_name: "Ann".into(),
        avatar_url: Some("https://example.com/a.png".into()),
        at: Timestamp(1_795_557_430_123),
    }
}

fn content() -> Content {
    Content { text: Some("hello".into()), media_url: Some("https://example.com/m".into()) }
}

fn values() -> Vec<(&'static str, Bytes)> {
    let facts = events()
        .into_iter()
        .map(|event| (fact_type(&event), encode_fact(&fact(event), &mut bytes::BytesMut::new())));
    let id = EventId::from_bytes([0x22; 16]);
    let writer: Arc<str> = "writer-1".into();
    let others = [
        ("parley.events.v1.CursorsAdvanced", encode_cursors(&cursors(), &mut bytes::BytesMut::new())),
        ("parley.events.v1.ProfileChanged", encode_profile(&profile(), id)),
        ("parley.writer.claimed.v1", encode_claim(id, &writer, 9, Timestamp(1_795_557_430_123))),
        ("parley.events.v1.Content", encode_content(content()).into()),
    ];
    facts.chain(others).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn values_are_written_as_ever() {
    let mut written = String::new();
    for (name, bytes) in values() {
        writeln!(written, "{name} {}", hex(&bytes)).unwrap();
    }
    assert!(written == GOLDEN, "the bytes differ from golden.txt; now they are:\n{written}");
}

#[test]
fn old_bytes_are_read_as_ever() {
    let golden: Vec<(&str, Bytes)> = GOLDEN
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, text)| (name, unhex(text)))
        .collect();
    let find = |wanted: &str| golden.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
    for event in events() {
        let ce_type = fact_type(&event);
        assert_eq!(decode_fact(ce_type, find(ce_type)).unwrap(), fact(event));
    }
    assert_eq!(decode_cursors(find("parley.events.v1.CursorsAdvanced")).unwrap(), cursors());
    assert_eq!(decode_profile(find("parley.events.v1.ProfileChanged")).unwrap(), profile());
    assert!(decode_content(&find("parley.events.v1.Content")).unwrap() == content());
}
