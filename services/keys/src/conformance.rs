//! The suite that every key store must pass.
//!
//! A difference panics, as in any test; an error of the store is returned.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests, which live here so that every provider can run them"
)]

use std::collections::BTreeMap;

use parley_domain::{GroupId, KeyId};

use crate::port::{KeyStore, StoreError, WrappedKey};

const GROUPS: u8 = 4;
const PERIODS: u32 = 6;

fn key(group: u8, period: u32) -> WrappedKey {
    // Ids that are close together in their bytes, and some that are not.
    let mut id = [0; 16];
    id[0] = group.wrapping_mul(83);
    id[14] = group;
    id[15] = u8::try_from(period).unwrap();
    WrappedKey {
        key_id: KeyId::from_bytes(id),
        group_id: GroupId::from_bytes([group; 16]),
        period,
        ring_key: format!("k{group}"),
        wrapped: vec![group; 60],
    }
}

async fn all(store: &dyn KeyStore, limit: usize) -> Result<BTreeMap<KeyId, WrappedKey>, StoreError> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.page(after, limit).await?;
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.key_id);
        for key in page {
            assert!(found.insert(key.key_id, key).is_none(), "a key is in one page only");
        }
    }
}

/// Runs the whole suite on an empty store.
///
/// # Errors
/// The store's.
///
/// # Panics
/// If an answer is wrong.
pub async fn run(store: &dyn KeyStore) -> Result<(), StoreError> {
    let group = |number: u8| GroupId::from_bytes([number; 16]);
    assert_eq!(all(store, 10).await?, BTreeMap::new());
    assert_eq!(store.find(key(1, 0).key_id).await?, None);
    assert_eq!(store.of_period(group(1), 0).await?, None);
    assert_eq!(store.of_group(group(1)).await?, []);
    store.destroy(group(1), &[]).await?;
    store.put(Vec::new()).await?;

    let keys = (0..GROUPS).flat_map(|group| (0..PERIODS).map(move |period| key(group, period)));
    let keys: Vec<WrappedKey> = keys.collect();
    store.put(keys.clone()).await?;
    let mut expected: BTreeMap<KeyId, WrappedKey> =
        keys.iter().map(|key| (key.key_id, key.clone())).collect();
    for key in &keys {
        assert_eq!(store.find(key.key_id).await?.as_ref(), Some(key));
        assert_eq!(store.of_period(key.group_id, key.period).await?.as_ref(), Some(key));
    }
    assert_eq!(store.of_period(group(1), PERIODS).await?, None);
    for limit in [1, 5, 24, 100] {
        assert_eq!(all(store, limit).await?, expected, "pages of {limit}");
    }

    // Two writers may both make one for a period: either may be the one to seal with, and both open.
    let twin = WrappedKey { key_id: KeyId::from_bytes([0xee; 16]), wrapped: vec![9; 60], ..key(2, 3) };
    store.put(vec![twin.clone()]).await?;
    expected.insert(twin.key_id, twin.clone());
    let chosen = store.of_period(group(2), 3).await?.unwrap();
    assert!(chosen == twin || chosen == key(2, 3));
    assert_eq!(store.find(key(2, 3).key_id).await?, Some(key(2, 3)));

    // Wrapped anew.
    let fresh = WrappedKey { ring_key: "k9".to_owned(), wrapped: vec![8; 61], ..key(3, 0) };
    store.put(vec![fresh.clone()]).await?;
    expected.insert(fresh.key_id, fresh.clone());
    assert_eq!(store.find(fresh.key_id).await?, Some(fresh.clone()));
    assert_eq!(all(store, 7).await?, expected);

    let doomed = store.of_group(group(2)).await?;
    assert_eq!(doomed.len(), usize::try_from(PERIODS).unwrap() + 1);
    // One that is made meanwhile is none of them.
    let later = WrappedKey { key_id: KeyId::from_bytes([0xdd; 16]), wrapped: vec![7; 60], ..key(2, 3) };
    store.put(vec![later.clone()]).await?;
    store.destroy(group(2), &doomed).await?;
    assert_eq!(store.of_period(group(2), 3).await?.as_ref(), Some(&later), "and is still found");
    assert_eq!(store.of_group(group(2)).await?, [(3, later.key_id)]);
    store.destroy(group(2), &[(3, later.key_id)]).await?;
    expected.retain(|_, key| key.group_id != group(2));
    assert_eq!(all(store, 7).await?, expected, "and no others");
    assert_eq!((store.find(twin.key_id).await?, store.of_period(group(2), 3).await?), (None, None));
    assert_eq!(store.of_group(group(2)).await?, []);
    store.destroy(group(2), &doomed).await?;
    // Ids are never used again.
    let next = WrappedKey { key_id: KeyId::from_bytes([0xcc; 16]), ..key(2, 3) };
    store.put(vec![next.clone()]).await?;
    assert_eq!(store.of_period(group(2), 3).await?, Some(next), "there may be new ones");
    Ok(())
}
