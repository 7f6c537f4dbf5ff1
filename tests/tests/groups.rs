//! Groups through REST: made, changed, joined, left, ended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use parley_tests::chat::{assert_time, head, is, names, text_data};
use parley_tests::{Server, Value, fresh_id, json};

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn roles(group: &Value) -> Vec<(&str, &str)> {
    let members = group["members"].as_array().unwrap();
    members.iter().map(|m| (m["user_id"].as_str().unwrap(), m["role"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_group_comes_back_whole() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let wish =
        json!({"name": "Crew", "description": "of the ship", "members": ["bob", "ann", "zoë /?", "bob"]});
    let made = ann.must(201, "POST", "/groups", wish).await;
    let fields = "group_id name description owner created_by created_at updated_at member_count members head_seq epoch";
    assert_eq!(keys(&made), fields.split(' ').collect());
    assert_eq!((&made["name"], &made["description"]), (&json!("Crew"), &json!("of the ship")));
    assert_eq!((&made["owner"], &made["created_by"]), (&json!("ann"), &json!("ann")));
    assert_eq!((&made["member_count"], &made["head_seq"]), (&json!(3), &json!(1)));
    assert_eq!(roles(&made), [("ann", "owner"), ("bob", "member"), ("zoë /?", "member")]);
    assert_eq!(keys(&made["members"][0]), BTreeSet::from(["user_id", "role", "joined_at"]));
    assert_eq!(made["members"][1]["joined_at"], made["created_at"]);
    assert_eq!(made["created_at"], made["updated_at"]);
    assert_time(&made["created_at"]);
    let id = made["group_id"].as_str().unwrap();
    assert_eq!(id.as_bytes()[14], b'7', "a UUIDv7: {id}");
    assert_eq!(made["epoch"], server.client("ann").await.welcome["epoch"]);
    assert_eq!(bob.get(&format!("/groups/{id}")).await, made);
    let plain = ann.must(201, "POST", "/groups", json!({"name": "No more", "members": []})).await;
    assert_eq!((&plain["description"], &plain["member_count"]), (&json!(""), &json!(1)));
    ann.must(204, "DELETE", &format!("/groups/{id}/members/zo%C3%AB%20%2F%3F"), Value::Null).await;
    assert_eq!(roles(&ann.get(&format!("/groups/{id}")).await), [("ann", "owner"), ("bob", "member")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_group_is_refused() {
    let server = Server::start().await;
    let ann = server.rest("ann").await;
    for body in [
        json!({"members": []}),
        json!({"name": "", "members": []}),
        json!({"name": 5, "members": []}),
        json!({"name": "x", "members": "bob"}),
        json!({"name": "x", "members": [""]}),
        json!({"name": "x", "members": ["a\u{7}"]}),
        json!({"name": "x", "members": ["x".repeat(129)]}),
        json!({"name": "x", "members": [], "group_id": "7"}),
        json!({"name": "x", "members": names("u", 1_001)}),
        json!([]),
    ] {
        is(&ann, "POST", "/groups", body, 400, "bad_request").await;
    }
    assert_eq!(ann.get("/groups").await["groups"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_group_again_is_the_same_group_and_another_is_a_conflict() {
    let mut server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let (id, key) = (fresh_id(), [("idempotency-key", "k1")]);
    let wish = json!({"name": "One", "members": ["bob"], "group_id": id});
    let made = ann.must(201, "POST", "/groups", wish.clone()).await;
    assert_eq!(made["group_id"], id.as_str());
    assert_eq!(ann.must(200, "POST", "/groups", wish.clone()).await, made);
    let other = json!({"name": "Two", "members": ["bob"], "group_id": id});
    is(&ann, "POST", "/groups", other.clone(), 409, "idempotency_conflict").await;
    is(&bob, "POST", "/groups", wish.clone(), 409, "idempotency_conflict").await;

    // With the header alone.
    let plain = json!({"name": "One", "members": ["bob"]});
    let (status, keyed) = ann.call_with("POST", "/groups", Some(plain.clone()), &key).await;
    assert_eq!(status, 201, "{keyed}");
    let (status, again) = ann.call_with("POST", "/groups", Some(plain.clone()), &key).await;
    assert_eq!((status, &again), (200, &keyed));
    let (status, conflict) =
        ann.call_with("POST", "/groups", Some(json!({"name": "Two", "members": ["bob"]})), &key).await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &json!("idempotency_conflict")));
    let (status, bobs) = bob.call_with("POST", "/groups", Some(plain.clone()), &key).await;
    assert_eq!(status, 201, "a key is one's own: {bobs}");
    assert_ne!(bobs["group_id"], keyed["group_id"]);

    // With both, group_id decides.
    let (status, both) = ann.call_with("POST", "/groups", Some(wish.clone()), &key).await;
    assert_eq!((status, &both["group_id"]), (200, &json!(id)));
    let (status, conflict) =
        ann.call_with("POST", "/groups", Some(other), &[("idempotency-key", "k2")]).await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &json!("idempotency_conflict")));
    assert_eq!(
        (&conflict["error"]["retryable"], conflict["error"]["message"].is_string()),
        (&json!(false), true)
    );

    // For good: after changes, and after a restart.
    let changed = ann.must(200, "PATCH", &format!("/groups/{id}"), json!({"name": "Renamed"})).await;
    server.terminate().await;
    server.restart().await;
    let ann = server.rest("ann").await;
    assert_eq!(ann.must(200, "POST", "/groups", wish).await, changed);
    let (status, again) = ann.call_with("POST", "/groups", Some(plain), &key).await;
    assert_eq!((status, &again["group_id"]), (200, &keyed["group_id"]));
    assert_eq!(ann.get("/groups").await["groups"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_who_has_left_learns_nothing_new_by_creating_again() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let wish = json!({"name": "Old", "members": ["bob", "bob"], "group_id": fresh_id()});
    let made = ann.must(201, "POST", "/groups", wish.clone()).await;
    let path = format!("/groups/{}", made["group_id"].as_str().unwrap());
    ann.must(200, "PUT", &format!("{path}/owner"), json!({"user_id": "bob"})).await;
    ann.must(204, "DELETE", &format!("{path}/members/ann"), Value::Null).await;
    bob.must(200, "PATCH", &path, json!({"name": "Secret"})).await;
    bob.must(200, "POST", &format!("{path}/members"), json!({"user_ids": ["cem"]})).await;
    assert_eq!(ann.must(200, "POST", "/groups", wish).await, made, "as it was made");
    is(&ann, "GET", &path, Value::Null, 403, "not_a_member").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_admins_change_a_group_and_members_do_not() {
    let server = Server::start().await;
    let (ann, bob, cem) = (server.rest("ann").await, server.rest("bob").await, server.rest("cem").await);
    let id = ann.group("One", &["bob", "cem"]).await;
    let group = format!("/groups/{id}");
    ann.must(200, "PUT", &format!("{group}/members/bob/role"), json!({"role": "admin"})).await;
    let changed = ann.must(200, "PATCH", &group, json!({"name": "Two"})).await;
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["head_seq"]),
        (&json!("Two"), &json!(""), &json!(3))
    );
    let changed = bob.must(200, "PATCH", &group, json!({"description": "by bob"})).await;
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Two"), &json!("by bob")));
    is(&cem, "PATCH", &group, json!({"name": "Three"}), 403, "forbidden").await;
    is(&ann, "PATCH", &group, json!({"name": ""}), 400, "bad_request").await;
    is(&ann, "PATCH", &group, json!({"name": 3}), 400, "bad_request").await;
    is(&server.rest("dan").await, "PATCH", &group, json!({"name": "Three"}), 403, "not_a_member").await;
    assert_eq!(
        ann.must(200, "PATCH", &group, json!({"name": "Two"})).await["head_seq"],
        4,
        "nothing changed"
    );
    assert_eq!(head(&cem, &id).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_add_remove_and_leave() {
    let server = Server::start().await;
    let (ann, bob, cem) = (server.rest("ann").await, server.rest("bob").await, server.rest("cem").await);
    let id = ann.group("One", &["bob", "cem", "eva"]).await;
    let (members, role) = (format!("/groups/{id}/members"), format!("/groups/{id}/members/bob/role"));
    let of = |user: &str| format!("/groups/{id}/members/{user}");
    is(&cem, "PUT", &role, json!({"role": "admin"}), 403, "forbidden").await;
    is(&ann, "PUT", &role, json!({"role": "owner"}), 400, "bad_request").await;
    is(&ann, "PUT", &format!("{}/role", of("nobody")), json!({"role": "admin"}), 404, "member_not_found")
        .await;
    ann.must(200, "PUT", &role, json!({"role": "admin"})).await;
    let with_eva = ann.must(200, "PUT", &format!("{}/role", of("eva")), json!({"role": "admin"})).await;
    let expected = [("ann", "owner"), ("bob", "admin"), ("cem", "member"), ("eva", "admin")];
    assert_eq!(roles(&with_eva), expected);
    is(&bob, "PUT", &format!("{}/role", of("cem")), json!({"role": "admin"}), 403, "forbidden").await;

    is(&cem, "POST", &members, json!({"user_ids": ["dan"]}), 403, "forbidden").await;
    let added = bob.must(200, "POST", &members, json!({"user_ids": ["dan", "cem", "dan", "fay"]})).await;
    assert_eq!((&added["member_count"], &added["head_seq"]), (&json!(6), &json!(4)));
    let same = bob.must(200, "POST", &members, json!({"user_ids": ["dan", "cem"]})).await;
    assert_eq!(
        (&same["member_count"], &same["head_seq"]),
        (&json!(6), &json!(4)),
        "those in already are skipped"
    );
    is(&ann, "POST", &members, json!({"user_ids": []}), 400, "bad_request").await;
    is(&ann, "POST", &members, json!({"user_ids": ["ok", ""]}), 400, "bad_request").await;
    is(&ann, "POST", &members, json!({"user_ids": names("u", 1_001)}), 400, "bad_request").await;
    assert_eq!(head(&ann, &id).await, 4, "all or none");

    is(&cem, "DELETE", &of("dan"), Value::Null, 403, "forbidden").await;
    is(&bob, "DELETE", &of("ann"), Value::Null, 403, "forbidden").await;
    is(&bob, "DELETE", &of("eva"), Value::Null, 403, "forbidden").await;
    is(&bob, "DELETE", &of("nobody"), Value::Null, 404, "member_not_found").await;
    is(&ann, "DELETE", &of("ann"), Value::Null, 409, "owner_must_transfer").await;
    bob.must(204, "DELETE", &of("dan"), Value::Null).await;
    cem.must(204, "DELETE", &of("cem"), Value::Null).await;
    ann.must(204, "DELETE", &of("eva"), Value::Null).await;
    is(&cem, "DELETE", &of("cem"), Value::Null, 403, "not_a_member").await;
    is(&cem, "GET", &format!("/groups/{id}"), Value::Null, 403, "not_a_member").await;
    is(&ann, "DELETE", &of("cem"), Value::Null, 404, "member_not_found").await;
    let left = ann.get(&format!("/groups/{id}")).await;
    assert_eq!(roles(&left), [("ann", "owner"), ("bob", "admin"), ("fay", "member")]);
    assert_eq!((&left["member_count"], &left["head_seq"]), (&json!(3), &json!(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_hands_over_and_can_leave_then() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let id = ann.group("One", &["bob"]).await;
    let owner = format!("/groups/{id}/owner");
    is(&bob, "PUT", &owner, json!({"user_id": "bob"}), 403, "forbidden").await;
    is(&ann, "PUT", &owner, json!({"user_id": "dan"}), 404, "member_not_found").await;
    is(&ann, "PUT", &owner, json!({}), 400, "bad_request").await;
    let handed = ann.must(200, "PUT", &owner, json!({"user_id": "bob"})).await;
    assert_eq!((&handed["owner"], &handed["created_by"]), (&json!("bob"), &json!("ann")));
    assert_eq!(roles(&handed), [("ann", "admin"), ("bob", "owner")]);
    is(&ann, "DELETE", &format!("/groups/{id}"), Value::Null, 403, "forbidden").await;
    is(&bob, "DELETE", &format!("/groups/{id}/members/bob"), Value::Null, 409, "owner_must_transfer").await;
    ann.must(204, "DELETE", &format!("/groups/{id}/members/ann"), Value::Null).await;
    is(&ann, "GET", &format!("/groups/{id}"), Value::Null, 403, "not_a_member").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dissolved_group_is_gone_for_its_members_and_still_no_business_of_strangers() {
    let server = Server::start().await;
    let (ann, bob) = (server.rest("ann").await, server.rest("bob").await);
    let id = ann.group("One", &["bob"]).await;
    let group = format!("/groups/{id}");
    let message = server.client("ann").await.text(&id, "the last").await;
    let (message_id, unknown) = (message["message_id"].as_str().unwrap(), fresh_id());
    is(&bob, "DELETE", &group, Value::Null, 403, "forbidden").await;
    ann.must(204, "DELETE", &group, Value::Null).await;
    let upload = |id: &str| {
        let sha256 = "00".repeat(32);
        json!({"group_id": id, "content_type": "image/png", "content_length": 1, "sha256": sha256})
    };
    for (user, id, status, code) in [
        ("ann", &id, 410, "group_dissolved"),
        ("bob", &id, 410, "group_dissolved"),
        ("dan", &id, 403, "not_a_member"),
        ("ann", &unknown, 404, "group_not_found"),
    ] {
        let (rest, group) = (server.rest(user).await, format!("/groups/{id}"));
        for (method, path, body) in [
            ("GET", group.clone(), Value::Null),
            ("GET", format!("{group}/members"), Value::Null),
            ("GET", format!("{group}/messages"), Value::Null),
            ("GET", format!("{group}/messages/{message_id}/status"), Value::Null),
            ("PATCH", group.clone(), json!({"name": "x"})),
            ("POST", format!("{group}/members"), json!({"user_ids": ["eva"]})),
            ("DELETE", format!("{group}/members/bob"), Value::Null),
            ("PUT", format!("{group}/owner"), json!({"user_id": "bob"})),
            ("PUT", format!("{group}/members/bob/role"), json!({"role": "admin"})),
            ("DELETE", group.clone(), Value::Null),
            ("POST", "/media/uploads".to_owned(), upload(id)),
        ] {
            is(&rest, method, &path, body, status, code).await;
        }
        let mut socket = server.client(user).await;
        assert_eq!(socket.welcome["groups"], json!([]));
        for (event, data) in [
            ("subscribe_to_group", json!({"group_id": id})),
            ("send_group_message", text_data(id, "c", "too late")),
            ("notify_create_group", json!({"group_id": id})),
            ("typing", json!({"group_id": id})),
            ("acknowledge_group_message", json!({"group_id": id, "message_id": message_id})),
        ] {
            assert_eq!(socket.refused(event, data).await, code, "{event} by {user}");
        }
    }
    assert_eq!(bob.get("/groups").await["groups"], json!([]));
}
