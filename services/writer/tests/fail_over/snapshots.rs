//! What the next owner needn't fold, and when it must all the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parley_domain::Code;
use parley_eventlog::{Assignment, Bound, Topic, TopicPartition};
use parley_media::Blobs as _;
use parley_wire::service::Reply;
use parley_writer::{Engines, Options};

use crate::doubles::{CountingLog, SlowBlobs};
use crate::support::{PATIENCE, Writer, create, engines, group, place, send, send_all, seq_of};

/// With snapshots and without, the next owner knows the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_from_snapshots_knows_everything() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start("first", &engines, 20);
    let terms = writer.assign_all(1).await;
    for number in 1..=8 {
        writer.ask(&terms, create(group(number))).await.unwrap();
        for message in 0..40 {
            let id = format!("m{message}");
            assert_eq!(seq_of(writer.ask(&terms, send(group(number), "ann", &id)).await).0, message + 2);
        }
    }
    writer.task.shut_down().await;
    let kept = engines.snapshots.as_ref().unwrap().list("", 100).await.unwrap();
    assert!(!kept.is_empty(), "snapshots were kept");

    let (log, counted) = CountingLog::before(&engines);
    let next = Writer::start("second", &counted, 1_000);
    let terms = next.assign_all(2).await;
    let read = log.read.load(Ordering::Relaxed);
    assert!(read < 8 * 41 / 2, "the snapshots are used: {read} records read");
    for number in 1..=8 {
        for message in [0, 17, 39] {
            let id = format!("m{message}");
            assert_eq!(seq_of(next.ask(&terms, send(group(number), "ann", &id)).await), (message + 2, true));
        }
        assert_eq!(seq_of(next.ask(&terms, send(group(number), "bob", "new")).await), (42, false));
        let again = next.ask(&terms, create(group(number))).await;
        assert!(matches!(again, Ok(Reply::Group { created: false, .. })), "{again:?}");
    }
    next.task.shut_down().await;
    engines.log.close().await;
}

/// Keeps a snapshot when it parts, and only then, however long that takes.
fn patient() -> Options {
    let parting_wait_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    Options { snapshot_records: u64::MAX, parting_wait_ms, ..Options::default() }
}

/// Engines with an object store that hesitates.
fn slow(dir: &Path, gives: bool) -> (Arc<SlowBlobs>, Engines) {
    let blobs = SlowBlobs::open(&dir.join("slow"), gives);
    let engines = Engines { snapshots: Some(blobs.clone()), ..engines(dir) };
    (blobs, engines)
}

/// Who gives a partition up as planned leaves a snapshot of it, and serves on until that is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_end_spares_the_next_owner_the_fold() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, engines) = slow(dir.path(), true);
    let (log, engines) = CountingLog::before(&engines);
    let writer = Writer::start_with(patient(), &engines);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    send_all(&writer, &terms, "m", 0..300).await;
    writer.assignment.send_replace(Assignment { generation: 2, partitions: Default::default() });
    // The others have nothing to keep, and go at once.
    let mut owned = writer.owned.watch();
    let alone = owned.wait_for(|terms| terms.keys().eq([&place(group(1))]));
    tokio::time::timeout(PATIENCE, alone).await.expect("the empty ones go").unwrap();
    let late = writer.ask(&terms, send(group(1), "ann", "late")).await;
    assert_eq!(seq_of(late), (302, false), "served until the snapshot is kept");
    blobs.permits.add_permits(1);
    tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    assert_eq!(writer.ask(&terms, send(group(1), "ann", "too late")).await, Ok(Reply::NotOwner));
    assert_eq!(blobs.list("", 100).await.unwrap().len(), 1);
    writer.task.shut_down().await;

    let impatient = Options { parting_wait_ms: 1, ..patient() };
    let next = Writer::start_with(impatient, &engines);
    let before = log.read.load(Ordering::Relaxed);
    let terms = next.assign_all(3).await;
    let folded = log.read.load(Ordering::Relaxed) - before;
    assert!(folded < 50, "{folded} records read, claims and all, where more than 300 lie");
    for (id, seq) in [("m0", 2), ("m299", 301), ("late", 302)] {
        assert_eq!(seq_of(next.ask(&terms, send(group(1), "ann", id)).await), (seq, true));
    }
    send_all(&next, &terms, "n", 301..601).await;
    // A store that doesn't answer holds nobody up, neither a partition nor the process.
    let mut owned = next.owned.watch();
    next.assignment.send_replace(Assignment { generation: 4, partitions: Default::default() });
    tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, next.task.shut_down()).await.expect("nothing is waited for");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A log that was restored from an earlier copy, under snapshots of what it was: they are discarded, while it is shorter than
/// they know it, and when it has grown longer again with other messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_what_the_log_is_no_more_is_discarded() {
    let (dir, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = engines(dir.path());
    let writer = Writer::start("first", &before, 10);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    send_all(&writer, &terms, "a", 0..5).await;
    // Durable as it is at this moment, and nobody writes.
    copy(dir.path(), restored.path());
    send_all(&writer, &terms, "a", 5..60).await;
    writer.task.shut_down().await;
    before.log.close().await;
    let (name, newer) = only(&before).await;

    let after = engines(restored.path());
    assert_eq!(after.log.epoch(), before.log.epoch());
    let blobs = after.snapshots.clone().unwrap();
    blobs.put(&name, newer.clone()).await.unwrap();
    for (number, messages) in [5..6, 6..100, 100..101].into_iter().enumerate() {
        let generation = u64::try_from(number).unwrap() + 2;
        let writer = Writer::start("next", &after, u64::MAX);
        let terms = writer.assign_all(generation).await;
        assert_eq!(
            seq_of(writer.ask(&terms, send(group(1), "ann", "a4")).await),
            (6, true),
            "as before the copy"
        );
        send_all(&writer, &terms, "b", messages).await;
        let repeat = writer.ask(&terms, send(group(1), "ann", "b5")).await;
        assert_eq!(seq_of(repeat), (7, true));
        writer.task.shut_down().await;
        assert_eq!(blobs.get(&name).await.unwrap().unwrap(), newer, "still the one of the former log");
    }
    after.log.close().await;
}

/// Starts a writer, sends some messages and ends it as planned; if so many that a snapshot is worth its while, it keeps one.
async fn write(engines: &Engines, generation: u64, prefix: &str, messages: std::ops::Range<u64>) {
    let writer = Writer::start_with(patient(), engines);
    let terms = writer.assign_all(generation).await;
    if messages.start == 0 {
        writer.ask(&terms, create(group(1))).await.unwrap();
    }
    send_all(&writer, &terms, prefix, messages).await;
    writer.task.shut_down().await;
}

/// The one snapshot that there is.
async fn only(engines: &Engines) -> (String, Bytes) {
    let blobs = engines.snapshots.as_ref().unwrap();
    let names = blobs.list("", 10).await.unwrap();
    let [name] = &names[..] else { panic!("{names:?}") };
    (name.clone(), blobs.get(name).await.unwrap().unwrap())
}

/// A restored log that ends right before the last record that the snapshot knows. The claim lands there while the snapshot is
/// still being loaded; behind it nothing comes, for which a take-over could wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_ends_where_the_claim_lies_is_discarded() {
    let [dir, restored] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let before = engines(dir.path());
    write(&before, 1, "a", 0..300).await;
    let (name, _) = only(&before).await;
    before.snapshots.as_ref().unwrap().delete(&name).await.unwrap();
    copy(dir.path(), restored.path());
    // The claim, and one message more: of two records the copy knows nothing.
    write(&before, 2, "b", 300..301).await;
    let (_, snapshot) = only(&before).await;
    before.log.close().await;

    let (blobs, after) = slow(restored.path(), false);
    blobs.blobs.put(&name, snapshot).await.unwrap();
    let at = TopicPartition { topic: Topic::Events, partition: place(group(1)) };
    let end = async || after.log.offsets(&[at], Bound::End).await.unwrap()[0];
    let next = Writer::start("next", &after, u64::MAX);
    let short = end().await;
    let opened = async {
        while end().await == short {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        blobs.gate.send_replace(true);
    };
    let (terms, ()) = tokio::join!(next.assign_all(2), opened);
    assert_eq!(terms[&at.partition], short, "the claim took the place of what was lost");
    assert_eq!(seq_of(next.ask(&terms, send(group(1), "ann", "a299")).await), (301, true));
    send_all(&next, &terms, "b", 300..301).await;
    next.task.shut_down().await;
    after.log.close().await;
}

/// Two histories since the same copy, alike in all but what was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_history_is_discarded() {
    let [dir, one, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let before = engines(dir.path());
    write(&before, 1, "a", 0..10).await;
    before.log.close().await;
    for restored in [&one, &other] {
        copy(dir.path(), restored.path());
    }
    let (one, other) = (engines(one.path()), engines(other.path()));
    write(&one, 2, "b", 10..300).await;
    write(&other, 2, "c", 10..300).await;
    let ((name, foreign), (_, own)) = (only(&one).await, only(&other).await);
    assert_ne!(foreign, own);
    one.log.close().await;
    other.snapshots.as_ref().unwrap().put(&name, foreign).await.unwrap();

    let writer = Writer::start("next", &other, u64::MAX);
    let terms = writer.assign_all(3).await;
    for (id, answer) in
        [("a9", (11, true)), ("c10", (12, true)), ("c299", (301, true)), ("b10", (302, false))]
    {
        assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", id)).await), answer, "{id}");
    }
    writer.task.shut_down().await;
    other.log.close().await;
}

/// A store that is silent: one snapshot is on its way at most, and neither who failed meanwhile nor its process waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_object_store_holds_no_end_up() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, engines) = slow(dir.path(), true);
    let old = Writer::start("old", &engines, 20);
    let before = old.assign_all(1).await;
    old.ask(&before, create(group(1))).await.unwrap();
    send_all(&old, &before, "a", 0..100).await;
    assert_eq!(blobs.puts.load(Ordering::Relaxed), 1);
    let new = Writer::start("new", &engines, u64::MAX);
    new.assign_all(2).await;
    // The old one isn't told, and finds out by this.
    assert_eq!(old.ask(&before, send(group(1), "ann", "late")).await.unwrap_err().code, Code::OutcomeUnknown);
    tokio::time::timeout(PATIENCE, old.task.shut_down()).await.expect("nothing is waited for");
    new.task.shut_down().await;
}

/// What couldn't be kept doesn't count as kept: a planned end tries again, however few records came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_failed_is_made_up_for_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, engines) = slow(dir.path(), true);
    blobs.is_down.store(true, Ordering::Relaxed);
    let writer = Writer::start("one", &engines, 250);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    send_all(&writer, &terms, "a", 0..300).await;
    assert_eq!(blobs.puts.load(Ordering::Relaxed), 1, "the next try comes after as many records");
    blobs.is_down.store(false, Ordering::Relaxed);
    blobs.permits.add_permits(1);
    writer.task.shut_down().await;
    assert_eq!(blobs.list("", 10).await.unwrap().len(), 1);
}
