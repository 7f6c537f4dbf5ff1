//! The embedded key store while nothing can be written. A program of its own, since the limit that stands for a full disk is the
//! process's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use parley_domain::{GroupId, KeyId};
use parley_keys::{EmbeddedKeyStore, KeyStore, WrappedKey};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// What a process gets that writes beyond its limit, on Linux; by default it ends by that.
const SIGXFSZ: i32 = 25;

fn key(number: u8) -> WrappedKey {
    WrappedKey {
        key_id: KeyId::from_bytes([number; 16]),
        group_id: GroupId::from_bytes([1; 16]),
        period: u32::from(number),
        ring_key: "k1".to_owned(),
        wrapped: vec![number; 60],
    }
}

/// How many of the keys 1 to 4 are there, each by both ways to look for it.
async fn there(store: &dyn KeyStore) -> Vec<u8> {
    let mut there = Vec::new();
    for number in 1..=4 {
        let wanted = key(number);
        let found = store.of_period(wanted.group_id, wanted.period).await.unwrap();
        if let Some(found) = found {
            assert_eq!(found, wanted);
            assert_eq!(store.find(wanted.key_id).await.unwrap(), Some(wanted));
            there.push(number);
        }
    }
    there
}

#[tokio::test]
async fn a_store_that_could_not_write_goes_on_once_it_can() {
    let _instead_of_an_end = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let store = EmbeddedKeyStore::open(&place).unwrap();
    store.put(vec![key(1)]).await.unwrap();
    let unlimited = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), ..unlimited }).unwrap();
    for number in [2, 3] {
        store.put(vec![key(number)]).await.unwrap_err();
        assert_eq!(there(&*store).await, [1], "nobody seals with a key that may not last");
    }
    // As when the ring was rotated: one that is there and couldn't be replaced stays as it was.
    store.put(vec![WrappedKey { ring_key: "k2".to_owned(), ..key(1) }]).await.unwrap_err();
    store.destroy(key(1).group_id, &[(1, key(1).key_id)]).await.unwrap_err();
    assert_eq!(there(&*store).await, [1]);
    setrlimit(Resource::Fsize, unlimited).unwrap();
    store.put(vec![key(2)]).await.unwrap();
    assert_eq!(there(&*store).await, [1, 2], "the other one failed, and is not to come back");
    store.put(vec![key(4)]).await.unwrap();
    drop(store);
    assert_eq!(there(&*EmbeddedKeyStore::open(&place).unwrap()).await, [1, 2, 4]);
}
