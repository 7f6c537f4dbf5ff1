//! `group_event`: what a subscriber is told of each kind, exactly, live and in a replay.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use parley_tests::chat::{assert_run, assert_time, names};
use parley_tests::media::{lose_objects, picture, uploaded};
use parley_tests::{Rest, Server, Value, json};

/// What is a kind's own in an event, once what all have was looked at.
fn own(event: &Value, group: &str, epoch: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    let mut take = |name: &str| fields.remove(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((take("event"), take("group_id")), (json!("group_event"), json!(group)));
    assert_eq!(take("epoch"), *epoch);
    assert_time(&take("created_at"));
    let position = take("position");
    assert!(position["partition"].is_u64() && position["offset"].is_u64(), "{position}");
    assert_eq!(position.as_object().unwrap().len(), 2, "{position}");
    event
}

/// A picture by `sender` whose object is gone by the time that somebody asks for it; the message's id.
async fn a_picture_is_lost(server: &Server, group: &str, sender: &str, reader: &Rest) -> Value {
    let upload = uploaded(&server.rest(sender).await, group, "image/png", b"bytes").await;
    let mut socket = server.quiet_client(sender).await;
    let data = picture(group, "p", &upload);
    let accepted = socket.must("send_group_message", data, "group_message_accepted").await;
    assert!(lose_objects(server) > 0);
    let path = format!("/media/{}", upload["media_id"].as_str().unwrap());
    assert_eq!(reader.refused("GET", &path, None).await, (404, "media_not_found".to_owned()));
    accepted["message_id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_group_event_is_told_exactly_and_replayed_as_it_was_told() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let group = ann.group("Crew", &["bob"]).await;
    let path = format!("/groups/{group}");
    let mut live = server.quiet_client("bob").await;
    let epoch = live.welcome["epoch"].clone();
    live.subscribe(&group, json!({"after_seq": 0})).await;

    ann.must(200, "POST", &format!("{path}/members"), json!({"user_ids": ["cem", "bob", "dan"]})).await;
    ann.must(200, "PUT", &format!("{path}/members/bob/role"), json!({"role": "admin"})).await;
    bob.must(200, "PATCH", &path, json!({"name": "Gang"})).await;
    let lost = a_picture_is_lost(&server, &group, "cem", &bob).await;
    // It comes by itself, in its own time.
    let mut events = live.events_to(&group, 6).await;
    ann.must(200, "PUT", &format!("{path}/owner"), json!({"user_id": "bob"})).await;
    bob.must(200, "PUT", &format!("{path}/members/ann/role"), json!({"role": "member"})).await;
    bob.must(204, "DELETE", &format!("{path}/members/cem"), Value::Null).await;
    ann.must(204, "DELETE", &format!("{path}/members/ann"), Value::Null).await;
    bob.must(204, "DELETE", &path, Value::Null).await;
    events.extend(live.events_to(&group, 11).await);
    assert_run(&events, 1, 11, "bob");

    let picture = events.remove(4);
    assert_eq!((&picture["event"], &picture["message_id"]), (&json!("group_message"), &lost));
    let told: Vec<Value> = events.iter().map(|event| own(event, &group, &epoch)).collect();
    let expected = [
        json!({"seq": 1, "actor": "ann", "kind": "group_created"}),
        json!({"seq": 2, "actor": "ann", "kind": "member_added", "count": 2, "user_ids": ["cem", "dan"]}),
        json!({"seq": 3, "actor": "ann", "kind": "role_changed", "user_id": "bob", "role": "admin"}),
        json!({"seq": 4, "actor": "bob", "kind": "group_updated", "name": "Gang", "description": ""}),
        json!({"seq": 6, "actor": "cem", "kind": "message_rolled_back", "message_id": lost, "reason": "media_missing"}),
        json!({"seq": 7, "actor": "ann", "kind": "owner_transferred", "owner": "bob"}),
        json!({"seq": 8, "actor": "bob", "kind": "role_changed", "user_id": "ann", "role": "member"}),
        json!({"seq": 9, "actor": "bob", "kind": "member_removed", "count": 1, "user_ids": ["cem"]}),
        json!({"seq": 10, "actor": "ann", "kind": "member_removed", "count": 1, "user_ids": ["ann"]}),
        json!({"seq": 11, "actor": "bob", "kind": "group_dissolved"}),
    ];
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len());

    // He has acknowledged nothing: all but his joining comes again.
    let mut replayed = server.client("bob").await.events_to(&group, 11).await;
    let picture = replayed.remove(3);
    assert_eq!(picture["withheld"], "rolled_back", "{picture}");
    assert_eq!(replayed, events[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_who_are_added_at_once_all_are_counted_and_a_hundred_named() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.group("Crowd", &["bob"]).await;
    let (mut bob, users) = (server.client("bob").await, names("u", 1_000));
    ann.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": users})).await;
    let event = bob.event_of(&group).await;
    assert_eq!((&event["kind"], &event["count"]), (&json!("member_added"), &json!(1_000)));
    assert_eq!(event["user_ids"], json!(users[..100]));
    let mut last = server.client("u0999").await;
    last.subscribe(&group, json!({"after_seq": 0})).await;
    assert_eq!(last.event_of(&group).await, event, "who isn't among them is told the same");
}
