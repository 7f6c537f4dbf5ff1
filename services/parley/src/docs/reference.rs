//! OpenAPI and AsyncAPI as pages.

use std::fmt::Write as _;

use serde_json::Value;

use super::html::{escape, inline};
use super::schema::{components, fields, kind};

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const BODY: &str = "/content/application~1json/schema";

/// Every operation of a document: method, path, operation.
fn operations(openapi: &Value) -> Vec<(&'static str, &str, &Value)> {
    let paths = openapi.get("paths").and_then(Value::as_object);
    let mut all = Vec::new();
    for (path, methods) in paths.into_iter().flatten() {
        all.extend(
            METHODS.into_iter().filter_map(|method| Some((method, path.as_str(), methods.get(method)?))),
        );
    }
    all
}

/// The page of the REST calls.
pub(super) fn rest(openapi: &Value) -> String {
    let mut html = format!(
        "<h1>REST reference</h1><p>{}</p><p>For programs: <a href=\"/docs/openapi.json\">openapi.json</a>. What to do about \
         an error: <a href=\"/docs/codes\">codes</a>.</p><ul class=\"toc\">",
        inline(text(openapi, "/info/description"))
    );
    let operations = operations(openapi);
    for (method, path, operation) in &operations {
        let (id, path) = (text(operation, "/operationId"), escape(path));
        let _ = write!(
            html,
            "<li><a href=\"#{id}\"><span class=\"method {method}\">{}</span>{path}</a></li>",
            method.to_uppercase()
        );
    }
    html.push_str("</ul>");
    for (method, path, operation) in &operations {
        operation_section(&mut html, method, path, operation);
    }
    html + &components(openapi)
}

fn operation_section(html: &mut String, method: &str, path: &str, operation: &Value) {
    let (id, name) = (escape(text(operation, "/operationId")), method.to_uppercase());
    let _ = write!(
        html,
        "<h2 id=\"{id}\"><span class=\"method {method}\">{name}</span> <code>{}</code></h2><p>{}</p>",
        escape(path),
        inline(text(operation, "/summary"))
    );
    if !text(operation, "/description").is_empty() {
        let _ = write!(html, "<p>{}</p>", inline(text(operation, "/description")));
    }
    let parameters = list(operation, "/parameters");
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>parameter</th><th>value</th><th></th></tr>");
        for parameter in parameters {
            let described =
                [text(parameter, "/description"), text(parameter, "/schema/description")].join(" ");
            let _ = write!(
                html,
                "<tr><td><code>{}</code> <span class=\"dim\">{}</span></td><td>{}</td><td>{}</td></tr>",
                escape(text(parameter, "/name")),
                escape(text(parameter, "/in")),
                kind(parameter.get("schema").unwrap_or(&Value::Null)),
                inline(described.trim())
            );
        }
        html.push_str("</table>");
    }
    if let Some(body) = operation.pointer("/requestBody").and_then(|body| body.pointer(BODY)) {
        let _ = write!(html, "<p>Body: {}</p>{}", kind(body), fields(body));
    }
    html.push_str("<table><tr><th>status</th><th>body</th><th></th></tr>");
    let responses = operation.get("responses").and_then(Value::as_object);
    for (status, response) in responses.into_iter().flatten() {
        let body = response.pointer(BODY).map(kind).unwrap_or_default();
        let codes = text(response, "/description").split(", ").map(|code| {
            let is_code = code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_code { format!("<code>{code}</code>") } else { inline(code) }
        });
        let codes = codes.collect::<Vec<_>>().join(" ");
        let _ = write!(html, "<tr><td>{}</td><td>{body}</td><td>{codes}</td></tr>", escape(status));
    }
    html.push_str("</table>");
}

/// The page of the WebSocket's frames.
pub(super) fn websocket(asyncapi: &Value) -> String {
    let address = escape(text(asyncapi, "/channels/socket/address"));
    let mut html = format!(
        "<h1>WebSocket reference</h1><p><code>GET {address}</code>. {}</p><p>Every frame is \
         <code>{{\"event\", \"id\"?, \"data\"}}</code>; a reply has the <code>id</code> of its request. For programs: \
         <a href=\"/docs/asyncapi.json\">asyncapi.json</a>. How to use it: <a href=\"/docs/client\">write your own \
         client</a>.</p>",
        inline(text(asyncapi, "/channels/socket/description"))
    );
    let parts = [("receive", "client", "The client sends"), ("send", "server", "The server sends")];
    for (action, side, title) in parts {
        let _ = write!(html, "<h2 id=\"{side}\">{title}</h2>");
        let messages = asyncapi.pointer("/components/messages").and_then(Value::as_object);
        for (key, message) in
            messages.into_iter().flatten().filter(|(key, _)| key.starts_with(&format!("{side}.")))
        {
            let name = escape(text(message, "/name"));
            let _ = write!(html, "<h3 id=\"{}\"><code>{name}</code></h3>", escape(key));
            let operation = asyncapi.get("operations").and_then(|all| all.get(format!("{action}.{name}")));
            if side == "client" {
                html.push_str(&answered(operation));
            }
            let data = message.pointer("/payload/properties/data").unwrap_or(&Value::Null);
            let shown = fields(data);
            let kind = if shown.is_empty() { format!("<p>Data: {}</p>", kind(data)) } else { shown };
            html.push_str(&kind);
        }
    }
    html.push_str("<h2 id=\"close-codes\">Close codes</h2><table><tr><th>code</th><th>reason</th><th>reconnect</th></tr>");
    for close in list(asyncapi, "/x-close-codes") {
        let reconnects = close.get("reconnect").and_then(Value::as_bool).unwrap_or(false);
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            close.get("code").unwrap_or(&Value::Null),
            escape(text(close, "/reason")),
            if reconnects { "yes" } else { "no" }
        );
    }
    html + "</table>" + &components(asyncapi)
}

/// What answers a client's event.
fn answered(operation: Option<&Value>) -> String {
    let replies = operation.map_or(&[][..], |operation| list(operation, "/reply/messages"));
    let replies = replies.iter().map(|reply| {
        let key = text(reply, "/$ref").rsplit('/').next().unwrap_or_default();
        let name = key.strip_prefix("server.").unwrap_or(key);
        format!("<a href=\"#{}\"><code>{}</code></a>", escape(key), escape(name))
    });
    let replies: Vec<String> = replies.collect();
    if replies.is_empty() {
        "<p>No reply.</p>".to_owned()
    } else {
        format!("<p>Reply: {}</p>", replies.join(" or "))
    }
}
