//! AsyncAPI 3.0 of the WebSocket, from the server's side: it receives what clients send.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::components::{Components, relocate};
use super::shapes::{Typing, Unsubscribed};
use super::{VERSION, error_codes};
use crate::code::Close;
use crate::frame::{self, names};

const CHANNEL: &str = "#/channels/socket";

/// What answers a client's event; to `typing` only a refusal.
const REPLIES: [(&str, &str); 9] = [
    (names::NOTIFY_CREATE_GROUP, names::CREATE_GROUP_NOTIFIED),
    (names::SUBSCRIBE_TO_GROUP, names::SUBSCRIBED_TO_GROUP),
    (names::RESUME, names::RESUMED),
    (names::UNSUBSCRIBE_FROM_GROUP, names::UNSUBSCRIBED_FROM_GROUP),
    (names::SEND_GROUP_MESSAGE, names::GROUP_MESSAGE_ACCEPTED),
    (names::ACKNOWLEDGE_GROUP_MESSAGE, names::GROUP_MESSAGE_ACKNOWLEDGED),
    (names::ACKNOWLEDGE_NOTIFICATION, names::NOTIFICATION_ACKNOWLEDGED),
    (names::PING, names::PONG),
    (names::AUTHENTICATE, names::AUTHENTICATED),
];

/// What comes without being asked for. Two answers do so too: `resumed` before the replays of a new session,
/// `group_message_acknowledged` to the user's other sessions.
const UNASKED: [&str; 11] = [
    names::WELCOME,
    names::A_GROUP_CREATED,
    names::ADDED_TO_GROUP,
    names::GROUP_MESSAGE,
    names::GROUP_EVENT,
    names::GROUP_MESSAGE_STATUS,
    names::TYPING,
    names::GO_AWAY,
    names::ERROR,
    names::RESUMED,
    names::GROUP_MESSAGE_ACKNOWLEDGED,
];

/// Bodies of what the server sends.
fn bodies(components: &mut Components) -> Vec<(&'static str, Value)> {
    let c = components;
    vec![
        (names::WELCOME, c.sent::<frame::Welcome<'static>>()),
        (names::A_GROUP_CREATED, c.sent::<frame::NotificationBody<'static>>()),
        (names::ADDED_TO_GROUP, c.sent::<frame::NotificationBody<'static>>()),
        (names::GROUP_MESSAGE, c.sent::<frame::MessageBody>()),
        (names::GROUP_EVENT, c.sent::<frame::GroupEventBody>()),
        (names::GROUP_MESSAGE_STATUS, c.sent::<frame::MessageStatus<'static>>()),
        (names::TYPING, c.sent::<Typing>()),
        (names::GO_AWAY, c.sent::<frame::GoAway>()),
        (names::ERROR, c.sent::<frame::ErrorBody>()),
        (names::CREATE_GROUP_NOTIFIED, c.sent::<frame::CreateNotified>()),
        (names::SUBSCRIBED_TO_GROUP, c.sent::<frame::Subscribed>()),
        (names::RESUMED, c.sent::<frame::Resumed>()),
        (names::UNSUBSCRIBED_FROM_GROUP, c.sent::<Unsubscribed>()),
        (names::GROUP_MESSAGE_ACCEPTED, c.sent::<frame::Accepted<'static>>()),
        (names::GROUP_MESSAGE_ACKNOWLEDGED, c.sent::<frame::Acknowledged>()),
        (names::NOTIFICATION_ACKNOWLEDGED, c.sent::<frame::NotificationAcknowledged>()),
        (names::PONG, c.sent::<frame::Pong>()),
        (names::AUTHENTICATED, c.sent::<frame::Authenticated>()),
    ]
}

/// `typing` goes both ways, so the names of messages say which.
fn from_client(event: &str) -> String {
    format!("client.{event}")
}

fn from_server(event: &str) -> String {
    format!("server.{event}")
}

fn message(event: &str, data: &Value, needs_data: bool) -> Value {
    let required: &[&str] = if needs_data { &["event", "data"] } else { &["event"] };
    json!({
        "name": event,
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "required": required,
            "properties": {
                "event": {"const": event},
                "id": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "The request's own id, at most 64 bytes, given back with the reply",
                },
                "data": data,
            },
        },
    })
}

fn refer(message: &str) -> Value {
    json!({"$ref": format!("{CHANNEL}/messages/{message}")})
}

fn receive(event: &str) -> Value {
    let mut operation = json!({
        "action": "receive",
        "channel": {"$ref": CHANNEL},
        "messages": [refer(&from_client(event))],
    });
    let reply = REPLIES.iter().find(|(request, _)| *request == event).map(|(_, reply)| *reply);
    if let Value::Object(operation) = &mut operation {
        let messages = reply.into_iter().chain([names::ERROR]).map(|event| refer(&from_server(event)));
        let messages: Value = messages.collect();
        operation.insert("reply".into(), json!({"channel": {"$ref": CHANNEL}, "messages": messages}));
    }
    operation
}

fn close_codes() -> Value {
    let closes = Close::ALL.iter().map(
        |close| json!({"code": close.code(), "reason": close.reason(), "reconnect": close.reconnects()}),
    );
    closes.collect()
}

fn channel(messages: &Map<String, Value>) -> Value {
    let of_components = |name: &String| {
        let reference = json!({"$ref": format!("#/components/messages/{name}")});
        (name.clone(), reference)
    };
    let messages: Map<String, Value> = messages.keys().map(of_components).collect();
    json!({
        "address": "/v1/ws",
        "description": "Text frames, one JSON object each. Within a subscription seq rises by exactly one from event to \
                        event, replay and live alike. Clients ignore unknown events and fields. What is optional is absent \
                        where there is nothing; null only where a schema says so; `x-extensible-enum` lists the values of today. A handshake is \
                        refused over HTTP, with the body of a REST error: 401 for a bad token, 403 for a foreign `Origin`, \
                        503 with `Retry-After` (seconds) where there are too many connections.",
        "messages": messages,
        "bindings": {"ws": {
            "method": "GET",
            "query": {
                "type": "object",
                "properties": {"replay": {"const": "none", "description": "Subscribe to nothing by itself"}},
            },
        }},
    })
}

/// The AsyncAPI document.
#[must_use]
pub fn asyncapi() -> Value {
    // AsyncAPI's own schemas are those of draft 7.
    let mut components = Components::new(SchemaSettings::draft07);
    let (mut messages, mut operations) = (Map::new(), Map::new());
    for (event, schema) in frame::incoming_schemas() {
        let needs_data = schema.get("required").is_some();
        let data = components.hoist(schema);
        messages.insert(from_client(event), message(event, &data, needs_data));
        operations.insert(format!("receive.{event}"), receive(event));
    }
    for (event, body) in bodies(&mut components) {
        messages.insert(from_server(event), message(event, &body, true));
    }
    for event in UNASKED {
        let send =
            json!({"action": "send", "channel": {"$ref": CHANNEL}, "messages": [refer(&from_server(event))]});
        operations.insert(format!("send.{event}"), send);
    }
    let bearer = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "At the handshake; browsers send `authenticate` as their first frame instead",
    });
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": VERSION, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "servers": {"local": {
            "host": "127.0.0.1:8080",
            "protocol": "ws",
            "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        }},
        "channels": {"socket": channel(&messages)},
        "operations": operations,
        "x-close-codes": close_codes(),
        "x-error-codes": error_codes(),
        "components": {
            "securitySchemes": {"bearer": bearer},
            "messages": messages,
            "schemas": components.finish(),
        },
    });
    relocate(&mut document);
    document
}
