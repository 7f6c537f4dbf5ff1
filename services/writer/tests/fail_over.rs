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
use parley_domain::{
    ClientMessageId, Code, GroupId, MessageKind, PartitionCount, Rejection, UserId, partition_of,
};
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{Assignment, EventLog};
use parley_keys::faults::Switched;
use parley_keys::{EmbeddedKeyStore, KeyRing, KeyStore, Keys};
use parley_media::providers::directory::DirectoryBlobs;
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::event::Content;
use parley_wire::service::{Notice, Notices, Owner, Progress, Reply, ReplyTo, Request, Send, Wish};
use parley_writer::{AssignedWriter, Engines, Options, Owned};
use tokio::sync::watch;

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
        let partition =
            partition_of(request.group_id.to_string().as_bytes(), PartitionCount::new(PARTITIONS).unwrap());
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

/// Groups whose key is at hand don't suffer from those whose key isn't, in the same partition and in the same batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_key_store_is_away_only_who_needs_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Switched::new(EmbeddedKeyStore::open(&dir.path().join("keys")).unwrap());
    let engines = engines_with(dir.path(), store.clone());
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let place = |group: GroupId| partition_of(group.to_string().as_bytes(), partitions);
    let warm = group(1);
    let cold = (2..=u8::MAX).map(group).find(|group| place(*group) == place(warm)).unwrap();
    for one in [warm, cold] {
        writer.ask(&terms, create(one)).await.unwrap();
    }
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
