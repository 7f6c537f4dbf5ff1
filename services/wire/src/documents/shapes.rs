//! Shapes that the Rust types leave open: one type that is sent with and without a field, fields that depend on each other.

use std::borrow::Cow;

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::frame::GroupRef;
use crate::rest::GroupBody;

/// A type's schema by itself. What it refers to is not put among the document's, which may not need it.
fn schema_of<T: JsonSchema>(generator: &SchemaGenerator) -> Schema {
    T::json_schema(&mut generator.settings().clone().into_generator())
}

fn properties(schema: &mut Schema) -> Option<&mut Map<String, Value>> {
    schema.get_mut("properties")?.as_object_mut()
}

fn require(schema: &mut Schema, field: &str) {
    let required = schema.ensure_object().entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.push(field.into());
    }
}

fn remove(schema: &mut Schema, field: &str) {
    if let Some(properties) = properties(schema) {
        properties.remove(field);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|one| one != field);
    }
}

fn describe(schema: &mut Schema, description: &str) {
    schema.insert("description".into(), description.into());
}

/// A group that is shown by itself comes with its first members.
pub(crate) fn with_members(schema: &mut Schema) {
    require(schema, "members");
}

/// A group in lists and notifications.
pub(crate) enum GroupHead {}

impl JsonSchema for GroupHead {
    fn schema_name() -> Cow<'static, str> {
        "GroupHead".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = schema_of::<GroupBody>(generator);
        remove(&mut schema, "members");
        describe(&mut schema, "A group without its members, as lists and notifications have it.");
        schema
    }
}

/// What `typing` tells the others.
pub(super) enum Typing {}

impl JsonSchema for Typing {
    fn schema_name() -> Cow<'static, str> {
        "Typing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = schema_of::<GroupRef<'static>>(generator);
        require(&mut schema, "user_id");
        describe(&mut schema, "`typing`: who types in a group.");
        schema
    }
}

/// The reply to `unsubscribe_from_group`.
pub(super) enum Unsubscribed {}

impl JsonSchema for Unsubscribed {
    fn schema_name() -> Cow<'static, str> {
        "Unsubscribed".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = schema_of::<GroupRef<'static>>(generator);
        remove(&mut schema, "user_id");
        describe(&mut schema, "`unsubscribed_from_group`.");
        schema
    }
}

/// A kind of `group_event` that a client doesn't know is one more `seq` to it, so the choice between the kinds has a last one:
/// any other.
pub(crate) fn open_kinds(schema: &mut Schema) {
    let Some(kinds) = schema.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    let known: Vec<Value> =
        kinds.iter().filter_map(|kind| kind.pointer("/properties/kind/const").cloned()).collect();
    kinds.push(json!({
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {
            "type": "string",
            "not": {"enum": known},
            "description": "Any other: count it as one more `seq`",
        }},
    }));
}

/// `acknowledge_group_message`: exactly one of the two; null is as good as absent.
pub(crate) fn message_id_or_seq(schema: &mut Schema) {
    let one = |field: &str, kind: &str| json!({"required": [field], "properties": {field: {"type": kind}}});
    let either = json!({"oneOf": [one("message_id", "string"), one("seq", "integer")]});
    schema.insert("allOf".into(), json!([either]));
}

/// `send_group_message`: what a message of each type needs.
pub(crate) fn text_or_media(schema: &mut Schema) {
    let rule = json!({
        "if": {"properties": {"type": {"const": "text"}}},
        "then": {
            "required": ["text"],
            "properties": {"text": {"type": "string"}, "media_url": {"type": "null"}},
        },
        "else": {"required": ["media_url"], "properties": {"media_url": {"type": "string"}}},
    });
    schema.insert("allOf".into(), json!([rule]));
}
