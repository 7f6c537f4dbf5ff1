//! Line 7: after an error the connection goes on, and what breaks the protocol is closed with its code.

use futures::{SinkExt as _, StreamExt as _};
use parley_tests::{Server, fresh_id, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

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
        assert_eq!(ann.ask("ping", json!({})).await["event"], "pong", "round {round}: a good one resets the count");
    }
    for _ in 0..10 {
        ann.raw(Message::text("nonsense")).await;
    }
    assert_eq!(ann.closed().await, 3501);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_a_bad_request_with_the_requests_id() {
    let server = Server::start().await;
    let mut ann = server.client("ann").await;
    for (event, data) in [("nonsense", json!({})), ("subscribe_to_group", json!({})), ("resume", json!({"groups": 5}))] {
        assert_eq!(ann.refused(event, data).await, "bad_request", "{event}");
    }
    ann.raw(Message::text(json!({"event": "ping", "id": "x".repeat(65)}).to_string())).await;
    assert_eq!(ann.expect("error").await["data"]["code"], "bad_request");
    ann.raw(Message::text(r#"{"event":"ping","id":"p","future":{"a":[1]},"data":{"unknown":1}}"#)).await;
    assert_eq!(ann.wait(|frame| frame["id"] == "p").await["event"], "pong", "unknown fields are ignored");
    let unknown = ann.ask("subscribe_to_group", json!({"group_id": fresh_id()})).await;
    assert_eq!((&unknown["data"]["code"], &unknown["data"]["retryable"]), (&json!("group_not_found"), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_frames_close_with_1009_whole_or_in_fragments() {
    let server = Server::start().await;
    let mut whole = server.client("ann").await;
    whole.raw(Message::text("x".repeat(64 * 1024 + 1))).await;
    assert_eq!(whole.closed().await, 1009);
    let mut parts = server.client("ann").await;
    let part = |opcode, last| Message::Frame(Frame::message("x".repeat(16 * 1024), OpCode::Data(opcode), last));
    parts.raw(part(Data::Text, false)).await;
    for _ in 0..4 {
        drop(parts.try_message(part(Data::Continue, false)).await);
    }
    assert_eq!(parts.closed().await, 1009);
    let mut fits = server.client("ann").await;
    let text = json!({"event": "ping", "id": "p", "data": {"padding": "x".repeat(65_000)}}).to_string();
    fits.raw(Message::text(text)).await;
    assert_eq!(fits.wait(|frame| frame["id"] == "p").await["event"], "pong");
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
    ] {
        assert_eq!(ann.refused(method, path, body).await, (expected.0, expected.1.to_owned()), "{method} {path}");
    }
    let group = ann.group("g", &[]).await;
    let path = format!("/groups/{group}/messages/{}/status", fresh_id());
    assert_eq!(ann.refused("GET", &path, None).await, (404, "message_not_found".into()));
    let bare = reqwest::get(format!("{}/v1/groups", server.url)).await.unwrap();
    assert_eq!((bare.status().as_u16(), bare.headers()["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_cannot_fill_the_server() {
    let server = Server::start().await;
    let mut request = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
        format!("{}/v1/ws?replay=none", server.url.replace("http://", "ws://")),
    )
    .unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", server.token("ann").await).parse().unwrap());
    let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let (mut write, mut read) = socket.split();
    const PINGS: usize = 100_000;
    let writer = tokio::spawn(async move {
        for n in 0..PINGS {
            let ping = json!({"event": "ping", "id": format!("p{n}"), "data": {}}).to_string();
            write.send(Message::text(ping)).await.unwrap();
        }
        write
    });
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 400 * 1024, "{kib} KiB");
    let mut pongs = 0;
    while pongs < PINGS {
        if let Message::Text(text) = read.next().await.unwrap().unwrap() {
            pongs += usize::from(text.contains(&format!("\"id\":\"p{pongs}\"")));
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
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, 200);
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
        "parley_messages_accepted_total 1",
        "parley_deliveries_total",
        "parley_delivery_seconds_bucket",
        "parley_projector_lag_records",
        "parley_outbox_bytes",
        "parley_disconnects_total{code=",
        "parley_dedupe_hits_total",
        "parley_log_fsync_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
}
