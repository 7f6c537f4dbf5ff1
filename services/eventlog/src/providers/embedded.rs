//! The embedded log: one write-ahead log of all topics and partitions, in segment files of a directory.
//!
//! ```text
//!  append ──▶ queue ──▶ thread: gather ▸ place ▸ encode ▸ one write ▸ one fdatasync ▸ publish ▸ answer
//!                                                                                      │
//!  tail, read ◀──────────── ring of the newest records, in memory ◀────────────────────┤
//!            ◀──────────── segment files, through a sparse index ◀─────────────────────┘
//!
//!  DIR/log.json                            format, epoch, number of partitions
//!  DIR/log.lock                            held by the one process that writes here, or by those that read
//!  DIR/events-<first ordinal>.log          segments; the last one grows
//!  DIR/events-<first ordinal>.log.N.torn   what a crash left half written at byte N, cut off and kept
//! ```
//!
//! A record's *ordinal* is its number in the whole log; its *offset* is its number within its partition. Each commit
//! is one batch, whose first frame is flagged. As a batch is begun only after the former one was synced, a whole
//! flagged frame proves that all before it had been durable; that is how recovery tells damage (refuse to open) from
//! a commit that a crash interrupted (cut off, for nobody was told of it).
//!
//! The thread is a plain one, since a sync blocks.

mod committer;
mod error;
mod frame;
mod index;
mod inspect;
mod lock;
mod lookup;
mod meta;
mod queue;
mod reader;
mod recovery;
mod ring;
mod scan;
mod segment;
mod shared;
mod space;
mod storage;
mod tail;
mod torn;

#[cfg(test)]
mod faults;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use parley_domain::{Epoch, PartitionCount, Stamp};
use tokio::sync::watch;

use self::committer::Committer;
use self::index::partition_slot;
use self::queue::Queue;
use self::shared::{Shared, Signal};
use self::space::SpaceGuard;
use self::storage::{Disk, Storage};
use self::tail::EmbeddedTail;
use crate::port::{AppendError, Appending, Bound, EventLog, ReadError, Tail, Topic, TopicPartition};
use crate::record::{Record, StoredRecord};

pub use self::error::OpenError;
pub use self::inspect::Inspection;
pub use self::scan::{CutTail, RecoveryReport};

/// The greatest record, in bytes of kind, source, key and value together. Larger ones are refused.
pub const RECORD_BYTES_MAX: usize = frame::BODY_BYTES_MAX - frame::OVERHEAD_BYTES_MAX;

const GIB: u64 = 1 << 30;

/// How to open a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory. Made if it isn't there.
    pub dir: PathBuf,
    /// Partitions of each topic: fixed for the life of a log.
    pub partitions: PartitionCount,
    /// A segment that has grown to so many bytes is the last one no more. At most 1 GiB.
    pub segment_bytes_max: u64,
    /// How many bytes of the newest records are kept in memory for tails.
    pub tail_bytes_max: usize,
    /// How many bytes may wait for the disk; beyond, appends are refused. At most 1 GiB.
    pub pending_bytes_max: usize,
    /// How many bytes of the file system stay free: with less, appends are refused. Never more than 5 % of it.
    pub disk_reserve_bytes: u64,
}

impl Options {
    /// The defaults: segments of 64 MiB, 32 MiB of newest records, 64 MiB waiting, 64 MiB in reserve.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, partitions: PartitionCount) -> Self {
        Self {
            dir: dir.into(),
            partitions,
            segment_bytes_max: 64 << 20,
            tail_bytes_max: 32 << 20,
            pending_bytes_max: 64 << 20,
            disk_reserve_bytes: 64 << 20,
        }
    }

    fn check(&self) -> Result<(), OpenError> {
        // Places in a segment are kept in 32 bits: a segment and the one batch beyond its limit must fit.
        if self.segment_bytes_max > GIB {
            return Err(OpenError::Options("a segment may have at most 1 GiB"));
        }
        if self.pending_bytes_max as u64 > GIB {
            return Err(OpenError::Options("at most 1 GiB may wait for the disk"));
        }
        Ok(())
    }
}

/// The embedded log. Held by one process, and opened once in it.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// Taken by the first one who waits for its end.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Dropped when the thread has ended.
    _lock: File,
}

impl EmbeddedLog {
    /// Opens a log, or makes a new one. Reads all of it (about 1 GB/s) and blocks meanwhile.
    ///
    /// A commit at the end that a crash interrupted is cut off and reported.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process has it; [`OpenError::Partitions`] if the log has another number of partitions; [`OpenError::Damaged`] if records are
    /// damaged or missing that had been durable; [`OpenError::Format`] if a newer program wrote it;
    /// [`OpenError::Io`] if the disk fails.
    pub fn open(options: Options) -> Result<(Arc<Self>, RecoveryReport), OpenError> {
        Self::open_on(options, |disk| Box::new(disk))
    }

    /// Reads a log that nobody holds, without changing anything, not even a torn end.
    ///
    /// # Errors
    /// [`OpenError::Missing`] if there is none; the others as for [`EmbeddedLog::open`], here or from the iterator.
    pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection, OpenError> {
        Inspection::open(dir.as_ref())
    }

    /// Whether there is a log in a directory.
    ///
    /// # Errors
    /// What lies there can't be read or understood.
    pub fn is_there(dir: impl AsRef<Path>) -> Result<bool, OpenError> {
        let dir = dir.as_ref();
        Ok(dir.is_dir() && meta::load(dir)?.is_some())
    }

    /// Gives a log that nobody holds a new epoch, and returns the former and the new one: what it holds now is the truth from here
    /// on, and whoever knew more of it is told at its next resume.
    ///
    /// # Errors
    /// [`OpenError::Missing`] if there is none, [`OpenError::InUse`] while a process has it.
    pub fn begin_epoch(dir: impl AsRef<Path>) -> Result<(Epoch, Epoch), OpenError> {
        recovery::begin_epoch(dir.as_ref())
    }

    /// Opens a log on a disk that tests may have wrapped.
    fn open_on(
        options: Options,
        wrap: impl FnOnce(Disk) -> Box<dyn Storage>,
    ) -> Result<(Arc<Self>, RecoveryReport), OpenError> {
        options.check()?;
        let recovered = recovery::recover(&options.dir, options.partitions, options.tail_bytes_max)?;
        let shared = Arc::new(Shared {
            meta: recovered.meta,
            queue: Queue::new(options.pending_bytes_max),
            durable: RwLock::new(recovered.durable),
            signal: watch::Sender::new(Signal::default()),
            trouble: Mutex::new(None),
        });
        let committer = Committer::new(
            Arc::clone(&shared),
            wrap(recovered.disk),
            options.dir.clone(),
            options.segment_bytes_max,
            recovered.head,
            SpaceGuard::new(options.disk_reserve_bytes),
        );
        let thread = std::thread::Builder::new()
            .name("parley-log".to_owned())
            .spawn(move || committer.run())
            .map_err(OpenError::io("start the thread of", &options.dir))?;
        let log = Self { shared, thread: Mutex::new(Some(thread)), _lock: recovered.lock };
        Ok((Arc::new(log), recovered.report))
    }

    /// Why the records can't be queued, if so.
    fn refusal(&self, records: &[(TopicPartition, Record)]) -> Option<String> {
        records.iter().find_map(|(at, record)| {
            if partition_slot(*at, self.shared.meta.partitions).is_none() {
                return Some(format!("there is no partition {} of {}", at.partition, at.topic.name()));
            }
            if record.stamp == Stamp::Unclaimed {
                return Some("a record under no claim is void here".to_owned());
            }
            let bytes = frame::bytes_at_most(record);
            (bytes > frame::BODY_BYTES_MAX).then(|| format!("a record of {bytes} bytes is too large"))
        })
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn epoch(&self) -> Epoch {
        self.shared.meta.epoch
    }

    fn partitions(&self) -> PartitionCount {
        self.shared.meta.partitions
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Appending {
        match self.refusal(&records) {
            None => self.shared.queue.push(records),
            Some(reason) => {
                let (reply, appending) = tokio::sync::oneshot::channel();
                // The receiver is right here.
                drop(reply.send(Err(AppendError::NotAppended(reason.into()))));
                appending
            }
        }
    }

    fn is_fenced(&self, _: Topic) -> bool {
        true
    }

    async fn offsets(&self, places: &[TopicPartition], bound: Bound) -> Result<Vec<u64>, ReadError> {
        let of = |at: &TopicPartition| match bound {
            Bound::Start => self.shared.slot(*at, 0).map(|_| 0),
            Bound::End => self.shared.end(*at),
        };
        places.iter().map(of).collect()
    }

    async fn tail(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn Tail>, ReadError> {
        Ok(Box::new(EmbeddedTail::new(&self.shared, &from)?))
    }

    async fn read(
        &self,
        at: TopicPartition,
        from: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        self.shared.slot(at, from)?;
        let end = self.shared.end(at)?;
        if from > end {
            return Err(ReadError::OutOfRange { at, offset: from });
        }
        let to = end.min(from.saturating_add(records_max as u64));
        if from == to {
            return Ok(Vec::new());
        }
        if let Some(recent) = lookup::recent(&self.shared, at, from, to) {
            return Ok(recent.iter().map(|stored| StoredRecord::clone(stored)).collect());
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || lookup::stored(&shared, at, from, to))
            .await
            .map_err(|error| ReadError::Io(std::io::Error::other(error)))?
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble.lock().clone()
    }

    async fn close(&self) {
        self.shared.queue.close();
        let mut signal = self.shared.signal.subscribe();
        // It can't fail: the sender lives in `shared`.
        drop(signal.wait_for(|signal| signal.closed).await);
        // The thread's last act was the signal, so this waits for nothing.
        join(self.thread.lock().take());
    }
}

impl Drop for EmbeddedLog {
    /// As `close`, but it blocks: whoever opens the directory next must find no thread that still writes there.
    fn drop(&mut self) {
        self.shared.queue.close();
        join(self.thread.get_mut().take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(_)) = thread.map(JoinHandle::join) {
        tracing::error!("the log's thread had panicked");
    }
}
