//! Schemas that a document refers to, by name.

use parley_domain::Code;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::code;

const PATH: &str = "#/components/schemas/";
const LOCAL_PATH: &str = "#/$defs/";

/// What is sent and what is received differ: an optional field is absent in the one, absent or null in the other.
pub(super) struct Components {
    sent: SchemaGenerator,
    received: SchemaGenerator,
    hoisted: Map<String, Value>,
}

impl Components {
    pub(super) fn new(settings: fn() -> SchemaSettings) -> Self {
        let settings =
            || settings().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            sent: settings().for_serialize().into_generator(),
            received: settings().for_deserialize().into_generator(),
            hoisted: Map::new(),
        }
    }

    /// A reference to the schema of what the server sends.
    pub(super) fn sent<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of what the server takes.
    pub(super) fn received<T: JsonSchema>(&mut self) -> Value {
        self.received.subschema_for::<T>().to_value()
    }

    /// A schema that was made as a document of its own: its definitions move to the others.
    pub(super) fn hoist(&mut self, schema: Schema) -> Value {
        let mut schema = schema.to_value();
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            if let Some(Value::Object(definitions)) = object.remove("$defs") {
                self.hoisted.extend(definitions);
            }
        }
        schema
    }

    pub(super) fn finish(mut self) -> Value {
        let mut all = self.hoisted;
        all.extend(self.received.take_definitions(true));
        let mut sent = self.sent.take_definitions(true);
        sent.values_mut().for_each(absent_not_null);
        all.extend(sent);
        all.values_mut().for_each(name_codes);
        Value::Object(all)
    }
}

/// References into a schema's own definitions become references into the document's.
pub(super) fn relocate(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(LOCAL_PATH)
            {
                *reference = format!("{PATH}{name}");
            }
            object.values_mut().for_each(relocate);
        }
        Value::Array(list) => list.iter_mut().for_each(relocate),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the server sends is absent where there is nothing, never null: only a field that is always there can be null.
fn absent_not_null(schema: &mut Value) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required =
        |name: &str| required.as_array().is_some_and(|fields| fields.iter().any(|field| field == name));
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        if !is_required(name) {
            never_null(property);
        }
    }
}

fn never_null(property: &mut Value) {
    let Some(object) = property.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            object.insert("type".into(), kind);
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [choice] = choices.as_slice() {
        let choice = choice.clone();
        // Beside a reference nothing else may stand in draft 7.
        if object.len() == 1 {
            *property = choice;
        }
    }
}

/// An error's `code` is a text to JSON; here it says which texts there are today. Clients must expect others.
fn name_codes(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    if properties.contains_key("retryable")
        && let Some(Value::Object(code)) = properties.get_mut("code")
    {
        let names: Vec<&str> = Code::ALL.into_iter().map(code::name).collect();
        code.insert(
            "description".into(),
            json!("For programs. Go by `retryable` for a code that is unknown."),
        );
        code.insert("x-extensible-enum".into(), json!(names));
    }
}
