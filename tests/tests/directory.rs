//! Lists in pages, limits of groups and of users, and profiles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use parley_tests::chat::{assert_time, head, is, names};
use parley_tests::{Server, ServerOptions, Value, fresh_id, json};

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_added_a_thousand_a_call_and_listed_in_pages() {
    let server = Server::start().await;
    let (ann, all) = (server.rest("ann").await, names("u", 5_000));
    let group = ann.must(201, "POST", "/groups", json!({"name": "Crowd", "members": all[..1_000]})).await;
    let path = format!("/groups/{}", group["group_id"].as_str().unwrap());
    for (n, thousand) in (2..).zip(all[1_000..].chunks(1_000)) {
        for _ in 0..2 {
            let wish = json!({"user_ids": thousand});
            let added = ann.must(200, "POST", &format!("{path}/members"), wish).await;
            assert_eq!((&added["member_count"], &added["head_seq"]), (&json!(n * 1_000 + 1), &json!(n)));
        }
    }
    let shown = ann.get(&path).await;
    assert_eq!((shown["members"].as_array().unwrap().len(), &shown["member_count"]), (100, &json!(5_001)));
    let (members, pages) = ann.all_pages(&format!("{path}/members"), "members", 200).await;
    assert_eq!(pages, 26);
    let listed: Vec<&str> = members.iter().map(|member| member["user_id"].as_str().unwrap()).collect();
    let expected: Vec<&str> = std::iter::once("ann").chain(all.iter().map(String::as_str)).collect();
    assert_eq!(listed, expected);
    assert!(members.iter().all(|member| keys(member) == BTreeSet::from(["user_id", "role", "joined_at"])));
    is(&ann, "GET", &format!("{path}/members?limit=0"), Value::Null, 400, "bad_request").await;
    is(&ann, "GET", &format!("{path}/members?cursor=!"), Value::Null, 400, "bad_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_cursors_are_listed_up_to_200_members() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    let group = ann.must(201, "POST", "/groups", json!({"name": "200", "members": names("u", 199)})).await;
    let members = format!("/groups/{}/members", group["group_id"].as_str().unwrap());
    let listed = ann.get(&format!("{members}?limit=200")).await;
    assert_eq!((listed["members"].as_array().unwrap().len(), &listed["next_cursor"]), (200, &Value::Null));
    for member in listed["members"].as_array().unwrap() {
        assert_eq!((&member["delivered_seq"], &member["read_seq"]), (&json!(1), &json!(1)), "{member}");
    }
    ann.must(200, "POST", &members, json!({"user_ids": ["one more"]})).await;
    let (listed, pages) = ann.all_pages(&members, "members", 50).await;
    assert_eq!((listed.len(), pages), (201, 5));
    assert!(
        listed.iter().all(|member| member.get("delivered_seq").is_none() && member.get("read_seq").is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_group_takes_nobody_and_all_or_none_are_added() {
    let server = Server::start_with(ServerOptions::set(&["limits.group_members=4"])).await;
    let ann = server.rest("ann").await;
    is(&ann, "POST", "/groups", json!({"name": "x", "members": ["a", "b", "c", "d"]}), 409, "group_full")
        .await;
    let id = ann.group("x", &["a", "b"]).await;
    let members = format!("/groups/{id}/members");
    is(&ann, "POST", &members, json!({"user_ids": ["c", "d"]}), 409, "group_full").await;
    assert_eq!(head(&ann, &id).await, 1);
    ann.must(200, "POST", &members, json!({"user_ids": ["a", "c"]})).await;
    is(&ann, "POST", &members, json!({"user_ids": ["d"]}), 409, "group_full").await;
    ann.must(204, "DELETE", &format!("{members}/a"), Value::Null).await;
    ann.must(200, "POST", &members, json!({"user_ids": ["d"]})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_in_so_many_groups_and_no_more() {
    let server = Server::start_with(ServerOptions::set(&["limits.user_groups=2"])).await;
    let (ann, cem) = (server.rest("ann").await, server.rest("cem").await);
    let wish = json!({"name": "one", "members": ["bob"], "group_id": fresh_id()});
    let one = ann.must(201, "POST", "/groups", wish.clone()).await;
    ann.group("two", &["bob"]).await;
    let wished = json!({"name": "three", "members": []});
    is(&ann, "POST", "/groups", wished.clone(), 409, "too_many_groups").await;
    is(&cem, "POST", "/groups", json!({"name": "three", "members": ["bob"]}), 409, "too_many_groups").await;
    assert_eq!(
        ann.must(200, "POST", "/groups", wish).await["group_id"],
        one["group_id"],
        "a repeat is none more"
    );
    let id = cem.group("three", &[]).await;
    is(
        &cem,
        "POST",
        &format!("/groups/{id}/members"),
        json!({"user_ids": ["dan", "bob"]}),
        409,
        "too_many_groups",
    )
    .await;
    assert_eq!(head(&cem, &id).await, 1);
    ann.must(204, "DELETE", &format!("/groups/{}", one["group_id"].as_str().unwrap()), Value::Null).await;
    cem.must(200, "POST", &format!("/groups/{id}/members"), json!({"user_ids": ["dan", "bob"]})).await;
    ann.must(201, "POST", "/groups", wished).await;
}

/// However many ask at once: as many as fit are taken, all others are told why not.
#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_moment_cannot_pass_the_limit_of_a_users_groups_together() {
    let server = Server::start_with(ServerOptions::set(&["limits.user_groups=5"])).await;
    let ann = server.rest("ann").await;
    let made =
        futures::future::join_all(
            (0..16).map(|n| {
                let ann = &ann;
                async move {
                    ann.call("POST", "/groups", Some(json!({"name": format!("g{n}"), "members": []}))).await
                }
            }),
        )
        .await;
    let count = |answers: &[(u16, Value)], status: u16| answers.iter().filter(|one| one.0 == status).count();
    assert_eq!((count(&made, 201), count(&made, 409)), (5, 11), "{made:?}");
    assert_eq!(ann.get("/groups").await["groups"].as_array().unwrap().len(), 5);
    // Somebody who is added by others.
    let mut owners = Vec::new();
    for n in 0..8 {
        let owner = server.rest(&format!("owner{n}")).await;
        let group = owner.group("g", &[]).await;
        owners.push((owner, group));
    }
    let added = futures::future::join_all(owners.iter().map(|(owner, group)| async move {
        let body = json!({"user_ids": ["bob", "cem"]});
        owner.call("POST", &format!("/groups/{group}/members"), Some(body)).await
    }))
    .await;
    assert_eq!((count(&added, 200), count(&added, 409)), (5, 3), "{added:?}");
    assert_eq!(server.rest("cem").await.get("/groups").await["groups"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_groups_are_listed_in_pages_with_cursors_and_last_message() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(ann.group(&format!("g{n}"), &["bob"]).await);
    }
    ann.group("not bob's", &["cem"]).await;
    bob.must(204, "DELETE", &format!("/groups/{}/members/bob", ids.pop().unwrap()), Value::Null).await;
    let mut socket = server.quiet_client("ann").await;
    socket.text(&ids[2], "first").await;
    let last = socket.text(&ids[2], "last").await;
    let (groups, pages) = bob.all_pages("/groups", "groups", 2).await;
    assert_eq!(pages, 3);
    let mut listed: Vec<&str> = groups.iter().map(|group| group["group_id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(listed, ids);
    for group in &groups {
        assert!(group.get("members").is_none() && group["member_count"] == 2, "{group}");
        assert_eq!((&group["delivered_seq"], &group["read_seq"]), (&json!(1), &json!(1)));
        let talked = group["group_id"] == last["group_id"];
        let (head, unread) = if talked { (3, 2) } else { (1, 0) };
        assert_eq!((&group["head_seq"], &group["unread"]), (&json!(head), &json!(unread)));
        let message = &group["last_message"];
        assert_eq!(message.is_null(), !talked, "{message}");
        if talked {
            assert_eq!((&message["text"], &message["message_id"]), (&json!("last"), &last["message_id"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_set_by_oneself_and_seen_by_all() {
    let mut server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    assert_eq!(ann.get("/users/me").await["user_id"], "ann");
    is(&ann, "GET", "/users/nobody", Value::Null, 404, "user_not_found").await;
    assert_eq!(ann.get("/users/ann").await, ann.get("/users/me").await, "whatever one is called");
    ann.group("g", &["cem"]).await;
    let cems = ann.get("/users/cem").await;
    assert_eq!((&cems["user_id"], &cems["display_name"]), (&json!("cem"), &json!("cem")), "members have one");
    let wish = json!({"display_name": "Ann 🦜", "avatar_url": "https://example.com/a.png"});
    let set = ann.must(200, "PUT", "/users/me", wish).await;
    assert_eq!(keys(&set), BTreeSet::from(["user_id", "display_name", "avatar_url", "updated_at"]));
    assert_eq!((&set["user_id"], &set["display_name"]), (&json!("ann"), &json!("Ann 🦜")));
    assert_time(&set["updated_at"]);
    assert_eq!(bob.get("/users/ann").await, set);
    assert_eq!(ann.get("/users/me").await, set);
    is(&ann, "PUT", "/users/me", json!({"display_name": ""}), 400, "bad_request").await;
    is(&ann, "PUT", "/users/me", json!({}), 400, "bad_request").await;
    server.kill().await;
    server.restart().await;
    assert_eq!(server.rest("bob").await.get("/users/ann").await, set, "after a crash too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_fifty_entries_unless_told_otherwise_and_two_hundred_at_most() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    for some in names("g", 200).chunks(20) {
        futures::future::join_all(some.iter().map(|name| ann.group(name, &[]))).await;
    }
    let crowd = ann.must(201, "POST", "/groups", json!({"name": "Crowd", "members": names("u", 201)})).await;
    let group = crowd["group_id"].as_str().unwrap();
    let message = server.quiet_client("ann").await.text(group, "hello").await;
    let statuses = format!("/groups/{group}/messages/{}/status", message["message_id"].as_str().unwrap());
    for (path, field) in
        [("/groups", "groups"), (&format!("/groups/{group}/members"), "members"), (&statuses, "statuses")]
    {
        for (query, expected) in [("", 50), ("?limit=200", 200), ("?limit=201", 200), ("?limit=100000", 200)]
        {
            let page = ann.get(&format!("{path}{query}")).await;
            assert_eq!(page[field].as_array().unwrap().len(), expected, "{path}{query}");
            assert!(page["next_cursor"].is_string(), "{path}{query}: there are more than 200");
        }
    }
}
