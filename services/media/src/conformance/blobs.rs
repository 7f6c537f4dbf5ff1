//! What every store of blobs must do.

use bytes::Bytes;
use futures::future::try_join_all;

use super::case::random;
use super::{Failure, must};
use crate::error::Error;
use crate::port::{BLOB_NAME_BYTES_MAX, Blobs};

/// Runs the suite. It works below a random name of its own, and removes what it made unless a rule is broken.
///
/// # Errors
/// The first rule that is broken.
pub async fn run(store: &dyn Blobs) -> Result<(), Failure> {
    let own: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
    what_was_put_is_got(store, &own).await?;
    the_last_put_stays(store, &own).await?;
    puts_at_once_don_t_mix(store, &own).await?;
    lists_are_in_order_and_bounded(store, &own).await?;
    what_was_deleted_is_gone(store, &own).await?;
    other_names_are_refused(store).await
}

async fn what_was_put_is_got(store: &dyn Blobs, own: &str) -> Result<(), Failure> {
    let large: Bytes = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let padding = "n".repeat(BLOB_NAME_BYTES_MAX - own.len() - 1);
    for (name, bytes) in [
        (format!("{own}/nothing"), Bytes::new()),
        (format!("{own}/one"), Bytes::from_static(b"\0")),
        (format!("{own}/A_b-c.d/E/0"), Bytes::from_static(b"text")),
        (format!("{own}/large"), large),
        (format!("{own}/{padding}"), Bytes::from_static(b"a long name")),
    ] {
        let before = store.get(&name).await?;
        must("nothing is there before a put", before.is_none(), &name)?;
        store.put(&name, bytes.clone()).await?;
        let got = store.get(&name).await?;
        let length = got.as_ref().map(Bytes::len);
        must("what was put is got", got.as_ref() == Some(&bytes), (&name, length))?;
        store.delete(&name).await?;
    }
    Ok(())
}

async fn the_last_put_stays(store: &dyn Blobs, own: &str) -> Result<(), Failure> {
    let name = format!("{own}/replaced");
    for bytes in [&b"first"[..], b"the second, which is longer", b"3"] {
        store.put(&name, Bytes::from_static(bytes)).await?;
        let got = store.get(&name).await?;
        must("the last put stays", got.as_deref() == Some(bytes), got)?;
    }
    Ok(store.delete(&name).await?)
}

async fn puts_at_once_don_t_mix(store: &dyn Blobs, own: &str) -> Result<(), Failure> {
    let name = format!("{own}/contested");
    let blob = |n: u8| Bytes::from(vec![n; 200_000 + usize::from(n)]);
    store.put(&name, blob(0)).await?;
    let puts = (1..=4).map(|n| store.put(&name, blob(n)));
    let gets = (0..8).map(|_| store.get(&name));
    let (_, seen) = futures::future::try_join(try_join_all(puts), try_join_all(gets)).await?;
    let last = store.get(&name).await?;
    for got in seen.into_iter().chain([last]) {
        let whole = got.as_ref().is_some_and(|bytes| (0..=4).any(|n| *bytes == blob(n)));
        must("a blob is one that was put, whole", whole, got.map(|bytes| bytes.len()))?;
    }
    Ok(store.delete(&name).await?)
}

async fn lists_are_in_order_and_bounded(store: &dyn Blobs, own: &str) -> Result<(), Failure> {
    // In the order of their bytes: '-' and '.' are before '/', capitals before small letters.
    let names = ["a-b", "a.b", "a/b", "a/b1/c", "aB", "ab", "b/1", "b/10", "b/2"];
    let names: Vec<String> = names.map(|name| format!("{own}/{name}")).into();
    for name in names.iter().rev() {
        store.put(name, Bytes::from_static(b"x")).await?;
    }
    let rule = "a list is the first names with the prefix, in order";
    for (prefix, limit, wanted) in [
        ("/", 1000, 0..9),
        ("/", usize::MAX, 0..9),
        ("/", 3, 0..3),
        ("/", 0, 0..0),
        ("/a", 100, 0..6),
        ("/a/", 100, 2..4),
        ("/a/b", 100, 2..4),
        ("/a/b1/", 100, 3..4),
        ("/b/1", 1, 6..7),
        ("/b/1", 9, 6..8),
        ("/c", 100, 0..0),
    ] {
        let list = store.list(&format!("{own}{prefix}"), limit).await?;
        must(rule, names.get(wanted).is_some_and(|wanted| wanted == list), (prefix, limit, &list))?;
    }
    let all = store.list("", 1).await?;
    must("an empty prefix is that of all", all.len() == 1, all)?;
    for name in &names {
        store.delete(name).await?;
    }
    let left = store.list(own, 10).await?;
    must("nothing is listed that was deleted", left.is_empty(), left)
}

async fn what_was_deleted_is_gone(store: &dyn Blobs, own: &str) -> Result<(), Failure> {
    let (name, neighbour) = (format!("{own}/gone"), format!("{own}/gone-not"));
    for name in [&name, &neighbour] {
        store.put(name, Bytes::from_static(b"x")).await?;
    }
    // Twice: that there is none is no error.
    for _ in 0..2 {
        store.delete(&name).await?;
        let got = store.get(&name).await?;
        must("what was deleted is gone", got.is_none(), got)?;
    }
    let got = store.get(&neighbour).await?;
    must("and nothing else", got.is_some(), got)?;
    Ok(store.delete(&neighbour).await?)
}

async fn other_names_are_refused(store: &dyn Blobs) -> Result<(), Failure> {
    for name in ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "~0", "a%2fb", "ä", "a b", "a\n"] {
        let refused = [
            store.put(name, Bytes::new()).await.err(),
            store.get(name).await.err(),
            store.delete(name).await.err(),
        ];
        let all = refused.iter().all(|error| matches!(error, Some(Error::Invalid { .. })));
        must("what is no name is refused", all, (name, &refused))?;
    }
    let listed = store.list("a*", 1).await;
    must("what begins no name is refused", matches!(listed, Err(Error::Invalid { .. })), &listed)
}
