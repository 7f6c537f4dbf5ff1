//! What is published equals the code, and only grows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parley_tests::{Value, json};
use parley_wire::documents;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// With `UPDATE_SCHEMAS=1` the file is written instead.
#[allow(clippy::disallowed_methods, reason = "a switch for whoever changes a schema on purpose")]
fn check(file: &str, made: &Value) {
    let path = root().join("schemas").join(file);
    let text = format!("{}\n", serde_json::to_string_pretty(made).unwrap());
    if std::env::var("UPDATE_SCHEMAS").is_ok() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{file} is not what the code says: UPDATE_SCHEMAS=1 scripts/test schemas");
}

#[test]
fn the_openapi_document_is_what_the_code_says() {
    check("openapi.json", &documents::openapi());
}

#[test]
fn the_asyncapi_document_is_what_the_code_says() {
    let document = documents::asyncapi();
    check("asyncapi.json", &document);
    let source = std::fs::read_to_string(root().join("services/wire/src/frame/outgoing.rs")).unwrap();
    let names = source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let messages = document["channels"]["socket"]["messages"].as_object().unwrap();
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(messages.keys().any(|key| key == &format!("client_{name}") || key == &format!("server_{name}")), "{name}");
    }
    assert!(count > 25);
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_served() {
    let source = std::fs::read_to_string(root().join("services/edge/src/rest.rs")).unwrap();
    let flat: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut served: Vec<(String, String)> = Vec::new();
    for part in flat.split(".route(").skip(1) {
        let path = part.split('"').nth(1).unwrap();
        let handlers = &part[part.find('"').unwrap() + path.len() + 2..];
        let handlers = handlers.split(".route(").next().unwrap();
        let path = if path.starts_with("/v1") { path.to_owned() } else { format!("/v1{path}") };
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                served.push((method.to_owned(), anonymous(&path)));
            }
        }
    }
    let mut documented: Vec<(String, String)> =
        documents::routes().into_iter().map(|(method, path)| (method.to_owned(), anonymous(&path))).collect();
    served.sort();
    documented.sort();
    assert_eq!(served, documented);
}

/// A path with its parameters' names left out.
fn anonymous(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// Every message's fields as `number: "type name"`, and every enum's values.
fn shape_of(proto: &Path) -> Value {
    let text = std::fs::read_to_string(proto).unwrap();
    let mut types: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("message" | "enum") => current = words.next().unwrap().to_owned(),
            Some("}" | "//" | "syntax" | "package" | "import") | None => {}
            Some(_) => {
                if let Some((field, number)) = line.trim_end_matches(';').split_once(" = ") {
                    let number = number.split_whitespace().next().unwrap().parse().unwrap();
                    types.entry(current.clone()).or_default().insert(number, field.to_owned());
                }
            }
        }
    }
    json!(types)
}

#[test]
fn the_events_schema_only_grows() {
    let now = shape_of(&root().join("schemas/parley/events/v1/events.proto"));
    let path = root().join("schemas/parley/events/v1/events.lock.json");
    let lock: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (name, fields) in lock.as_object().unwrap() {
        for (number, field) in fields.as_object().unwrap() {
            assert_eq!(&now[name][number], field, "{name} {number}: a field is never removed, renamed, renumbered or retyped");
        }
    }
    // What is new must be locked too, or the next change could break it unseen.
    check("parley/events/v1/events.lock.json", &now);
}
