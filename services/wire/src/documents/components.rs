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
        all.extend(self.sent.take_definitions(true));
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
