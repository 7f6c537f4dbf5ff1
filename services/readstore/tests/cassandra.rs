//! The Cassandra provider against the suite, on a real cluster: `PARLEY_TEST_CASSANDRA` is its `host:port`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests; the helpers outside of test functions, too"
)]
#![cfg(feature = "cassandra")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parley_domain::{Epoch, GroupId, MessageId, Position, ProfileChanged, Row, Timestamp, UserId, Validity};
use parley_readstore::conformance::{self, World, apply};
use parley_readstore::providers::cassandra::{CassandraOptions, CassandraReadStore};
use parley_readstore::{Checkpoint, Error, MessageKey, ReadStore, Source, Write};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

const EPOCH: Epoch = Epoch(uuid::Uuid::from_u128(7));

fn node() -> String {
    std::env::var("PARLEY_TEST_CASSANDRA")
        .expect("PARLEY_TEST_CASSANDRA must be the host:port of a Cassandra to test on")
}

async fn session() -> Session {
    SessionBuilder::new().known_node(node()).build().await.unwrap()
}

/// Runs a test in a keyspace of its own, which is dropped at the end. It has no commit log, since a table that has is
/// flushed before it can be dropped, and these tests make and drop hundreds.
async fn in_keyspace<F: Future<Output = ()>>(test: impl FnOnce(CassandraOptions) -> F) {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let keyspace = format!("t{id}");
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}} \
         AND durable_writes = false"
    );
    session().await.query_unpaged(create, ()).await.unwrap();
    let mut options = CassandraOptions::new(vec![node()], keyspace.clone());
    // A machine that runs all tests at once is slow, which is nothing that these are about.
    options.request_timeout = Duration::from_secs(20);
    test(options).await;
    session().await.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}

async fn open(options: &CassandraOptions) -> Arc<CassandraReadStore> {
    CassandraReadStore::open(options.clone(), EPOCH).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn keeps_the_contract() {
    in_keyspace(|options| async move {
        let store = open(&options).await;
        // A fresh version each, in one keyspace: the one before is dropped, which is cheaper than a keyspace each.
        let make = || {
            let store = store.clone();
            async move { store.create_next().await.unwrap() }
        };
        // Each random log is nine versions here, of thirteen tables.
        conformance::run(make, 2).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn keeps_the_contract_of_versions() {
    in_keyspace(|options| async move {
        conformance::versions(&*open(&options).await).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_keyspace_that_must_exist_is_not_made() {
    in_keyspace(|options| async move {
        let expecting = CassandraOptions { must_exist: true, ..options.clone() };
        drop(open(&expecting).await);
        let mistyped = CassandraOptions { keyspace: format!("{}x", options.keyspace), ..expecting };
        for _ in 0..2 {
            let refused = CassandraReadStore::open(mistyped.clone(), EPOCH).await;
            assert!(
                matches!(&refused, Err(Error::Unfit(why)) if why.contains(&mistyped.keyspace)),
                "{refused:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn another_epoch_does_not_fit_until_all_is_discarded() {
    in_keyspace(|options| async move {
        drop(open(&options).await);
        let other = Epoch::from_bytes([9; 16]);
        let refused = CassandraReadStore::open(options.clone(), other).await;
        assert!(matches!(refused, Err(Error::OtherLog { .. })), "{refused:?}");
        assert_eq!(open(&options).await.live_version(), 1, "nothing was changed");
        CassandraReadStore::discard(&options, other).await.unwrap();
        let store = CassandraReadStore::open(options, other).await.unwrap();
        assert!(store.live_version() > 1, "no number is given twice");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn processes_that_start_at_once_find_the_same_version_and_follow_a_switch() {
    in_keyspace(|options| async move {
        let (one, other) = tokio::join!(open(&options), open(&options));
        assert_eq!(one.live_version(), other.live_version());
        let first = one.live_version();
        one.create_next().await.unwrap();
        assert!(other.switch().await.is_err(), "who didn't build it can't switch to it");
        one.switch().await.unwrap();
        let follow = async |version: u64| {
            while other.live_version() != version {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = Duration::from_secs(30);
        tokio::time::timeout(in_time, follow(one.live_version())).await.expect("the other one follows");
        one.switch_back().await.unwrap();
        assert_eq!(one.live_version(), first);
        tokio::time::timeout(in_time, follow(first)).await.expect("the other one follows back");
        let again = open(&options).await;
        assert_eq!(again.live_version(), first, "and so does a later one");
        // Another one begins a version: what this one has begun can't become live any more.
        one.create_next().await.unwrap();
        again.create_next().await.unwrap();
        assert!(one.switch().await.is_err());
        again.switch().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_missing_table_is_named() {
    in_keyspace(|options| async move {
        let version = open(&options).await.live_version();
        let table = format!("cursors_{version}");
        session().await.query_unpaged(format!("DROP TABLE {}.{table}", options.keyspace), ()).await.unwrap();
        let refused = CassandraReadStore::open(options.clone(), EPOCH).await;
        assert!(matches!(&refused, Err(Error::Unfit(what)) if what.contains(&table)), "{refused:?}");
    })
    .await;
}

/// A rebuild that was overtaken by another one neither drops its tables nor goes on.
#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn who_is_overtaken_leaves_the_later_version_alone() {
    in_keyspace(|options| async move {
        let (one, other) = (open(&options).await, open(&options).await);
        one.create_next().await.unwrap();
        other.create_next().await.unwrap();
        other.switch().await.unwrap();
        let live = other.live_version();
        assert!(one.switch().await.is_err());
        one.refresh().await.unwrap();
        assert_eq!(one.live_version(), live, "who looks knows at once");
        other.live().checkpoints().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_schema_of_a_newer_program_does_not_fit() {
    in_keyspace(|options| async move {
        drop(open(&options).await);
        for (scope, number) in [("version 1", 1_000), ("keyspace", 1_001)] {
            let newer = format!(
                "INSERT INTO {}.migrations (scope, number, name) VALUES ('{scope}', {number}, 'later')",
                options.keyspace
            );
            session().await.query_unpaged(newer, ()).await.unwrap();
            let refused = CassandraReadStore::open(options.clone(), EPOCH).await;
            assert!(matches!(refused, Err(Error::Unfit(what)) if what.contains(&number.to_string())));
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_an_error_in_time() {
    let mut options = CassandraOptions::new(vec!["127.0.0.1:1".to_owned()], "nobody".to_owned());
    options.connect_timeout = Duration::from_secs(1);
    let refused = CassandraReadStore::open(options, EPOCH).await;
    assert!(matches!(refused, Err(Error::Engine(_))), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn who_is_late_moves_nothing_back() {
    in_keyspace(|options| async move {
        let model = open(&options).await.live();
        let at = |offset| Checkpoint { offset, validity: Validity { claim: Some(0), next_index: offset } };
        model.apply(Vec::new(), vec![((0, 1), at(10))]).await.unwrap();
        model.apply(Vec::new(), vec![((0, 1), at(5))]).await.unwrap();
        assert_eq!(model.checkpoints().await.unwrap(), [((0, 1), at(10))]);

        // Clocks of two edges differ: the place in the log counts.
        let ann = UserId::parse("ann").unwrap();
        let profile = |name: &str, at| ProfileChanged {
            user: ann.clone(),
            display_name: name.to_owned(),
            avatar_url: None,
            at: Timestamp(at),
        };
        for (name, at, offset) in [("first", 9_000, 3), ("second", 1_000, 4), ("first", 9_000, 3)] {
            let event = Some(Source { position: Position { partition: 0, offset }, ..Source::default() });
            let write = Write { row: Row::Profile(profile(name, at)), event };
            model.apply(vec![write], Vec::new()).await.unwrap();
        }
        assert_eq!(model.profile(&ann).await.unwrap(), Some(profile("second", 1_000)));
    })
    .await;
}

const GROUP: GroupId = GroupId(uuid::Uuid::from_u128(1));

/// A group of ann's and bob's with this many messages.
fn world(messages: usize) -> World {
    let mut world = World::default();
    let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
    world.create(GROUP, &ann, &[bob]);
    for _ in 0..messages {
        world.send(GROUP, "ann");
    }
    world
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn events_are_read_over_the_ends_of_buckets() {
    in_keyspace(|options| async move {
        let model = open(&options).await.live();
        let world = world(2_600);
        apply(&*model, &world.log, 1_024).await.unwrap();
        let seqs = async |from, to, limit| {
            let events = model.events(GROUP, from, to, limit).await.unwrap();
            events.iter().map(|event| event.seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs(1, u64::MAX, 10_000).await, (1..=2_601).collect::<Vec<_>>());
        assert_eq!(seqs(1_000, 1_100, 10_000).await, (1_000..=1_100).collect::<Vec<_>>());
        assert_eq!(seqs(1_023, u64::MAX, 2).await, [1_023, 1_024]);
        assert_eq!(seqs(2_048, 2_047, 2).await, [0; 0]);
        for (after, before, newest, limit, first, last, has_more) in [
            (0, u64::MAX, true, 700, 1_902, 2_601, true),
            (0, 1_500, true, 700, 800, 1_499, true),
            (1_000, u64::MAX, false, 700, 1_001, 1_700, true),
            (1_000, 1_100, false, 700, 1_001, 1_099, false),
        ] {
            let (page, more) = model.messages(GROUP, after, before, newest, limit).await.unwrap();
            let page: Vec<_> = page.iter().map(|event| event.seq).collect();
            assert_eq!((page, more), ((first..=last).collect::<Vec<_>>(), has_more));
        }
    })
    .await;
}

/// A batch isn't atomic: whoever reads in the middle of one sees what was there before, without a hole.
#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn what_is_half_written_is_not_shown() {
    in_keyspace(|options| async move {
        let store = open(&options).await;
        let model = store.live();
        let world = world(3);
        apply(&*model, &world.log, 10).await.unwrap();
        let before = model.events(GROUP, 1, u64::MAX, 10).await.unwrap();
        // As if the batch with 5 and 6 had been cut off after it wrote 6.
        let (keyspace, version) = (&options.keyspace, store.live_version());
        for cql in [
            format!(
                "INSERT INTO {keyspace}.timeline_{version} \
                 (group_id, bucket, seq, partition, offset, message_count, event) \
                 VALUES ({}, 0, 6, 0, 99, 5, 0x00) USING TIMESTAMP 6",
                GROUP.0
            ),
            format!(
                "INSERT INTO {keyspace}.messages_{version} (group_id, bucket, nth, seq) \
                 VALUES ({}, 0, 5, 6) USING TIMESTAMP 6",
                GROUP.0
            ),
        ] {
            session().await.query_unpaged(cql, ()).await.unwrap();
        }
        assert_eq!(model.events(GROUP, 1, u64::MAX, 10).await.unwrap(), before);
        let (page, more) = model.messages(GROUP, 0, u64::MAX, true, 10).await.unwrap();
        assert_eq!((page.as_slice(), more), (&before[1..], false));

        // The same of memberships: bob is removed with 5, cid joins with 6, and bob joins a group of which there is nothing else.
        let (bob, cid) = (UserId::parse("bob").unwrap(), UserId::parse("cid").unwrap());
        let known = (model.members(GROUP, None, 10, false).await.unwrap(), model.user_groups(&bob, None, 10).await.unwrap());
        // The first one in order, so that a page would begin with it.
        let other = GroupId(uuid::Uuid::nil());
        let blob = |group: GroupId| format!("0x{}", group.0.simple());
        for cql in [
            format!(
                "INSERT INTO {keyspace}.members_{version} (group_id, bucket, user_id, seq, step, at) \
                 VALUES ({}, 0, 'bob', 5, 3, 0) USING TIMESTAMP 5",
                GROUP.0
            ),
            format!(
                "INSERT INTO {keyspace}.user_groups_{version} (user_id, group_id, notified, seq, step, at) \
                 VALUES ('bob', {}, false, 5, 3, 0) USING TIMESTAMP 5",
                blob(GROUP)
            ),
            format!(
                "INSERT INTO {keyspace}.members_{version} (group_id, bucket, user_id, seq, step, at, role, added_by, kind) \
                 VALUES ({}, 0, 'cid', 6, 1, 0, 2, 'ann', 1) USING TIMESTAMP 6",
                GROUP.0
            ),
            format!(
                "INSERT INTO {keyspace}.user_groups_{version} \
                 (user_id, group_id, notified, seq, step, at, role, added_by, kind) \
                 VALUES ('cid', {}, false, 6, 1, 0, 2, 'ann', 1) USING TIMESTAMP 6",
                blob(GROUP)
            ),
            format!(
                "INSERT INTO {keyspace}.user_groups_{version} \
                 (user_id, group_id, notified, seq, step, at, role, added_by, kind) \
                 VALUES ('bob', {}, false, 1, 1, 0, 2, 'ann', 0) USING TIMESTAMP 1",
                blob(other)
            ),
        ] {
            session().await.query_unpaged(cql, ()).await.unwrap();
        }
        let members = model.members(GROUP, None, 10, false).await.unwrap();
        assert_eq!((members, model.user_groups(&bob, None, 10).await.unwrap()), known);
        assert_eq!(model.user_groups(&bob, None, 1).await.unwrap(), known.1[..1]);
        assert_eq!(model.membership(other, &bob).await.unwrap(), None);
        assert_eq!(model.user_group(&cid, GROUP).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_message_of_a_long_history_is_found() {
    in_keyspace(|options| async move {
        let model = open(&options).await.live();
        let mut world = world(2);
        let skipped = world.groups.get_mut(&GROUP).unwrap();
        (skipped.head, skipped.message_count) = (700_000, 600_000);
        world.send(GROUP, "ann");
        apply(&*model, &world.log, 10).await.unwrap();
        for (seq, message) in world.messages(GROUP) {
            let by_id = MessageKey::Id(message.message_id);
            assert_eq!(model.find(GROUP, &by_id).await.unwrap(), Some(seq));
            let (sender, client_message_id) = (message.sender.clone(), message.client_message_id.clone());
            let by_client = MessageKey::Client { sender, client_message_id };
            assert_eq!(model.find(GROUP, &by_client).await.unwrap(), Some(seq));
        }
        let unknown = MessageKey::Id(MessageId::from_bytes([9; 16]));
        assert_eq!(model.find(GROUP, &unknown).await.unwrap(), None);
    })
    .await;
}
