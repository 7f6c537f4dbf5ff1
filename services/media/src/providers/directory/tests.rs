//! What every provider must do, and what lies on the disk.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::conformance;

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryBlobs::open(&dir.path().join("snapshots")).unwrap();
    conformance::blobs::run(&store).await.unwrap();
    assert_eq!(entries(&dir.path().join("snapshots")), Vec::<String>::new(), "nothing is left");
}

#[tokio::test]
async fn blobs_survive_a_restart_and_what_was_half_written_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryBlobs::open(dir.path()).unwrap();
    store.put("events/7/1", Bytes::from_static(b"one")).await.unwrap();
    drop(store);
    // As a crash leaves it, as another process is just writing it, and a file of somebody else.
    fs::write(dir.path().join("~17"), "PBL1 half of it").unwrap();
    let old = fs::metadata(dir.path().join("~17")).unwrap().modified().unwrap() - LEFT_BEHIND;
    File::options().write(true).open(dir.path().join("~17")).unwrap().set_modified(old).unwrap();
    fs::write(dir.path().join("~18"), "PBL1 half of it").unwrap();
    fs::write(dir.path().join("-notes-"), "mine").unwrap();

    let store = DirectoryBlobs::open(dir.path()).unwrap();
    assert_eq!(store.get("events/7/1").await.unwrap().unwrap(), "one");
    assert_eq!(store.list("", 10).await.unwrap(), ["events/7/1"]);
    assert_eq!(entries(dir.path()), ["-notes-", "events%7%1", "~18"]);
    let mode = fs::metadata(dir.path().join("events%7%1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "snapshots hold who is in which group");
}

#[tokio::test]
async fn a_damaged_blob_is_an_error_and_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryBlobs::open(dir.path()).unwrap();
    store.put("a", Bytes::from_static(b"text")).await.unwrap();
    let file = dir.path().join("a");
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert!(matches!(store.get("a").await, Err(Error::Damaged { .. })), "bit of byte {at}");
    }
    for length in [0, 3, 35, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        assert!(matches!(store.get("a").await, Err(Error::Damaged { .. })), "{length} bytes");
    }
    store.put("a", Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap(), "new");
}

#[tokio::test]
async fn a_directory_that_is_gone_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshots");
    let store = DirectoryBlobs::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    assert!(matches!(store.put("a", Bytes::new()).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.list("", 1).await, Err(Error::Unavailable { .. })));
    fs::write(&path, "a file").unwrap();
    assert!(matches!(DirectoryBlobs::open(&path), Err(Error::File { .. })));
}
