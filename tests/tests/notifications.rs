//! `a_group_created` and `added_to_group`: who is told of a group, when, and until when.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use parley_tests::{Client, Server, Value, fresh_id, json};

async fn notify(client: &mut Client, group: &str) -> (u64, u64) {
    let counts =
        client.must("notify_create_group", json!({"group_id": group}), "create_group_notified").await;
    assert_eq!(counts["group_id"], group);
    (counts["online"].as_u64().unwrap(), counts["pending"].as_u64().unwrap())
}

fn is_notification(frame: &Value) -> bool {
    matches!(frame["event"].as_str(), Some("a_group_created" | "added_to_group"))
}

async fn acknowledge(client: &mut Client, notification: &Value) {
    let id = &notification["notification_id"];
    let data = json!({"notification_id": id});
    let reply = client.must("acknowledge_notification", data, "notification_acknowledged").await;
    assert_eq!(reply["notification_id"], *id);
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_create_group_reaches_who_is_online_and_counts_the_others() {
    let server = Server::start().await;
    let mut ann = server.client("ann").await;
    let (mut bob, mut bobs_other) = (server.client("bob").await, server.quiet_client("bob").await);
    let mut cem = server.client("cem").await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob", "cem", "dan", "eva", "fay"]).await;
    assert_eq!(notify(&mut ann, &group).await, (2, 3), "sessions are not members");
    let told = bob.expect("a_group_created").await["data"].clone();
    assert_eq!((&told["added_by"], &told["group"]["group_id"]), (&json!("ann"), &json!(group)));
    let mut expected = rest.get(&format!("/groups/{group}")).await;
    expected.as_object_mut().unwrap().remove("members");
    assert_eq!(told["group"], expected, "the group, without its members");
    assert_eq!(
        bobs_other.expect("a_group_created").await["data"],
        told,
        "one for each member, not each session"
    );
    let cems = cem.expect("a_group_created").await["data"].clone();
    assert_ne!(cems["notification_id"], told["notification_id"]);
    // There is one for each member: once more only the numbers are told.
    let _dan = server.client("dan").await;
    assert_eq!(notify(&mut ann, &group).await, (3, 2));
    bob.nothing(is_notification).await;

    // A member online at that moment is subscribed by its own subscribe_to_group.
    ann.subscribe(&group, json!({})).await;
    ann.text(&group, "hello").await;
    ann.events_to(&group, 2).await;
    bob.nothing_of(&group).await;
    bob.subscribe(&group, json!({"after_seq": 0})).await;
    assert_eq!(bob.events(&group, 2).await[1]["text"], "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_comes_again_at_each_reconnect_until_it_is_acknowledged() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob", "cem"]).await;
    assert_eq!(notify(&mut server.client("ann").await, &group).await, (0, 2));
    let mut first = Value::Null;
    for round in 0..3 {
        let mut bob = server.client("bob").await;
        // Pending notifications follow the welcome, before what is replayed.
        let frame = bob.read().await.unwrap();
        assert_eq!(frame["event"], "a_group_created", "round {round}: {frame}");
        assert_eq!(bob.read().await.unwrap()["event"], "resumed");
        if round == 0 {
            first = frame["data"].clone();
        }
        assert_eq!(frame["data"], first, "the same one");
        bob.close().await;
        if round == 1 {
            server.kill().await;
            server.restart().await;
        }
    }
    let mut bob = server.quiet_client("bob").await;
    acknowledge(&mut bob, &first).await;
    acknowledge(&mut bob, &first).await;
    server.client("bob").await.nothing(is_notification).await;
    server.terminate().await;
    server.restart().await;
    server.client("bob").await.nothing(is_notification).await;
    server.client("cem").await.expect("a_group_created").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_to_the_group_ends_its_notification() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let (one, two) = (rest.group("One", &["bob"]).await, rest.group("Two", &["bob"]).await);
    let mut bob = server.client("bob").await;
    for _ in 0..2 {
        bob.expect("a_group_created").await;
    }
    bob.subscribe(&one, json!({})).await;
    // At once: the answer to the subscription says that the notification is over.
    let mut again = server.client("bob").await;
    assert_eq!(again.expect("a_group_created").await["data"]["group"]["group_id"], two.as_str());
    again.nothing(is_notification).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_creator_may_notify() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["bob", "cem"]).await;
    rest.must(200, "PUT", &format!("/groups/{group}/owner"), json!({"user_id": "bob"})).await;
    let data = json!({"group_id": group});
    assert_eq!(server.client("bob").await.refused("notify_create_group", data.clone()).await, "forbidden");
    assert_eq!(server.client("cem").await.refused("notify_create_group", data.clone()).await, "forbidden");
    assert_eq!(server.client("dan").await.refused("notify_create_group", data).await, "not_a_member");
    let mut ann = server.client("ann").await;
    assert_eq!(ann.refused("notify_create_group", json!({"group_id": fresh_id()})).await, "group_not_found");
    assert_eq!(ann.refused("notify_create_group", json!({"group_id": "7"})).await, "bad_request");
    assert_eq!(notify(&mut ann, &group).await, (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_who_never_notifies_is_stood_in_for_and_connecting_members_need_not_wait() {
    let server = Server::start().await;
    let mut bob = server.client("bob").await;
    let mut cems_other = server.client("cem").await;
    let group = server.rest("ann").await.group("Crew", &["bob", "cem"]).await;
    let mut cem = server.client("cem").await;
    let cems = cem.expect("a_group_created").await;
    assert_eq!(cems["data"]["group"]["group_id"], group.as_str());
    acknowledge(&mut cem, &cems["data"]).await;
    bob.nothing(is_notification).await;
    // Within 10 s the creator could still do it; then the server does.
    let told = bob.expect("a_group_created").await;
    assert_eq!(
        (&told["data"]["group"]["group_id"], &told["data"]["added_by"]),
        (&json!(group), &json!("ann"))
    );
    cem.nothing(is_notification).await;
    // The session that was there before the group is told, whatever the later one acknowledged.
    assert_eq!(cems_other.expect("a_group_created").await["data"], cems["data"]);
    // A creator who notifies after all learns the numbers; every connection was told once.
    assert_eq!(notify(&mut server.client("ann").await, &group).await, (2, 0));
    for told in [&mut bob, &mut cem, &mut cems_other] {
        told.nothing(is_notification).await;
    }
    assert_eq!(notify(&mut server.client("ann").await, &group).await, (2, 0));
    cem.nothing(is_notification).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_added_later_is_told_at_once_and_again_at_each_joining() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &["cem"]).await;
    rest.must(200, "PUT", &format!("/groups/{group}/members/cem/role"), json!({"role": "admin"})).await;
    let mut bob = server.client("bob").await;
    let (members, wish) = (format!("/groups/{group}/members"), json!({"user_ids": ["bob", "dan"]}));
    server.rest("cem").await.must(200, "POST", &members, wish.clone()).await;
    let told = bob.expect("added_to_group").await["data"].clone();
    assert_eq!((&told["added_by"], &told["group"]["group_id"]), (&json!("cem"), &json!(group)));
    assert_eq!((&told["group"]["head_seq"], &told["group"]["member_count"]), (&json!(3), &json!(4)));
    assert!(told["group"].get("members").is_none(), "{told}");
    assert_eq!(server.client("dan").await.expect("added_to_group").await["data"]["added_by"], "cem");
    acknowledge(&mut bob, &told).await;

    rest.must(204, "DELETE", &format!("{members}/bob"), Value::Null).await;
    rest.must(204, "DELETE", &format!("{members}/dan"), Value::Null).await;
    server.client("dan").await.nothing(is_notification).await;
    rest.must(200, "POST", &members, wish).await;
    let again = bob.expect("added_to_group").await["data"].clone();
    assert_ne!(again["notification_id"], told["notification_id"], "another joining is another notification");
    assert_eq!(again["added_by"], "ann");
    assert_eq!(server.client("bob").await.expect("added_to_group").await["data"]["group"]["head_seq"], 6);
    bob.nothing(|frame| frame["event"] == "a_group_created").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_group_later_gets_it_in_every_later_session_by_itself() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("Crew", &[]).await;
    let mut before = server.client("bob").await;
    rest.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": ["bob"]})).await;
    before.expect("added_to_group").await;
    let mut later = server.client("bob").await;
    let mut ann = server.client("ann").await;
    ann.text(&group, "hello").await;
    assert_eq!(later.event_of(&group).await["text"], "hello");
    before.nothing_of(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acknowledges_what_is_not_ones_own() {
    let server = Server::start().await;
    server.rest("ann").await.group("Crew", &["bob", "cem"]).await;
    let bobs = server.client("bob").await.expect("a_group_created").await["data"].clone();
    let mut cem = server.client("cem").await;
    for id in [bobs["notification_id"].clone(), json!(fresh_id())] {
        let data = json!({"notification_id": id});
        assert_eq!(cem.refused("acknowledge_notification", data).await, "notification_not_found");
    }
    // His own, after these; also one that this session wasn't told of.
    let own = server.client("cem").await.expect("a_group_created").await["data"].clone();
    acknowledge(&mut cem, &own).await;
    server.client("cem").await.nothing(is_notification).await;
    assert_eq!(cem.refused("acknowledge_notification", json!({})).await, "bad_request");
    server.client("bob").await.expect("a_group_created").await;
}

/// To look for one tells of none.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_looked_for_another_notification_is_told_all_the_same() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let unknown = json!({"notification_id": fresh_id()});
    assert_eq!(bob.refused("acknowledge_notification", unknown).await, "notification_not_found");
    assert_eq!(notify(&mut ann, &group).await, (1, 0));
    assert_eq!(bob.expect("a_group_created").await["data"]["group"]["group_id"], group.as_str());
}
