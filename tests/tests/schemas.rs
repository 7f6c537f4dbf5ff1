//! What is published equals the code, covers all of it, and only grows.
//!
//! `UPDATE_SCHEMAS=1 scripts/test schemas` writes the files anew; what would break readers of older
//! ones is refused all the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;

use parley_domain::Code;
use parley_tests::repository::{read, root};
use parley_tests::{Value, json};
use parley_wire::code::{self, Close};
use parley_wire::documents;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const EVENTS: &str = "parley/events/v1/events.proto";
const COMMANDS: &str = "parley/commands/v1/commands.proto";
const LOCK: &str = "schemas/parley/events/v1/events.lock.json";
const COMMANDS_LOCK: &str = "schemas/parley/commands/v1/commands.lock.json";

/// The committed file is the value, or becomes it.
fn committed(file: &str, value: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(root().join(file), &text).unwrap();
    }
    let is_same = std::fs::read_to_string(root().join(file)).is_ok_and(|committed| committed == text);
    assert!(
        is_same,
        "{file} is not what the code says: UPDATE_SCHEMAS=1 scripts/test schemas writes it anew"
    );
}

#[test]
fn openapi_is_what_the_code_says() {
    committed("schemas/openapi.json", &documents::openapi());
}

#[test]
fn asyncapi_is_what_the_code_says() {
    committed("schemas/asyncapi.json", &documents::asyncapi());
}

/// Methods and paths that a source file routes. `let name = get(…)…;` is looked up where a route names it.
fn routed(file: &str) -> BTreeSet<(String, String)> {
    let source = read(file);
    let mut routes = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let (path, rest) = route.trim_start().strip_prefix('"').unwrap().split_once('"').unwrap();
        let handler = rest.split(".route(").next().unwrap().trim_start_matches([',', ' ', '\n']);
        let name: String = handler.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let handler = match source.split(&format!("let {name} = ")).nth(1) {
            Some(binding) => binding.split(';').next().unwrap(),
            None => handler.split(['\n', ';']).next().unwrap(),
        };
        for method in ["get", "post", "put", "patch", "delete"] {
            let named = handler.match_indices(&format!("{method}(")).any(|(at, _)| {
                let before = handler[..at].chars().next_back();
                before.is_none_or(|before| before == '.')
            });
            if named {
                routes.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    routes
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_served() {
    let mut served = routed("services/edge/src/rest.rs");
    served.extend(routed("services/parley/src/serve/probes.rs"));
    let document = documents::openapi();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone()))
        })
        .collect();
    assert_eq!(documented, served);
    let table = documents::routes().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(table.collect::<BTreeSet<_>>(), served);
}

/// Names of frames, read from their constants.
fn frame_names() -> BTreeSet<String> {
    let source = read("services/wire/src/frame/outgoing.rs");
    let module = source.split("pub mod names {").nth(1).unwrap().split("\n}").next().unwrap();
    let constants = module.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let names: BTreeSet<String> = constants.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect();
    assert!(names.len() >= 27, "the contract names 27 events");
    names
}

#[test]
fn every_frame_is_documented() {
    let document = documents::asyncapi();
    let messages = document["components"]["messages"].as_object().unwrap();
    let documented: BTreeSet<String> =
        messages.values().map(|message| message["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(documented, frame_names());
    for (key, message) in messages {
        let name = &message["payload"]["properties"]["event"]["const"];
        assert_eq!(name, &message["name"], "{key}");
        assert!(
            document["channels"]["socket"]["messages"].get(key).is_some(),
            "{key} goes through the channel"
        );
    }
    let operations = document["operations"].as_object().unwrap();
    let used = serde_json::to_string(operations).unwrap();
    for key in messages.keys() {
        assert!(used.contains(&format!("/messages/{key}\"")), "{key} is received, sent or a reply");
    }
}

#[test]
fn every_code_and_close_is_documented() {
    for document in [documents::openapi(), documents::asyncapi()] {
        let codes = document["x-error-codes"].as_array().unwrap();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            let entry = json!({
                "code": code::name(code),
                "status": code::http_status(code),
                "retryable": code::retryable(code),
            });
            assert!(codes.contains(&entry), "{entry}");
        }
        let named = &document["components"]["schemas"]["WireError"]["properties"]["code"];
        let named = if named.is_null() {
            &document["components"]["schemas"]["ErrorBody"]["properties"]["code"]
        } else {
            named
        };
        assert_eq!(named["x-extensible-enum"].as_array().unwrap().len(), Code::ALL.len());
    }
    let document = documents::asyncapi();
    let closes = document["x-close-codes"].as_array().unwrap();
    assert_eq!(closes.len(), Close::ALL.len());
    for close in Close::ALL {
        let listed =
            closes.iter().any(|entry| entry["code"] == close.code() && entry["reason"] == close.reason());
        assert!(listed, "{close:?}");
    }
    // `ALL` is written by hand: that nothing is missing is seen in the source.
    let source = read("services/wire/src/code.rs");
    let variants = source.split("pub enum Close {").nth(1).unwrap().split("\n}").next().unwrap();
    let count = variants.lines().filter(|line| line.trim().ends_with(',') && !line.trim().starts_with("//"));
    assert_eq!(count.count(), Close::ALL.len());
}

/// All `$ref`s of a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn references_lead_somewhere_and_schemas_are_used() {
    for document in [documents::openapi(), documents::asyncapi()] {
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(format!("#/components/schemas/{name}").as_str()), "{name} is used");
        }
    }
}

/// A schema file by its path under `schemas/`.
fn compiled(file: &str) -> FileDescriptorProto {
    let schemas = root().join("schemas");
    let set =
        protox::compile([schemas.join(file)], [schemas]).unwrap_or_else(|error| panic!("{file}: {error}"));
    set.file.into_iter().find(|found| found.name() == file).unwrap()
}

fn field(field: &FieldDescriptorProto) -> Value {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let label = match field.label() {
        Label::Repeated => "repeated ",
        Label::Optional | Label::Required if field.proto3_optional() => "optional ",
        Label::Optional | Label::Required => "",
    };
    json!({"name": field.name(), "type": format!("{label}{kind}")})
}

fn message(message: &DescriptorProto) -> Value {
    assert!(
        message.nested_type.is_empty() && message.enum_type.is_empty(),
        "{}: nesting isn't locked",
        message.name()
    );
    message
        .field
        .iter()
        .map(|one| (format!("{:03}", one.number()), field(one)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn values(values: &EnumDescriptorProto) -> Value {
    let pairs = values.value.iter().map(|value| (format!("{:03}", value.number()), value.name().into()));
    pairs.collect::<serde_json::Map<_, _>>().into()
}

/// What readers of the events rely on: by message and number the field's name and type, by enum and number the name.
fn snapshot(file: &FileDescriptorProto) -> Value {
    let messages = file.message_type.iter().map(|one| (one.name().to_owned(), message(one)));
    let enums = file.enum_type.iter().map(|one| (one.name().to_owned(), values(one)));
    json!({
        "package": file.package(),
        "messages": messages.collect::<serde_json::Map<_, _>>(),
        "enums": enums.collect::<serde_json::Map<_, _>>(),
    })
}

/// What of `old` is not in `new` as it was.
fn broken(old: &Value, new: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    if old["package"] != new["package"] {
        broken.push("package".to_owned());
    }
    for part in ["messages", "enums"] {
        for (name, numbers) in old[part].as_object().unwrap() {
            for (number, entry) in numbers.as_object().unwrap() {
                if new[part][name].get(number) != Some(entry) {
                    broken.push(format!("{name} {number}: {entry}"));
                }
            }
            if new[part].get(name).is_none() {
                broken.push(name.clone());
            }
        }
    }
    broken
}

/// Invariant: events only evolve in compatible ways. No field is removed, renamed, renumbered or retyped; enums only grow.
#[test]
fn the_events_schema_only_grows() {
    only_grows(EVENTS, LOCK, "events that are in logs couldn't be read any more");
}

/// Invariant: processes of two releases understand each other while one takes the other's place.
#[test]
fn the_schema_between_processes_only_grows() {
    only_grows(COMMANDS, COMMANDS_LOCK, "processes of the release before wouldn't be understood");
}

fn only_grows(schema: &str, lock: &str, why: &str) {
    let now = snapshot(&compiled(schema));
    if let Ok(locked) = std::fs::read_to_string(root().join(lock)) {
        let locked: Value = serde_json::from_str(&locked).unwrap();
        assert_eq!(broken(&locked, &now), [""; 0], "{why}");
    }
    // What is new must be locked too, or the next change could break it unseen.
    committed(lock, &now);
}

/// The check above can fail.
#[test]
fn incompatible_changes_are_seen() {
    let file = compiled(EVENTS);
    let lock = snapshot(&file);
    let sent = file.message_type.iter().position(|one| one.name() == "MessageSent").unwrap();
    let changes: [fn(&mut FileDescriptorProto, usize); 6] = [
        |file, sent| drop(file.message_type[sent].field.pop()),
        |file, sent| file.message_type[sent].field[2].number = Some(99),
        |file, sent| file.message_type[sent].field[2].name = Some("author".into()),
        |file, sent| file.message_type[sent].field[2].set_type(Type::Bytes),
        |file, sent| file.message_type[sent].field[2].set_label(Label::Repeated),
        |file, _| drop(file.enum_type[0].value.pop()),
    ];
    for change in changes {
        let mut changed = file.clone();
        change(&mut changed, sent);
        assert_eq!(broken(&lock, &snapshot(&changed)).len(), 1);
    }
    let mut grown = file.clone();
    let more = FieldDescriptorProto {
        name: Some("more".into()),
        number: Some(50),
        ..file.message_type[sent].field[2].clone()
    };
    grown.message_type[sent].field.push(more);
    assert_eq!(broken(&lock, &snapshot(&grown)), [""; 0]);
}

/// Names of an enum's variants in the source of the service traits, as protobuf names its fields.
fn variants(name: &str) -> BTreeSet<String> {
    let source = read("services/wire/src/service.rs");
    let body = source.split(&format!("pub enum {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let names = names.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap());
    names.map(snake_case).collect()
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Fields of a message that are in its `oneof`s.
fn choices(file: &FileDescriptorProto, name: &str) -> BTreeSet<String> {
    let message = file.message_type.iter().find(|message| message.name() == name).unwrap();
    let chosen = message.field.iter().filter(|field| field.oneof_index.is_some() && !field.proto3_optional());
    chosen.map(|field| field.name().to_owned()).collect()
}

/// The interface between processes mirrors the traits that are called directly in one.
#[test]
fn commands_mirror_the_service_traits() {
    let file = compiled(COMMANDS);
    assert_eq!(choices(&file, "Request"), variants("Wish"));
    let mut outcomes = variants("Reply");
    outcomes.extend(["rejection"].map(str::to_owned));
    assert_eq!(choices(&file, "Reply"), outcomes);
    let services = file.service.iter().map(|service| {
        let methods = service.method.iter().map(|method| method.name().to_owned()).collect::<Vec<_>>();
        (service.name().to_owned(), methods)
    });
    let expected = [
        ("Commands", vec!["Submit", "PutProfile"]),
        ("Notices", vec!["Notify", "PassTyping"]),
        ("Projectors", vec!["Pause"]),
        ("DataKeys", vec!["Forget"]),
    ];
    let expected =
        expected.map(|(name, methods)| (name.to_owned(), methods.into_iter().map(str::to_owned).collect()));
    assert_eq!(services.collect::<Vec<_>>(), expected);
}
