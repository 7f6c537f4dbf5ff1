//! What only a directory has: crashes, damage, and versions that were never finished.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests; the helpers outside of test functions, too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parley_domain::{Epoch, Validity};
use parley_readstore::conformance::{Dump, Entry, World, apply, check, dump, script};
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options};
use parley_readstore::{Checkpoint, Error, ReadModel, ReadStore, Write};
use tempfile::TempDir;

fn epoch() -> Epoch {
    Epoch::from_bytes([7; 16])
}

/// Memory for rows is so small that they go to files of their own while a test runs.
fn try_open(dir: &Path) -> Result<Arc<EmbeddedReadStore>, Error> {
    let options = Options { memtable_bytes: 16 * 1024, ..Options::default() };
    EmbeddedReadStore::open(dir, epoch(), options)
}

fn open(dir: &Path) -> Arc<EmbeddedReadStore> {
    try_open(dir).unwrap()
}

/// Applies a log from some entry on in batches of three, each with a checkpoint that says how many entries there were.
async fn apply_with_checkpoints(model: &dyn ReadModel, log: &[Entry], from: usize) {
    let mut offset = from as u64;
    for entries in log[from..].chunks(3) {
        offset += entries.len() as u64;
        let writes: Vec<Write> = entries.iter().flat_map(Entry::writes).collect();
        let checkpoint = Checkpoint { offset, validity: Validity::default() };
        model.apply(writes, vec![((0, 0), checkpoint)]).await.unwrap();
    }
}

async fn offset(model: &dyn ReadModel) -> usize {
    let checkpoints = model.checkpoints().await.unwrap();
    checkpoints.first().map_or(0, |(_, checkpoint)| usize::try_from(checkpoint.offset).unwrap())
}

async fn rows_of(log: &[Entry]) -> Dump {
    let dir = TempDir::new().unwrap();
    let model = open(dir.path()).live();
    apply(&*model, log, 50).await.unwrap();
    dump(&*model, 1_000).await.unwrap()
}

/// Whatever survived, the rows are those of the log up to the checkpoint, and going on from there completes them.
async fn is_consistent(dir: &Path, world: &World) -> usize {
    let store = open(dir);
    let model = store.live();
    let offset = offset(&*model).await;
    assert!(dump(&*model, 1_000).await.unwrap() == rows_of(&world.log[..offset]).await, "at {offset}");
    apply_with_checkpoints(&*model, &world.log, offset).await;
    check(&*model, world).await.unwrap();
    store.persist().await.unwrap();
    drop((model, store));
    check(&*open(dir).live(), world).await.expect("after another start, too");
    offset
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn journal(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("v1")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

#[tokio::test]
async fn what_was_persisted_is_there_and_what_came_after_is_projected_again() {
    let (dir, world) = (TempDir::new().unwrap(), World::play(&script(21, 300)));
    let half = world.log.len() / 2;
    let store = open(dir.path());
    apply_with_checkpoints(&*store.live(), &world.log[..half], 0).await;
    store.persist().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(offset(&*store.live()).await, half);
    apply_with_checkpoints(&*store.live(), &world.log, half).await;
    drop(store);
    let offset = is_consistent(dir.path(), &world).await;
    assert!(
        (half + 1..world.log.len()).contains(&offset),
        "some of it had gone to files: {half} to {offset}"
    );
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { tables(&path) } else { vec![path] });
    found.filter(|path| path.parent().unwrap().ends_with("tables")).collect()
}

/// One merge that fails ends all merging, which nothing else would tell.
#[tokio::test]
async fn that_nothing_is_merged_any_more_is_told() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for round in 1..200 {
        assert_eq!(store.trouble(), None);
        let checkpoint = Checkpoint { offset: round, validity: Validity::default() };
        store.live().apply(Vec::new(), vec![((0, 0), checkpoint)]).await.unwrap();
        if store.persist().await.is_err() {
            break;
        }
        for table in tables(dir.path()) {
            // One that was merged meanwhile is gone.
            if let Ok(file) = fs::OpenOptions::new().write(true).open(table) {
                std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 32], 0).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.trouble().is_some_and(|trouble| trouble.contains("parley rebuild")));
    // A rebuild is what helps.
    store.create_next().await.unwrap();
    store.switch().await.unwrap();
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn without_its_journal_a_model_does_not_fit() {
    let dir = TempDir::new().unwrap();
    let world = World::play(&script(22, 300));
    apply_with_checkpoints(&*open(dir.path()).live(), &world.log, 0).await;
    fs::remove_file(journal(dir.path())).unwrap();
    assert!(matches!(try_open(dir.path()), Err(Error::Unfit(_))));
    EmbeddedReadStore::discard(dir.path()).unwrap();
    is_consistent(dir.path(), &world).await;
}

/// It holds the mark of a finished version, until that goes to a file with the first rows.
#[tokio::test]
async fn a_damaged_journal_is_an_error_or_takes_nothing_that_was_persisted() {
    let (dir, world) = (TempDir::new().unwrap(), World::play(&script(27, 200)));
    let store = open(dir.path());
    apply_with_checkpoints(&*store.live(), &world.log, 0).await;
    store.persist().await.unwrap();
    drop(store);
    let bytes = fs::read(journal(dir.path())).unwrap();
    for (from, fill) in [(0, 0), (0, 0xff), (8, 0), (8, 0xff), (bytes.len() / 2, 0xff)] {
        let copied = TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        let mut damaged = bytes.clone();
        damaged[from..].fill(fill);
        fs::write(journal(copied.path()), damaged).unwrap();
        match try_open(copied.path()) {
            Ok(store) => {
                drop(store);
                assert_eq!(is_consistent(copied.path(), &world).await, world.log.len());
            }
            Err(error) => {
                let is_told = matches!(error, Error::Engine(_) | Error::Damaged(_) | Error::Unfit(_));
                assert!(is_told, "{error:?}");
                EmbeddedReadStore::discard(copied.path()).unwrap();
                is_consistent(copied.path(), &world).await;
            }
        }
    }
}

const CHILD_DIR: &str = "PARLEY_TEST_CHILD_DIR";

fn child_world() -> World {
    World::play(&script(23, 4_000))
}

#[tokio::test]
#[ignore = "run by a_killed_process_leaves_a_consistent_model, in a process of its own"]
async fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let model = open(Path::new(&dir)).live();
    apply_with_checkpoints(&*model, &child_world().log, 0).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_leaves_a_consistent_model() {
    let world = child_world();
    let mut offsets = Vec::new();
    for millis in [20, 150, 600] {
        let dir = TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child_that_is_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.path().join("live").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(dir.path());
        let model = store.live();
        let offset = offset(&*model).await;
        assert!(dump(&*model, 1_000).await.unwrap() == rows_of(&world.log[..offset]).await, "at {offset}");
        offsets.push(offset);
    }
    assert!(offsets.iter().any(|offset| *offset > 0), "{offsets:?}");
}

#[tokio::test]
async fn a_next_version_that_was_never_live_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    let world = World::play(&script(24, 50));
    {
        let store = open(dir.path());
        apply(&*store.live(), &world.log, 10).await.unwrap();
        apply(&*store.create_next().await.unwrap(), &world.log, 10).await.unwrap();
        store.persist().await.unwrap();
        assert!(dir.path().join("v2").exists());
    }
    fs::create_dir_all(dir.path().join("v3/keyspaces/nonsense")).unwrap();
    fs::write(dir.path().join("v3/0.jnl"), b"half").unwrap();
    fs::write(dir.path().join("live.new"), b"").unwrap();
    let store = open(dir.path());
    assert_eq!(store.live_version(), 1);
    assert!(!dir.path().join("v2").exists() && !dir.path().join("v3").exists());
    check(&*store.live(), &world).await.unwrap();
}

#[tokio::test]
async fn a_first_version_that_was_never_finished_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("v1/keyspaces/0")).unwrap();
    fs::write(dir.path().join("v1/0.jnl"), b"").unwrap();
    fs::write(dir.path().join("v1/version"), b"").unwrap();
    let store = open(dir.path());
    assert_eq!(store.live_version(), 1);
    check(&*store.live(), &World::default()).await.unwrap();
}

#[tokio::test]
async fn a_switch_lasts_and_the_old_version_stays_until_the_next_rebuild() {
    let dir = TempDir::new().unwrap();
    let world = World::play(&script(25, 50));
    {
        let store = open(dir.path());
        let next = store.create_next().await.unwrap();
        apply(&*next, &world.log, 10).await.unwrap();
        store.switch().await.unwrap();
    }
    let store = open(dir.path());
    assert_eq!(store.live_version(), 2);
    check(&*store.live(), &world).await.unwrap();
    assert!(dir.path().join("v1").exists());
    let held = store.create_next().await.unwrap();
    assert!(!dir.path().join("v1").exists() && dir.path().join("v3").exists());
    // Whoever holds a version that was given up keeps its files; the next number is another one.
    let next = store.create_next().await.unwrap();
    assert!(dir.path().join("v3").exists() && dir.path().join("v4").exists());
    apply(&*held, &world.log, 10).await.unwrap();
    drop((held, next));
    store.create_next().await.unwrap();
    assert!(!dir.path().join("v3").exists() && !dir.path().join("v4").exists());
    check(&*store.live(), &world).await.unwrap();
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_an_error_and_can_be_discarded() {
    let dir = TempDir::new().unwrap();
    let world = World::play(&script(26, 50));
    {
        let store = open(dir.path());
        apply(&*store.live(), &world.log, 10).await.unwrap();
        store.persist().await.unwrap();
    }
    let other = Epoch::from_bytes([8; 16]);
    let refused = EmbeddedReadStore::open(dir.path(), other, Options::default());
    assert!(matches!(refused, Err(Error::OtherLog { .. })), "{refused:?}");
    check(&*open(dir.path()).live(), &world).await.unwrap();

    let live = dir.path().join("live");
    fs::write(&live, b"nonsense").unwrap();
    assert!(matches!(try_open(dir.path()), Err(Error::Unfit(_))));
    fs::write(&live, b"1\n").unwrap();
    fs::write(dir.path().join("v1/version"), b"nonsense").unwrap();
    assert!(matches!(try_open(dir.path()), Err(Error::Engine(_) | Error::Damaged(_))));
    EmbeddedReadStore::discard(dir.path()).unwrap();
    let store = EmbeddedReadStore::open(dir.path(), other, Options::default()).unwrap();
    check(&*store.live(), &World::default()).await.unwrap();
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    assert!(matches!(try_open(dir.path()), Err(Error::Engine(_))));
    assert!(EmbeddedReadStore::discard(dir.path()).is_err());
    let next = store.create_next().await.unwrap();
    drop(next);
    drop(store);
    open(dir.path());
}
