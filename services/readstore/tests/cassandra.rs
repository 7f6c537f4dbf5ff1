//! The Cassandra provider against the suite, on a real cluster: `PARLEY_TEST_CASSANDRA` is its `host:port`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests; the helpers outside of test functions, too"
)]
#![cfg(feature = "cassandra")]

use std::future::Future;
use std::sync::Arc;

use parley_domain::Epoch;
use parley_readstore::conformance;
use parley_readstore::providers::cassandra::{CassandraOptions, CassandraReadStore};
use parley_readstore::{Error, ReadStore};
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
    test(CassandraOptions::new(vec![node()], keyspace.clone())).await;
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
        let start = std::time::Instant::now();
        conformance::run(make).await.unwrap();
        eprintln!("took {:.1?}", start.elapsed());
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
async fn another_epoch_does_not_fit_until_all_is_discarded() {
    in_keyspace(|options| async move {
        drop(open(&options).await);
        let other = Epoch::from_bytes([9; 16]);
        let refused = CassandraReadStore::open(options.clone(), other).await;
        assert!(matches!(refused, Err(Error::Unfit(_))), "{refused:?}");
        assert_eq!(open(&options).await.live_version(), 1, "nothing was changed");
        CassandraReadStore::discard(&options, other).await.unwrap();
        let store = CassandraReadStore::open(options, other).await.unwrap();
        assert!(store.live_version() > 1, "no number is given twice");
    })
    .await;
}
