//! JSON Schema as tables.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::html::{escape, inline};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a value may be, in a few words: `list of <a>MemberBody</a>`, `text (uuid)`.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = escape(reference.rsplit('/').next().unwrap_or(reference));
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(constant) = schema.get("const") {
        return format!("<code>{}</code>", escape(&constant.to_string()));
    }
    let choices: Vec<&Value> =
        ["oneOf", "anyOf", "allOf", "enum"].iter().flat_map(|of| list(schema, of)).collect();
    if !choices.is_empty() {
        let choices = choices.iter().map(|choice| {
            if choice.is_object() {
                kind(choice)
            } else {
                format!("<code>{}</code>", escape(&choice.to_string()))
            }
        });
        return choices.filter(|choice| choice != "null").collect::<Vec<_>>().join(" or ");
    }
    let named = match schema.get("type") {
        Some(Value::Array(some)) => some.iter().find(|one| *one != "null").and_then(Value::as_str),
        Some(Value::String(one)) => Some(one.as_str()),
        _ => None,
    };
    let name = match named {
        Some("array") => return format!("list of {}", kind(schema.get("items").unwrap_or(&Value::Null))),
        Some("string") => "text",
        Some("integer") => "whole number",
        Some("boolean") => "true or false",
        Some("object") => match schema.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => return format!("object of {}", kind(inner)),
            _ => "object",
        },
        Some(other) => other,
        None => "anything",
    };
    format!("{name}{}", bounds(schema))
}

fn bounds(schema: &Value) -> String {
    let mut bounds = Vec::new();
    // How wide a number is concerns no reader of JSON.
    let format = text(schema, "format");
    if !format.is_empty() && !format.starts_with("uint") && !format.starts_with("int") {
        bounds.push(format.to_owned());
    }
    let limits =
        [("minimum", "at least"), ("maximum", "at most"), ("maxLength", "at most"), ("default", "default")];
    for (key, words) in limits {
        match schema.get(key) {
            Some(limit) if *limit != 0 => bounds.push(format!("{words} {}", escape(&limit.to_string()))),
            _ => {}
        }
    }
    if bounds.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"dim\">({})</span>", bounds.join(", "))
    }
}

/// A table of an object's fields; of a choice between objects, a table each. Empty for anything else.
pub(super) fn fields(schema: &Value) -> String {
    let mut html = String::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        html.push_str(&table(properties, list(schema, "required")));
    }
    for choice in ["oneOf", "anyOf"].iter().flat_map(|of| list(schema, of)) {
        html.push_str(&fields(choice));
    }
    html
}

fn table(properties: &Map<String, Value>, required: &[Value]) -> String {
    let mut html = "<table><tr><th>field</th><th>value</th><th></th></tr>".to_owned();
    for (name, property) in properties {
        let is_required = required.iter().any(|one| one == name);
        let optional = if is_required { "" } else { " <span class=\"dim\">optional</span>" };
        let description = inline(text(property, "description"));
        let _ = write!(
            html,
            "<tr><td><code>{}</code>{optional}</td><td>{}</td><td>{description}{}</td></tr>",
            escape(name),
            kind(property),
            known(property)
        );
    }
    html + "</table>"
}

/// Values that are known now, where others may come.
fn known(property: &Value) -> String {
    let known = list(property, "x-extensible-enum").iter().filter_map(Value::as_str).map(escape);
    let known: Vec<String> = known.map(|value| format!("<code>{value}</code>")).collect();
    if known.is_empty() {
        String::new()
    } else {
        format!("<details><summary>known values</summary>{}</details>", known.join(" "))
    }
}

/// A section for each of a document's named schemas.
pub(super) fn components(document: &Value) -> String {
    let mut html = "<h2 id=\"schemas\">Objects</h2>".to_owned();
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        let name = escape(name);
        let _ = write!(
            html,
            "<h3 id=\"schema-{name}\">{name}</h3><p>{}</p>{}",
            inline(text(schema, "description")),
            fields(schema)
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_told_in_words() {
        let cases = [
            (json!({"type": "integer", "format": "uint64", "minimum": 0}), "whole number"),
            (json!({"type": ["string", "null"], "format": "uuid"}), "text <span class=\"dim\">(uuid)</span>"),
            (json!({"anyOf": [{"$ref": "#/a/B"}, {"type": "null"}]}), "<a href=\"#schema-B\">B</a>"),
            (json!({"type": "array", "items": {"const": "<"}}), "list of <code>&quot;&lt;&quot;</code>"),
            (json!({"enum": ["a", "b"]}), "<code>&quot;a&quot;</code> or <code>&quot;b&quot;</code>"),
            (json!({}), "anything"),
        ];
        for (schema, expected) in cases {
            assert_eq!(kind(&schema), expected, "{schema}");
        }
        let object =
            json!({"properties": {"a": {"type": "boolean", "description": "x `y`"}}, "required": []});
        let html = fields(&object);
        assert!(
            html.contains("optional") && html.contains("x <code>y</code>") && html.contains("true or false")
        );
    }
}
