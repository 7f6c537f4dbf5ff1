//! Seal, rotation, destruction, media URLs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use parley_domain::{GroupId, MediaClaims, MediaId, MessageId, Timestamp, UserId};
use parley_keys::faults::Switched;
use parley_keys::{EmbeddedKeyStore, KeyRing, KeyStore as _, Keys, Place, media_url, open_media_url};
use uuid::Uuid;

const GROUP: GroupId = GroupId(Uuid::from_u128(1));
const DAY_MS: i64 = 86_400_000;

fn keys(dir: &Path) -> Keys {
    let ring = KeyRing::open_or_create(&dir.join("ring.json")).unwrap();
    Keys::new(ring, EmbeddedKeyStore::open(&dir.join("store")).unwrap())
}

fn place(message: u128, sender: &UserId) -> Place<'_> {
    Place { group_id: GROUP, message_id: MessageId(Uuid::from_u128(message)), sender }
}

#[tokio::test]
async fn content_opens_in_its_place_only_and_after_a_rotation_too() {
    let dir = tempfile::tempdir().unwrap();
    let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
    let (id, sealed) = {
        let keys = keys(dir.path());
        let key = keys.for_sealing([GROUP], Timestamp(0)).await.unwrap().keys.remove(&GROUP).unwrap();
        (key.id(), key.seal(place(1, &ann), b"hello").unwrap())
    };
    assert!(!sealed.windows(5).any(|some| some == b"hello"));
    let path = dir.path().join("ring.json");
    let mut keys = keys(dir.path());
    keys.rotate(&path).unwrap();
    assert_eq!(keys.ring().active(), "k2");
    assert_eq!(KeyRing::open_or_create(&path).unwrap().active(), "k2", "its file says so too");
    assert_eq!((keys.rewrap().await.unwrap(), keys.rewrap().await.unwrap()), (1, 0), "once is enough");
    let key = keys.find(id).await.unwrap().unwrap();
    assert_eq!(key.open(place(1, &ann), &sealed).unwrap(), b"hello");
    assert!(key.open(place(2, &ann), &sealed).is_err(), "another message");
    assert!(key.open(place(1, &bob), &sealed).is_err(), "another sender");
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        *changed.get_mut(index).unwrap() ^= 1;
        assert!(key.open(place(1, &ann), &changed).is_err(), "byte {index}");
    }
}

#[tokio::test]
async fn a_ring_that_opens_none_of_the_stores_keys_is_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedKeyStore::open(&dir.path().join("store")).unwrap();
    let under =
        |ring: &str| Keys::new(KeyRing::open_or_create(&dir.path().join(ring)).unwrap(), store.clone());
    let (own, other) = (under("own.json"), under("other.json"));
    assert!(other.is_of_ring().await.unwrap(), "there are no keys yet");
    own.for_sealing([GROUP], Timestamp(0)).await.unwrap();
    assert!(own.is_of_ring().await.unwrap());
    assert!(!other.is_of_ring().await.unwrap());
}

#[tokio::test]
async fn a_group_gets_one_key_a_period_and_none_is_left_once_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys(dir.path());
    let key = async |at: i64| {
        keys.for_sealing([GROUP], Timestamp(at)).await.unwrap().keys.remove(&GROUP).unwrap().id()
    };
    let (first, again, later) = (key(0).await, key(DAY_MS).await, key(31 * DAY_MS).await);
    assert_eq!(first, again);
    assert_ne!(first, later);
    assert_eq!(keys.destroy(GROUP).await.unwrap(), 2);
    assert!(keys.find(first).await.unwrap().is_none());
    assert_ne!(key(0).await, first, "a fresh one is made");
}

#[test]
fn a_media_url_says_what_it_was_made_for_and_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::open_or_create(&dir.path().join("ring.json")).unwrap();
    let claims = MediaClaims {
        media_id: MediaId(Uuid::from_u128(7)),
        group_id: GROUP,
        uploader: UserId::parse("ann & bob?").unwrap(),
        content_type: "image/png".into(),
        content_length: 5,
        sha256: [9; 32],
        expires_at: Timestamp(1_000),
    };
    let url = media_url(&ring, &claims).unwrap();
    assert_eq!(open_media_url(&ring, &url).unwrap(), claims);
    let other = KeyRing::open_or_create(&dir.path().join("other.json")).unwrap();
    assert!(open_media_url(&other, &url).is_err());
    let (start, _) = url.split_once("claims=").unwrap();
    for index in start.len()..url.len() {
        let mut changed = url.clone().into_bytes();
        let byte = changed.get_mut(index).unwrap();
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character of a base64 text may hold bits that mean nothing.
        if index + 1 < url.len() {
            assert!(open_media_url(&ring, &changed).is_err(), "{changed}");
        }
    }
    for wrong in ["", "/v1/media/x", "https://evil.example/v1/media/x?claims=&key=k1&mac="] {
        assert!(open_media_url(&ring, wrong).is_err());
    }
}

/// A key that is read while it is destroyed is neither used nor kept, also if a replica of the store still shows it.
#[tokio::test]
async fn what_is_read_while_it_is_destroyed_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let ring = || KeyRing::open_or_create(&dir.path().join("ring.json")).unwrap();
    let store = EmbeddedKeyStore::open(&dir.path().join("store")).unwrap();
    let first = keys_of(Keys::new(ring(), store.clone())).await;
    let wrapped = store.find(first).await.unwrap().unwrap();
    for seals in [true, false] {
        store.put(vec![wrapped.clone()]).await.unwrap();
        let switched = Switched::new(store.clone());
        let keys = Keys::new(ring(), switched.clone());
        switched.hold_back(true);
        let reading = async {
            match seals {
                true => keys.for_sealing([GROUP], Timestamp(0)).await.unwrap().keys.remove(&GROUP),
                false => keys.find(first).await.unwrap(),
            }
        };
        let destroying = async {
            // The reader, who is polled first, has it and is held.
            keys.forget(&[first]);
            switched.hold_back(false);
        };
        let (found, ()) = tokio::join!(biased; reading, destroying);
        assert_ne!(found.as_ref().map(|key| key.id()), Some(first));
        assert_eq!(found.is_some(), seals, "a fresh one is made to seal with");
        assert!(keys.find(first).await.unwrap().is_none());
        assert!(store.find(first).await.unwrap().is_some(), "though the store has it");
    }
}

async fn keys_of(keys: Keys) -> parley_domain::KeyId {
    keys.for_sealing([GROUP], Timestamp(0)).await.unwrap().keys.remove(&GROUP).unwrap().id()
}
