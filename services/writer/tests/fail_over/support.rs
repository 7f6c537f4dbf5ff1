//! Writers on embedded engines, and what is asked of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::{ClientMessageId, GroupId, MessageKind, PartitionCount, Rejection, UserId, partition_of};
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{Assignment, EventLog};
use parley_keys::{EmbeddedKeyStore, KeyRing, KeyStore, Keys};
use parley_media::providers::directory::DirectoryBlobs;
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::event::Content;
use parley_wire::service::{Notice, Notices, Owner, Progress, Reply, ReplyTo, Request, Send, Wish};
use parley_writer::{AssignedWriter, Engines, Options, Owned};
use tokio::sync::watch;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PARTITIONS: u32 = 4;

pub(crate) struct Nobody;

#[async_trait]
impl Notices for Nobody {
    async fn notify(&self, _: Notice) -> Vec<UserId> {
        Vec::new()
    }
}

/// Projectors that are always there already.
pub(crate) struct Projected;

#[async_trait]
impl Progress for Projected {
    async fn caught_up(&self, _: Option<GroupId>, _: Duration) -> bool {
        true
    }

    fn projected(&self, _: u32) -> u64 {
        u64::MAX
    }
}

pub(crate) fn engines(dir: &Path) -> Engines {
    engines_with(dir, EmbeddedKeyStore::open(&dir.join("keys")).unwrap())
}

pub(crate) fn engines_with(dir: &Path, keys: Arc<dyn KeyStore>) -> Engines {
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
pub(crate) struct Writer {
    pub(crate) owned: Arc<Owned>,
    pub(crate) assignment: watch::Sender<Assignment>,
    pub(crate) task: AssignedWriter,
}

impl Writer {
    pub(crate) fn start(name: &str, engines: &Engines, snapshot_records: u64) -> Self {
        Self::start_with(Options { instance: name.into(), snapshot_records, ..Options::default() }, engines)
    }

    pub(crate) fn start_with(options: Options, engines: &Engines) -> Self {
        let (assignment, watch) = watch::channel(Assignment::default());
        let (owned, task) = AssignedWriter::start(options, engines.clone(), watch, Arc::new(|_| {}));
        Self { owned, assignment, task }
    }

    /// Assigns all partitions; the terms under which they are owned then.
    pub(crate) async fn assign_all(&self, generation: u64) -> BTreeMap<u32, u64> {
        self.assignment.send_replace(Assignment { generation, partitions: (0..PARTITIONS).collect() });
        let mut terms = self.owned.watch();
        let all = terms.wait_for(|terms| terms.len() == PARTITIONS as usize);
        tokio::time::timeout(PATIENCE, all).await.expect("taken over").unwrap().clone()
    }

    pub(crate) async fn ask(&self, terms: &BTreeMap<u32, u64>, request: Request) -> Result<Reply, Rejection> {
        let partition = place(request.group_id);
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.owned.submit(terms[&partition], request, ReplyTo::new(move |result| drop(tx.send(result))));
        tokio::time::timeout(PATIENCE, rx).await.expect("in time").expect("answered")
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(crate) fn group(number: u8) -> GroupId {
    GroupId::from_bytes([number; 16])
}

/// The partition of a group.
pub(crate) fn place(group: GroupId) -> u32 {
    partition_of(group.to_string().as_bytes(), PartitionCount::new(PARTITIONS).unwrap())
}

pub(crate) fn create(group_id: GroupId) -> Request {
    let wish = Wish::Create {
        name: "g".into(),
        description: String::new(),
        members: vec![user("bob")],
        recipe: [0; 32],
    };
    Request { group_id, actor: user("ann"), wish }
}

pub(crate) fn send(group_id: GroupId, actor: &str, id: &str) -> Request {
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

pub(crate) fn seq_of(reply: Result<Reply, Rejection>) -> (u64, bool) {
    match reply {
        Ok(Reply::Accepted { seq, duplicate, .. }) => (seq, duplicate),
        other => panic!("not accepted: {other:?}"),
    }
}

/// Sends some messages; as the group's creation is its first event, each gets its number and 2 as its seq.
pub(crate) async fn send_all(
    writer: &Writer,
    terms: &BTreeMap<u32, u64>,
    prefix: &str,
    messages: std::ops::Range<u64>,
) {
    for message in messages {
        let sent = writer.ask(terms, send(group(1), "ann", &format!("{prefix}{message}"))).await;
        assert_eq!(seq_of(sent), (message + 2, false));
    }
}
