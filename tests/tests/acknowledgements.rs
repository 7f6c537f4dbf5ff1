//! Cursors: moved by acknowledgements alone, told to whom they concern, counted exactly, kept for good.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parley_tests::chat::names;
use parley_tests::{Client, Rest, Server, Value, fresh_id, json};

const ACKNOWLEDGE: &str = "acknowledge_group_message";
const STATUS: &str = "group_message_status";
/// Longer than acknowledgements and statuses are gathered for, so that a late one would have come.
const GATHERED: Duration = Duration::from_millis(300);

fn cursors(answer: &Value) -> (u64, u64) {
    (answer["delivered_seq"].as_u64().unwrap(), answer["read_seq"].as_u64().unwrap())
}

/// The statuses of a message: delivered, read, `updated_at`, by user; and the three counts.
async fn status(
    rest: &Rest,
    group: &str,
    message: &Value,
) -> (BTreeMap<String, (bool, bool, String)>, [u64; 3]) {
    let id = message["message_id"].as_str().unwrap();
    let body = rest.get(&format!("/groups/{group}/messages/{id}/status?limit=200")).await;
    let mut rows = BTreeMap::new();
    for row in body["statuses"].as_array().unwrap() {
        assert_eq!(row["message_id"], id);
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let flag = |field: &str| row[field].as_bool().unwrap();
        let known = rows.insert(text("user_id"), (flag("delivered"), flag("read"), text("updated_at")));
        assert!(known.is_none(), "twice: {row}");
    }
    let counts = ["delivered_count", "read_count", "member_count"].map(|field| body[field].as_u64().unwrap());
    assert!(body.get("next_cursor").is_none());
    (rows, counts)
}

fn flags(rows: &BTreeMap<String, (bool, bool, String)>) -> Vec<(&str, bool, bool)> {
    rows.iter().map(|(user, (delivered, read, _))| (user.as_str(), *delivered, *read)).collect()
}

async fn unread(server: &Server, user: &str, group: &str) -> u64 {
    let groups = server.rest(user).await.get("/groups").await;
    let listed =
        groups["groups"].as_array().unwrap().iter().find(|listed| listed["group_id"] == group).unwrap();
    let welcome = server.quiet_client(user).await.welcome;
    let standing =
        welcome["groups"].as_array().unwrap().iter().find(|entry| entry["group_id"] == group).unwrap();
    assert_eq!(standing["unread"], listed["unread"]);
    listed["unread"].as_u64().unwrap()
}

async fn texts(client: &mut Client, group: &str, count: usize) -> Vec<Value> {
    let mut accepted = Vec::new();
    for n in 0..count {
        accepted.push(client.text(group, &format!("text {n}")).await);
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_are_cumulative_and_cursors_only_grow() {
    let mut server = Server::start().await;
    let rest = server.rest("ann").await;
    let (group, other) = (rest.group("Crew", &["bob"]).await, rest.group("Other", &["bob"]).await);
    let mut ann = server.quiet_client("ann").await;
    let sent = texts(&mut ann, &group, 6).await;
    let elsewhere = texts(&mut ann, &other, 1).await;
    let mut bob = server.quiet_client("bob").await;
    let mut bobs_other = server.quiet_client("bob").await;
    for (data, expected) in [
        (json!({"seq": 3}), (3, 3)),
        (json!({"seq": 5, "status": "delivered"}), (5, 3)),
        (json!({"seq": 2, "status": "read"}), (5, 3)),
        (json!({"seq": 4, "status": "delivered"}), (5, 3)),
        (json!({"seq": 0}), (5, 3)),
        (json!({"message_id": sent[2]["message_id"], "status": "read"}), (5, 4)),
        (json!({"message_id": sent[4]["message_id"]}), (6, 6)),
        (json!({"seq": 7, "status": "delivered"}), (7, 6)),
    ] {
        let mut data = data.clone();
        data["group_id"] = json!(group);
        let answer = bob.must(ACKNOWLEDGE, data.clone(), "group_message_acknowledged").await;
        assert_eq!((cursors(&answer), &answer["group_id"]), (expected, &json!(group)), "{data}");
    }
    for (data, code) in [
        (json!({"group_id": group, "seq": 8}), "bad_request"),
        (json!({"group_id": group, "seq": 8, "status": "delivered"}), "bad_request"),
        (json!({"group_id": group, "seq": -1}), "bad_request"),
        (json!({"group_id": group}), "bad_request"),
        (json!({"group_id": group, "seq": 7, "status": "seen"}), "bad_request"),
        (json!({"group_id": group, "message_id": "7"}), "bad_request"),
        (json!({"group_id": group, "message_id": fresh_id()}), "message_not_found"),
        (json!({"group_id": group, "message_id": elsewhere[0]["message_id"]}), "message_not_found"),
        (json!({"group_id": fresh_id(), "seq": 1}), "group_not_found"),
    ] {
        assert_eq!(bob.refused(ACKNOWLEDGE, data.clone()).await, code, "{data}");
    }
    let by_dan = server.client("dan").await.refused(ACKNOWLEDGE, json!({"group_id": group, "seq": 1})).await;
    assert_eq!(by_dan, "not_a_member");
    // The user's other sessions got each step, in order, without id.
    let mut last = (0, 0);
    while last != (7, 6) {
        let told = bobs_other.expect("group_message_acknowledged").await;
        assert!(told.get("id").is_none(), "{told}");
        let now = cursors(&told["data"]);
        assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
        last = now;
    }
    for client in [&mut ann, &mut bob] {
        client.silent_for(GATHERED, |frame| frame["event"] == "group_message_acknowledged").await;
    }
    for crash in [true, false] {
        let members = server.rest("ann").await.get(&format!("/groups/{group}/members")).await;
        assert_eq!(cursors(&members["members"][0]), (1, 1), "sending moves no cursor");
        assert_eq!(cursors(&members["members"][1]), (7, 6));
        if crash {
            server.kill().await;
        } else {
            assert_eq!(server.terminate().await, Some(0));
        }
        server.restart().await;
        let welcome = server.quiet_client("bob").await.welcome;
        let standing =
            welcome["groups"].as_array().unwrap().iter().find(|entry| entry["group_id"] == group.as_str());
        assert_eq!(cursors(standing.unwrap()), (7, 6), "kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_message_is_exact_for_each_member() {
    let mut server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob", "cem"]).await;
    let mut ann = server.quiet_client("ann").await;
    let sent = texts(&mut ann, &group, 2).await;
    let at = |n: usize| sent[n]["created_at"].as_str().unwrap().to_owned();
    for (n, message) in sent.iter().enumerate() {
        let (rows, counts) = status(&rest, &group, message).await;
        assert_eq!((flags(&rows), counts), (vec![("bob", false, false), ("cem", false, false)], [0, 0, 2]));
        assert!(rows.values().all(|row| row.2 == at(n)), "at first, when it was sent: {rows:?}");
    }
    let (mut bob, mut cem) = (server.quiet_client("bob").await, server.quiet_client("cem").await);
    bob.acknowledge(&group, 2, "delivered").await;
    let (rows, counts) = status(&rest, &group, &sent[0]).await;
    assert_eq!((flags(&rows), counts), (vec![("bob", true, false), ("cem", false, false)], [1, 0, 2]));
    let delivered_at = rows["bob"].2.clone();
    assert!(delivered_at > at(0) && rows["cem"].2 == at(0), "{rows:?}");
    assert_eq!(
        flags(&status(&rest, &group, &sent[1]).await.0),
        [("bob", false, false), ("cem", false, false)]
    );

    bob.acknowledge(&group, 3, "delivered").await;
    let (rows, _) = status(&rest, &group, &sent[0]).await;
    assert_eq!(rows["bob"].2, delivered_at, "a later message's step is none of this one's");
    let second = status(&rest, &group, &sent[1]).await.0["bob"].clone();
    assert!(second.0 && second.2 > delivered_at, "{second:?}");

    cem.acknowledge(&group, 3, "read").await;
    bob.acknowledge(&group, 2, "read").await;
    let (rows, counts) = status(&rest, &group, &sent[0]).await;
    assert_eq!((flags(&rows), counts), (vec![("bob", true, true), ("cem", true, true)], [2, 2, 2]));
    assert!(
        rows["bob"].2 > delivered_at && rows["bob"].2 > rows["cem"].2,
        "the step to read counts: {rows:?}"
    );
    let (rows, counts) = status(&rest, &group, &sent[1]).await;
    assert_eq!((flags(&rows), counts), (vec![("bob", true, false), ("cem", true, true)], [2, 1, 2]));
    assert_eq!(rows["bob"], second, "still the step to delivered");
    bob.acknowledge(&group, 1, "read").await;

    let before = (status(&rest, &group, &sent[0]).await, status(&rest, &group, &sent[1]).await);
    assert_eq!(status(&server.rest("bob").await, &group, &sent[1]).await, before.1, "every member may ask");
    server.kill().await;
    server.restart().await;
    let rest = server.rest("ann").await;
    assert_eq!((status(&rest, &group, &sent[0]).await, status(&rest, &group, &sent[1]).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_those_of_the_members_at_the_time_of_the_message() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob", "cem"]).await;
    let (members, mut ann) = (format!("/groups/{group}/members"), server.quiet_client("ann").await);
    let first = ann.text(&group, "bob and cem are here").await;
    server.quiet_client("cem").await.acknowledge(&group, 2, "read").await;
    rest.must(200, "POST", &members, json!({"user_ids": ["dan"]})).await;
    rest.must(204, "DELETE", &format!("{members}/bob"), Value::Null).await;
    rest.must(204, "DELETE", &format!("{members}/cem"), Value::Null).await;
    let second = ann.text(&group, "dan is here").await;
    rest.must(200, "POST", &members, json!({"user_ids": ["bob"]})).await;
    let third = ann.text(&group, "bob and dan are here").await;
    for user in ["bob", "dan"] {
        server.quiet_client(user).await.acknowledge(&group, 8, "read").await;
    }
    let (rows, counts) = status(&rest, &group, &first).await;
    assert_eq!((flags(&rows), counts), (vec![("bob", false, false), ("cem", true, true)], [1, 1, 2]));
    assert_eq!(rows["bob"].2, first["created_at"].as_str().unwrap(), "a rejoining reads nothing of before");
    let (rows, counts) = status(&rest, &group, &second).await;
    assert_eq!((flags(&rows), counts), (vec![("dan", true, true)], [1, 1, 1]));
    let (rows, counts) = status(&rest, &group, &third).await;
    assert_eq!((flags(&rows), counts), (vec![("bob", true, true), ("dan", true, true)], [2, 2, 2]));
    let path = |message: &Value| {
        format!("/groups/{group}/messages/{}/status", message["message_id"].as_str().unwrap())
    };
    let (bob, dan) = (server.rest("bob").await, server.rest("dan").await);
    assert_eq!(
        bob.refused("GET", &path(&second), None).await,
        (404, "message_not_found".into()),
        "before joining"
    );
    assert_eq!(dan.get(&path(&second)).await["member_count"], 1);
    assert_eq!(
        server.rest("cem").await.refused("GET", &path(&first), None).await,
        (403, "not_a_member".into())
    );
    let unknown = json!({"message_id": fresh_id()});
    assert_eq!(rest.refused("GET", &path(&unknown), None).await, (404, "message_not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_paged_and_counts_are_of_all() {
    let server = Server::start().await;
    let users = names("u", 7);
    let rest = server.rest("ann").await;
    let made = rest.must(201, "POST", "/groups", json!({"name": "Crew", "members": users})).await;
    let group = made["group_id"].as_str().unwrap();
    let message = server.quiet_client("ann").await.text(group, "hello").await;
    let mut clients = server.clients(&users, "?replay=none").await;
    for (client, how) in clients.iter_mut().zip(["delivered", "read", "delivered", "read", "read"]) {
        client.acknowledge(group, 2, how).await;
    }
    let path = format!("/groups/{group}/messages/{}/status", message["message_id"].as_str().unwrap());
    let (rows, pages) = rest.all_pages(&path, "statuses", 3).await;
    assert_eq!(pages, 3);
    let listed: Vec<&str> = rows.iter().map(|row| row["user_id"].as_str().unwrap()).collect();
    assert_eq!(listed, users);
    let page = rest.get(&format!("{path}?limit=1")).await;
    let counts = ["delivered_count", "read_count", "member_count"].map(|field| page[field].as_u64().unwrap());
    assert_eq!(counts, [5, 3, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_of_small_groups_are_told_who_has_what() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob", "cem"]).await;
    let (mut ann, mut bob, mut cem) =
        (server.client("ann").await, server.client("bob").await, server.client("cem").await);
    let mut anns_other = server.client("ann").await;
    let anns = texts(&mut ann, &group, 3).await;
    let bobs = texts(&mut bob, &group, 1).await;
    let entry = |message: &Value, counts: (u64, u64), user: &str, cursors: (u64, u64)| {
        json!({
            "group_id": group, "seq": message["seq"], "message_id": message["message_id"], "delivered_count": counts.0,
            "read_count": counts.1, "member_count": 2, "user_id": user, "delivered_seq": cursors.0, "read_seq": cursors.1,
        })
    };
    bob.acknowledge(&group, 2, "delivered").await;
    let told = ann.expect(STATUS).await;
    assert_eq!((told.get("id"), &told["data"]), (None, &entry(&anns[0], (1, 0), "bob", (2, 1))));
    cem.acknowledge(&group, 5, "read").await;
    assert_eq!(
        ann.expect(STATUS).await["data"],
        entry(&anns[2], (1, 1), "cem", (5, 5)),
        "the newest that it crossed"
    );
    assert_eq!(
        bob.expect(STATUS).await["data"],
        entry(&bobs[0], (1, 1), "cem", (5, 5)),
        "each sender its own"
    );
    bob.acknowledge(&group, 3, "read").await;
    assert_eq!(ann.expect(STATUS).await["data"], entry(&anns[1], (2, 2), "bob", (3, 3)));
    bob.acknowledge(&group, 5, "delivered").await;
    assert_eq!(ann.expect(STATUS).await["data"], entry(&anns[2], (2, 1), "bob", (5, 3)));
    bob.acknowledge(&group, 4, "read").await;
    assert_eq!(
        ann.expect(STATUS).await["data"],
        entry(&anns[2], (2, 2), "bob", (5, 4)),
        "reading what was delivered long before moves nothing back"
    );
    for _ in 0..5 {
        anns_other.expect(STATUS).await;
    }
    ann.acknowledge(&group, 5, "read").await;
    assert_eq!(bob.expect(STATUS).await["data"], entry(&bobs[0], (2, 2), "ann", (5, 5)));
    for client in [&mut ann, &mut bob, &mut cem] {
        client.silent_for(GATHERED, |frame| frame["event"] == STATUS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_name_the_member_in_a_group_of_200_and_not_in_one_of_201() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let made = rest.must(201, "POST", "/groups", json!({"name": "200", "members": names("u", 199)})).await;
    let group = made["group_id"].as_str().unwrap();
    let (mut ann, mut member) = (server.client("ann").await, server.quiet_client("u0000").await);
    for (others, is_named) in [(199, true), (200, false)] {
        if !is_named {
            rest.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": ["one more"]}))
                .await;
        }
        let message = ann.text(group, "hello").await;
        let seq = message["seq"].as_u64().unwrap();
        member.acknowledge(group, seq, "read").await;
        let told = ann.expect(STATUS).await["data"].clone();
        let mut expected = json!({
            "group_id": group, "seq": seq, "message_id": message["message_id"], "delivered_count": 1, "read_count": 1,
            "member_count": others,
        });
        if is_named {
            expected["user_id"] = json!("u0000");
            expected["delivered_seq"] = json!(seq);
            expected["read_seq"] = json!(seq);
        }
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_of_large_groups_get_counts_at_most_once_a_second() {
    let server = Server::start().await;
    let users = names("u", 300);
    let wish = json!({"name": "Crowd", "members": users});
    let made = server.rest("ann").await.must(201, "POST", "/groups", wish).await;
    let group = made["group_id"].as_str().unwrap();
    let mut ann = server.client("ann").await;
    let message = ann.text(group, "hello").await;
    let mut clients = server.clients(&users[..40], "?replay=none").await;
    let begun = Instant::now();
    for (n, client) in clients.iter_mut().enumerate() {
        client.acknowledge(group, 2, if n % 2 == 0 { "read" } else { "delivered" }).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut frames, mut delivered) = (0, 0);
    while delivered < 40 {
        let told = ann.expect(STATUS).await["data"].clone();
        assert_eq!((&told["message_id"], &told["member_count"]), (&message["message_id"], &json!(300)));
        for field in ["user_id", "delivered_seq", "read_seq"] {
            assert!(told.get(field).is_none(), "{told}");
        }
        let now = told["delivered_count"].as_u64().unwrap();
        assert!(now > delivered, "{now} after {delivered}");
        (frames, delivered) = (frames + 1, now);
        assert!(told["read_count"].as_u64().unwrap() <= now);
    }
    let (rows, counts) = {
        let id = message["message_id"].as_str().unwrap();
        let path = format!("/groups/{group}/messages/{id}/status");
        let rest = server.rest("ann").await;
        let page = rest.get(&path).await;
        (
            rest.all_pages(&path, "statuses", 200).await.0,
            [page["delivered_count"].clone(), page["read_count"].clone()],
        )
    };
    assert_eq!((rows.len(), counts), (300, [json!(40), json!(20)]));
    assert!(frames <= begun.elapsed().as_secs() + 1, "{frames} in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_counts_others_messages_exactly_up_to_a_thousand() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob", "cem"]).await;
    let (mut ann, mut bob) = (server.quiet_client("ann").await, server.quiet_client("bob").await);
    texts(&mut ann, &group, 3).await;
    texts(&mut bob, &group, 2).await;
    rest.must(200, "PATCH", &format!("/groups/{group}"), json!({"name": "Renamed"})).await;
    rest.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": ["dan"]})).await;
    texts(&mut ann, &group, 1).await;
    let all = [("ann", 2), ("bob", 4), ("cem", 6), ("dan", 1)];
    for (user, expected) in all {
        assert_eq!(unread(&server, user, &group).await, expected, "{user}");
    }
    bob.acknowledge(&group, 9, "delivered").await;
    assert_eq!(unread(&server, "bob", &group).await, 4, "delivered is not read");
    bob.acknowledge(&group, 3, "read").await;
    assert_eq!(unread(&server, "bob", &group).await, 2);
    bob.acknowledge(&group, 5, "read").await;
    assert_eq!(unread(&server, "bob", &group).await, 1, "own messages do not count");
    ann.acknowledge(&group, 5, "read").await;
    assert_eq!(unread(&server, "ann", &group).await, 1);
    bob.acknowledge(&group, 9, "read").await;
    assert_eq!(unread(&server, "bob", &group).await, 0);
    ann.flood(&group, 0..999, 0).await;
    assert_eq!(unread(&server, "bob", &group).await, 999);
    assert_eq!(unread(&server, "dan", &group).await, 1_000);
    texts(&mut ann, &group, 3).await;
    assert_eq!(unread(&server, "bob", &group).await, 1_000, "where counting stops");
    bob.acknowledge(&group, 12, "read").await;
    assert_eq!(unread(&server, "bob", &group).await, 999, "exact again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_without_being_subscribed() {
    let server = Server::start().await;
    let mut ann = server.client("ann").await; // online before the group exists
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let seq = ann.text(&group, "x").await["seq"].clone();
    let mut bob = server.quiet_client("bob").await;
    bob.must(
        "acknowledge_group_message",
        json!({"group_id": group, "seq": seq}),
        "group_message_acknowledged",
    )
    .await;
    let status = ann.expect("group_message_status").await["data"].clone();
    assert_eq!((&status["seq"], &status["read_count"]), (&seq, &json!(1)));
}
