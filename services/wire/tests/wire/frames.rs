//! Frames of the WebSocket.

use parley_domain::Timestamp;
use parley_wire::frame::{Incoming, encode_behind, incoming_schemas, names, parse};
use parley_wire::time;
use proptest::prelude::*;

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

proptest! {
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
