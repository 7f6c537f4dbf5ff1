//! Writers that share partitions, on the embedded log: whatever the assignment says, only the one whose claim is the latest is
//! believed, and nobody answers from a state that isn't the log's any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::{
    ClientMessageId, Code, GroupId, MessageKind, PartitionCount, Rejection, UserId, partition_of,
};
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{Assignment, EventLog};
use parley_keys::faults::Switched;
use parley_keys::{EmbeddedKeyStore, KeyRing, KeyStore, Keys};
use parley_media::providers::directory::DirectoryBlobs;
use parley_media::{Blobs, Error as MediaError};
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::event::Content;
use parley_wire::service::{Notice, Notices, Owner, Progress, Reply, ReplyTo, Request, Send, Wish};
use parley_writer::{AssignedWriter, Engines, Options, Owned};
use tokio::sync::{Semaphore, watch};

const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: u32 = 4;

struct Nobody;

#[async_trait]
impl Notices for Nobody {
    async fn notify(&self, _: Notice) -> Vec<UserId> {
        Vec::new()
    }
}

/// Projectors that are always there already.
struct Projected;

#[async_trait]
impl Progress for Projected {
    async fn caught_up(&self, _: Option<GroupId>, _: Duration) -> bool {
        true
    }

    fn projected(&self, _: u32) -> u64 {
        u64::MAX
    }
}

fn engines(dir: &Path) -> Engines {
    engines_with(dir, EmbeddedKeyStore::open(&dir.join("keys")).unwrap())
}

fn engines_with(dir: &Path, keys: Arc<dyn KeyStore>) -> Engines {
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let (log, _) = EmbeddedLog::open(LogOptions::new(dir.join("log"), partitions)).unwrap();
    let ring = KeyRing::open_or_create(&dir.join("ring.json")).unwrap();
    let reads = EmbeddedReadStore::open(&dir.join("reads"), log.epoch(), Default::default()).unwrap();
    Engines {
        keys: Arc::new(Keys::new(ring, keys)),
        log,
        reads,
        notices: Arc::new(Nobody),
        progress: Arc::new(Projected),
        snapshots: Some(Arc::new(DirectoryBlobs::open(&dir.join("snapshots")).unwrap())),
    }
}

/// A writer and what it is assigned.
struct Writer {
    owned: Arc<Owned>,
    assignment: watch::Sender<Assignment>,
    task: AssignedWriter,
}

impl Writer {
    fn start(name: &str, engines: &Engines, snapshot_records: u64) -> Self {
        Self::start_with(Options { instance: name.into(), snapshot_records, ..Options::default() }, engines)
    }

    fn start_with(options: Options, engines: &Engines) -> Self {
        let (assignment, watch) = watch::channel(Assignment::default());
        let (owned, task) = AssignedWriter::start(options, engines.clone(), watch, Arc::new(|_| {}));
        Self { owned, assignment, task }
    }

    /// Assigns all partitions; the terms under which they are owned then.
    async fn assign_all(&self, generation: u64) -> BTreeMap<u32, u64> {
        self.assignment.send_replace(Assignment { generation, partitions: (0..PARTITIONS).collect() });
        let mut terms = self.owned.watch();
        let all = terms.wait_for(|terms| terms.len() == PARTITIONS as usize);
        tokio::time::timeout(PATIENCE, all).await.expect("taken over").unwrap().clone()
    }

    async fn ask(&self, terms: &BTreeMap<u32, u64>, request: Request) -> Result<Reply, Rejection> {
        let partition = place(request.group_id);
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.owned.submit(terms[&partition], request, ReplyTo::new(move |result| drop(tx.send(result))));
        tokio::time::timeout(PATIENCE, rx).await.expect("in time").expect("answered")
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn group(number: u8) -> GroupId {
    GroupId::from_bytes([number; 16])
}

/// The partition of a group.
fn place(group: GroupId) -> u32 {
    partition_of(group.to_string().as_bytes(), PartitionCount::new(PARTITIONS).unwrap())
}

fn create(group_id: GroupId) -> Request {
    let wish = Wish::Create {
        name: "g".into(),
        description: String::new(),
        members: vec![user("bob")],
        recipe: [0; 32],
    };
    Request { group_id, actor: user("ann"), wish }
}

fn send(group_id: GroupId, actor: &str, id: &str) -> Request {
    let send = Send {
        client_message_id: ClientMessageId::parse(id).unwrap(),
        kind: MessageKind::Text,
        content: Content { text: Some(id.into()), media_url: None },
        media: None,
        over_rate: None,
        trace: None,
    };
    Request { group_id, actor: user(actor), wish: Wish::Send(Box::new(send)) }
}

fn seq_of(reply: Result<Reply, Rejection>) -> (u64, bool) {
    match reply {
        Ok(Reply::Accepted { seq, duplicate, .. }) => (seq, duplicate),
        other => panic!("not accepted: {other:?}"),
    }
}

/// Nothing that a client could take for the truth.
fn is_no_answer(reply: &Result<Reply, Rejection>) -> bool {
    match reply {
        Ok(Reply::NotOwner) => true,
        Err(rejection) => rejection.code == Code::OutcomeUnknown,
        Ok(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_writer_answers_nothing_from_its_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let (old, new) = (Writer::start("old", &engines, 1_000), Writer::start("new", &engines, 1_000));
    let before = old.assign_all(1).await;
    for number in 1..=20 {
        old.ask(&before, create(group(number))).await.unwrap();
        assert_eq!(seq_of(old.ask(&before, send(group(number), "ann", "one")).await), (2, false));
    }
    // The old one isn't told: it is frozen, or the news is late.
    let after = new.assign_all(2).await;
    for number in 1..=20 {
        // Everything that appends nothing must not be answered from what was true before.
        let repeat = old.ask(&before, send(group(number), "ann", "one")).await;
        let stranger = old.ask(&before, send(group(number), "eve", "two")).await;
        let fresh = old.ask(&before, send(group(number), "ann", "three")).await;
        for answer in [&repeat, &stranger, &fresh] {
            assert!(is_no_answer(answer), "group {number}: {answer:?}");
        }
        assert_eq!(seq_of(new.ask(&after, send(group(number), "ann", "one")).await), (2, true));
        assert_eq!(seq_of(new.ask(&after, send(group(number), "ann", "three")).await), (3, false));
        let stranger = new.ask(&after, send(group(number), "eve", "two")).await;
        assert_eq!(stranger.unwrap_err().code, Code::NotAMember);
    }
    assert_eq!(new.owned.watch().borrow().clone(), after, "the old one doesn't claim back what is newer");
    old.task.shut_down().await;
    new.task.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_a_former_term_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    let former = terms.iter().map(|(partition, term)| (*partition, term + 1)).collect();
    assert_eq!(writer.ask(&former, send(group(1), "ann", "one")).await, Ok(Reply::NotOwner));
    writer.assignment.send_replace(Assignment { generation: 2, partitions: Default::default() });
    let mut owned = writer.owned.watch();
    tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    assert_eq!(writer.ask(&terms, send(group(1), "ann", "one")).await, Ok(Reply::NotOwner));
    let again = writer.assign_all(3).await;
    assert!(again.iter().all(|(partition, term)| *term > terms[partition]), "a term only grows");
    assert_eq!(seq_of(writer.ask(&again, send(group(1), "ann", "one")).await), (2, false));
    writer.task.shut_down().await;
}

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

    let next = Writer::start("second", &engines, 1_000);
    let terms = next.assign_all(2).await;
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

/// Sends some messages; as the group's creation is its first event, each gets its number and 2 as its seq.
async fn send_all(writer: &Writer, terms: &BTreeMap<u32, u64>, prefix: &str, messages: std::ops::Range<u64>) {
    for message in messages {
        let sent = writer.ask(terms, send(group(1), "ann", &format!("{prefix}{message}"))).await;
        assert_eq!(seq_of(sent), (message + 2, false));
    }
}

/// An object store that takes a blob for each permit.
struct SlowBlobs {
    blobs: DirectoryBlobs,
    permits: Semaphore,
}

#[async_trait]
impl Blobs for SlowBlobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), MediaError> {
        self.permits.acquire().await.expect("never closed").forget();
        self.blobs.put(name, bytes).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, MediaError> {
        self.blobs.get(name).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, MediaError> {
        self.blobs.list(prefix, limit).await
    }

    async fn delete(&self, name: &str) -> Result<(), MediaError> {
        self.blobs.delete(name).await
    }
}

/// Who gives a partition up as planned leaves a snapshot of it, and serves on until that is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_end_spares_the_next_owner_the_fold() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Arc::new(SlowBlobs {
        blobs: DirectoryBlobs::open(&dir.path().join("slow")).unwrap(),
        permits: Semaphore::new(0),
    });
    let engines = Engines { snapshots: Some(blobs.clone()), ..engines(dir.path()) };
    let patient = u64::try_from(PATIENCE.as_millis()).unwrap();
    let options = Options { snapshot_records: u64::MAX, parting_wait_ms: patient, ..Options::default() };
    let writer = Writer::start_with(options, &engines);
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

    let impatient = Options { snapshot_records: u64::MAX, parting_wait_ms: 1, ..Options::default() };
    let next = Writer::start_with(impatient, &engines);
    let terms = next.assign_all(3).await;
    for (id, seq) in [("m0", 2), ("m299", 301), ("late", 302)] {
        assert_eq!(seq_of(next.ask(&terms, send(group(1), "ann", id)).await), (seq, true));
    }
    send_all(&next, &terms, "n", 301..601).await;
    // A store that doesn't answer holds nobody up.
    let mut owned = next.owned.watch();
    next.assignment.send_replace(Assignment { generation: 4, partitions: Default::default() });
    tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    blobs.permits.add_permits(1);
    next.task.shut_down().await;
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
    let kept = before.snapshots.as_ref().unwrap();
    let names = kept.list("", 10).await.unwrap();
    assert_eq!(names.len(), 1, "the one group's partition");

    let after = engines(restored.path());
    assert_eq!(after.log.epoch(), before.log.epoch());
    let blobs = after.snapshots.clone().unwrap();
    let newer = kept.get(&names[0]).await.unwrap().unwrap();
    blobs.put(&names[0], newer.clone()).await.unwrap();
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
        assert_eq!(blobs.get(&names[0]).await.unwrap().unwrap(), newer, "still the one of the former log");
    }
    after.log.close().await;
}

/// Groups whose key is at hand don't suffer from those whose key isn't, in the same partition and in the same batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_key_store_is_away_only_who_needs_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Switched::new(EmbeddedKeyStore::open(&dir.path().join("keys")).unwrap());
    let engines = engines_with(dir.path(), store.clone());
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    let warm = group(1);
    let mut beside = (2..=u8::MAX).map(group).filter(|group| place(*group) == place(warm));
    let (cold, gone) = (beside.next().unwrap(), beside.next().unwrap());
    for one in [warm, cold, gone] {
        writer.ask(&terms, create(one)).await.unwrap();
    }
    let dissolve = Request { group_id: gone, actor: user("ann"), wish: Wish::Dissolve };
    writer.ask(&terms, dissolve).await.unwrap();
    assert_eq!(seq_of(writer.ask(&terms, send(warm, "ann", "0")).await), (2, false));

    store.take_away(true);
    for round in 1..=20 {
        let id = round.to_string();
        let (refused, accepted) = tokio::join!(
            writer.ask(&terms, send(cold, "ann", &id)),
            writer.ask(&terms, send(warm, "ann", &id)),
        );
        assert_eq!(refused.unwrap_err().code, Code::Unavailable);
        let stranger = writer.ask(&terms, send(cold, "eve", &id)).await;
        assert_eq!(stranger.unwrap_err().code, Code::NotAMember, "that needs no key");
        let late = writer.ask(&terms, send(gone, "ann", &id)).await;
        assert_eq!(late.unwrap_err().code, Code::GroupDissolved, "nor does that");
        assert_eq!(seq_of(accepted), (2 + round, false));
        assert_eq!(seq_of(writer.ask(&terms, send(warm, "ann", &id)).await), (2 + round, true), "a repeat");
    }
    store.take_away(false);
    let accepted = async {
        loop {
            match writer.ask(&terms, send(cold, "ann", "1")).await {
                Ok(reply) => break seq_of(Ok(reply)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, accepted).await.unwrap(), (2, false));
    writer.task.shut_down().await;
}

/// A repeat is known as one also if the messages before it in its batch push its id out of those that are remembered.
#[tokio::test]
async fn a_repeat_is_known_beside_messages_that_make_its_id_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start_with(Options { recent_ids_max: 3, ..Options::default() }, &engines);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", "first")).await), (2, false));
    // All are asked before the shard's task runs: this test has one thread, and so they are one batch.
    let batch = ["a", "b", "c", "d", "first"].map(|id| writer.ask(&terms, send(group(1), "ann", id)));
    let answers = futures::future::join_all(batch).await;
    let answers: Vec<_> = answers.into_iter().map(seq_of).collect();
    assert_eq!(answers, [(3, false), (4, false), (5, false), (6, false), (2, true)]);
    writer.task.shut_down().await;
}
