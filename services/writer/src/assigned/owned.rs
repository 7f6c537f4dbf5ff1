//! What this process owns, as the edges ask for it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use parley_domain::{PartitionCount, ProfileChanged, Rejection, partition_of};
use parley_wire::service::{Owner, Reply, ReplyTo, Request, outcome_unknown};
use tokio::sync::{mpsc, watch};

use crate::handle::busy;
use crate::shard::Queued;

/// How long a profile may take to become durable before its outcome is called unknown.
const PROFILE_WAIT: Duration = Duration::from_secs(5);

struct Queue {
    term: u64,
    requests: mpsc::Sender<Queued>,
}

/// The partitions that this process owns, with the term of each, and the queues of their shards.
pub struct Owned {
    partitions: PartitionCount,
    queues: RwLock<BTreeMap<u32, Queue>>,
    terms: watch::Sender<BTreeMap<u32, u64>>,
}

impl Owned {
    pub(super) fn new(partitions: PartitionCount) -> Self {
        Self { partitions, queues: RwLock::default(), terms: watch::Sender::new(BTreeMap::new()) }
    }

    pub(super) fn add(&self, partition: u32, term: u64, requests: mpsc::Sender<Queued>) {
        self.queues.write().insert(partition, Queue { term, requests });
        self.tell();
    }

    pub(super) fn remove(&self, partition: u32) {
        if self.queues.write().remove(&partition).is_some() {
            self.tell();
        }
    }

    fn tell(&self) {
        let terms = self.queues.read().iter().map(|(partition, queue)| (*partition, queue.term)).collect();
        self.terms.send_replace(terms);
    }

    /// What is owned and under which terms, for those who tell the edges.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<u32, u64>> {
        self.terms.subscribe()
    }

    fn queue(&self, key: &str, term: u64, queued: Queued) {
        let partition = partition_of(key.as_bytes(), self.partitions);
        let queues = self.queues.read();
        let refused = match queues.get(&partition) {
            Some(queue) if queue.term == term => match queue.requests.try_send(queued) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(queued)) => (queued, Err(busy())),
                Err(mpsc::error::TrySendError::Closed(queued)) => (queued, Ok(Reply::NotOwner)),
            },
            Some(_) | None => (queued, Ok(Reply::NotOwner)),
        };
        drop(queues);
        let (queued, answer) = refused;
        queued.into_reply_to().answer(answer);
    }
}

#[async_trait]
impl Owner for Owned {
    fn submit(&self, term: u64, request: Request, reply_to: ReplyTo) {
        let mut text = [0; 36];
        let key: &str = request.group_id.0.hyphenated().encode_lower(&mut text);
        self.queue(key, term, Queued::Group(Box::new(request), reply_to));
    }

    async fn put_profile(&self, term: u64, profile: ProfileChanged) -> Result<Reply, Rejection> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let reply_to = ReplyTo::new(move |result| drop(tx.send(result)));
        let key = profile.user.clone();
        self.queue(key.as_str(), term, Queued::Profile(profile, reply_to));
        match tokio::time::timeout(PROFILE_WAIT, rx).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(outcome_unknown()),
        }
    }
}
