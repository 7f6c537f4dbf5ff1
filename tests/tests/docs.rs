//! What people read is what the server does: pages, codes, the descriptor set, dashboards, and a conversation that really
//! took place.
//!
//! `UPDATE_SCHEMAS=1 scripts/test docs` writes anew what is generated.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use parley_domain::Code;
use parley_tests::repository::{read, root};
use parley_tests::{Client, Rest, Server, ServerOptions, Value, connect, json};
use parley_wire::code::{self, Close};
use protox::Compiler;

/// The committed bytes are these, or become them.
fn committed(file: &str, bytes: &[u8]) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let is_same = std::fs::read(&path).is_ok_and(|committed| committed == bytes);
    assert!(is_same, "{file} is not what it is made from: UPDATE_SCHEMAS=1 scripts/test docs writes it anew");
}

#[test]
fn the_descriptor_set_is_that_of_the_schemas() {
    let schemas = root().join("schemas");
    let mut compiler = Compiler::new([&schemas]).unwrap();
    compiler.include_imports(true).include_source_info(false);
    for file in ["parley/events/v1/events.proto", "parley/commands/v1/commands.proto"] {
        compiler.open_file(schemas.join(file)).unwrap();
    }
    committed("schemas/parley.binpb", &compiler.encode_file_descriptor_set());
}

/// The cells of a page's table rows, trimmed.
fn rows(file: &str) -> Vec<Vec<String>> {
    let text = read(file);
    let lines = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_code_is_explained_as_the_server_has_it() {
    let rows = rows("schemas/docs/codes.md");
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    for code in Code::ALL {
        let start = [
            format!("`{}`", code::name(code)),
            code::http_status(code).to_string(),
            yes_no(code::retryable(code)).into(),
        ];
        assert!(rows.iter().any(|row| row.starts_with(&start)), "{start:?}");
    }
    for close in Close::ALL {
        let start = [close.code().to_string(), close.reason().to_owned(), yes_no(close.reconnects()).into()];
        assert!(rows.iter().any(|row| row.starts_with(&start)), "{start:?}");
    }
    let codes = rows.iter().filter(|row| row[0].starts_with('`')).count();
    assert_eq!(codes, Code::ALL.len(), "and no other");
}

async fn get(url: &str) -> (u16, BTreeMap<String, String>, String) {
    let response = reqwest::get(url).await.unwrap();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (response.status().as_u16(), headers, response.text().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_under_a_policy_that_lets_nothing_run() {
    let server = Server::start().await;
    for (path, kind, holds) in [
        ("", "text/html", "Write your own client"),
        ("/rest", "text/html", "/v1/groups/{group_id}"),
        ("/websocket", "text/html", "send_group_message"),
        ("/client", "text/html", "outbox"),
        ("/log", "text/html", "void rule"),
        ("/codes", "text/html", "outcome_unknown"),
        ("/transcript", "text/html", "welcome"),
        ("/openapi.json", "application/json", "\"openapi\""),
        ("/asyncapi.json", "application/json", "\"asyncapi\""),
        ("/events.proto", "text/plain", "message MessageSent"),
    ] {
        let (status, headers, body) = get(&format!("{}/docs{path}", server.url)).await;
        assert_eq!(status, 200, "{path}");
        assert!(headers["content-type"].starts_with(kind) && body.contains(holds), "{path}: {body:.300}");
        let policy = &headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let served: Value =
        serde_json::from_str(&get(&format!("{}/docs/openapi.json", server.url)).await.2).unwrap();
    assert_eq!(served, serde_json::from_str::<Value>(&read("schemas/openapi.json")).unwrap());
    let set = reqwest::get(format!("{}/docs/parley.binpb", server.url)).await.unwrap().bytes().await.unwrap();
    assert_eq!(set, std::fs::read(root().join("schemas/parley.binpb")).unwrap());
    assert_eq!(get(&format!("{}/docs/nothing", server.url)).await.0, 404);
}

/// Names of our metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("parley_"));
    words.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_name_only_metrics_that_there_are() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut bob = server.client("bob").await;
    server.quiet_client("ann").await.text(&group, "hello").await;
    bob.event_of(&group).await;
    bob.close().await;
    let exposed = async || {
        let text = get(&format!("{}/metrics", server.url)).await.2;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect::<BTreeSet<_>>()
    };
    // Gauges are set now and then, and a disconnect is counted once the socket is gone.
    let mut there = exposed().await;
    for _ in 0..100 {
        if there.contains("parley_sockets") && there.contains("parley_disconnects_total") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        there = exposed().await;
    }
    for file in ["infra/grafana/parley.json", "infra/prometheus/alerts.yaml"] {
        let named = metrics(&read(file));
        assert!(named.len() >= 5, "{file} names {named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names what isn't there: {missing:?}; there is {there:?}");
    }
    // A dashboard that is no JSON, or a panel that asks nothing, helps nobody.
    let dashboard: Value = serde_json::from_str(&read("infra/grafana/parley.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        assert!(targets.iter().all(|target| !metrics(target["expr"].as_str().unwrap()).is_empty()));
    }
}

/// A conversation as a page: what was sent and what came, with ids and times replaced by made-up ones that stay the same.
struct Page {
    text: String,
    ids: BTreeMap<String, String>,
}

const TIME: &str = "2026-11-25T10:00:00.000Z";

impl Page {
    fn new() -> Self {
        let text = "# A conversation, frame by frame\n\nThis took place: a test holds it with the server, and writes it down. Ids, times, tokens \
                    and URLs are replaced, each by the same wherever it occurs; `>` is sent, `<` comes. Replies and other events may come in another \
                    order than here.\n";
        Self { text: text.to_owned(), ids: BTreeMap::new() }
    }

    fn says(&mut self, text: &str) {
        self.text.push_str(&format!("\n{text}\n"));
    }

    fn id(&mut self, id: &str) -> String {
        let next = self.ids.len() + 1;
        self.ids.entry(id.to_owned()).or_insert_with(|| format!("0193a1f0-7c00-7000-8000-{next:012}")).clone()
    }

    fn plain(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::Object(object) if name == "headers" => {
                object.keys().map(|key| (key.clone(), json!("…"))).collect::<serde_json::Map<_, _>>().into()
            }
            Value::Object(object) => {
                let plain = object.iter().map(|(key, value)| (key.clone(), self.plain(key, value)));
                plain.collect::<serde_json::Map<_, _>>().into()
            }
            Value::Array(list) => list.iter().map(|value| self.plain(name, value)).collect(),
            Value::String(_) if name == "token" => json!("eyJ…"),
            Value::String(_) if matches!(name, "url" | "media_url") => json!("https://…"),
            Value::String(_) if name.ends_with("_at") || name == "server_time" => json!(TIME),
            Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => json!(self.id(text)),
            Value::Number(_) if name == "reconnect_after_ms" => json!(4_211),
            Value::Number(_) if name == "partition" => json!(11),
            other => other.clone(),
        }
    }

    fn line(&mut self, sign: char, value: &Value) {
        let plain = self.plain("", value);
        // A frame is read from its event on.
        let shown = match (plain.get("event"), plain.get("id")) {
            (Some(event), Some(id)) => {
                format!("{{\"event\":{event},\"id\":{id},\"data\":{}}}", plain["data"])
            }
            (Some(event), None) => format!("{{\"event\":{event},\"data\":{}}}", plain["data"]),
            (None, _) => plain.to_string(),
        };
        self.text.push_str(&format!("{sign} {shown}\n"));
    }

    fn call(&mut self, method: &str, path: &str, body: Option<&Value>, status: u16, answer: &Value) {
        let path: Vec<String> = path
            .split('/')
            .map(|part| if uuid::Uuid::try_parse(part).is_ok() { self.id(part) } else { part.to_owned() })
            .collect();
        self.text.push_str(&format!("> {method} /v1{}\n", path.join("/")));
        if let Some(body) = body {
            self.line('>', body);
        }
        self.text.push_str(&format!("< {status}\n"));
        if !answer.is_null() {
            self.line('<', answer);
        }
    }

    async fn rest(&mut self, rest: &Rest, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = rest.call(method, path, body.clone()).await;
        assert!(status < 300, "{answer}");
        self.call(method, path, body.as_ref(), status, &answer);
        answer
    }

    /// Sends a frame and writes down its reply.
    async fn ask(&mut self, client: &mut Client, event: &str, data: Value) -> Value {
        let reply = client.ask(event, data.clone()).await;
        self.line('>', &json!({"event": event, "id": reply["id"], "data": data}));
        self.line('<', &reply);
        reply["data"].clone()
    }

    /// Writes down the next frame of an event.
    async fn came(&mut self, client: &mut Client, event: &str) -> Value {
        let frame = client.expect(event).await;
        self.line('<', &frame);
        frame["data"].clone()
    }

    fn begin(&mut self) {
        self.text.push_str("\n```text\n");
    }

    fn end(&mut self) {
        self.text.push_str("```\n");
    }
}

async fn ann_makes_a_group(page: &mut Page, server: &Server, group: &str) -> Client {
    page.says("## Ann makes a group, and writes\n\nOver REST, as Ann. The `group_id` is her own, so that a repeat makes no second group.");
    page.begin();
    let rest = server.rest("ann").await;
    page.rest(&rest, "POST", "/groups", Some(json!({"group_id": group, "name": "Tea", "members": ["bob"]})))
        .await;
    page.end();
    page.says("She connects to `/v1/ws?replay=none` with her token in the handshake's header, since she keeps what she has. `welcome` comes first. She tells the members who are online; Bob isn't, and is told when he connects.");
    page.begin();
    let mut ann = connect(&server.url, &server.token("ann").await, "?replay=none").await.unwrap();
    page.line('<', &json!({"event": "welcome", "data": ann.welcome}));
    page.ask(&mut ann, "notify_create_group", json!({"group_id": group})).await;
    let data = json!({"group_id": group, "client_message_id": "ann-1", "type": "text", "text": "Shall we?"});
    page.ask(&mut ann, "send_group_message", data.clone()).await;
    page.end();
    page.says("Had the connection broken before the answer came, she would not know. So she sends it again, with the same `client_message_id`:");
    page.begin();
    page.ask(&mut ann, "send_group_message", data).await;
    page.end();
    ann
}

async fn bob_comes(page: &mut Page, server: &Server, ann: &mut Client, group: &str) {
    page.says("## Bob connects from a browser\n\nHe can't set a header, so his first frame is `authenticate`. He is told of the group, and subscribed by himself: `resumed` without `id` says what will be replayed, from his `delivered_seq` on (joining set it to 1).");
    page.begin();
    let mut bob = Client::open(&server.url, None, "", &[]).await.unwrap();
    page.ask(&mut bob, "authenticate", json!({"token": server.token("bob").await})).await;
    page.came(&mut bob, "welcome").await;
    let notification = page.came(&mut bob, "a_group_created").await["notification_id"].clone();
    page.came(&mut bob, "resumed").await;
    page.came(&mut bob, "group_message").await;
    page.ask(&mut bob, "acknowledge_notification", json!({"notification_id": notification})).await;
    page.end();
    page.says("He has read it. Ann hears that he has:");
    page.begin();
    page.ask(&mut bob, "acknowledge_group_message", json!({"group_id": group, "seq": 2, "status": "read"}))
        .await;
    page.came(ann, "group_message_status").await;
    page.end();
    bob.close().await;
}

async fn bob_resumes(page: &mut Page, server: &Server, ann: &mut Client, group: &str) -> Client {
    page.says("## Bob was away, and resumes\n\nAnn writes while he is gone.");
    page.begin();
    let data = json!({"group_id": group, "client_message_id": "ann-2", "type": "text", "text": "At five."});
    page.ask(ann, "send_group_message", data).await;
    page.end();
    page.says(
        "He has stored everything up to `seq` 2 of this `epoch`, and says so. What he missed is complete:",
    );
    page.begin();
    let mut bob = connect(&server.url, &server.token("bob").await, "?replay=none").await.unwrap();
    page.line('<', &json!({"event": "welcome", "data": bob.welcome}));
    let from = json!({"groups": [{"group_id": group, "epoch": bob.welcome["epoch"], "after_seq": 2}]});
    page.ask(&mut bob, "resume", from).await;
    page.came(&mut bob, "group_message").await;
    page.end();
    bob
}

async fn a_picture(page: &mut Page, server: &Server, ann: &mut Client, bob: &mut Client, group: &str) {
    page.says("## A picture\n\nFirst the right to upload exactly these bytes, then the bytes (to `upload.url`, with `upload.headers`), then the message.");
    page.begin();
    let bytes = b"a very small picture".to_vec();
    let sum: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let rest = server.rest("ann").await;
    let wanted =
        json!({"group_id": group, "content_type": "image/png", "content_length": bytes.len(), "sha256": sum});
    let made = page.rest(&rest, "POST", "/media/uploads", Some(wanted)).await;
    let upload = &made["upload"];
    let mut put = reqwest::Client::new()
        .request(upload["method"].as_str().unwrap().parse().unwrap(), upload["url"].as_str().unwrap());
    for (name, value) in upload["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    let status = put.body(bytes).send().await.unwrap().status().as_u16();
    page.text.push_str(&format!(
        "> {} https://…\n> (the bytes)\n< {status}\n",
        upload["method"].as_str().unwrap()
    ));
    let data = json!({"group_id": group, "client_message_id": "ann-3", "type": "image", "media_url": made["media_url"]});
    page.ask(ann, "send_group_message", data).await;
    page.end();
    page.says("Bob, who is subscribed, gets it live, and asks where to fetch it:");
    page.begin();
    let message = page.came(bob, "group_message").await;
    let path = format!("/media/{}", message["media"]["media_id"].as_str().unwrap());
    page.rest(&server.rest("bob").await, "GET", &path, None).await;
    page.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transcript_is_of_a_conversation_that_took_place() {
    let mut server = Server::start_with(ServerOptions::default()).await;
    let group = "0193a1f0-0000-7000-8000-00000000abcd";
    let mut page = Page::new();
    let mut ann = ann_makes_a_group(&mut page, &server, group).await;
    bob_comes(&mut page, &server, &mut ann, group).await;
    let mut bob = bob_resumes(&mut page, &server, &mut ann, group).await;
    a_picture(&mut page, &server, &mut ann, &mut bob, group).await;
    page.says("## What is refused\n\n`retryable` says whether the same may succeed later.");
    page.begin();
    let nowhere = json!({"group_id": "0193a1f0-0000-7000-8000-00000000ffff", "client_message_id": "bob-1", "type": "text", "text": "?"});
    page.ask(&mut bob, "send_group_message", nowhere).await;
    let changed =
        json!({"group_id": group, "client_message_id": "ann-1", "type": "text", "text": "Shan't we?"});
    page.ask(&mut ann, "send_group_message", changed).await;
    page.end();
    page.says("## The server is stopped\n\nIn order: it says when to come back, and closes with 3001.");
    page.begin();
    let (stopped, (), code) =
        tokio::join!(server.terminate(), async { drop(page.came(&mut bob, "go_away").await) }, ann.closed());
    page.text.push_str(&format!("< (close {code})\n"));
    page.end();
    assert_eq!((stopped, bob.closed().await), (Some(0), 3_001));
    assert!(!page.text.contains("127.0.0.1"), "{}", page.text);
    committed("schemas/docs/transcript.md", page.text.as_bytes());
}
