//! After an error the connection goes on, and what breaks the protocol is closed with its code; probes and metrics.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use parley_tests::chat::text_data;
use parley_tests::engines::Engines;
use parley_tests::{Server, ServerOptions, Value, fresh_id, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

#[tokio::test(flavor = "multi_thread")]
async fn ten_malformed_frames_in_a_row_close_with_3501_and_nine_do_not() {
    let server = Server::start().await;
    let mut ann = server.client("ann").await;
    for round in 0..2 {
        for n in 0..9 {
            let frame = if n % 2 == 0 { Message::text("[1]") } else { Message::binary(vec![1, 2, 3]) };
            ann.raw(frame).await;
            assert_eq!(ann.expect("error").await["data"]["code"], "bad_request");
        }
        assert_eq!(
            ann.ask("ping", json!({})).await["event"],
            "pong",
            "round {round}: a good one resets the count"
        );
    }
    let texts = [
        "nonsense",
        "",
        "[1]",
        "[]",
        r#"["ping","a",{}]"#,
        r#""ping""#,
        "7",
        "null",
        r#"{"event":"ping"} x"#,
    ];
    for text in texts {
        ann.raw(Message::text(text)).await;
        assert_eq!(ann.expect("error").await["data"]["code"], "bad_request", "{text:?}");
    }
    ann.raw(Message::binary(r#"{"event":"ping","id":"p"}"#)).await;
    assert_eq!(ann.closed().await, 3501);
    assert_eq!(ann.expect("error").await["data"]["code"], "bad_request", "the tenth is answered too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_a_bad_request_with_the_requests_id() {
    let server = Server::start().await;
    let mut ann = server.client("ann").await;
    for (event, data) in [
        ("nonsense", json!({})),
        ("subscribe_to_group", json!([fresh_id()])),
        ("subscribe_to_group", json!({})),
        ("resume", json!({"groups": 5})),
    ] {
        assert_eq!(ann.refused(event, data).await, "bad_request", "{event}");
    }
    for id in [json!("x".repeat(65)), json!("é".repeat(33)), json!(7)] {
        ann.raw(Message::text(json!({"event": "ping", "id": id}).to_string())).await;
        assert_eq!(ann.expect("error").await["data"]["code"], "bad_request", "{id}");
    }
    let longest = "x".repeat(64);
    ann.raw(Message::text(json!({"event": "ping", "id": longest}).to_string())).await;
    assert_eq!(ann.wait(|frame| frame["id"] == longest.as_str()).await["event"], "pong");
    ann.raw(Message::text(r#"{"event":"ping","id":"p","future":{"a":[1]},"data":{"unknown":1}}"#)).await;
    assert_eq!(ann.wait(|frame| frame["id"] == "p").await["event"], "pong", "unknown fields are ignored");
    let unknown = ann.ask("subscribe_to_group", json!({"group_id": fresh_id()})).await;
    assert_eq!(
        (&unknown["data"]["code"], &unknown["data"]["retryable"]),
        (&json!("group_not_found"), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_frames_close_with_1009_whole_or_in_fragments() {
    let server = Server::start().await;
    let mut whole = server.client("ann").await;
    whole.raw(Message::text("x".repeat(64 * 1024 + 1))).await;
    assert_eq!(whole.closed().await, 1009);
    let mut parts = server.client("ann").await;
    let part =
        |opcode, last| Message::Frame(Frame::message("x".repeat(16 * 1024), OpCode::Data(opcode), last));
    parts.raw(part(Data::Text, false)).await;
    for _ in 0..4 {
        drop(parts.try_message(part(Data::Continue, false)).await);
    }
    assert_eq!(parts.closed().await, 1009);
    // Small ones too: not the bytes but the fragments are too many.
    let mut dust = server.client("ann").await;
    let grain = |opcode| Message::Frame(Frame::message("x", OpCode::Data(opcode), false));
    dust.raw(grain(Data::Text)).await;
    for _ in 0..60_000 {
        if dust.try_message(grain(Data::Continue)).await.is_err() {
            break;
        }
    }
    assert_eq!(dust.closed().await, 1009);
    let mut fits = server.client("ann").await;
    let text = json!({"event": "ping", "id": "p", "data": {"padding": "x".repeat(65_000)}}).to_string();
    fits.raw(Message::text(text)).await;
    assert_eq!(fits.wait(|frame| frame["id"] == "p").await["event"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmasked_frame_closes_with_1002() {
    let server = Server::start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let token = server.token("ann").await;
    let handshake = format!(
        "GET /v1/ws?replay=none HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let ping = br#"{"event":"ping","id":"unmasked"}"#;
    let mut frame = vec![0x81, u8::try_from(ping.len()).unwrap()];
    frame.extend_from_slice(ping);
    socket.write_all(&frame).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    end.expect("it must be closed").unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101") && text.contains("welcome"), "{text}");
    assert!(!text.contains("unmasked"), "it is not answered");
    assert!(
        answer.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 1002_u16.to_be_bytes()),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_goes_on_after_each_kind_of_error() {
    let set = ["limits.text_bytes=100", "limits.sends_per_second=1", "limits.send_burst=8"];
    let server = Server::start_with(ServerOptions::set(&set)).await;
    let rest = server.rest("ann").await;
    let (mine, others) =
        (rest.group("mine", &["bob"]).await, server.rest("bob").await.group("other", &[]).await);
    let gone = rest.group("gone", &[]).await;
    rest.must(204, "DELETE", &format!("/groups/{gone}"), Value::Null).await;
    let mut ann = server.client("ann").await;
    ann.must("send_group_message", text_data(&mine, "a", "one"), "group_message_accepted").await;
    let cases = [
        (text_data(&mine, "a", "two"), "idempotency_conflict"),
        (text_data(&mine, "", "x"), "bad_request"),
        (text_data(&mine, "b", &"x".repeat(101)), "too_large"),
        (text_data(&others, "b", "x"), "not_a_member"),
        (text_data(&fresh_id(), "b", "x"), "group_not_found"),
        (text_data(&gone, "b", "x"), "group_dissolved"),
    ];
    for (data, code) in cases {
        let error = ann.ask("send_group_message", data.clone()).await;
        assert_eq!((&error["event"], &error["data"]["code"]), (&json!("error"), &json!(code)), "{error}");
        assert_eq!(error["data"]["retryable"], false, "{error}");
        if code != "bad_request" {
            assert_eq!(error["data"]["client_message_id"], data["client_message_id"], "{error}");
            assert_eq!(error["data"]["group_id"], data["group_id"], "{error}");
        }
        assert_eq!(ann.ask("ping", json!({})).await["event"], "pong", "after {code}");
    }
    let limited = loop {
        let answer = ann.ask("send_group_message", text_data(&mine, &fresh_id(), "x")).await;
        if answer["event"] == "error" {
            break answer["data"].clone();
        }
    };
    assert_eq!((&limited["code"], &limited["retryable"]), (&json!("rate_limited"), &json!(true)));
    assert!(limited["retry_after_ms"].as_u64().unwrap() > 0, "{limited}");
    for (event, data, code) in [
        ("acknowledge_group_message", json!({"group_id": mine, "seq": 1_000}), "bad_request"),
        (
            "acknowledge_group_message",
            json!({"group_id": mine, "message_id": fresh_id()}),
            "message_not_found",
        ),
        ("acknowledge_notification", json!({"notification_id": fresh_id()}), "notification_not_found"),
        ("notify_create_group", json!({"group_id": others}), "not_a_member"),
    ] {
        assert_eq!(ann.refused(event, data).await, code, "{event}");
        assert_eq!(ann.ask("ping", json!({})).await["event"], "pong", "after {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_errors_have_their_body_and_status() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let big = json!({"name": "x".repeat(2 * 1024 * 1024), "members": []});
    for (method, path, body, expected) in [
        ("GET", "/nonsense", None, (404, "not_found")),
        ("POST", "/groups", Some(json!({})), (400, "bad_request")),
        ("POST", "/groups", Some(json!({"name": "", "members": []})), (400, "bad_request")),
        ("POST", "/groups", Some(json!({"name": "g", "members": ["\u{7}"]})), (400, "bad_request")),
        ("POST", "/groups", Some(big), (413, "too_large")),
        ("GET", "/groups/nonsense", None, (404, "group_not_found")),
        ("GET", "/groups?limit=0", None, (400, "bad_request")),
        ("GET", "/groups?cursor=%21", None, (400, "bad_request")),
        ("GET", "/users/nobody", None, (404, "user_not_found")),
        ("PATCH", "/groups", Some(json!({})), (404, "not_found")),
        ("DELETE", "/users/me", None, (404, "not_found")),
    ] {
        assert_eq!(
            ann.refused(method, path, body).await,
            (expected.0, expected.1.to_owned()),
            "{method} {path}"
        );
    }
    let token = server.token("ann").await;
    let elsewhere = reqwest::Client::new().put(format!("{}/v1/groups", server.url)).send().await.unwrap();
    let allowed = elsewhere.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let post = async |body: &str, kind: &str| {
        let request = reqwest::Client::new().post(format!("{}/v1/groups", server.url)).bearer_auth(&token);
        let response = request.header("content-type", kind).body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let error = &body["error"];
        assert!(error["message"].is_string() && error["retryable"] == false, "{body}");
        (status, error["code"].as_str().unwrap().to_owned())
    };
    for (body, kind) in
        [("", "application/json"), ("{", "application/json"), (r#"["g",null,[]]"#, "application/json")]
    {
        assert_eq!(post(body, kind).await, (400, "bad_request".into()), "{body}");
    }
    assert_eq!(post("name=g", "application/x-www-form-urlencoded").await, (400, "bad_request".into()));
    assert_eq!(post(&"[".repeat(100_000), "application/json").await.0, 400, "deep nesting");
    assert_eq!(post(&" ".repeat(4 * 1024 * 1024), "application/json").await, (413, "too_large".into()));
    let group = ann.group("g", &[]).await;
    let path = format!("/groups/{group}/messages/{}/status", fresh_id());
    assert_eq!(ann.refused("GET", &path, None).await, (404, "message_not_found".into()));
    let bare = reqwest::get(format!("{}/v1/groups", server.url)).await.unwrap();
    assert_eq!(
        (bare.status().as_u16(), bare.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Bearer")
    );
}

/// A number of `/metrics`, once there is one.
async fn gauge(server: &Server, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("{}/metrics", server.url)).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_cannot_fill_the_server() {
    /// 15 MB of answers to 85 MB of requests: each more than the kernel's buffers hold, which grow to some 36 MB here.
    const PINGS: usize = 100_000;
    /// The server passes unknown fields over.
    const PAD: usize = 750;
    let server = Server::start().await;
    let mut request = format!("{}/v1/ws?replay=none", server.url.replace("http://", "ws://"))
        .into_client_request()
        .unwrap();
    let token = server.token("ann").await;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let socket = socket.connect(server.url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, socket).await.unwrap();
    let (mut write, mut read) = socket.split();
    let before = resident_kib(&server);
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let writer = tokio::spawn(async move {
        for n in 0..PINGS {
            let ping = json!({"event": "ping", "id": format!("{n:064}"), "data": {"pad": ".".repeat(PAD)}});
            write.send(Message::text(ping.to_string())).await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
        write
    });
    // Nothing is taken any more: the server has stopped reading, too.
    let (mut last, mut same) = (0, 0);
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::Relaxed);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
    }
    assert!(last < PINGS, "the server took everything though nobody read its answers");
    let mut queued = 0.0;
    while queued == 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        queued = gauge(&server, "parley_outbox_bytes").await.unwrap_or(0.0);
    }
    assert!(queued < 1.5 * 1024.0 * 1024.0, "{queued} bytes wait for one socket");
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB more");
    for n in 0..PINGS {
        loop {
            if let Message::Text(text) = read.next().await.unwrap().unwrap()
                && text.contains("pong")
            {
                assert!(text.contains(&format!("\"{n:064}\"")), "{n}: {text}");
                break;
            }
        }
    }
    drop(writer.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_tell_what_they_promise() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut ann = server.client("ann").await;
    ann.text(&group, "x").await;
    ann.expect("group_message").await;
    ann.close().await;
    let mut repeat = server.quiet_client("ann").await;
    for duplicate in [false, true] {
        let data = text_data(&group, "again", "x");
        let accepted = repeat.must("send_group_message", data, "group_message_accepted").await;
        assert_eq!(accepted["duplicate"], duplicate);
    }
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/v1/healthz").await.0, 404, "outside /v1");
    let (status, ready) = get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    let mut metrics = String::new();
    for _ in 0..50 {
        metrics = get("/metrics").await.1;
        if metrics.contains("parley_disconnects_total") && metrics.contains("parley_projector_lag_records") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for name in [
        "parley_messages_accepted_total 2",
        "parley_deliveries_total",
        "parley_delivery_seconds_bucket",
        "parley_projector_lag_records",
        "parley_outbox_bytes",
        "parley_disconnects_total{code=",
        "parley_dedupe_hits_total 1",
        // Kafka's disks are its brokers'.
        if Engines::named().is_some() {
            "parley_log_records_appended_total"
        } else {
            "parley_log_fsync_seconds_bucket"
        },
    ] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is described in\n{metrics}");
    }
}
