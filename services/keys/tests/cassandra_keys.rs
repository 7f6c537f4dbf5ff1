//! The Cassandra key store against the suite, on a real cluster: `PARLEY_TEST_CASSANDRA` is its `host:port`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests; the helpers outside of test functions, too"
)]
#![cfg(feature = "cassandra")]

use std::future::Future;
use std::time::Duration;

use parley_domain::{GroupId, KeyId};
use parley_keys::{
    CassandraKeyOptions, CassandraKeyStore, KeyStore as _, StoreError, WrappedKey, conformance,
};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

fn node() -> String {
    std::env::var("PARLEY_TEST_CASSANDRA")
        .expect("PARLEY_TEST_CASSANDRA must be the host:port of a Cassandra to test on")
}

async fn session() -> Session {
    SessionBuilder::new().known_node(node()).build().await.unwrap()
}

/// Runs a test in a keyspace of its own, which is dropped at the end.
async fn in_keyspace<F: Future<Output = ()>>(test: impl FnOnce(CassandraKeyOptions) -> F) {
    let keyspace = format!("t{}_keys", uuid::Uuid::now_v7().simple());
    test(CassandraKeyOptions::new(vec![node()], keyspace.clone())).await;
    session().await.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn keeps_the_contract() {
    in_keyspace(|options| async move {
        let store = CassandraKeyStore::open(&options).await.unwrap();
        conformance::run(&*store).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn processes_that_start_at_once_share_what_is_there_later() {
    in_keyspace(|options| async move {
        let (one, other) =
            tokio::try_join!(CassandraKeyStore::open(&options), CassandraKeyStore::open(&options)).unwrap();
        let key = WrappedKey {
            key_id: KeyId::from_bytes([1; 16]),
            group_id: GroupId::from_bytes([2; 16]),
            period: 3,
            ring_key: "k1".to_owned(),
            wrapped: vec![4; 60],
        };
        one.put(vec![key.clone()]).await.unwrap();
        assert_eq!(other.of_period(key.group_id, 3).await.unwrap(), Some(key.clone()));
        drop((one, other));
        let again = CassandraKeyStore::open(&options).await.unwrap();
        assert_eq!(again.find(key.key_id).await.unwrap(), Some(key));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_keyspace_that_must_exist_is_not_made() {
    in_keyspace(|making| async move {
        let expecting = CassandraKeyOptions { must_exist: true, ..making.clone() };
        for _ in 0..2 {
            let refused = CassandraKeyStore::open(&expecting).await.map(drop).unwrap_err();
            assert!(
                matches!(&refused, StoreError::Unfit(why) if why.contains(&making.keyspace)),
                "{refused:?}"
            );
        }
        drop(CassandraKeyStore::open(&making).await.unwrap());
        CassandraKeyStore::open(&expecting).await.unwrap();
    })
    .await;
}

fn made(id: u8) -> WrappedKey {
    WrappedKey {
        key_id: KeyId::from_bytes([id; 16]),
        group_id: GroupId::from_bytes([2; 16]),
        period: 3,
        ring_key: "k1".to_owned(),
        wrapped: vec![id; 60],
    }
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn what_was_destroyed_is_not_put_back_by_who_wraps_it_anew() {
    in_keyspace(|options| async move {
        let store = CassandraKeyStore::open(&options).await.unwrap();
        let key = made(1);
        store.put(vec![key.clone()]).await.unwrap();
        store.destroy(key.group_id, &[(3, key.key_id)]).await.unwrap();
        store.put(vec![WrappedKey { ring_key: "k2".to_owned(), ..key.clone() }]).await.unwrap();
        assert_eq!(store.find(key.key_id).await.unwrap(), None);
        assert_eq!(store.of_group(key.group_id).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_row_that_leads_nowhere_hides_no_key() {
    in_keyspace(|options| async move {
        let store = CassandraKeyStore::open(&options).await.unwrap();
        let (gone, key) = (made(1), made(2));
        store.put(vec![gone.clone(), key.clone()]).await.unwrap();
        let half = format!("DELETE FROM {}.data_keys WHERE key_id = {}", options.keyspace, gone.key_id.0);
        session().await.query_unpaged(half, ()).await.unwrap();
        assert_eq!(store.of_period(key.group_id, 3).await.unwrap(), Some(key));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Cassandra: scripts/test starts it"]
async fn a_schema_of_a_newer_program_does_not_fit() {
    in_keyspace(|options| async move {
        drop(CassandraKeyStore::open(&options).await.unwrap());
        let newer = format!(
            "INSERT INTO {}.migrations (scope, number, name) VALUES ('keys', 1000, 'later')",
            options.keyspace
        );
        session().await.query_unpaged(newer, ()).await.unwrap();
        let refused = CassandraKeyStore::open(&options).await;
        assert!(matches!(refused, Err(StoreError::Unfit(what)) if what.contains("later")));
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_an_error_in_time() {
    let mut options = CassandraKeyOptions::new(vec!["127.0.0.1:1".to_owned()], "nobody".to_owned());
    options.connect_timeout = Duration::from_secs(1);
    let refused = CassandraKeyStore::open(&options).await;
    assert!(matches!(refused, Err(StoreError::Engine(_))));
}
