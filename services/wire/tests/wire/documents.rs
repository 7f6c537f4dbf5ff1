//! The published documents: what is sent and taken conforms to them, and they say what the contract says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use parley_domain::{ClientMessageId, Position, Rejection, Withheld};
use parley_wire::event::Content;
use parley_wire::frame::{self, ClientEvent, GroupEventBody, KindBody, MessageBody, names, parse};
use parley_wire::{documents, rest};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::schema::Checker;
use crate::values;

static OPENAPI: LazyLock<Value> = LazyLock::new(documents::openapi);
static ASYNCAPI: LazyLock<Value> = LazyLock::new(documents::asyncapi);

const ID: &str = "0190b6f0-5a3c-7def-8123-456789abcdef";
const AT: &str = "2026-01-31T12:34:56.789Z";

/// The schema of a frame's data: `client.ping`, `server.welcome`.
fn data(message: &str) -> &'static Value {
    &ASYNCAPI["components"]["messages"][message]["payload"]["properties"]["data"]
}

fn component(name: &str) -> &'static Value {
    &OPENAPI["components"]["schemas"][name]
}

fn sent(document: &'static Value, schema: &Value, value: &Value) -> Option<String> {
    assert!(!schema.is_null());
    Checker { document, knows_all_names: true }.fault(schema, value)
}

/// As a client of today sees what a server of tomorrow sends.
fn later(schema: &Value, value: &Value) -> Option<String> {
    assert!(!schema.is_null());
    Checker { document: &ASYNCAPI, knows_all_names: false }.fault(schema, value)
}

fn json_of(body: impl serde::Serialize) -> Value {
    serde_json::to_value(body).unwrap()
}

fn group(members: Option<Vec<rest::MemberBody>>) -> rest::GroupBody {
    rest::GroupBody {
        group_id: Uuid::nil(),
        name: "n".into(),
        description: String::new(),
        owner: "ann".into(),
        created_by: "ann".into(),
        created_at: AT.into(),
        updated_at: AT.into(),
        member_count: 1,
        members,
        head_seq: 1,
        epoch: Uuid::nil(),
    }
}

fn member(seq: Option<u64>) -> rest::MemberBody {
    rest::MemberBody {
        user_id: "ann".into(),
        role: "owner",
        joined_at: AT.into(),
        delivered_seq: seq,
        read_seq: seq,
    }
}

#[test]
fn rest_bodies_conform() {
    let with_members = json_of(group(Some(vec![member(None)])));
    let without_members = json_of(group(None));
    assert_eq!(sent(&OPENAPI, component("GroupBody"), &with_members), None);
    assert!(sent(&OPENAPI, component("GroupBody"), &without_members).is_some(), "members are always there");
    for properties in ["GroupHead", "ListedGroup"].map(|name| {
        let document = if name == "GroupHead" { &ASYNCAPI } else { &OPENAPI };
        document["components"]["schemas"][name]["properties"].as_object().unwrap()
    }) {
        assert!(properties.contains_key("member_count") && !properties.contains_key("members"));
    }
    let listed = |last_message| rest::ListedGroup {
        group: group(None),
        delivered_seq: 1,
        read_seq: 1,
        unread: 0,
        last_message,
    };
    for (name, body) in [
        ("Groups", json_of(rest::Groups { groups: vec![listed(None)], next_cursor: None })),
        ("Groups", json_of(rest::Groups { groups: Vec::new(), next_cursor: Some("c".into()) })),
        ("MemberBody", json_of(member(Some(7)))),
        ("ErrorEnvelope", json_of(rest::ErrorEnvelope::new(&Rejection::group_not_found()))),
        ("Alive", json!({"alive": true})),
        ("Readiness", json!({"ready": false, "not_ready": [{"name": "log", "reason": "away"}]})),
    ] {
        assert_eq!(sent(&OPENAPI, component(name), &body), None, "{name}");
    }
    assert_eq!(json_of(listed(None))["last_message"], Value::Null, "the one field that is null");
}

#[test]
fn frames_conform() {
    let limits = BTreeMap::from(
        [
            "sends_per_second",
            "send_burst",
            "text_bytes",
            "frame_bytes",
            "group_members",
            "user_groups",
            "media_bytes",
            "outbox_bytes",
            "user_sockets",
        ]
        .map(|name| (name, 1)),
    );
    let welcome = frame::Welcome {
        session_id: Uuid::nil(),
        user_id: "ann",
        epoch: Uuid::nil(),
        server_time: AT.into(),
        limits: &limits,
        groups: Vec::new(),
    };
    let id = Uuid::nil();
    let notification = frame::NotificationBody { notification_id: id, group: &group(None), added_by: "ann" };
    let status = |user_id, seq| frame::MessageStatus {
        group_id: id,
        seq: 1,
        message_id: id,
        delivered_count: 1,
        read_count: 0,
        member_count: 1,
        user_id,
        delivered_seq: seq,
        read_seq: seq,
    };
    let resumed = |reset_reason: Option<&'static str>| frame::ResumedGroup {
        group_id: id,
        from_seq: 1,
        to_seq: 0,
        complete: reset_reason.is_none(),
        reset_reason,
    };
    let error = frame::ErrorBody {
        client_message_id: Some("x".repeat(100)),
        ..frame::ErrorBody::new(&Rejection::group_not_found())
    };
    for (event, body) in [
        (names::WELCOME, json_of(welcome)),
        (names::A_GROUP_CREATED, json_of(notification)),
        (names::TYPING, json_of(frame::GroupRef { group_id: id, user_id: Some("ann") })),
        (names::UNSUBSCRIBED_FROM_GROUP, json_of(frame::GroupRef { group_id: id, user_id: None })),
        (names::GROUP_MESSAGE_STATUS, json_of(status(None, None))),
        (names::GROUP_MESSAGE_STATUS, json_of(status(Some("bob"), Some(1)))),
        (names::RESUMED, json_of(frame::Resumed { groups: vec![resumed(None), resumed(Some("limit"))] })),
        (names::ERROR, json_of(error)),
    ] {
        assert_eq!(sent(&ASYNCAPI, data(&format!("server.{event}")), &body), None, "{event}");
    }
    let nobody = json_of(frame::GroupRef { group_id: id, user_id: None });
    assert!(sent(&ASYNCAPI, data("server.typing"), &nobody).is_some(), "somebody types");
    let unsubscribed = ASYNCAPI["components"]["schemas"]["Unsubscribed"]["properties"].as_object().unwrap();
    assert!(!unsubscribed.contains_key("user_id"));
}

proptest! {
    /// Whatever is in the log is sent as the documents say.
    #[test]
    fn events_conform(fact in values::fact(), text in prop::option::of(".{0,9}"), why in 0..3) {
        let (epoch, position) = (Uuid::nil(), Position { partition: 1, offset: 2 });
        let content = match why {
            0 => Ok(Content { text, media_url: None }),
            1 => Err(Withheld::RolledBack),
            _ => Err(Withheld::Erased),
        };
        if let Some(message) = MessageBody::new(&fact, epoch, position, content) {
            let message = json_of(message);
            prop_assert_eq!(sent(&ASYNCAPI, data("server.group_message"), &message), None);
            prop_assert_eq!(sent(&OPENAPI, component("MessageBody"), &message), None);
        }
        if let Some(event) = GroupEventBody::new(&fact, epoch, position) {
            prop_assert_eq!(sent(&ASYNCAPI, data("server.group_event"), &json_of(event)), None);
        }
    }
}

/// The contract: count an unknown `kind` or `type` as one more `seq`. So it must not be refused.
#[test]
fn names_of_a_later_server_are_no_faults() {
    let event = |kind| GroupEventBody {
        group_id: Uuid::nil(),
        seq: 2,
        epoch: Uuid::nil(),
        position: Position { partition: 0, offset: 0 }.into(),
        created_at: AT.into(),
        actor: "ann".into(),
        kind,
    };
    let schema = data("server.group_event");
    let known = json_of(event(KindBody::OwnerTransferred { owner: "bob".into() }));
    assert_eq!(later(schema, &known), None);
    let mut incomplete = known.clone();
    incomplete.as_object_mut().unwrap().remove("owner");
    assert!(later(schema, &incomplete).is_some(), "a known kind has its fields");
    let mut unknown = incomplete;
    unknown["kind"] = "group_painted".into();
    assert_eq!(later(schema, &unknown), None);

    let mut message = json!({
        "group_id": ID, "seq": 1, "epoch": ID, "position": {"partition": 0, "offset": 0}, "message_id": ID,
        "client_message_id": "c", "sender": "ann", "type": "hologram", "withheld": "too_beautiful",
        "created_at": AT, "updated_at": AT,
    });
    let schema = data("server.group_message");
    assert_eq!(later(schema, &message), None);
    assert!(sent(&ASYNCAPI, schema, &message).is_some(), "but we send what is listed");
    message["created_at"] = "yesterday".into();
    assert!(later(schema, &message).is_some());
    let mut group = json!({"group_id": ID, "from_seq": 1, "to_seq": 0, "complete": false});
    group["reset_reason"] = "moved".into();
    assert_eq!(later(data("server.resumed"), &json!({"groups": [group]})), None);
}

/// Whether the server takes a frame, as far as this crate reads it.
fn is_taken(event: &str, data: &Value) -> bool {
    match parse(&json!({"event": event, "data": data}).to_string()).unwrap().event {
        Ok(ClientEvent::Send(send)) => {
            send.kind().is_ok() && ClientMessageId::parse(&send.client_message_id).is_ok()
        }
        other => other.is_ok(),
    }
}

#[test]
fn the_schemas_take_what_the_parser_takes() {
    let resume = json!({"group_id": ID, "epoch": ID, "after_seq": 1});
    for (event, fields) in [
        ("acknowledge_group_message", json!({"seq": 1})),
        ("acknowledge_group_message", json!({"seq": 1, "message_id": null, "status": null})),
        ("acknowledge_group_message", json!({"message_id": ID, "status": "delivered"})),
        ("acknowledge_group_message", json!({"message_id": ID, "seq": 1})),
        ("acknowledge_group_message", json!({"message_id": null, "seq": null})),
        ("acknowledge_group_message", json!({})),
        ("acknowledge_group_message", json!({"seq": 1, "status": "seen"})),
        ("send_group_message", json!({"client_message_id": "c", "type": "text", "text": ""})),
        (
            "send_group_message",
            json!({"client_message_id": "c", "type": "text", "text": "", "media_url": null}),
        ),
        ("send_group_message", json!({"client_message_id": "c", "type": "text", "text": null})),
        (
            "send_group_message",
            json!({"client_message_id": "c", "type": "text", "text": "", "media_url": "u"}),
        ),
        ("send_group_message", json!({"client_message_id": "c", "type": "image", "media_url": "u"})),
        ("send_group_message", json!({"client_message_id": "c", "type": "audio", "text": "t"})),
        ("send_group_message", json!({"client_message_id": "c", "type": "smell", "media_url": "u"})),
        ("send_group_message", json!({"client_message_id": "", "type": "text", "text": ""})),
        ("send_group_message", json!({"client_message_id": "x".repeat(65), "type": "text", "text": ""})),
        ("send_group_message", json!({"client_message_id": "x".repeat(64), "type": "text", "text": ""})),
        ("resume", json!({"groups": vec![&resume; 500]})),
        ("resume", json!({"groups": vec![&resume; 501]})),
        ("resume", json!({"groups": null, "all": true})),
    ] {
        let mut fields = fields;
        fields["group_id"] = ID.into();
        let fault = sent(&ASYNCAPI, data(&format!("client.{event}")), &fields);
        assert_eq!(fault.is_none(), is_taken(event, &fields), "{event}: {fault:?}");
    }
}

#[test]
fn bodies_have_the_contracts_bounds() {
    let (least, longest) = ("x".to_owned(), "x".repeat(128));
    let hash = "0f".repeat(32);
    let upload = |length: u64, hash: &str| json!({"group_id": ID, "content_type": "image/png", "content_length": length, "sha256": hash});
    for (name, body, is_good) in [
        ("SetRole", json!({"role": "member"}), true),
        ("SetRole", json!({"role": "owner"}), false),
        ("MemberBody", json!({"user_id": least, "role": "owner", "joined_at": AT}), true),
        ("MemberBody", json!({"user_id": least, "role": "king", "joined_at": AT}), false),
        ("TransferOwnership", json!({"user_id": longest}), true),
        ("TransferOwnership", json!({"user_id": longest.clone() + "x"}), false),
        ("TransferOwnership", json!({"user_id": ""}), false),
        ("AddMembers", json!({"user_ids": vec![&least; 1_000]}), true),
        ("AddMembers", json!({"user_ids": vec![&least; 1_001]}), false),
        ("AddMembers", json!({"user_ids": []}), false),
        ("CreateGroup", json!({"name": "n", "members": [], "description": null}), true),
        ("CreateGroup", json!({"name": "", "members": []}), false),
        ("CreateGroup", json!({"name": "n", "members": [""]}), false),
        ("UpdateGroup", json!({"name": "n".repeat(257)}), false),
        ("UpdateGroup", json!({"description": "d".repeat(4_097)}), false),
        ("PutProfile", json!({"display_name": "Ann", "avatar_url": "https://x/y"}), true),
        ("PutProfile", json!({"display_name": "x".repeat(257)}), false),
        ("PutProfile", json!({"display_name": "Ann", "avatar_url": "x".repeat(2_049)}), false),
        ("CreateUpload", upload(1, &hash), true),
        ("CreateUpload", upload(0, &hash), false),
        ("CreateUpload", upload(1, &hash.to_uppercase()), false),
        ("CreateUpload", upload(1, &hash[1..]), false),
    ] {
        let fault = sent(&OPENAPI, component(name), &body);
        assert_eq!(fault.is_none(), is_good, "{name}: {fault:?}");
    }
}

/// Bounds that another crate holds, which may not be named here.
#[test]
fn bounds_are_those_of_the_edge() {
    let edge = |file: &str| {
        std::fs::read_to_string(format!("{}/../edge/src/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let schemas = &OPENAPI["components"]["schemas"];
    let limit = &OPENAPI["paths"]["/v1/groups"]["get"]["parameters"][1]["schema"];
    for (file, constant, published) in [
        ("rest/page.rs", "LIMIT_MAX", &limit["maximum"]),
        ("rest/page.rs", "LIMIT_MAX", &schemas["Groups"]["properties"]["groups"]["maxItems"]),
        ("rest/page.rs", "LIMIT_DEFAULT", &limit["default"]),
        ("rest/answer.rs", "SHOWN_MEMBERS_MAX", &schemas["GroupBody"]["properties"]["members"]["maxItems"]),
        (
            "rest/users.rs",
            "DISPLAY_NAME_BYTES_MAX",
            &schemas["PutProfile"]["properties"]["display_name"]["maxLength"],
        ),
        (
            "rest/users.rs",
            "AVATAR_URL_BYTES_MAX",
            &schemas["PutProfile"]["properties"]["avatar_url"]["maxLength"],
        ),
    ] {
        let source = edge(file);
        let value = source.split(&format!("const {constant}: usize = ")).nth(1).unwrap();
        let value: String = value.chars().take_while(|c| *c != ';').filter(|c| *c != '_').collect();
        assert_eq!(published.as_u64(), value.parse().ok(), "{constant}");
    }
    let source = edge("options.rs");
    let by_name = source.split("pub fn by_name").nth(1).unwrap().split("])").next().unwrap();
    let names: BTreeSet<&str> = by_name.split("(\"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    let limits = &ASYNCAPI["components"]["schemas"]["LimitsBody"];
    let documented: BTreeSet<&str> =
        limits["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(documented, names);
    assert_eq!(limits["required"].as_array().unwrap().len(), names.len());
}

/// Every property of every schema in a value, with whether it must be there.
fn walk<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a Value, bool)>) {
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        let required = value.get("required").and_then(Value::as_array);
        for (name, property) in properties {
            let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
            found.push((name, property, is_required));
        }
    }
    match value {
        Value::Object(object) => object.values().for_each(|value| walk(value, found)),
        Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn times_are_times_and_ids_are_uuids() {
    for document in [&OPENAPI, &ASYNCAPI] {
        let mut found = Vec::new();
        walk(&document["components"], &mut found);
        assert!(found.len() > 50);
        for (name, property, _) in found {
            let format = match name {
                "user_id" | "client_message_id" => continue,
                // A choice within `allOf`, which says no more than that it is there.
                "message_id" if property.get("format").is_none() && property["type"] == "string" => continue,
                _ if name.ends_with("_at") || name == "server_time" => "date-time",
                _ if name.ends_with("_id") || name == "epoch" => "uuid",
                _ => continue,
            };
            assert_eq!(property["format"], format, "{name}");
        }
    }
}

#[test]
fn what_is_sent_is_absent_rather_than_null() {
    let taken =
        ["AddMembers", "CreateGroup", "CreateUpload", "PutProfile", "ResumeFrom", "SetRole", "UpdateGroup"];
    let mut nullable = BTreeSet::new();
    for document in [&OPENAPI, &ASYNCAPI] {
        for (schema, body) in document["components"]["schemas"].as_object().unwrap() {
            let mut found = Vec::new();
            walk(body, &mut found);
            for (name, property, is_required) in found {
                if property.to_string().contains("\"null\"") && !taken.contains(&schema.as_str()) {
                    nullable.insert((schema.as_str(), name, is_required));
                }
            }
        }
    }
    assert_eq!(nullable, BTreeSet::from([("ListedGroup", "last_message", true)]));
    let optional = component("CreateGroup");
    assert_eq!(sent(&OPENAPI, optional, &json!({"name": "n", "members": [], "group_id": null})), None);
}

#[test]
fn probes_have_bodies_and_refusals_say_when_to_come_again() {
    let paths = &OPENAPI["paths"];
    for (path, status, kind) in [
        ("/healthz", "200", "application/json"),
        ("/readyz", "200", "application/json"),
        ("/readyz", "503", "application/json"),
        ("/metrics", "200", "text/plain"),
    ] {
        let response = &paths[path]["get"]["responses"][status];
        assert!(response["content"][kind]["schema"].is_object(), "{path} {status}");
    }
    assert_eq!(OPENAPI["components"]["headers"]["RetryAfter"]["schema"]["type"], "integer");
    for (path, methods) in paths.as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for operation in methods.as_object().unwrap().values() {
            for status in ["429", "503"] {
                let header = &operation["responses"][status]["headers"]["Retry-After"];
                assert_eq!(header["$ref"], "#/components/headers/RetryAfter", "{path} {status}");
            }
        }
    }
}
