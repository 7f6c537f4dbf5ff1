//! As much of JSON Schema as the documents use, to hold values against them. A keyword that isn't known here fails the test.

use serde_json::Value;

/// A document and whether names that may be added must be those of today: what we send is held to it, what a later server may
/// send isn't.
pub(crate) struct Checker<'a> {
    pub(crate) document: &'a Value,
    pub(crate) knows_all_names: bool,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("unknown type {other}"),
    }
}

/// `2026-01-31T12:34:56.789Z`: the contract is narrower than the format.
fn is_time(text: &str) -> bool {
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    text.chars().map(shape).collect::<String>() == "0000-00-00T00:00:00.000Z"
}

fn has_format(format: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return true };
    match format {
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "date-time" => is_time(text),
        "uri" => text.contains("://"),
        other => panic!("unknown format {other}"),
    }
}

/// The one pattern that there is.
fn matches(pattern: &str, text: &str) -> bool {
    assert_eq!(pattern, "^[0-9a-f]{64}$");
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Checker<'_> {
    /// Why a value isn't what a schema describes; nothing if it is.
    pub(crate) fn fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let keywords = schema.as_object().unwrap();
        let broken = keywords.iter().find(|(keyword, rule)| !self.holds(schema, keyword, rule, value))?;
        Some(format!("{}: {} of {schema}", value, broken.0))
    }

    fn takes(&self, schema: &Value, value: &Value) -> bool {
        self.fault(schema, value).is_none()
    }

    fn count(&self, choices: &Value, value: &Value) -> usize {
        list(choices).iter().filter(|choice| self.takes(choice, value)).count()
    }

    fn holds(&self, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
        let size = || usize::try_from(rule.as_u64().unwrap()).unwrap();
        match keyword {
            "title" | "description" | "default" | "then" | "else" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                self.takes(self.document.pointer(pointer).unwrap(), value)
            }
            "type" if rule.is_string() => is(value, rule.as_str().unwrap()),
            "type" => list(rule).iter().any(|kind| is(value, kind.as_str().unwrap())),
            "const" => rule == value,
            "enum" => list(rule).contains(value),
            "x-extensible-enum" => !self.knows_all_names || list(rule).contains(value),
            "not" => !self.takes(rule, value),
            "allOf" => self.count(rule, value) == list(rule).len(),
            "anyOf" => self.count(rule, value) > 0,
            "oneOf" => self.count(rule, value) == 1,
            "if" => {
                let then = if self.takes(rule, value) { "then" } else { "else" };
                schema.get(then).is_none_or(|then| self.takes(then, value))
            }
            "required" => list(rule).iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => rule.as_object().unwrap().iter().all(|(name, property)| {
                value.get(name).is_none_or(|field| self.fault(property, field).is_none())
            }),
            "additionalProperties" => {
                value.as_object().is_none_or(|object| object.values().all(|one| self.takes(rule, one)))
            }
            "items" => value.as_array().is_none_or(|values| values.iter().all(|one| self.takes(rule, one))),
            "minItems" => value.as_array().is_none_or(|values| values.len() >= size()),
            "maxItems" => value.as_array().is_none_or(|values| values.len() <= size()),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= size()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= size()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minimum" => value.as_u64().is_none_or(|number| number >= rule.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|number| number <= rule.as_u64().unwrap()),
            // How wide a number is.
            "format" if rule.as_str().unwrap().starts_with("uint") => true,
            "format" => has_format(rule.as_str().unwrap(), value),
            other => panic!("unknown keyword {other} in {schema}"),
        }
    }
}
