//! OpenAPI 3.1 of the REST calls.

use std::collections::BTreeMap;

use parley_domain::Code;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::components::Components;
use super::routes::{ROUTES, Route};
use super::values::{PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX};
use super::{VERSION, error_codes};
use crate::{code, rest};

/// Every call under `/v1` may answer these.
const ALWAYS: [Code; 6] = [
    Code::Unauthenticated,
    Code::TokenExpired,
    Code::RateLimited,
    Code::Internal,
    Code::Busy,
    Code::Unavailable,
];

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> Value {
    let mut components = Components::new(SchemaSettings::draft2020_12);
    let error = components.sent::<rest::ErrorEnvelope>();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let operation = operation(route, &error, &mut components);
        if let Value::Object(path) = paths.entry(route.path).or_insert_with(|| json!({})) {
            path.insert(route.method.to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Parley",
            "version": VERSION,
            "description": "Group chat. Times are RFC 3339 in UTC with milliseconds, ids UUIDs except user ids, which are \
                            the token's `sub`. Clients ignore unknown fields; /v1 only grows. What is optional is absent where \
                            there is nothing; null only where a schema says so. `x-extensible-enum` lists the values of today: clients expect others. An \
                            error of an unknown code is treated by its HTTP status and `retryable`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "`parley serve` as it starts without options"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "x-error-codes": error_codes(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "headers": {"RetryAfter": retry_after()},
            "schemas": components.finish(),
        },
    })
}

fn operation(route: &Route, error: &Value, components: &mut Components) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), operation_id(route).into());
    operation.insert("summary".into(), route.summary.into());
    let parameters = parameters(route, components);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(takes) = route.takes {
        let content = content("application/json", &takes(components));
        operation.insert("requestBody".into(), json!({"required": true, "content": content}));
    }
    operation.insert("responses".into(), responses(route, error, components));
    if !is_versioned(route) {
        operation.insert("security".into(), json!([]));
    } else if is_handshake(route) {
        // Browsers can't set the header there: their first frame is `authenticate`.
        operation.insert("security".into(), json!([{"bearer": []}, {}]));
    }
    Value::Object(operation)
}

fn is_versioned(route: &Route) -> bool {
    route.path.starts_with("/v1/")
}

fn is_handshake(route: &Route) -> bool {
    route.status == 101
}

/// `get_v1_groups_group_id`: dull, unique, and it only changes with the route.
fn operation_id(route: &Route) -> String {
    let path: String = route.path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    format!("{}{}", route.method, path.replace('/', "_"))
}

fn parameters(route: &Route, components: &mut Components) -> Vec<Value> {
    let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = parts.map(|name| {
        let schema = if name == "user_id" {
            components.sent::<super::values::UserIdText>()
        } else {
            json!({"type": "string", "format": "uuid"})
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = route.query.iter().map(|name| {
        let schema = match *name {
            "limit" => json!({
                "type": "integer",
                "minimum": 1,
                "maximum": PAGE_ENTRIES_MAX,
                "default": PAGE_ENTRIES_DEFAULT,
            }),
            "replay" => json!({"type": "string", "enum": ["none"]}),
            "cursor" => json!({"type": "string", "description": "`next_cursor` of the page before"}),
            _ => json!({"type": "integer", "format": "uint64", "minimum": 0}),
        };
        json!({"name": name, "in": "query", "schema": schema})
    });
    let header = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a repeat of this call the same call; `group_id` in the body decides if both are given",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    });
    let in_header = makes_something(route).then_some(header);
    in_path.chain(in_query).chain(in_header).collect()
}

fn makes_something(route: &Route) -> bool {
    route.status == 201
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({kind: {"schema": schema}})
}

/// Whether the answer may say when to come again.
fn may_say_when(status: u16) -> bool {
    matches!(status, 429 | 503 | 504)
}

fn retry_after() -> Value {
    json!({
        "description": "Seconds to wait, where that is known; `retry_after_ms` in the body is the same, finer",
        "schema": {"type": "integer", "minimum": 1},
    })
}

fn responses(route: &Route, error: &Value, components: &mut Components) -> Value {
    let mut responses = Map::new();
    let mut good = Map::new();
    let done = if is_handshake(route) { "The connection is a WebSocket from here on" } else { "Done" };
    good.insert("description".into(), done.into());
    if let Some(gives) = route.gives {
        good.insert("content".into(), content(route.content_type, &gives(components)));
    }
    if makes_something(route) {
        // A repeat.
        responses.insert("200".into(), Value::Object(good.clone()));
    }
    if let Some((status, meaning)) = route.fails {
        let mut failed = good.clone();
        failed.insert("description".into(), meaning.into());
        responses.insert(status.to_string(), Value::Object(failed));
    }
    responses.insert(route.status.to_string(), Value::Object(good));
    if !is_versioned(route) {
        return Value::Object(responses);
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in route.refuses.iter().chain(&ALWAYS) {
        by_status.entry(code::http_status(*code)).or_default().push(code::name(*code));
    }
    for (status, names) in by_status {
        let mut refused =
            json!({"description": names.join(", "), "content": content("application/json", error)});
        if may_say_when(status)
            && let Value::Object(refused) = &mut refused
        {
            let headers = json!({"Retry-After": {"$ref": "#/components/headers/RetryAfter"}});
            refused.insert("headers".into(), headers);
        }
        responses.insert(status.to_string(), refused);
    }
    Value::Object(responses)
}
