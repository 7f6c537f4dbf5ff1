//! What a session is told, and not told, at its edges: before its welcome, beside the user's other sessions, after its user is a
//! stranger, behind its own end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use parley_tests::chat::seqs;
use parley_tests::raw::{CLOSE, PING, PONG, RawClient, TEXT};
use parley_tests::{Client, Rest, Server, ServerOptions, Value, json};
use tokio_tungstenite::tungstenite::Message;

async fn remove(rest: &Rest, group: &str, user: &str) {
    rest.must(204, "DELETE", &format!("/groups/{group}/members/{user}"), Value::Null).await;
}

fn send(group: &str, id: &str) -> Value {
    json!({"group_id": group, "client_message_id": id, "type": "text", "text": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_learns_nothing_more_of_who_reads_his_messages() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.group("g", &["bob", "cem"]).await;
    let (mut bob, mut cem) = (server.client("bob").await, server.client("cem").await);
    let sent = bob.text(&group, "who reads this?").await["seq"].clone();
    cem.must(
        "acknowledge_group_message",
        json!({"group_id": group, "seq": sent, "status": "delivered"}),
        "group_message_acknowledged",
    )
    .await;
    let status = |frame: &Value| frame["event"] == "group_message_status";
    assert_eq!(bob.wait(status).await["data"]["user_id"], "cem", "a member is told");
    remove(&ann, &group, "bob").await;
    bob.wait(|frame| frame["data"]["kind"] == "member_removed").await;
    cem.must(
        "acknowledge_group_message",
        json!({"group_id": group, "seq": sent}),
        "group_message_acknowledged",
    )
    .await;
    // Longer than acknowledgements are gathered for.
    bob.silent_for(Duration::from_millis(500), status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_told_to_the_other_session_though_its_own_is_gone() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let seq = server.quiet_client("ann").await.text(&group, "read me").await["seq"].clone();
    let mut laptop = server.quiet_client("bob").await;
    for _ in 0..5 {
        let mut phone = server.quiet_client("bob").await;
        phone.send("acknowledge_group_message", json!({"group_id": group, "seq": seq})).await;
        phone.close().await;
        let told = laptop.expect("group_message_acknowledged").await;
        assert_eq!((&told["data"]["read_seq"], told.get("id")), (&seq, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn welcome_comes_first_whatever_happens_meanwhile() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let seq = server.quiet_client("ann").await.text(&group, "read me").await["seq"].clone();
    let (mut laptop, token) = (server.quiet_client("bob").await, server.token("bob").await);
    for _ in 0..50 {
        // Told to all of bob's sessions, also to the one that just comes.
        laptop.send("acknowledge_group_message", json!({"group_id": group, "seq": seq})).await;
        let mut fresh = Client::open(&server.url, Some(&token), "?replay=none", &[]).await.unwrap();
        assert_eq!(fresh.read().await.unwrap()["event"], "welcome");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_a_close_is_done() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &[]).await;
    for round in 0..5 {
        let mut ann = server.quiet_client("ann").await;
        // It waits for the read models, and the sends are read meanwhile.
        ann.send("resume", json!({"all": true})).await;
        for n in 0..5 {
            ann.send("send_group_message", send(&group, &format!("{round}-{n}"))).await;
        }
        ann.raw(Message::Close(None)).await;
        assert_eq!(ann.closed().await, 1000);
    }
    // Nobody was told that they are accepted, so a read may come before that.
    let rest = server.rest("ann").await;
    for _ in 0..100 {
        if rest.history(&group, 200).await.len() == 25 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} of 25 messages", rest.history(&group, 200).await.len());
}

/// Reads a group's events up to one.
async fn events_up_to(client: &mut Client, group: &str, last: u64) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        events.push(client.event_of(group).await);
        if events.last().unwrap()["seq"] == last {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_resume_of_a_group_that_is_over_replaces_the_first() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.group("g", &["bob"]).await;
    let mut sender = server.quiet_client("ann").await;
    for n in 0..1_500 {
        sender.send("send_group_message", send(&group, &n.to_string())).await;
    }
    sender.text(&group, "last").await;
    remove(&ann, &group, "bob").await;
    let (removed, mut bob) = (1_503, server.quiet_client("bob").await);
    let epoch = bob.welcome["epoch"].clone();
    let known = json!({"groups": [{"group_id": group, "epoch": epoch, "after_seq": 1}]});
    bob.send("resume", known.clone()).await;
    let second = bob.send("resume", known.clone()).await;
    bob.read_until(|frame| frame["id"] == second.as_str()).await.unwrap();
    let events = events_up_to(&mut bob, &group, removed).await;
    assert_eq!(seqs(&events), (2..=removed).collect::<Vec<_>>(), "each once, in order");
    bob.nothing(|frame| frame["data"]["seq"].is_u64()).await;
    // Once he is back, he gets what is new, and nothing more of the stay before.
    bob.send("resume", known).await;
    ann.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": ["bob"]})).await;
    let subscribed = bob.send("subscribe_to_group", json!({"group_id": group})).await;
    bob.read_until(|frame| frame["id"] == subscribed.as_str()).await.unwrap();
    let next = sender.text(&group, "welcome back").await["seq"].as_u64().unwrap();
    let events = events_up_to(&mut bob, &group, next).await;
    assert!(seqs(&events).iter().all(|seq| *seq > removed), "{:?}", seqs(&events));
}

/// Answers pings for as long as it is let.
async fn answer_pings(client: &mut RawClient) {
    loop {
        let (opcode, payload) = client.frame().await;
        assert_ne!(opcode, CLOSE, "who answers isn't closed: {payload:?}");
        if opcode == PING {
            client.send(PONG, &payload).await;
        }
    }
}

/// Answers nothing until it is closed: how often it was pinged, and the close code.
async fn until_closed(client: &mut RawClient) -> (usize, u16) {
    let mut pings = 0;
    loop {
        let (opcode, payload) = client.frame().await;
        match opcode {
            PING => pings += 1,
            CLOSE => return (pings, u16::from_be_bytes([payload[0], payload[1]])),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_for_ten_seconds_is_closed_with_3012_and_who_answers_stays() {
    let server = Server::start_with(ServerOptions::set(&["limits.ping_seconds=1"])).await;
    let mut twin = RawClient::open(&server.url, &server.token("bob").await).await;
    let token = server.token("ann").await;
    let begun = Instant::now();
    let mut silent = RawClient::open(&server.url, &token).await;
    let (pings, code) = tokio::select! {
        closed = until_closed(&mut silent) => closed,
        () = answer_pings(&mut twin) => unreachable!("it goes on until it is closed"),
    };
    assert_eq!(code, 3012);
    assert!(pings > 0, "it was asked");
    // From before its handshake on: when the client sees the ping depends on the machine.
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1 + 10), "pinged after 1 s, and 10 s to answer: {took:?}");
    // The twin's ping was the earlier one.
    let more = tokio::time::timeout(Duration::from_secs(1), answer_pings(&mut twin));
    assert!(more.await.is_err());
    twin.send(TEXT, br#"{"event":"ping","id":"still here"}"#).await;
    loop {
        let (opcode, payload) = twin.frame().await;
        assert_ne!(opcode, CLOSE);
        let text = String::from_utf8_lossy(&payload);
        if text.contains("still here") {
            assert!(text.contains("pong"), "{text}");
            break;
        }
    }
}
