//! Engines that hesitate, fail or count.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::{Epoch, PartitionCount, Stamp, UserId};
use parley_eventlog::{
    AppendError, Appending, Bound, EventLog, ReadError, Record, StoredRecord, Tail, Topic, TopicPartition,
};
use parley_media::providers::directory::DirectoryBlobs;
use parley_media::{Blobs, Error as MediaError};
use parley_wire::service::{Notice, Notices};
use parley_writer::Engines;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::support::PATIENCE;

/// An object store that takes a blob for each permit, unless it is down, and gives none before its gate is open.
pub(crate) struct SlowBlobs {
    pub(crate) blobs: DirectoryBlobs,
    pub(crate) permits: Semaphore,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) is_down: AtomicBool,
    /// Puts that were tried.
    pub(crate) puts: AtomicUsize,
}

impl SlowBlobs {
    pub(crate) fn open(dir: &Path, gives: bool) -> Arc<Self> {
        let blobs = DirectoryBlobs::open(dir).unwrap();
        Arc::new(Self {
            blobs,
            permits: Semaphore::new(0),
            gate: watch::Sender::new(gives),
            is_down: AtomicBool::new(false),
            puts: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Blobs for SlowBlobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), MediaError> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(MediaError::Unavailable { source: "down".into() });
        }
        self.permits.acquire().await.expect("never closed").forget();
        self.blobs.put(name, bytes).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, MediaError> {
        self.gate.subscribe().wait_for(|is_open| *is_open).await.expect("never closed");
        self.blobs.get(name).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, MediaError> {
        self.blobs.list(prefix, limit).await
    }

    async fn delete(&self, name: &str) -> Result<(), MediaError> {
        self.blobs.delete(name).await
    }
}

/// A log that counts what is read of it, can't tell its ends while it is blind, and panics, or keeps back what became of claims, if it
/// is told to.
pub(crate) struct CountingLog {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) read: Arc<AtomicUsize>,
    pub(crate) is_blind: Arc<AtomicBool>,
    /// How many of the next appends and tails panic.
    pub(crate) panics: Mutex<(usize, usize)>,
    /// What appending claims gave, while nobody is told.
    pub(crate) kept_back: Mutex<Option<Vec<KeptBack>>>,
}

/// An answer that is kept back, and who waits for it.
pub(crate) type KeptBack = (Appending, oneshot::Sender<Result<Vec<u64>, AppendError>>);

impl CountingLog {
    /// In front of the log of some engines; and those engines with it.
    pub(crate) fn before(engines: &Engines) -> (Arc<Self>, Engines) {
        let (log, read, is_blind) = (engines.log.clone(), Arc::default(), Arc::default());
        let log =
            Arc::new(Self { log, read, is_blind, panics: Mutex::default(), kept_back: Mutex::default() });
        (log.clone(), Engines { log, ..engines.clone() })
    }

    /// From now on nobody is told what becomes of claims.
    pub(crate) fn keep_back(&self) {
        *self.kept_back.lock().unwrap() = Some(Vec::new());
    }

    /// Waits until so many answers are kept back.
    pub(crate) async fn until_kept_back(&self, answers: usize) {
        let waiting = async {
            while self.kept_back.lock().unwrap().as_ref().is_none_or(|kept_back| kept_back.len() < answers) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
    }

    /// Tells who waits what was kept back, and keeps nothing back any more.
    pub(crate) async fn tell(&self) {
        let kept_back = self.kept_back.lock().unwrap().take();
        for (appending, waits) in kept_back.into_iter().flatten() {
            drop(waits.send(appending.await.unwrap()));
        }
    }
}

/// Notices that are passed on to a test.
pub(crate) struct PassedOn(pub(crate) mpsc::UnboundedSender<Notice>);

#[async_trait]
impl Notices for PassedOn {
    async fn notify(&self, notice: Notice) -> Vec<UserId> {
        self.0.send(notice).unwrap_or_default();
        Vec::new()
    }
}

/// Counts down; whether there was anything to count.
fn is_one_of(left: &mut usize) -> bool {
    let is_one = *left > 0;
    *left = left.saturating_sub(1);
    is_one
}

struct CountingTail {
    tail: Box<dyn Tail>,
    read: Arc<AtomicUsize>,
}

#[async_trait]
impl EventLog for CountingLog {
    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    fn partitions(&self) -> PartitionCount {
        self.log.partitions()
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Appending {
        let panics = is_one_of(&mut self.panics.lock().unwrap().0);
        assert!(!panics, "an append that panics, as this test wants");
        let is_claim = records.iter().any(|(_, record)| record.stamp == Stamp::Claim);
        let appending = self.log.append(records);
        match &mut *self.kept_back.lock().unwrap() {
            Some(kept_back) if is_claim => {
                let (tx, rx) = oneshot::channel();
                kept_back.push((appending, tx));
                rx
            }
            Some(_) | None => appending,
        }
    }

    fn is_fenced(&self, topic: Topic) -> bool {
        self.log.is_fenced(topic)
    }

    async fn offsets(&self, places: &[TopicPartition], bound: Bound) -> Result<Vec<u64>, ReadError> {
        if bound == Bound::End && self.is_blind.load(Ordering::Relaxed) {
            return Err(ReadError::Io(std::io::Error::other("no leader")));
        }
        self.log.offsets(places, bound).await
    }

    async fn tail(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn Tail>, ReadError> {
        let panics = is_one_of(&mut self.panics.lock().unwrap().1);
        assert!(!panics, "a tail that panics, as this test wants");
        Ok(Box::new(CountingTail { tail: self.log.tail(from).await?, read: self.read.clone() }))
    }

    async fn read(&self, at: TopicPartition, from: u64, max: usize) -> Result<Vec<StoredRecord>, ReadError> {
        let records = self.log.read(at, from, max).await?;
        self.read.fetch_add(records.len(), Ordering::Relaxed);
        Ok(records)
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.log.trouble()
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

#[async_trait]
impl Tail for CountingTail {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let records = self.tail.next(records_max).await?;
        self.read.fetch_add(records.len(), Ordering::Relaxed);
        Ok(records)
    }

    async fn next_now(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let records = self.tail.next_now(records_max).await?;
        self.read.fetch_add(records.len(), Ordering::Relaxed);
        Ok(records)
    }

    async fn add(&mut self, from: Vec<(TopicPartition, u64)>) -> Result<(), ReadError> {
        self.tail.add(from).await
    }

    fn remove(&mut self, places: &[TopicPartition]) {
        self.tail.remove(places);
    }
}
