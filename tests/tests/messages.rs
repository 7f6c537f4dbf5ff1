//! Messages: accepted, refused, in order, exactly once, within the rate, and never in clear.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use parley_tests::chat::{assert_run, names, seq, seqs, text_data};
use parley_tests::{Client, Server, ServerOptions, Value, fresh_id, json};

const SEND: &str = "send_group_message";
const ACCEPTED: &str = "group_message_accepted";

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_reaches_everybody_as_it_was_sent() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    let (id, text) = ("x".repeat(64), "Ünïcode 🦜 \"quoted\"\n\u{0}end ".repeat(500));
    let accepted = ann.must(SEND, text_data(&group, &id, &text), ACCEPTED).await;
    let fields = "group_id message_id client_message_id seq epoch position created_at duplicate";
    let keys: BTreeSet<&str> = accepted.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, fields.split(' ').collect());
    assert_eq!((&accepted["seq"], &accepted["duplicate"]), (&json!(2), &json!(false)));
    assert!(accepted["position"]["partition"].is_u64() && accepted["position"]["offset"].is_u64());
    assert_eq!(accepted["epoch"], ann.welcome["epoch"]);
    let mut expected =
        json!({"sender": "ann", "type": "text", "text": text, "updated_at": accepted["created_at"]});
    for field in ["group_id", "seq", "epoch", "position", "message_id", "client_message_id", "created_at"] {
        expected[field] = accepted[field].clone();
    }
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect("group_message").await["data"], expected, "the sender's own included");
    }
    assert_eq!(server.rest("bob").await.history(&group, 50).await, [expected.clone()]);
    let mut later = server.client("bob").await;
    assert_eq!(later.expect("group_message").await["data"], expected, "replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_leaves_no_trace() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob"]).await;
    let (mut ann, mut dan) = (server.client("ann").await, server.client("dan").await);
    let good = text_data(&group, "c1", "hello");
    let with = |field: &str, value: Value| {
        let mut data = good.clone();
        data[field] = value;
        data
    };
    for (data, code) in [
        (with("group_id", json!("7")), "bad_request"),
        (with("group_id", Value::Null), "bad_request"),
        (with("group_id", json!(fresh_id())), "group_not_found"),
        (with("client_message_id", json!("")), "bad_request"),
        (with("client_message_id", json!("x".repeat(65))), "bad_request"),
        (with("client_message_id", json!(1)), "bad_request"),
        (with("client_message_id", Value::Null), "bad_request"),
        (with("type", json!("sticker")), "bad_request"),
        (with("type", Value::Null), "bad_request"),
        (with("type", json!("image")), "bad_request"),
        (with("text", Value::Null), "bad_request"),
        (with("text", json!(["hello"])), "bad_request"),
        (with("text", json!("x".repeat(16 * 1024 + 1))), "too_large"),
        (with("media_url", json!("https://example.com/x.png")), "bad_request"),
        (json!([]), "bad_request"),
    ] {
        assert_eq!(ann.refused(SEND, data.clone()).await, code, "{data}");
    }
    assert_eq!(dan.refused(SEND, good.clone()).await, "not_a_member");
    let error = dan.ask(SEND, good.clone()).await["data"].clone();
    assert_eq!((&error["group_id"], &error["client_message_id"]), (&json!(group), &json!("c1")));
    assert_eq!((&error["retryable"], error["message"].is_string()), (&json!(false), true));
    assert_eq!(rest.get(&format!("/groups/{group}")).await["head_seq"], 1);
    let accepted = ann.must(SEND, good, ACCEPTED).await;
    assert_eq!((&accepted["seq"], &accepted["duplicate"]), (&json!(2), &json!(false)), "the id is free");
    let longest = text_data(&group, "c2", &"x".repeat(16 * 1024));
    assert_eq!(ann.must(SEND, longest, ACCEPTED).await["seq"], 3);
    ann.nothing(|frame| frame["event"] == "group_message" && seq(&frame["data"]) > 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connections_messages_get_seq_in_the_order_of_their_frames() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let (mut ann, mut bob) = (server.quiet_client("ann").await, server.client("bob").await);
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(ann.send(SEND, text_data(&group, &format!("c{n}"), &n.to_string())).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let reply = ann.wait(|frame| frame["id"] == id.as_str()).await;
        assert_eq!((&reply["event"], &reply["data"]["seq"]), (&json!(ACCEPTED), &json!(n + 2)));
    }
    let events = bob.events(&group, 200).await;
    assert_run(&events, 2, 201, "bob");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["text"], n.to_string());
    }
}

/// A member that connects, resumes after what it has, reads some and goes, until it has everything.
async fn wander(url: String, token: String, group: String, last: u64, mut random: u64) -> Vec<Value> {
    let mut have: Vec<Value> = Vec::new();
    while have.last().map_or(0, seq) < last {
        let mut client = parley_tests::connect(&url, &token, "?replay=none").await.unwrap();
        let after = have.last().map_or(0, seq);
        let epoch = client.welcome["epoch"].clone();
        let wish = json!({"groups": [{"group_id": group, "epoch": epoch, "after_seq": after}]});
        let answer = client.must("resume", wish, "resumed").await["groups"][0].clone();
        assert_eq!((&answer["complete"], &answer["from_seq"]), (&json!(true), &json!(after + 1)));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for _ in 0..(random >> 33) % 120 {
            if have.last().map_or(0, seq) == last {
                break;
            }
            have.push(client.event_of(&group).await);
        }
        if random >> 63 == 0 {
            client.close().await;
        }
    }
    have
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_gets_every_event_once_in_order_however_often_it_reconnects() {
    let server = Server::start().await;
    let (senders, members) = (names("sender", 3), names("wanderer", 5));
    let everybody: Vec<&str> = senders.iter().chain(&members).map(String::as_str).collect();
    let group = server.rest("ann").await.group("Crew", &everybody).await;
    let mut wandering = Vec::new();
    for (n, token) in (1..).zip(server.tokens(&members).await) {
        wandering.push(tokio::spawn(wander(server.url.clone(), token, group.clone(), 601, n)));
    }
    let mut sending = Vec::new();
    for mut sender in server.clients(&senders, "?replay=none").await {
        let group = group.clone();
        sending.push(tokio::spawn(async move { sender.flood(&group, 0..200, 0).await }));
    }
    for task in sending {
        task.await.unwrap();
    }
    let rest = server.rest(&members[0]).await;
    let history = rest.history(&group, 37).await;
    assert_run(&history, 2, 601, "history, one group event at seq 1");
    assert_eq!(rest.history_backwards(&group, 41).await, history);
    for sender in &senders {
        let theirs: Vec<&Value> =
            history.iter().filter(|message| message["sender"] == sender.as_str()).collect();
        assert!(
            (0..200).zip(&theirs).all(|(n, message)| message["text"] == json!(n.to_string()))
                && theirs.len() == 200
        );
    }
    for (task, who) in wandering.into_iter().zip(&members) {
        let mut have = task.await.unwrap();
        assert_eq!((&have[0]["kind"], seq(&have[0])), (&json!("group_created"), 1));
        assert_run(&have, 1, 601, who);
        for message in &mut have {
            message.as_object_mut().unwrap().remove("event");
        }
        assert_eq!(have[1..], history, "{who}");
    }
    let page = rest.get(&format!("/groups/{group}/messages?after_seq=10&before_seq=14")).await;
    assert_eq!(
        (seqs(page["messages"].as_array().unwrap()), &page["has_more"]),
        (vec![11, 12, 13], &json!(false))
    );
    let newest = rest.get(&format!("/groups/{group}/messages")).await;
    assert_run(newest["messages"].as_array().unwrap(), 552, 601, "the newest 50");
    let first = rest.get(&format!("/groups/{group}/messages?before_seq=2")).await;
    assert_eq!((&first["messages"], &first["has_more"]), (&json!([]), &json!(false)));
    let capped = rest.get(&format!("/groups/{group}/messages?after_seq=0&limit=1000")).await;
    assert_run(capped["messages"].as_array().unwrap(), 2, 201, "at most 200");
    let refused = rest.refused("GET", &format!("/groups/{group}/messages?after_seq=x"), None).await;
    assert_eq!(refused, (400, "bad_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_is_the_same_message_across_sessions_and_restarts() {
    let mut server = Server::start().await;
    let rest = server.rest("ann").await;
    let (group, other) = (rest.group("Crew", &["bob"]).await, rest.group("Other", &["bob"]).await);
    let data = text_data(&group, "c1", "hello");
    let mut ann = server.quiet_client("ann").await;
    // Both before the first is answered.
    let first = (ann.send(SEND, data.clone()).await, ann.send(SEND, data.clone()).await);
    let original = ann.wait(|frame| frame["id"] == first.0.as_str()).await["data"].clone();
    let mut repeat = ann.wait(|frame| frame["id"] == first.1.as_str()).await["data"].clone();
    assert_eq!((&original["duplicate"], &repeat["duplicate"]), (&json!(false), &json!(true)));
    for round in 0..4 {
        repeat["duplicate"] = json!(false);
        assert_eq!(repeat, original, "the first result; round {round}");
        assert_eq!(ann.refused(SEND, text_data(&group, "c1", "Hello")).await, "idempotency_conflict");
        match round {
            0 => ann.close().await,
            1 => {
                server.kill().await;
                server.restart().await;
            }
            _ => {
                assert_eq!(server.terminate().await, Some(0));
                server.restart().await;
            }
        }
        ann = server.quiet_client("ann").await;
        repeat = ann.must(SEND, data.clone(), ACCEPTED).await;
        assert_eq!(repeat["duplicate"], true);
    }
    // Another sender, or another group, is another message.
    let mut bob = server.quiet_client("bob").await;
    let bobs = bob.must(SEND, text_data(&group, "c1", "bob's"), ACCEPTED).await;
    assert_eq!((&bobs["duplicate"], &bobs["seq"]), (&json!(false), &json!(3)));
    let elsewhere = ann.must(SEND, text_data(&other, "c1", "elsewhere"), ACCEPTED).await;
    assert_eq!((&elsewhere["duplicate"], &elsewhere["seq"]), (&json!(false), &json!(2)));
    assert_eq!(seqs(&server.rest("bob").await.history(&group, 50).await), [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_user_get_everything() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let (mut one, mut two) = (server.client("bob").await, server.client("bob").await);
    let mut ann = server.client("ann").await;
    ann.text(&group, "from ann").await;
    two.text(&group, "from bob").await;
    ann.text(&group, "again").await;
    for client in [&mut one, &mut two, &mut ann] {
        assert_run(&client.events(&group, 3).await, 2, 4, "each");
        client.nothing_of(&group).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_ten_thousand_messages_is_exact() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    server.quiet_client("ann").await.flood(&group, 0..10_000, 0).await;
    let mut bob = server.client("bob").await;
    let events = bob.events(&group, 10_000).await;
    assert_run(&events, 2, 10_001, "the replay");
    assert!(events.iter().enumerate().all(|(n, event)| event["text"] == json!(n.to_string())));
    bob.nothing_of(&group).await;
    assert_run(&server.rest("bob").await.history(&group, 200).await, 2, 10_001, "the history");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything_once_it_reads_on() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob", "cem"]).await;
    let (mut bob, mut cem) = (server.client("bob").await, server.client("cem").await);
    let mut ann = server.quiet_client("ann").await;
    ann.flood(&group, 0..5_000, 2_048).await;
    assert_run(&cem.events(&group, 5_000).await, 2, 5_001, "cem, who waits for nobody");
    let events = bob.events(&group, 5_000).await;
    assert_run(&events, 2, 5_001, "bob");
    assert!(events.iter().all(|event| event["text"].as_str().unwrap().len() == 2_048));
    ann.text(&group, "live").await;
    assert_run(&bob.events(&group, 1).await, 5_002, 5_002, "and on");
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_beyond_the_rate_are_refused_and_can_be_sent_again() {
    let server = Server::start_with(ServerOptions::default()).await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let mut ann = server.quiet_client("ann").await;
    let begun = Instant::now();
    for n in 0..400 {
        ann.send(SEND, text_data(&group, &format!("c{n}"), "x")).await;
    }
    // A repeat of what was accepted is answered even now.
    let repeat = ann.send(SEND, text_data(&group, "c0", "x")).await;
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let reply = ann.wait(|frame| frame["id"].is_string() && frame["id"] != repeat.as_str()).await;
        if reply["event"] == ACCEPTED { &mut accepted } else { &mut refused }.push(reply["data"].clone());
    }
    let repeated = ann.wait(|frame| frame["id"] == repeat.as_str()).await;
    assert_eq!((&repeated["event"], &repeated["data"]["duplicate"]), (&json!(ACCEPTED), &json!(true)));
    let allowed = 60 + 20 * (begun.elapsed().as_secs() + 1);
    let count = u64::try_from(accepted.len()).unwrap();
    assert!((60..=allowed).contains(&count), "a burst of 60 and 20 a second: {count}, {allowed} at most");
    assert!(refused.len() >= 2, "400 at once are over the rate");
    for (n, message) in accepted.iter().take(60).enumerate() {
        assert_eq!(message["client_message_id"], format!("c{n}"));
    }
    for error in &refused {
        assert_eq!((&error["code"], &error["retryable"]), (&json!("rate_limited"), &json!(true)));
        assert!(
            error["retry_after_ms"].as_u64().unwrap() > 0 && error["group_id"] == group.as_str(),
            "{error}"
        );
    }
    let mut again = refused.last().unwrap().clone();
    let id = again["client_message_id"].as_str().unwrap().to_owned();
    let reply = loop {
        let wait = again["retry_after_ms"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let reply = ann.ask(SEND, text_data(&group, &id, "x")).await;
        if reply["event"] == ACCEPTED {
            break reply["data"].clone();
        }
        again = reply["data"].clone();
        assert_eq!(again["code"], "rate_limited");
    };
    assert_eq!(reply["duplicate"], false);
    assert_eq!(seq(&reply), count + 2, "refused ones left no trace");
    let mut bob = server.quiet_client("bob").await;
    bob.text(&group, "the rate is a user's own").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_that_cannot_be_understood_count_too_and_say_which_they_were() {
    let options = ServerOptions::set(&["limits.sends_per_second=1", "limits.send_burst=5"]);
    let server = Server::start_with(options).await;
    let group = server.rest("ann").await.group("Crew", &[]).await;
    let mut ann = server.quiet_client("ann").await;
    for n in 0..5 {
        let data = json!({"group_id": group, "client_message_id": n.to_string(), "type": "text", "text": n});
        let reply = ann.ask(SEND, data).await;
        assert_eq!((&reply["event"], &reply["data"]["code"]), (&json!("error"), &json!("bad_request")));
        let of = (&reply["data"]["group_id"], &reply["data"]["client_message_id"]);
        assert_eq!(of, (&json!(group), &json!(n.to_string())));
        assert!(reply["data"]["message"].as_str().unwrap().contains("data.text"), "{reply}");
    }
    assert_eq!(ann.refused(SEND, text_data(&group, "c", "x")).await, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_passed_on_once_in_three_seconds_and_never_kept() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob"]).await;
    let large = rest.must(201, "POST", "/groups", json!({"name": "201", "members": names("u", 200)})).await;
    let full = rest.must(201, "POST", "/groups", json!({"name": "200", "members": names("u", 199)})).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    let mut anns_other = server.client("ann").await;
    let mut member = server.client("u0000").await;
    for client in [&mut bob, &mut member] {
        client.must("ping", json!({}), "pong").await; // subscribed by now
    }
    let is_typing = |frame: &Value| frame["event"] == "typing";
    for _ in 0..3 {
        ann.send("typing", json!({"group_id": group})).await;
    }
    for group in [&large, &full] {
        ann.send("typing", json!({"group_id": group["group_id"]})).await;
    }
    let typing = bob.expect("typing").await;
    assert_eq!(typing["data"], json!({"group_id": group, "user_id": "ann"}));
    ann.nothing(|frame| is_typing(frame) || frame["event"] == "error").await;
    bob.nothing(is_typing).await;
    anns_other.nothing(is_typing).await;
    let typing = member.expect("typing").await;
    assert_eq!(typing["data"], json!({"group_id": full["group_id"], "user_id": "ann"}), "up to 200 members");
    member.nothing(is_typing).await;
    bob.send("typing", json!({"group_id": group})).await;
    assert_eq!(ann.expect("typing").await["data"]["user_id"], "bob", "each user for itself");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ann.send("typing", json!({"group_id": group})).await;
    }
    assert_eq!(bob.expect("typing").await["data"]["user_id"], "ann");
    ann.nothing(is_typing).await;
    bob.nothing(is_typing).await;
    assert_eq!(rest.get(&format!("/groups/{group}")).await["head_seq"], 1);
    assert_eq!(rest.get(&format!("/groups/{group}/messages")).await["messages"], json!([]));
    assert_eq!(ann.refused("typing", json!({"group_id": fresh_id()})).await, "group_not_found");
    let pong = ann.must("ping", json!({}), "pong").await;
    assert!(pong["server_time"].as_str().unwrap().ends_with('Z'), "{pong}");
}

/// How many files of a server and its engines hold some bytes. By `grep`: the engines' hold hundreds of megabytes, and
/// gigabytes of Kafka's indexes, which are mostly holes and hold numbers.
fn files_with(server: &Server, needle: &str) -> usize {
    let found = Command::new("grep")
        .args(["-rlaF", "--exclude=*.index", "--exclude=*.timeindex", "--", needle])
        .args(server.files())
        .output()
        .unwrap();
    // What an engine removes while it is looked at holds nothing any more.
    String::from_utf8_lossy(&found.stdout).lines().count()
}

async fn say_read_and_repeat(server: &Server, client: &mut Client, group: &str, secret: &str) {
    client.must(SEND, text_data(group, secret, &format!("{secret} in clear")), ACCEPTED).await;
    client.refused(SEND, text_data(group, secret, &format!("not {secret} in clear"))).await;
    let history = server.rest("bob").await.history(group, 50).await;
    assert_eq!(history.last().unwrap()["text"], format!("{secret} in clear"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_lies_in_clear_in_any_file() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    say_read_and_repeat(&server, &mut server.client("ann").await, &group, "xyzzy-one").await;
    assert_eq!(files_with(&server, "xyzzy-one in clear"), 0);
    assert!(files_with(&server, &group) > 0, "the search finds what is in clear");
    server.kill().await;
    server.restart().await;
    say_read_and_repeat(&server, &mut server.client("ann").await, &group, "xyzzy-two").await;
    assert_eq!(server.terminate().await, Some(0));
    server.restart().await;
    assert_eq!(server.rest("bob").await.history(&group, 50).await.len(), 2);
    for secret in ["xyzzy-one in clear", "xyzzy-two in clear"] {
        assert_eq!(files_with(&server, secret), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_who_is_removed_sees_nothing_after_its_removal() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut bob = server.client("bob").await;
    bob.ask("ping", json!({})).await;
    let mut ann = server.quiet_client("ann").await;
    // More than sockets and outbox hold, so that Bob falls behind.
    ann.flood(&group, 0..5_000, 2_048).await;
    let (gone, _) =
        server.rest("ann").await.call("DELETE", &format!("/groups/{group}/members/bob"), None).await;
    assert_eq!(gone, 204);
    ann.text(&group, "not for Bob").await;
    let events = bob.events_to(&group, 5_002).await;
    assert_run(&events, 2, 5_002, "bob");
    assert_eq!(events.last().unwrap()["kind"], "member_removed");
    bob.nothing_of(&group).await;
}
