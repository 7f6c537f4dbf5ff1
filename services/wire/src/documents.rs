//! The published descriptions of REST and WebSocket, made from the very types that are sent: `schemas/openapi.json` and
//! `schemas/asyncapi.json` are what these functions give, and a test holds it so.

use parley_domain::Code;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::code::{self, Close};
use crate::frame::{self, names};
use crate::rest;

/// Schemas by name, and where they lie in a document.
struct Components {
    sent: SchemaGenerator,
    received: SchemaGenerator,
}

impl Components {
    fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
        Self { sent: settings().for_serialize().into_generator(), received: settings().into_generator() }
    }

    fn sends<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    fn receives<T: JsonSchema>(&mut self) -> Value {
        self.received.subschema_for::<T>().to_value()
    }

    fn finish(mut self) -> Value {
        let mut all = self.received.take_definitions(true);
        all.extend(self.sent.take_definitions(true));
        Value::Object(all.into_iter().collect())
    }
}

/// One REST call: method, path under `/v1`, what it does, its body, its status and answer.
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    body: Option<Value>,
    answer: (u16, Option<Value>),
}

/// Methods and paths of all REST calls, as the edge routes them (`/v1` included).
#[must_use]
pub fn routes() -> Vec<(&'static str, String)> {
    rest_routes(&mut Components::new())
        .iter()
        .map(|route| (route.method, format!("/v1{}", route.path)))
        .collect()
}

fn group_routes(c: &mut Components) -> Vec<Route> {
    let group = c.sends::<rest::GroupBody>();
    let mut routes = Vec::new();
    let mut add = |method, path, summary, query, body, answer| {
        routes.push(Route { method, path, summary, query, body, answer });
    };
    let page: &[&str] = &["cursor", "limit"];
    let create = c.receives::<rest::CreateGroup>();
    add(
        "post",
        "/groups",
        "Create a group; the same group_id or Idempotency-Key again gives 200 and the same group",
        &[],
        Some(create),
        (201, Some(group.clone())),
    );
    let groups = c.sends::<rest::Groups>();
    add("get", "/groups", "The caller's groups", page, None, (200, Some(groups)));
    add("get", "/groups/{id}", "A group", &[], None, (200, Some(group.clone())));
    let update = c.receives::<rest::UpdateGroup>();
    add(
        "patch",
        "/groups/{id}",
        "Change name or description; owner and admins",
        &[],
        Some(update),
        (200, Some(group.clone())),
    );
    add("delete", "/groups/{id}", "Dissolve the group; owner only", &[], None, (204, None));
    let members = c.sends::<rest::Members>();
    add(
        "get",
        "/groups/{id}/members",
        "All members; cursors in groups up to 200",
        page,
        None,
        (200, Some(members)),
    );
    let wish = c.receives::<rest::AddMembers>();
    add(
        "post",
        "/groups/{id}/members",
        "Add up to 1,000 members, all or none; owner and admins",
        &[],
        Some(wish),
        (200, Some(group.clone())),
    );
    add("delete", "/groups/{id}/members/{user_id}", "Remove a member, or leave", &[], None, (204, None));
    let owner = c.receives::<rest::TransferOwnership>();
    add(
        "put",
        "/groups/{id}/owner",
        "Transfer the ownership; owner only",
        &[],
        Some(owner),
        (200, Some(group.clone())),
    );
    let role = c.receives::<rest::SetRole>();
    add(
        "put",
        "/groups/{id}/members/{user_id}/role",
        "Make a member an admin, or the reverse; owner only",
        &[],
        Some(role),
        (200, Some(group)),
    );
    routes
}

fn rest_routes(c: &mut Components) -> Vec<Route> {
    let mut routes = group_routes(c);
    let mut add = |method, path, summary, query, body, answer| {
        routes.push(Route { method, path, summary, query, body, answer });
    };
    let messages = c.sends::<rest::Messages>();
    add(
        "get",
        "/groups/{id}/messages",
        "History in rising seq; exclusive bounds; without them the newest",
        &["after_seq", "before_seq", "limit"],
        None,
        (200, Some(messages)),
    );
    let statuses = c.sends::<rest::Statuses>();
    add(
        "get",
        "/groups/{id}/messages/{message_id}/status",
        "Who has a message",
        &["cursor", "limit"],
        None,
        (200, Some(statuses)),
    );
    let (upload, uploaded) = (c.receives::<rest::CreateUpload>(), c.sends::<rest::Upload>());
    add("post", "/media/uploads", "A pre-signed upload URL", &[], Some(upload), (200, Some(uploaded)));
    let download = c.sends::<rest::Download>();
    add("get", "/media/{media_id}", "A pre-signed download URL", &[], None, (200, Some(download)));
    let profile = c.sends::<rest::ProfileBody>();
    add("get", "/users/me", "The caller's profile", &[], None, (200, Some(profile.clone())));
    let put = c.receives::<rest::PutProfile>();
    add("put", "/users/me", "Set the caller's profile", &[], Some(put), (200, Some(profile.clone())));
    add("get", "/users/{id}", "A profile", &[], None, (200, Some(profile)));
    add("get", "/ws", "The WebSocket handshake; see asyncapi.json", &["replay"], None, (101, None));
    routes
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let query = route.query.iter().map(|name| {
        let number = name.ends_with("_seq") || *name == "limit";
        let schema =
            if number { json!({"type": "integer", "minimum": 0}) } else { json!({"type": "string"}) };
        json!({"name": name, "in": "query", "schema": schema})
    });
    path.chain(query).collect()
}

fn operation(route: &Route, error: &Value) -> Value {
    let json_body = |schema: &Value| json!({"application/json": {"schema": schema}});
    let (status, answer) = &route.answer;
    let mut responses = Map::new();
    let mut good = json!({"description": "done"});
    if let Some(schema) = answer {
        good["content"] = json_body(schema);
    }
    if route.summary.starts_with("Create a group") {
        responses.insert("200".into(), good.clone());
    }
    responses.insert(status.to_string(), good);
    responses.insert("default".into(), json!({"description": "refused", "content": json_body(error)}));
    let mut operation =
        json!({"summary": route.summary, "parameters": parameters(route), "responses": responses});
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({"required": true, "content": json_body(body)});
    }
    operation
}

fn codes() -> Value {
    let all = Code::ALL.iter().map(|code| {
        json!({"code": code::name(*code), "status": code::http_status(*code), "retryable": code::retryable(*code)})
    });
    all.collect()
}

/// OpenAPI 3.1 of the REST calls.
#[must_use]
pub fn openapi() -> Value {
    let mut components = Components::new();
    let routes = rest_routes(&mut components);
    let error = components.sends::<rest::ErrorEnvelope>();
    let mut paths: Map<String, Value> = Map::new();
    for route in &routes {
        let path = paths.entry(format!("/v1{}", route.path)).or_insert_with(|| json!({}));
        path[route.method] = operation(route, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Parley", "version": "v1", "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "security": [{"bearer": []}],
        "paths": paths,
        "x-error-codes": codes(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": components.finish(),
        },
    })
}

/// What the server sends, by event name.
fn outgoing(c: &mut Components) -> Vec<(&'static str, Value)> {
    vec![
        (names::WELCOME, c.sends::<frame::Welcome<'static>>()),
        (names::A_GROUP_CREATED, c.sends::<frame::NotificationBody<'static>>()),
        (names::ADDED_TO_GROUP, c.sends::<frame::NotificationBody<'static>>()),
        (names::GROUP_MESSAGE, c.sends::<frame::MessageBody>()),
        (names::GROUP_EVENT, c.sends::<frame::GroupEventBody>()),
        (names::GROUP_MESSAGE_STATUS, c.sends::<frame::MessageStatus<'static>>()),
        (names::TYPING, c.sends::<frame::GroupRef<'static>>()),
        (names::GO_AWAY, c.sends::<frame::GoAway>()),
        (names::ERROR, c.sends::<frame::ErrorBody>()),
        (names::CREATE_GROUP_NOTIFIED, c.sends::<frame::CreateNotified>()),
        (names::SUBSCRIBED_TO_GROUP, c.sends::<frame::Subscribed>()),
        (names::RESUMED, c.sends::<frame::Resumed>()),
        (names::UNSUBSCRIBED_FROM_GROUP, c.sends::<frame::GroupRef<'static>>()),
        (names::GROUP_MESSAGE_ACCEPTED, c.sends::<frame::Accepted<'static>>()),
        (names::GROUP_MESSAGE_ACKNOWLEDGED, c.sends::<frame::Acknowledged>()),
        (names::NOTIFICATION_ACKNOWLEDGED, c.sends::<frame::NotificationAcknowledged>()),
        (names::PONG, c.sends::<frame::Pong>()),
        (names::AUTHENTICATED, c.sends::<frame::Authenticated>()),
    ]
}

fn message(event: &str, data: Value, id: bool) -> Value {
    let mut properties = json!({"event": {"const": event}, "data": data});
    if id {
        properties["id"] = json!({"type": "string", "maxLength": 64});
    }
    json!({
        "name": event,
        "contentType": "application/json",
        "payload": {"type": "object", "required": ["event", "data"], "properties": properties},
    })
}

/// AsyncAPI 3.0 of the WebSocket.
#[must_use]
pub fn asyncapi() -> Value {
    let mut components = Components::new();
    let mut messages = Map::new();
    let reference = |key: &str| json!({"$ref": format!("#/channels/socket/messages/{key}")});
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    for (event, schema) in frame::incoming_schemas() {
        let key = format!("client_{event}");
        from_client.push(reference(&key));
        messages.insert(key, message(event, schema.to_value(), true));
    }
    for (event, schema) in outgoing(&mut components) {
        let key = format!("server_{event}");
        from_server.push(reference(&key));
        messages.insert(key, message(event, schema, true));
    }
    let closes = Close::ALL.iter().map(|close| {
        json!({"code": close.code(), "reason": close.reason(), "reconnect": close.code() < 3500 && close.code() > 1003})
    });
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": "v1"},
        "channels": {"socket": {"address": "/v1/ws", "messages": messages}},
        "operations": {
            "clientSends": {"action": "receive", "channel": {"$ref": "#/channels/socket"}, "messages": from_client},
            "serverSends": {"action": "send", "channel": {"$ref": "#/channels/socket"}, "messages": from_server},
        },
        "x-close-codes": closes.collect::<Vec<_>>(),
        "x-error-codes": codes(),
        "components": {"schemas": components.finish()},
    })
}
