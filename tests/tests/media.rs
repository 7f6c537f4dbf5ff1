//! Media by pre-signed URLs, and what happens when an object is gone afterwards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use parley_tests::chat::{assert_run, millis, now_millis, text_data};
use parley_tests::media::{ask_upload, hex, lose_objects, picture, put, put_with, uploaded};
use parley_tests::{Server, ServerOptions, Value, fresh_id, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_goes_straight_to_the_store_and_back() {
    let server = Server::start().await;
    let (ann, bob, eve) = (server.rest("ann").await, server.rest("bob").await, server.rest("eve").await);
    let group = ann.group("g", &["bob"]).await;
    let bytes = b"not really a png";
    let upload = ask_upload(&ann, &group, "image/png", bytes).await;
    let mut socket = server.quiet_client("ann").await;
    let mut reader = server.client("bob").await;
    let id = fresh_id();
    assert_eq!(
        socket.refused("send_group_message", picture(&group, &id, &upload)).await,
        "media_not_uploaded"
    );
    assert_ne!(put(&upload, b"other bytes here").await / 100, 2, "the same length, other bytes");
    assert_ne!(put(&upload, b"short").await / 100, 2);
    assert_ne!(put(&upload, b"not really a png, but longer").await / 100, 2);
    assert_ne!(put_with(&upload, bytes, Some(("content-type", "text/html"))).await / 100, 2, "another type");
    let sent = socket.refused("send_group_message", picture(&group, &id, &upload)).await;
    assert_eq!(sent, "media_not_uploaded", "what the store refused isn't there");
    assert_eq!(put(&upload, bytes).await, 200);
    assert_eq!(put(&upload, bytes).await, 412, "only once");
    let path = format!("/media/{}", upload["media_id"].as_str().unwrap());
    ann.get(&path).await;
    assert_eq!(
        bob.refused("GET", &path, None).await,
        (403, "media_forbidden".into()),
        "not before a message carries it"
    );
    socket.must("send_group_message", picture(&group, &id, &upload), "group_message_accepted").await;
    let message = reader.expect("group_message").await["data"].clone();
    assert_eq!(
        (&message["media"]["media_id"], &message["media_url"]),
        (&upload["media_id"], &upload["media_url"])
    );
    assert_eq!(
        (&message["media"]["content_type"], &message["media"]["content_length"]),
        (&json!("image/png"), &json!(16))
    );
    let download = bob.get(&path).await;
    assert!(download["expires_at"].is_string());
    assert_eq!(
        (&download["content_type"], &download["content_length"]),
        (&json!("image/png"), &json!(bytes.len()))
    );
    let got = reqwest::get(download["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(&got.bytes().await.unwrap()[..], bytes);
    assert_eq!(eve.refused("GET", &path, None).await, (403, "media_forbidden".into()));
    let bare = download["url"].as_str().unwrap().split('?').next().unwrap().to_owned();
    assert_eq!(reqwest::get(bare).await.unwrap().status(), 403, "not without the signature");
    let replaced =
        download["url"].as_str().unwrap().replace(upload["media_id"].as_str().unwrap(), &fresh_id());
    assert_eq!(reqwest::get(replaced).await.unwrap().status(), 403, "a signature is for one object");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_seen_by_those_who_may_see_a_message_that_carries_it() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let group = ann.group("g", &["bob"]).await;
    let mut socket = server.quiet_client("ann").await;
    for (kind, content_type) in
        [("image", "image/png"), ("video", "video/mp4"), ("audio", "audio/ogg; codecs=opus")]
    {
        let upload = uploaded(&ann, &group, content_type, kind.as_bytes()).await;
        let mut data = picture(&group, kind, &upload);
        data["type"] = json!(kind);
        socket.must("send_group_message", data, "group_message_accepted").await;
        let path = format!("/media/{}", upload["media_id"].as_str().unwrap());
        assert_eq!(bob.get(&path).await["content_type"], content_type);
        // Who comes later doesn't see what was before; who leaves sees nothing any more.
        let late = format!("late-{kind}");
        let members = format!("/groups/{group}/members");
        ann.must(200, "POST", &members, json!({"user_ids": [late]})).await;
        let refused = server.rest(&late).await.refused("GET", &path, None).await;
        assert_eq!(refused, (403, "media_forbidden".into()));
    }
    let upload = uploaded(&ann, &group, "image/png", b"twice").await;
    let path = format!("/media/{}", upload["media_id"].as_str().unwrap());
    socket.must("send_group_message", picture(&group, "p", &upload), "group_message_accepted").await;
    server.rest("late-image").await.get(&path).await;
    ann.must(204, "DELETE", &format!("/groups/{group}/members/bob"), Value::Null).await;
    assert_eq!(bob.refused("GET", &path, None).await, (403, "media_forbidden".into()));
    ann.must(204, "DELETE", &format!("/groups/{group}"), Value::Null).await;
    for user in ["ann", "late-image", "bob"] {
        let refused = server.rest(user).await.refused("GET", &path, None).await;
        assert_eq!(refused, (410, "group_dissolved".into()), "{user}");
    }
    let refused = server.rest("eve").await.refused("GET", &path, None).await;
    assert_eq!(refused, (403, "media_forbidden".into()), "a stranger learns nothing");
    let refused = bob.refused("GET", "/media/nonsense", None).await;
    assert_eq!(refused, (404, "media_not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_taken_only_from_its_uploader_in_its_group_as_what_it_is() {
    let server = Server::start_with(ServerOptions::set(&["limits.media_bytes=1000"])).await;
    let (ann, eve) = (server.rest("ann").await, server.rest("eve").await);
    let group = ann.group("g", &["bob"]).await;
    let other = ann.group("h", &[]).await;
    let upload = uploaded(&ann, &group, "image/png", b"bytes").await;
    let (mut mine, mut bobs) = (server.quiet_client("ann").await, server.quiet_client("bob").await);
    assert_eq!(bobs.refused("send_group_message", picture(&group, "a", &upload)).await, "media_forbidden");
    assert_eq!(mine.refused("send_group_message", picture(&other, "a", &upload)).await, "media_forbidden");
    let mut video = picture(&group, "a", &upload);
    video["type"] = json!("video");
    assert_eq!(mine.refused("send_group_message", video).await, "media_mismatch");
    let honest = upload["media_url"].as_str().unwrap();
    let flipped: Vec<String> = (0..honest.len())
        .rev()
        .step_by(17)
        .take(12)
        .filter(|at| honest.as_bytes()[*at].is_ascii_alphanumeric())
        .map(|at| {
            let other = if honest.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &honest[..at], &honest[at + 1..])
        })
        .collect();
    let foreign = ["https://example.com/cat.png".to_owned(), String::from("x"), format!("{honest}A")];
    for media_url in flipped.iter().chain(&foreign) {
        let mut forged = picture(&group, "a", &upload);
        forged["media_url"] = json!(media_url);
        assert_eq!(mine.refused("send_group_message", forged).await, "media_forbidden", "{media_url}");
    }
    let without = json!({"group_id": group, "client_message_id": "a", "type": "image"});
    assert_eq!(mine.refused("send_group_message", without).await, "bad_request");
    mine.must("send_group_message", picture(&group, "a", &upload), "group_message_accepted").await;
    let ask = |length: u64, kind: &str, sum: String| json!({"group_id": group, "content_type": kind, "content_length": length, "sha256": sum});
    for (body, expected) in [
        (ask(1_001, "image/png", hex(b"")), (413, "too_large")),
        (ask(10, "text/html", hex(b"")), (400, "bad_request")),
        (ask(10, "image/png", "zz".into()), (400, "bad_request")),
        (ask(10, "image/png", hex(b"").to_uppercase()), (400, "bad_request")),
        (ask(0, "image/png", hex(b"")), (400, "bad_request")),
        (
            json!({"group_id": fresh_id(), "content_type": "image/png", "content_length": 1, "sha256": hex(b"")}),
            (404, "group_not_found"),
        ),
    ] {
        assert_eq!(
            ann.refused("POST", "/media/uploads", Some(body)).await,
            (expected.0, expected.1.to_owned())
        );
    }
    let refused = eve.refused("POST", "/media/uploads", Some(ask(10, "image/png", hex(b"")))).await;
    assert_eq!(refused, (403, "not_a_member".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_object_vanished_is_rolled_back() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let group = ann.group("g", &["bob", "cem"]).await;
    let upload = uploaded(&ann, &group, "image/png", b"bytes").await;
    let (mut sender, mut reader) = (server.client("ann").await, server.client("bob").await);
    let accepted =
        sender.must("send_group_message", picture(&group, "p", &upload), "group_message_accepted").await;
    reader.expect("group_message").await;
    reader
        .must(
            "acknowledge_group_message",
            json!({"group_id": group, "seq": accepted["seq"]}),
            "group_message_acknowledged",
        )
        .await;
    let id = accepted["message_id"].as_str().unwrap();
    let path = format!("/groups/{group}/messages/{id}/status");
    assert_eq!(ann.get(&path).await["read_count"], 1);
    // Cem has read nothing: one message and, for him, one less once it is rolled back.
    sender.text(&group, "and a text").await;
    let unread = async || server.quiet_client("cem").await.welcome["groups"][0]["unread"].clone();
    assert_eq!(unread().await, 2);

    assert!(lose_objects(&server) > 0);
    let media = format!("/media/{}", upload["media_id"].as_str().unwrap());
    assert_eq!(bob.refused("GET", &media, None).await, (404, "media_not_found".into()));
    for client in [&mut sender, &mut reader] {
        let event = client.wait(|frame| frame["data"]["kind"] == "message_rolled_back").await;
        assert_eq!((&event["data"]["message_id"], &event["data"]["seq"]), (&json!(id), &json!(4)), "{event}");
    }
    let error = sender.wait(|frame| frame["event"] == "error").await;
    assert_eq!(
        (&error["data"]["message_id"], &error["data"]["code"]),
        (&json!(id), &json!("media_not_found"))
    );
    let after = ann.get(&path).await;
    assert_eq!(
        (&after["delivered_count"], &after["read_count"], &after["member_count"]),
        (&json!(0), &json!(0), &json!(2))
    );
    let statuses = after["statuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.iter().all(|status| status["delivered"] == false && status["read"] == false), "{after}");
    assert_eq!(unread().await, 1, "neither the message nor its roll-back is unread");
    let message = &bob.get(&format!("/groups/{group}/messages")).await["messages"][0];
    assert_eq!((&message["withheld"], &message["seq"]), (&json!("rolled_back"), &json!(2)));
    for gone in ["text", "media_url", "media"] {
        assert!(message.get(gone).is_none(), "{message}");
    }
    let mut again = server.quiet_client("bob").await;
    again.must("subscribe_to_group", json!({"group_id": group, "after_seq": 1}), "subscribed_to_group").await;
    let replayed = again.event_of(&group).await;
    assert_eq!((&replayed["seq"], &replayed["withheld"]), (&json!(2), &json!("rolled_back")));
    assert_eq!(again.event_of(&group).await["text"], "and a text");
    assert_eq!(again.event_of(&group).await["kind"], "message_rolled_back");
    assert_eq!(bob.refused("GET", &media, None).await, (404, "media_not_found".into()));
    sender.text(&group, "the connection goes on").await;
    let other = sender.refused("send_group_message", picture(&group, "q", &upload)).await;
    assert_eq!(other, "media_not_uploaded", "a new message can't carry what is gone");
    let repeat =
        sender.must("send_group_message", picture(&group, "p", &upload), "group_message_accepted").await;
    assert_eq!(
        (&repeat["duplicate"], &repeat["seq"]),
        (&json!(true), &json!(2)),
        "a repeat is answered before the object is looked at"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connections_sends_keep_their_order_with_media_among_them() {
    const SENDS: u64 = 40;
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.group("g", &["bob"]).await;
    let upload = uploaded(&ann, &group, "image/png", b"bytes").await;
    let (mut sender, mut reader) = (server.quiet_client("ann").await, server.client("bob").await);
    let mut requests = Vec::new();
    for n in 0..SENDS {
        let id = n.to_string();
        // A picture is looked at in the store first: the text behind it must wait for that.
        let data = if n % 2 == 0 { picture(&group, &id, &upload) } else { text_data(&group, &id, &id) };
        requests.push(sender.send("send_group_message", data).await);
    }
    for (seq, request) in (2..).zip(&requests) {
        let reply = sender.wait(|frame| frame["id"] == request.as_str()).await;
        assert_eq!((&reply["event"], &reply["data"]["seq"]), (&json!("group_message_accepted"), &json!(seq)));
    }
    let events = reader.events_to(&group, SENDS + 1).await;
    assert_run(&events, 2, SENDS + 1, "bob");
    for (n, event) in events.iter().enumerate() {
        let kind = if n % 2 == 0 { "image" } else { "text" };
        assert_eq!((&event["client_message_id"], &event["type"]), (&json!(n.to_string()), &json!(kind)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_has_ten_minutes_and_a_download_an_hour() {
    /// A signature has whole seconds, and the machine may be busy.
    const SLACK_MS: i64 = 5_000;
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.group("g", &[]).await;
    let begun = now_millis();
    let upload = uploaded(&ann, &group, "image/png", b"bytes").await;
    let download = ann.get(&format!("/media/{}", upload["media_id"].as_str().unwrap())).await;
    let ended = now_millis();
    for (expires_at, minutes) in [(&upload["upload"]["expires_at"], 10), (&download["expires_at"], 60)] {
        let lifetime = minutes * 60_000;
        let expected = begun + lifetime - SLACK_MS..=ended + lifetime + SLACK_MS;
        assert!(expected.contains(&millis(expires_at)), "{minutes} minutes: {expires_at}");
    }
}

/// Asks until a URL has expired: nothing that is answered before that is 403, and what is asked after it is.
async fn is_refused_from(expires_at: &Value, ask: impl AsyncFn() -> u16) {
    let expires = millis(expires_at);
    loop {
        let begun = now_millis();
        let status = ask().await;
        assert!(now_millis() >= expires || status != 403, "refused before {expires_at}");
        // A signature has whole seconds.
        if begun > expires + 1_000 {
            assert_eq!(status, 403, "taken after {expires_at}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_is_refused_once_it_has_expired() {
    // Long enough for a busy machine to use them before.
    let set = ["limits.upload_url_seconds=5", "limits.download_url_seconds=5"];
    let server = Server::start_with(ServerOptions::set(&set)).await;
    let ann = server.rest("ann").await;
    let group = ann.group("g", &[]).await;
    let upload = uploaded(&ann, &group, "image/png", b"bytes").await;
    let path = format!("/media/{}", upload["media_id"].as_str().unwrap());
    let download = ann.get(&path).await;
    let fetch = async |url: &Value| reqwest::get(url.as_str().unwrap()).await.unwrap().status().as_u16();
    tokio::join!(
        is_refused_from(&upload["upload"]["expires_at"], async || put(&upload, b"bytes").await),
        is_refused_from(&download["expires_at"], async || fetch(&download["url"]).await),
    );
    assert_eq!(fetch(&ann.get(&path).await["url"]).await, 200, "a fresh one is taken");
}
