//! `welcome`, subscriptions, resuming, and what is seen of a group by whom it ends for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parley_tests::chat::{assert_run, seq, seqs, text_data};
use parley_tests::{Client, Rest, Server, ServerOptions, Value, fresh_id, json};

async fn talk(client: &mut Client, group: &str, count: usize) {
    for n in 0..count {
        client.text(group, &format!("text {n}")).await;
    }
}

async fn add(rest: &Rest, group: &str, user: &str) {
    rest.must(200, "POST", &format!("/groups/{group}/members"), json!({"user_ids": [user]})).await;
}

async fn remove(rest: &Rest, group: &str, user: &str) {
    rest.must(204, "DELETE", &format!("/groups/{group}/members/{user}"), Value::Null).await;
}

/// The entry of a group in `resumed`: from, to, and the reason if it isn't complete.
fn resumed(answer: &Value, group: &str) -> Option<(u64, u64, Option<String>)> {
    let entry = answer["groups"].as_array().unwrap().iter().find(|entry| entry["group_id"] == group)?;
    let reason = entry["reset_reason"].as_str().map(str::to_owned);
    assert_eq!(entry["complete"], reason.is_none(), "{entry}");
    Some((entry["from_seq"].as_u64().unwrap(), entry["to_seq"].as_u64().unwrap(), reason))
}

fn reset(from: u64, to: u64, reason: &str) -> Option<(u64, u64, Option<String>)> {
    Some((from, to, Some(reason.to_owned())))
}

#[tokio::test(flavor = "multi_thread")]
async fn welcome_says_who_with_which_limits_and_where_one_stands() {
    let set = ["limits.sends_per_second=0", "limits.text_bytes=1000", "limits.user_sockets=7"];
    let server = Server::start_with(ServerOptions::set(&set)).await;
    let rest = server.rest("ann").await;
    let (one, two) = (rest.group("One", &["bob"]).await, rest.group("Two", &["bob"]).await);
    let (left, over) = (rest.group("Left", &["bob"]).await, rest.group("Over", &["bob"]).await);
    remove(&server.rest("bob").await, &left, "bob").await;
    rest.must(204, "DELETE", &format!("/groups/{over}"), Value::Null).await;
    let mut ann = server.client("ann").await;
    talk(&mut ann, &one, 3).await;
    let mut bob = server.client("bob").await;
    bob.text(&one, "mine").await;
    bob.acknowledge(&one, 4, "delivered").await;
    bob.acknowledge(&one, 2, "read").await;
    let welcome = server.client("bob").await.welcome;
    let fields = BTreeSet::from(["session_id", "user_id", "epoch", "server_time", "limits", "groups"]);
    assert_eq!(welcome.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<&str>>(), fields);
    assert_eq!((&welcome["user_id"], &welcome["epoch"]), (&json!("bob"), &ann.welcome["epoch"]));
    assert_ne!(welcome["session_id"], bob.welcome["session_id"]);
    let limits = json!({
        "sends_per_second": 0, "send_burst": 60, "text_bytes": 1000, "frame_bytes": 65536, "group_members": 100_000,
        "user_groups": 2000, "media_bytes": 104_857_600, "outbox_bytes": 1_048_576, "user_sockets": 7,
    });
    assert_eq!(welcome["limits"], limits);
    let mut groups = welcome["groups"].as_array().unwrap().clone();
    groups.sort_by_key(|group| group["group_id"] != one.as_str());
    let standing = |group: &str, head: u64, delivered: u64, read: u64, unread: u64| json!({"group_id": group, "head_seq": head, "delivered_seq": delivered, "read_seq": read, "unread": unread});
    assert_eq!(groups, [standing(&one, 5, 4, 2, 2), standing(&two, 1, 1, 1, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reconnects_is_subscribed_and_gets_what_was_not_delivered() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let (one, two) = (rest.group("One", &["bob"]).await, rest.group("Two", &["bob"]).await);
    let mut ann = server.client("ann").await;
    talk(&mut ann, &one, 5).await;
    talk(&mut ann, &two, 2).await;
    server.quiet_client("bob").await.acknowledge(&one, 3, "delivered").await;
    let mut bob = server.client("bob").await;
    let (mut announced, mut events) = (false, Vec::new());
    while events.len() < 5 {
        let frame = bob.read().await.unwrap();
        match frame["event"].as_str().unwrap() {
            "resumed" => {
                assert!(!announced && events.is_empty(), "one resumed, before the replays");
                assert!(frame.get("id").is_none());
                assert_eq!(resumed(&frame["data"], &one), Some((4, 6, None)));
                assert_eq!(resumed(&frame["data"], &two), Some((2, 3, None)));
                announced = true;
            }
            "group_message" => events.push(frame["data"].clone()),
            other => assert_eq!(other, "a_group_created"),
        }
    }
    assert!(announced);
    let (ones, twos): (Vec<Value>, Vec<Value>) =
        events.into_iter().partition(|event| event["group_id"] == one.as_str());
    assert_run(&ones, 4, 6, "one");
    assert_run(&twos, 2, 3, "two");
    ann.text(&one, "live").await;
    assert_eq!(bob.event_of(&one).await["text"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stores_messages_gets_nothing_before_it_resumes() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let (one, two) = (rest.group("One", &["bob"]).await, rest.group("Two", &["bob"]).await);
    let mut ann = server.client("ann").await;
    let mut bob = server.quiet_client("bob").await;
    assert_eq!(bob.welcome["groups"].as_array().unwrap().len(), 2);
    let epoch = bob.welcome["epoch"].clone();
    talk(&mut ann, &one, 4).await;
    talk(&mut ann, &two, 3).await;
    ann.events_to(&two, 4).await;
    bob.nothing(|frame| frame["event"] != "a_group_created").await;
    // Several frames add up; what is not named goes on from `delivered_seq`.
    let named = json!({"groups": [{"group_id": one, "epoch": epoch, "after_seq": 3}]});
    let answer = bob.must("resume", named, "resumed").await;
    assert_eq!(answer["groups"].as_array().unwrap().len(), 1);
    assert_eq!(resumed(&answer, &one), Some((4, 5, None)));
    assert_run(&bob.events(&one, 2).await, 4, 5, "named");
    bob.nothing_of(&two).await;
    let answer = bob.must("resume", json!({"all": true}), "resumed").await;
    assert_eq!(resumed(&answer, &two), Some((2, 4, None)));
    assert_run(&bob.events(&two, 3).await, 2, 4, "all");
    ann.text(&one, "live").await;
    ann.text(&two, "live").await;
    assert_run(&bob.events(&one, 1).await, 6, 6, "still there");
    assert_run(&bob.events(&two, 1).await, 5, 5, "live");
    // A client that has lost its state asks once more; the group that it named goes on from where it named.
    let answer = bob.must("resume", json!({"all": true}), "resumed").await;
    assert_eq!((resumed(&answer, &one), resumed(&answer, &two)), (None, Some((2, 5, None))));
    assert_run(&bob.events(&two, 4).await, 2, 5, "all again");
    // Unsubscribing takes the name back.
    bob.must("unsubscribe_from_group", json!({"group_id": one}), "unsubscribed_from_group").await;
    let answer = bob.must("resume", json!({"all": true}), "resumed").await;
    assert_eq!(resumed(&answer, &one), Some((2, 6, None)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_subscribed_by_connecting_can_ask_for_everything_again() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("One", &["bob"]).await;
    talk(&mut server.client("ann").await, &group, 3).await;
    let mut bob = server.client("bob").await;
    assert_run(&bob.events(&group, 3).await, 2, 4, "at the connection");
    let answer = bob.must("resume", json!({"all": true}), "resumed").await;
    assert_eq!(resumed(&answer, &group), Some((2, 4, None)));
    assert_run(&bob.events(&group, 3).await, 2, 4, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_is_answered_in_the_order_in_which_it_names() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let mut groups = Vec::new();
    for n in 0..5 {
        groups.push(rest.group(&format!("g{n}"), &["bob"]).await);
    }
    let mut bob = server.quiet_client("bob").await;
    let order = [2, 0, 4, 1].map(|n: usize| groups[n].clone());
    let epoch = bob.welcome["epoch"].clone();
    let entries: Vec<Value> =
        order.iter().map(|group| json!({"group_id": group, "epoch": epoch, "after_seq": 1})).collect();
    let answer = bob.must("resume", json!({"groups": entries, "all": true}), "resumed").await;
    let answered: Vec<&str> =
        answer["groups"].as_array().unwrap().iter().map(|one| one["group_id"].as_str().unwrap()).collect();
    assert_eq!(answered[..4], order);
    assert_eq!(answered[4..], [groups[3].as_str()], "and then all others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_where_it_is_told_to() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("One", &["bob"]).await;
    let mut ann = server.client("ann").await;
    talk(&mut ann, &group, 9).await;
    let mut bob = server.quiet_client("bob").await;
    bob.acknowledge(&group, 7, "delivered").await;
    bob.acknowledge(&group, 6, "read").await;
    let epoch = bob.welcome["epoch"].clone();
    let answer = bob.subscribe(&group, json!({})).await;
    let expected = json!({
        "group_id": group, "epoch": epoch, "head_seq": 10, "delivered_seq": 7, "read_seq": 6, "unread": 4,
        "role": "member", "from_seq": 8, "to_seq": 10, "complete": true,
    });
    assert_eq!(answer, expected);
    assert_run(&bob.events(&group, 3).await, 8, 10, "from delivered_seq");
    for (more, from, reason) in [
        (json!({"after_seq": 4}), 5, None),
        (json!({"after_seq": 4, "epoch": epoch}), 5, None),
        (json!({"after_seq": 10}), 11, None),
        (json!({"after_seq": 0}), 1, None),
        (json!({"after_seq": 4, "epoch": fresh_id()}), 1, Some("epoch_changed")),
        (json!({"after_seq": 11}), 1, Some("epoch_changed")),
        (json!({"after_seq": 2, "limit": 3}), 8, Some("limit")),
        (json!({"after_seq": 2, "limit": 8}), 3, None),
        (json!({"limit": 1}), 10, Some("limit")),
    ] {
        let answer = bob.subscribe(&group, more.clone()).await;
        assert_eq!((&answer["from_seq"], &answer["to_seq"]), (&json!(from), &json!(10)), "{more}");
        assert_eq!(answer["reset_reason"].as_str(), reason, "{more}");
        assert_eq!(answer["complete"], reason.is_none(), "{more}");
        let count = usize::try_from(11 - from).unwrap();
        assert_run(&bob.events(&group, count).await, from, 10, &more);
        bob.nothing_of(&group).await;
    }
    for more in
        [json!({"after_seq": -1}), json!({"after_seq": "1"}), json!({"epoch": "x"}), json!({"limit": -2})]
    {
        let mut data = more.clone();
        data["group_id"] = json!(group);
        assert_eq!(bob.refused("subscribe_to_group", data).await, "bad_request", "{more}");
    }
    assert_eq!(
        server.client("dan").await.refused("subscribe_to_group", json!({"group_id": group})).await,
        "not_a_member"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscription_replaces_the_first_without_gap_or_repeat() {
    const MESSAGES: u64 = 600;
    let server = Server::start().await;
    let group = server.rest("ann").await.group("One", &["bob"]).await;
    let mut ann = server.quiet_client("ann").await;
    let mut bob = server.quiet_client("bob").await;
    let sending = {
        let group = group.clone();
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                ann.send("send_group_message", text_data(&group, &n.to_string(), "x")).await;
            }
            for _ in 0..MESSAGES {
                ann.expect("group_message_accepted").await;
            }
        })
    };
    let (mut expected, mut asked, mut answered) = (0, 0, 0);
    for _ in 0..10 {
        bob.send("subscribe_to_group", json!({"group_id": group, "after_seq": 0})).await;
        asked += 1;
    }
    while answered < asked || expected <= MESSAGES + 1 {
        let frame = bob.read().await.unwrap();
        let data = &frame["data"];
        match frame["event"].as_str().unwrap() {
            "subscribed_to_group" => {
                answered += 1;
                expected = data["from_seq"].as_u64().unwrap();
            }
            "group_message" | "group_event" => {
                assert_eq!(seq(data), expected, "after answer {answered} of {asked}");
                expected += 1;
                if expected % 40 == 0 && asked < 40 {
                    asked += 1;
                    bob.send("subscribe_to_group", json!({"group_id": group, "after_seq": expected - 20}))
                        .await;
                }
            }
            _ => {}
        }
    }
    sending.await.unwrap();
    bob.nothing_of(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_tells_for_each_group_what_is_missing_and_why() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let mut ann = server.quiet_client("ann").await;
    let mut ids = Vec::new();
    for name in ["fine", "epoch", "beyond", "late", "gone", "over", "foreign", "unnamed"] {
        let members: &[&str] = if matches!(name, "late" | "foreign") { &[] } else { &["bob"] };
        let id = rest.group(name, members).await;
        talk(&mut ann, &id, 3).await;
        ids.push(id);
    }
    let [fine, epoch, beyond, late, gone, over, foreign, unnamed] = ids.as_slice() else { panic!() };
    let unknown = fresh_id();
    add(&rest, late, "bob").await;
    remove(&rest, gone, "bob").await;
    talk(&mut ann, gone, 1).await;
    rest.must(204, "DELETE", &format!("/groups/{over}"), Value::Null).await;
    let mut bob = server.quiet_client("bob").await;
    let (now, other) = (bob.welcome["epoch"].clone(), json!(fresh_id()));
    let from = |group: &str, epoch: &Value, after: u64| json!({"group_id": group, "epoch": epoch, "after_seq": after});
    let groups = json!([
        from(fine, &now, 2),
        from(epoch, &other, 2),
        from(beyond, &now, 99),
        from(late, &now, 1),
        from(gone, &now, 2),
        from(over, &now, 3),
        from(foreign, &now, 2),
        from(&unknown, &now, 7),
    ]);
    let expected = |limited: bool| {
        let limit = |from, to| if limited { reset(from, to, "limit") } else { None };
        [
            (fine, limit(4, 4).or(Some((3, 4, None)))),
            (epoch, reset(if limited { 4 } else { 1 }, 4, "epoch_changed")),
            (beyond, reset(if limited { 4 } else { 1 }, 4, "epoch_changed")),
            (late, reset(5, 5, "not_a_member")),
            (gone, reset(if limited { 5 } else { 3 }, 5, "not_a_member")),
            (over, reset(if limited { 5 } else { 4 }, 5, "group_dissolved")),
            (foreign, reset(3, 2, "not_a_member")),
            (&unknown, reset(8, 7, "group_not_found")),
            (unnamed, limit(4, 4).or(Some((2, 4, None)))),
        ]
    };
    for (bob, more) in [(&mut bob, json!({})), (&mut server.quiet_client("bob").await, json!({"limit": 1}))] {
        let (limited, mut data) = (more["limit"] == 1, more);
        data["groups"] = groups.clone();
        data["all"] = json!(true);
        let answer = bob.must("resume", data, "resumed").await;
        assert_eq!(answer["groups"].as_array().unwrap().len(), 9, "{answer}");
        for (group, entry) in expected(limited) {
            assert_eq!(resumed(&answer, group), entry, "{group} in {answer}");
            let (from, to, _) = entry.unwrap();
            if from <= to {
                assert_run(&bob.events_to(group, to).await, from, to, group);
            }
        }
        bob.nothing(|frame| matches!(frame["event"].as_str(), Some("group_message" | "group_event"))).await;
    }
    ann.text(fine, "live").await;
    assert_eq!(bob.event_of(fine).await["seq"], 5);
    let many: Vec<Value> = (0..501).map(|_| from(&unknown, &now, 0)).collect();
    assert_eq!(bob.refused("resume", json!({"groups": many})).await, "bad_request");
    assert_eq!(bob.refused("resume", json!({"groups": [{"group_id": fine}]})).await, "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_unsubscribes_gets_nothing_more_of_that_group_alone() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let (one, two) = (rest.group("One", &["bob"]).await, rest.group("Two", &["bob"]).await);
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    let mut bobs_other = server.client("bob").await;
    talk(&mut ann, &one, 2).await;
    assert_run(&bob.events(&one, 2).await, 2, 3, "before");
    let answer =
        bob.must("unsubscribe_from_group", json!({"group_id": one}), "unsubscribed_from_group").await;
    assert_eq!(answer["group_id"], one.as_str());
    talk(&mut ann, &one, 2).await;
    talk(&mut ann, &two, 1).await;
    assert_run(&bobs_other.events(&one, 4).await, 2, 5, "the other session");
    assert_run(&bob.events(&two, 1).await, 2, 2, "the other group");
    bob.nothing_of(&one).await;
    bob.subscribe(&one, json!({"after_seq": 3})).await;
    assert_run(&bob.events(&one, 2).await, 4, 5, "again");
    let data = json!({"group_id": one});
    let mut eve = server.client("eve").await;
    assert_eq!(eve.refused("unsubscribe_from_group", data.clone()).await, "not_a_member");
    let unknown = json!({"group_id": fresh_id()});
    assert_eq!(eve.refused("unsubscribe_from_group", unknown).await, "group_not_found");
    rest.must(204, "DELETE", &format!("/groups/{one}"), json!({})).await;
    assert_eq!(bob.event_of(&one).await["kind"], "group_dissolved");
    assert_eq!(bob.refused("unsubscribe_from_group", data).await, "group_dissolved");
}

/// Bob is away when a group ends for him: three messages, the end, and three more events if there can be.
async fn ends_while_away(server: &Server, end: &str, reason: &str) {
    let rest = server.rest("ann").await;
    let group = rest.group("One", &["bob", "cem"]).await;
    let mut ann = server.client("ann").await;
    talk(&mut ann, &group, 3).await;
    if end == "member_removed" {
        remove(&rest, &group, "bob").await;
        talk(&mut ann, &group, 3).await;
    } else {
        rest.must(204, "DELETE", &format!("/groups/{group}"), Value::Null).await;
    }
    let epoch = ann.welcome["epoch"].clone();
    for _ in 0..2 {
        let mut bob = server.client("bob").await;
        assert_eq!(bob.welcome["groups"], json!([]));
        assert_eq!(resumed(&bob.expect("resumed").await["data"], &group), reset(2, 5, reason));
        let events = bob.events(&group, 4).await;
        assert_run(&events, 2, 5, end);
        assert_eq!(events[3]["kind"], end);
        bob.nothing_of(&group).await;
        let mut quiet = server.quiet_client("bob").await;
        let groups = json!([{"group_id": group, "epoch": epoch, "after_seq": 4}]);
        let answer = quiet.must("resume", json!({"groups": groups}), "resumed").await;
        assert_eq!(resumed(&answer, &group), reset(5, 5, reason));
        assert_run(&quiet.events(&group, 1).await, 5, 5, end);
    }
    let mut bob = server.client("bob").await;
    assert_eq!(bob.acknowledge(&group, 5, "delivered").await["delivered_seq"], 5);
    let mut bob = server.client("bob").await;
    assert_eq!(resumed(&bob.expect("resumed").await["data"], &group), None);
    let groups = json!([{"group_id": group, "epoch": epoch, "after_seq": 1}]);
    let answer = bob.must("resume", json!({"groups": groups}), "resumed").await;
    let (from, to, why) = resumed(&answer, &group).unwrap();
    assert_eq!((from, why.as_deref()), (to + 1, Some(reason)), "{answer}");
    bob.nothing_of(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_while_away_gets_the_rest_until_it_is_acknowledged() {
    ends_while_away(&Server::start().await, "member_removed", "not_a_member").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_group_was_dissolved_while_away_gets_the_rest_until_it_is_acknowledged() {
    ends_while_away(&Server::start().await, "group_dissolved", "group_dissolved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_is_ones_own_removal_and_a_rejoining_begins_anew() {
    let server = Server::start().await;
    let rest = server.rest("ann").await;
    let group = rest.group("One", &["bob", "cem"]).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    talk(&mut ann, &group, 2).await;
    remove(&rest, &group, "bob").await;
    talk(&mut ann, &group, 2).await;
    let events = bob.events(&group, 3).await;
    assert_run(&events, 2, 4, "bob");
    let removal = json!({"kind": "member_removed", "actor": "ann", "count": 1, "user_ids": ["bob"]});
    for (name, value) in removal.as_object().unwrap() {
        assert_eq!(events[2][name], *value, "{}", events[2]);
    }
    ann.events_to(&group, 6).await;
    bob.nothing_of(&group).await;
    assert_eq!(bob.refused("send_group_message", text_data(&group, "c", "x")).await, "not_a_member");
    assert_eq!(bob.refused("subscribe_to_group", json!({"group_id": group})).await, "not_a_member");
    assert_eq!(bob.refused("typing", json!({"group_id": group})).await, "not_a_member");

    add(&rest, &group, "bob").await;
    talk(&mut ann, &group, 2).await;
    let answer = bob.subscribe(&group, json!({"after_seq": 0})).await;
    assert_eq!((&answer["from_seq"], &answer["reset_reason"]), (&json!(7), &json!("not_a_member")));
    assert_eq!(
        (&answer["delivered_seq"], &answer["read_seq"], &answer["unread"]),
        (&json!(7), &json!(7), &json!(2))
    );
    let events = bob.events(&group, 3).await;
    assert_run(&events, 7, 9, "from the last joining");
    assert_eq!((&events[0]["kind"], &events[0]["user_ids"]), (&json!("member_added"), &json!(["bob"])));
    assert_eq!(seqs(&server.rest("bob").await.history(&group, 50).await), [8, 9]);
    assert_eq!(seqs(&server.rest("cem").await.history(&group, 50).await), [2, 3, 5, 6, 8, 9]);

    rest.must(204, "DELETE", &format!("/groups/{group}"), Value::Null).await;
    for client in [&mut ann, &mut bob] {
        let events = client.events_to(&group, 10).await;
        assert_eq!(events.last().unwrap()["kind"], "group_dissolved");
    }
}

/// A replay may take its time: a ping that lies behind it can't be answered before the client has read up to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_over_a_slow_link_is_no_missing_pong() {
    const TEXTS: usize = 1_000;
    let server =
        Server::start_with(ServerOptions::set(&["limits.ping_seconds=1", "limits.sends_per_second=0"])).await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    server.quiet_client("ann").await.flood(&group, 0..TEXTS, 2_048).await;
    let mut bob = Client::open_narrow(&server.url, &server.token("bob").await, 16 * 1024).await.unwrap();
    let begun = Instant::now();
    let mut events = Vec::new();
    while events.len() < TEXTS {
        let frame = bob.read().await.expect("still connected");
        if frame["event"] == "group_message" {
            events.push(frame["data"].clone());
        }
        // 2 kB each: about 50 kB a second, so that more than 10 s lie between a ping and its pong.
        if begun.elapsed() < Duration::from_secs(15) {
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    assert!(begun.elapsed() > Duration::from_secs(12), "the link was slow");
    assert_run(&events, 2, u64::try_from(TEXTS).unwrap() + 1, "bob");
}
