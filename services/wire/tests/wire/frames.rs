//! Frames of the WebSocket.

use parley_domain::{Position, Timestamp, Withheld};
use parley_wire::event::Content;
use parley_wire::frame::{
    Accepted, Acknowledged, ClientEvent, Incoming, MessageBody, MessageStatus, Quick, encode_behind,
    encode_quickly_behind, incoming_schemas, names, parse,
};
use parley_wire::time;
use proptest::prelude::*;
use uuid::Uuid;

use crate::values;

/// The least data with which a client's event is understood.
fn least(event: &str) -> serde_json::Value {
    let id = "0190b6f0-5a3c-7def-8123-456789abcdef";
    match event {
        names::PING | names::RESUME => serde_json::json!({}),
        names::ACKNOWLEDGE_NOTIFICATION => serde_json::json!({"notification_id": id}),
        names::AUTHENTICATE => serde_json::json!({"token": "t"}),
        names::ACKNOWLEDGE_GROUP_MESSAGE => serde_json::json!({"group_id": id, "seq": 1}),
        names::SEND_GROUP_MESSAGE => {
            serde_json::json!({"group_id": id, "client_message_id": "c", "type": "text", "text": ""})
        }
        _ => serde_json::json!({"group_id": id}),
    }
}

/// What the published schemas name is what the parser takes, and the reverse: `required` is required.
#[test]
fn the_parser_takes_what_the_schemas_name() {
    for (event, schema) in incoming_schemas() {
        let data = least(event);
        let frame = serde_json::json!({"event": event, "data": data, "unknown": 1});
        assert!(parse(&frame.to_string()).unwrap().event.is_ok(), "{event}");
        let required = schema.get("required").and_then(|list| list.as_array().cloned()).unwrap_or_default();
        for field in required {
            let mut without = data.clone();
            without.as_object_mut().unwrap().remove(field.as_str().unwrap());
            let frame = serde_json::json!({"event": event, "data": without});
            assert!(parse(&frame.to_string()).unwrap().event.is_err(), "{event} without {field}");
        }
    }
}

/// What isn't there may be written as null, and an array of its fields is no object.
#[test]
fn a_resume_takes_null_for_nothing_and_objects_only() {
    let id = "0190b6f0-5a3c-7def-8123-456789abcdef";
    for data in [
        serde_json::json!({"groups": null, "all": null, "limit": null}),
        serde_json::json!({"groups": null, "all": true}),
        serde_json::json!({"groups": [{"group_id": id, "epoch": id, "after_seq": 1}]}),
    ] {
        let frame = serde_json::json!({"event": names::RESUME, "data": data});
        assert!(parse(&frame.to_string()).unwrap().event.is_ok(), "{data}");
    }
    for data in [serde_json::json!({"groups": [[id, id, 1]]}), serde_json::json!({"groups": [null]})] {
        let frame = serde_json::json!({"event": names::RESUME, "data": data});
        let refused = parse(&frame.to_string()).unwrap().event.unwrap_err();
        assert!(refused.rejection.message.contains("data.groups[0]"), "{}", refused.rejection.message);
    }
}

/// Unknown fields are ignored, unknown events and servers' events are not for clients to send.
#[test]
fn only_clients_events_are_taken() {
    for event in [names::WELCOME, names::GROUP_MESSAGE, names::PONG, names::ERROR, "", "PING", "ping "] {
        let frame = serde_json::json!({"event": event, "data": {}});
        assert!(parse(&frame.to_string()).unwrap().event.is_err(), "{event}");
    }
}

#[test]
fn frames_have_one_shape() {
    let encode = |id| {
        let mut bytes = b"head".to_vec();
        encode_behind(&mut bytes, "pong", id, &serde_json::json!({"a": 1}));
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(encode(None), r#"head{"event":"pong","data":{"a":1}}"#);
    assert_eq!(encode(Some("\"")), r#"head{"event":"pong","id":"\"","data":{"a":1}}"#);
}

fn both_ways<T: Quick>(id: Option<&str>, body: &T) -> (String, String) {
    let (mut quick, mut plain) = (Vec::new(), Vec::new());
    encode_quickly_behind(&mut quick, "some_event", id, body);
    encode_behind(&mut plain, "some_event", id, body);
    (String::from_utf8(quick).unwrap(), String::from_utf8(plain).unwrap())
}

/// All that is to be seen of what was parsed.
fn seen(text: &str) -> String {
    match parse(text) {
        Err(malformed) => format!("{malformed:?}"),
        Ok(Incoming { id, event: Ok(ClientEvent::Send(send)) }) => {
            let names = (send.group_id, &send.client_message_id, &send.text, &send.media_url);
            format!("{id:?} {:?} {names:?}", send.kind())
        }
        Ok(incoming) => format!("{incoming:?}"),
    }
}

fn json_value() -> impl Strategy<Value = String> {
    let plain = [
        "null",
        "1",
        "-1.5e3",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"x\"",
        "\"a\\u0041\\n\"",
        "{\"a\":[1,{}]}",
        "\"\\ud800\"",
        "\"\\u00e9\\\\\\\"\"",
        "\"a\tb\"",
        "\"\\x\"",
        "0",
        "-0",
        "007",
        "18446744073709551615",
        "18446744073709551616",
        "7.0",
        "7E0",
        "tru",
    ];
    let texts = [
        "\"0190b6f0-5a3c-7def-8123-456789abcdef\"",
        "\"0190B6F05A3C7DEF8123456789ABCDEF\"",
        "\"urn:uuid:0190b6f0-5a3c-7def-8123-456789abcdef\"",
        "\"te\\u0078t\"",
        "\"text\"",
        "\"image\"",
        "\"read\"",
        "\"delivered\"",
        "\"https://a.example/m\"",
    ];
    prop_oneof![
        prop::sample::select(plain.to_vec()).prop_map(str::to_owned),
        prop::sample::select(texts.to_vec()).prop_map(str::to_owned),
        Just(format!("\"{}\"", "i".repeat(64))),
        Just(format!("\"{}\"", "i".repeat(65))),
    ]
}

/// Most of them as they should be, some members wrong, missing or twice.
fn json_members(known: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = String> {
    let member = move |(name, good): &(&'static str, &'static str)| {
        let (name, good) = (*name, *good);
        prop_oneof![
            12 => Just(format!("\"{name}\":{good}")),
            1 => json_value().prop_map(move |value| format!("\"{name}\":{value}")),
            1 => Just(String::new()),
            1 => Just(format!("\"{name}\": {good} ,\"{name}\":{good}")),
            2 => Just(format!(" \"{name}\"\t:\r\n{good} ")),
            1 => Just(format!("\"\\u{:04x}{}\":{good}", u32::from(name.as_bytes()[0]), &name[1..])),
        ]
    };
    known.iter().map(member).collect::<Vec<_>>().prop_map(|members| {
        let members: Vec<String> = members.into_iter().filter(|member| !member.is_empty()).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// The member that all of them have.
const GROUP: (&str, &str) = ("group_id", "\"0190b6f0-5a3c-7def-8123-456789abcdef\"");

fn frequent_frame() -> impl Strategy<Value = String> {
    let send = json_members(&[
        GROUP,
        ("client_message_id", "\"c-1\""),
        ("type", "\"text\""),
        ("text", "\"Grüße \\\"x\\\"\""),
        ("unknown", "{\"deep\":[1]}"),
    ]);
    let plain = json_members(&[
        GROUP,
        ("client_message_id", "\"c-1\""),
        ("type", "\"text\""),
        ("text", "\"Shall we meet at the usual place, or rather at the other one?\""),
    ]);
    let media = json_members(&[
        ("type", "\"image\""),
        ("media_url", "\"https://a.example/m\""),
        GROUP,
        ("text", "\"Gr\\u00fc\u{df}e \\\"x\\\"\""),
        ("client_message_id", "\"c\\n1\""),
    ]);
    let acknowledge = json_members(&[
        GROUP,
        ("message_id", "\"0190b6f0-5a3c-7def-8123-456789abcdef\""),
        ("seq", "7"),
        ("status", "\"delivered\""),
    ]);
    let by_seq = json_members(&[("seq", "18446744073709551615"), GROUP]);
    let data = prop_oneof![
        1 => (Just("send_group_message"), send),
        4 => (Just("send_group_message"), plain),
        4 => (Just("send_group_message"), media),
        2 => (Just("acknowledge_group_message"), acknowledge),
        3 => (Just("acknowledge_group_message"), by_seq),
        1 => (Just("send_group_messages"), json_value()),
        1 => (Just("acknowledge_group_message"), json_value()),
        1 => (Just("send_group_message"), Just("[\"0190b6f0-5a3c-7def-8123-456789abcdef\",\"c\",\"text\",\"t\",null]".to_owned())),
    ];
    let id = prop_oneof![3 => Just("\"1\"".to_owned()), 1 => json_value()];
    let end = prop_oneof![8 => Just("}"), 1 => Just("} x"), 1 => Just(""), 1 => Just(",\"event\":\"ping\"}"), 1 => Just(",\"more\":1}")];
    (data, id, prop::bool::ANY, end).prop_map(|((event, data), id, has_id, end)| {
        let id = if has_id { format!(",\"id\":{id}") } else { String::new() };
        format!("{{\"event\":\"{event}\"{id},\"data\":{data}{end}")
    })
}

proptest! {
    /// What is written by hand is what the serializer makes.
    #[test]
    fn quick_frames_are_what_the_serializer_makes(
        fact in values::fact(),
        text in prop::option::of("[\\PC\u{0}-\u{1f}\"\\\\]{0,60}"),
        why in 0..4_u32,
        id in prop::option::of(".{0,9}"),
        numbers in any::<(u32, u64, i64, bool)>(),
    ) {
        let (partition, offset, at, flag) = numbers;
        let position = Position { partition, offset };
        let content = match why {
            0 => Err(Withheld::RolledBack),
            1 => Err(Withheld::Erased),
            _ => Ok(Content { text: text.clone(), media_url: text.clone() }),
        };
        if let Some(body) = MessageBody::new(&fact, Uuid::from_u128(9), position, content) {
            let (quick, plain) = both_ways(id.as_deref(), &body);
            prop_assert_eq!(quick, plain);
        }
        let accepted = Accepted {
            group_id: fact.group_id.0,
            message_id: fact.event_id.0,
            client_message_id: text.as_deref().unwrap_or("c"),
            seq: offset,
            epoch: Uuid::nil(),
            position: position.into(),
            created_at: time::text(Timestamp(at)),
            duplicate: flag,
        };
        let (quick, plain) = both_ways(id.as_deref(), &accepted);
        prop_assert_eq!(quick, plain);
        let body = Acknowledged { group_id: fact.group_id.0, delivered_seq: offset, read_seq: fact.seq };
        let (quick, plain) = both_ways(id.as_deref(), &body);
        prop_assert_eq!(quick, plain);
        let status = MessageStatus {
            group_id: fact.group_id.0,
            seq: offset,
            message_id: fact.event_id.0,
            delivered_count: partition,
            read_count: why,
            member_count: u32::MAX,
            user_id: text.as_deref(),
            delivered_seq: flag.then_some(offset),
            read_seq: (why > 1).then_some(fact.seq),
        };
        let (quick, plain) = both_ways(id.as_deref(), &status);
        prop_assert_eq!(quick, plain);
    }

    /// A frame that names its event first may be read in one go, and means what it means otherwise.
    #[test]
    fn frequent_frames_mean_what_they_mean_otherwise(frame in frequent_frame()) {
        prop_assert_eq!(seen(&frame), seen(&format!(" {frame}")));
    }

    /// A client may send anything.
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,100}") {
        drop(parse(&text));
    }

    #[test]
    fn any_data_is_parsed_or_refused(event in 0..10usize, data in "[\\[\\]{}\",:a-z0-9_ ]{0,60}") {
        let (event, _) = &incoming_schemas()[event];
        drop(parse(&format!(r#"{{"event":"{event}","data":{data}}}"#)));
    }

    /// The request's own id comes back as it was, whatever else is wrong.
    #[test]
    fn ids_come_back(id in ".{0,16}", event in "[a-z_]{0,10}") {
        let frame = serde_json::json!({"event": event, "id": id, "data": {}});
        let Incoming { id: given, .. } = parse(&frame.to_string()).unwrap();
        prop_assert_eq!(given, Some(id));
    }

    /// Times have one length and sort as text.
    #[test]
    fn times_sort_as_text(one in 0..4_102_444_800_000i64, other in 0..4_102_444_800_000i64) {
        let (one_text, other_text) = (time::format(Timestamp(one)), time::format(Timestamp(other)));
        prop_assert_eq!(one_text.len(), 24);
        prop_assert_eq!(one_text.cmp(&other_text), one.cmp(&other));
    }

    #[test]
    fn any_time_has_a_text(at in any::<i64>()) {
        prop_assert!(time::format(Timestamp(at)).ends_with('Z'));
    }
}
