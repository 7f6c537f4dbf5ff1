//! Read models that are late, and owners of partitions that say nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parley_domain::{GroupId, NotificationKind, Timestamp, UserId};
use parley_wire::service::{Audience, GroupSummary, Notice, Notices as _};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

fn notice(users: &[&str]) -> Notice {
    let user = |name: &str| UserId::parse(name).unwrap();
    let now = Timestamp(1_000);
    let group = GroupSummary {
        group_id: GroupId::from_bytes([7; 16]),
        name: "Tea".into(),
        description: String::new(),
        owner: user("ann"),
        created_by: user("ann"),
        created_at: now,
        updated_at: now,
        member_count: 3,
        head: 1,
    };
    Notice {
        group,
        kind: NotificationKind::Created,
        added_by: user("ann"),
        seq: 1,
        at: now,
        users: users.iter().map(|name| user(name)).collect(),
        audience: Audience::All,
    }
}

/// Invariant: a read never answers silently from what is old.
#[tokio::test]
async fn reads_wait_for_the_read_models_and_are_refused_if_these_do_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), false).await;
    for path in ["groups", "groups/018f3c1e-0000-7000-8000-000000000001"] {
        let (status, retry_after, body) = world.ask("GET", path, Value::Null).await;
        assert_eq!((status, &body["error"]["code"]), (503, &json!("unavailable")), "{path}: {body}");
        assert_eq!(body["error"]["retryable"], true, "{body}");
        assert!(retry_after.unwrap().parse::<u64>().unwrap() >= 1, "{path}");
    }
    world.projectors.0.store(true, Ordering::Relaxed);
    assert_eq!(world.ask("GET", "groups", Value::Null).await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_welcomed_learns_why_and_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), false).await;
    let (frames, closed) = world.frames("", usize::MAX).await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!((&frames[0]["event"], &frames[0]["data"]["code"]), (&json!("error"), &json!("unavailable")));
    assert_eq!(u16::from(closed.unwrap().code), 3001);
    world.stop().await;
}

#[tokio::test]
async fn a_write_that_nobody_answers_for_has_an_unknown_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), true).await;
    let (status, _, body) = world.ask("POST", "groups", json!({"name": "Tea", "members": ["bob"]})).await;
    assert_eq!((status, &body["error"]["code"]), (504, &json!("outcome_unknown")), "{body}");
    assert_eq!(world.owners.0.lock().len(), 1, "it was asked for, once");
    world.stop().await;
}

#[tokio::test]
async fn members_online_are_told_of_a_group_without_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), true).await;
    let reading = world.frames("?replay=none", 2);
    let telling = async {
        // Nobody is told before there is somebody.
        let telling = async {
            while world.hub.notify(notice(&["bob", "carl"])).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, telling).await.expect("bob is online");
    };
    let ((frames, _), ()) = tokio::join!(reading, telling);
    let names: Vec<&Value> = frames.iter().map(|frame| &frame["event"]).collect();
    assert_eq!(names, ["welcome", "a_group_created"]);
    assert_eq!(frames[1]["data"]["group"]["name"], "Tea", "{frames:?}");
    world.stop().await;
}
