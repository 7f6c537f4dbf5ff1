//! The embedded key store against the suite, and that destroyed is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use parley_domain::{GroupId, KeyId};
use parley_keys::{EmbeddedKeyStore, KeyStore as _, WrappedKey, conformance};

fn key(number: u8) -> WrappedKey {
    WrappedKey {
        key_id: KeyId::from_bytes([number; 16]),
        group_id: GroupId::from_slice(&[number; 16]).unwrap(),
        period: 0,
        ring_key: "k1".to_owned(),
        wrapped: (0..60).map(|place| place ^ number.wrapping_mul(37)).collect(),
    }
}

/// Whether a file below here holds the wrapped bytes.
fn holds(dir: &Path, key: &WrappedKey) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, key);
        }
        fs::read(&path).unwrap().windows(key.wrapped.len()).any(|bytes| bytes == key.wrapped)
    })
}

#[tokio::test]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedKeyStore::open(&dir.path().join("store")).unwrap();
    conformance::run(&*store).await.unwrap();
}

#[tokio::test]
async fn no_file_holds_a_key_once_it_is_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let store = EmbeddedKeyStore::open(&place).unwrap();
    store.put(vec![key(1), key(2)]).await.unwrap();
    assert!(holds(dir.path(), &key(1)) && holds(dir.path(), &key(2)), "it is found where it is");
    store.destroy(key(1).group_id, &[(0, key(1).key_id)]).await.unwrap();
    assert!(!holds(dir.path(), &key(1)));
    assert_eq!(store.find(key(1).key_id).await.unwrap(), None);
    assert_eq!(store.of_period(key(1).group_id, 0).await.unwrap(), None);
    // The store goes on, also over a restart.
    store.put(vec![key(3)]).await.unwrap();
    drop(store);
    let store = EmbeddedKeyStore::open(&place).unwrap();
    for number in [2, 3] {
        assert_eq!(store.find(key(number).key_id).await.unwrap(), Some(key(number)));
    }
    assert!(!holds(dir.path(), &key(1)));
}

#[tokio::test]
async fn what_a_crash_leaves_of_destroying_is_finished_or_undone_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let [next, former] = ["store.next", "store.former"].map(|name| dir.path().join(name));
    let store = EmbeddedKeyStore::open(&place).unwrap();
    store.put(vec![key(1), key(2)]).await.unwrap();
    assert!(EmbeddedKeyStore::open(&place).is_err(), "one at a time");
    drop(store);
    // In the midst of copying.
    fs::create_dir(&next).unwrap();
    drop(EmbeddedKeyStore::open(&place).unwrap());
    assert!(!next.exists());
    // Between the two renames, and what was to follow is gone: as before.
    fs::rename(&place, &former).unwrap();
    assert!(EmbeddedKeyStore::is_there(&place));
    let store = EmbeddedKeyStore::open(&place).unwrap();
    assert_eq!(store.find(key(1).key_id).await.unwrap(), Some(key(1)));
    drop(store);
    // Between the two renames.
    let fresh = EmbeddedKeyStore::open(&dir.path().join("fresh")).unwrap();
    fresh.put(vec![key(2)]).await.unwrap();
    drop(fresh);
    fs::rename(dir.path().join("fresh"), &next).unwrap();
    fs::rename(&place, &former).unwrap();
    let store = EmbeddedKeyStore::open(&place).unwrap();
    assert_eq!(store.find(key(2).key_id).await.unwrap(), Some(key(2)));
    assert_eq!(store.find(key(1).key_id).await.unwrap(), None);
    assert!(!former.exists() && !next.exists());
}

#[tokio::test]
async fn destroying_that_failed_loses_nothing_and_is_made_good_when_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let store = EmbeddedKeyStore::open(&place).unwrap();
    store.put(vec![key(1), key(2)]).await.unwrap();
    // What an earlier try couldn't remove holds the key still, and stands in the way of the next one.
    let former = dir.path().join("store.former");
    fs::create_dir(&former).unwrap();
    fs::write(former.join("table"), &key(3).wrapped).unwrap();
    store.destroy(key(3).group_id, &[]).await.unwrap();
    assert!(!holds(dir.path(), &key(3)), "also where the store itself knows nothing of it any more");
    // A file where the copy should go: nothing changes.
    let next = dir.path().join("store.next");
    fs::write(&next, "in the way").unwrap();
    assert!(store.destroy(key(1).group_id, &[(0, key(1).key_id)]).await.is_err());
    for number in [1, 2] {
        assert_eq!(store.find(key(number).key_id).await.unwrap(), Some(key(number)));
    }
    fs::remove_file(&next).unwrap();
    store.destroy(key(1).group_id, &[(0, key(1).key_id)]).await.unwrap();
    assert!(!holds(dir.path(), &key(1)));
    assert_eq!(store.find(key(2).key_id).await.unwrap(), Some(key(2)));
}
