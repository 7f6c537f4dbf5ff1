//! The log's one thread: gathers what waits, writes it in one go, syncs once, publishes, answers.
//!
//! Architecture invariants: nobody else writes to the log's files; nothing is published or answered before its sync
//! has returned; a sync that failed is never tried again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::port::AppendError;
use crate::record::StoredRecord;

use super::frame::{self, Placement};
use super::index::{Entry, partition_slot};
use super::queue::{Item, Work};
use super::ring::Recent;
use super::segment::{self, FRAMES_START, Header};
use super::shared::{Segment, Shared, Signal};
use super::space::SpaceGuard;
use super::storage::Storage;

/// The most that one commit gathers, unless a single append is larger. It bounds how long the first one waits.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The write buffer is given back after a batch that made it larger than this.
const BUFFER_BYTES_KEPT: usize = 16 << 20;
/// How often the free space is looked at while there is too little and nobody appends.
const SPACE_PATIENCE: Duration = Duration::from_millis(500);

/// Where the thread writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The segment's number, from 0, and its salt.
    pub(super) segment: u32,
    pub(super) salt: u32,
    /// Bytes of it that are written and durable.
    pub(super) len: u64,
    /// The next record's ordinal.
    pub(super) ordinal: u64,
}

/// The state of the thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    storage: Box<dyn Storage>,
    dir: std::path::PathBuf,
    segment_bytes_max: u64,
    head: Head,
    /// The next offset of each partition, what is being written included.
    ends: Vec<u64>,
    space: SpaceGuard,
    buffer: Vec<u8>,
    /// Offset and end in the segment of each record in the buffer.
    placed: Vec<(u64, u64)>,
    /// Set for good once nothing may be written any more.
    failed: Option<Arc<str>>,
    /// Whether the trouble is one that passes by itself.
    short_of_space: bool,
}

/// Why a batch didn't become durable.
enum Failure {
    /// Nothing of it is in the log. Later ones may succeed.
    Refused(Arc<str>),
    /// The same, for want of space, which may come back without an append.
    NoSpace(Arc<str>),
    /// Nobody knows what is on the disk now. The log stops.
    Fatal(Arc<str>),
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        storage: Box<dyn Storage>,
        dir: std::path::PathBuf,
        segment_bytes_max: u64,
        head: Head,
        space: SpaceGuard,
    ) -> Self {
        let ends = shared.durable.read().ends.clone();
        Self {
            shared,
            storage,
            dir,
            segment_bytes_max,
            head,
            ends,
            space,
            buffer: Vec::new(),
            placed: Vec::new(),
            failed: None,
            short_of_space: false,
        }
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _last_words = LastWords(Arc::clone(&self.shared));
        loop {
            let patience = self.short_of_space.then_some(SPACE_PATIENCE);
            match self.shared.queue.next(BATCH_BYTES_MAX, patience) {
                Work::Batch(batch) => self.commit(batch),
                Work::Idle => self.look_at_space(),
                Work::Closed => return,
            }
        }
    }

    fn commit(&mut self, batch: Vec<Item>) {
        if let Some(reason) = &self.failed {
            self.shared.queue.fail(batch, &AppendError::NotAppended(Arc::clone(reason)));
            return;
        }
        match self.write(&batch) {
            Ok(()) => {
                // An append of nothing proves nothing.
                if !self.placed.is_empty() {
                    self.end_trouble("the log takes appends again");
                }
                self.publish(batch);
            }
            Err(failure) => self.give_up(batch, failure),
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.placed.clear();
    }

    /// Makes a batch durable, without anybody seeing it yet.
    fn write(&mut self, batch: &[Item]) -> Result<(), Failure> {
        let bytes: usize = batch.iter().map(|item| item.bytes).sum();
        self.space.admit(self.storage.as_mut(), bytes as u64, Instant::now()).map_err(Failure::NoSpace)?;
        if batch.iter().all(|item| item.records.is_empty()) {
            return Ok(());
        }
        self.rotate_if_full()?;
        self.encode(batch);
        if let Err(error) = self.storage.write_at(self.head.len, &self.buffer) {
            let reason = reason("the write failed", &error);
            return Err(match self.storage.truncate(self.head.len) {
                Ok(()) => Failure::Refused(reason),
                Err(error) => {
                    Failure::Fatal(self::reason(&format!("{reason}; and cutting it off failed"), &error))
                }
            });
        }
        let began = Instant::now();
        self.storage.sync().map_err(|error| {
            Failure::Fatal(reason("the sync failed, so what is on the disk is not known", &error))
        })?;
        metrics::histogram!("parley_log_fsync_seconds").record(began.elapsed().as_secs_f64());
        self.space.wrote(self.buffer.len() as u64);
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<(), Failure> {
        if self.head.len < self.segment_bytes_max || self.head.len == FRAMES_START {
            return Ok(());
        }
        let header = Header::fresh(self.shared.meta.first_epoch, self.head.ordinal);
        let path = segment::path(&self.dir, self.head.ordinal);
        self.storage
            .create(&path, &header.encode())
            .map_err(|error| Failure::Refused(reason("no new segment could be made", &error)))?;
        self.head = Head {
            segment: self.head.segment + 1,
            salt: header.salt,
            len: FRAMES_START,
            ordinal: self.head.ordinal,
        };
        let segment = Segment { path: Arc::new(path), salt: header.salt, len: FRAMES_START };
        self.shared.durable.write().segments.push(segment);
        Ok(())
    }

    /// Gives each record its place, and puts the frames into the buffer.
    fn encode(&mut self, batch: &[Item]) {
        let mut first = true;
        for (at, record) in batch.iter().flat_map(|item| &item.records) {
            let end =
                partition_slot(*at, self.shared.meta.partitions).and_then(|slot| self.ends.get_mut(slot));
            let Some(end) = end else {
                debug_assert!(false, "checked when it was queued");
                continue;
            };
            let ordinal = self.head.ordinal + self.placed.len() as u64;
            let place = Placement { ordinal, at: *at, offset: *end, first };
            frame::encode(&mut self.buffer, self.head.salt, place, record);
            self.placed.push((*end, self.head.len + self.buffer.len() as u64));
            *end += 1;
            first = false;
        }
    }

    /// Shows the batch to the readers, then tells its callers.
    fn publish(&mut self, batch: Vec<Item>) {
        let records = self.placed.len();
        let mut placed = self.placed.drain(..);
        let mut recents = Vec::with_capacity(records);
        let mut answers = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        for Item { records, bytes: item_bytes, reply } in batch {
            bytes += item_bytes;
            let mut offsets = Vec::with_capacity(records.len());
            for ((at, record), (offset, end)) in records.into_iter().zip(&mut placed) {
                offsets.push(offset);
                let stored = Arc::new(StoredRecord { at, offset, record });
                recents.push(Recent { stored, segment: self.head.segment, end });
            }
            answers.push((reply, offsets));
        }
        drop(placed);
        self.show(recents);
        // Before the answers, so that who got one finds the room for its next append.
        self.shared.queue.release(bytes);
        for (reply, offsets) in answers {
            // That nobody listens any more is fine.
            drop(reply.send(Ok(offsets)));
        }
        metrics::counter!("parley_log_records_appended_total").increment(records as u64);
        metrics::histogram!("parley_log_batch_records").record(records as f64);
    }

    fn show(&mut self, recents: Vec<Recent>) {
        let mut evicted = Vec::new();
        let mut durable = self.shared.durable.write();
        let durable_now = &mut *durable;
        for recent in recents {
            let (at, offset) = (recent.stored.at, recent.stored.offset);
            let start = u32::try_from(self.head.len).unwrap_or(u32::MAX);
            if let Some(slot) = partition_slot(at, self.shared.meta.partitions) {
                let entry =
                    Entry { offset, ordinal: self.head.ordinal, segment: self.head.segment, pos: start };
                durable_now.index.note(slot, entry);
                if let Some(end) = durable_now.ends.get_mut(slot) {
                    debug_assert_eq!(*end, offset, "offsets are dense");
                    *end = offset + 1;
                }
            }
            self.head.ordinal += 1;
            self.head.len = recent.end;
            durable_now.ring.push(recent, &mut evicted);
        }
        if let Some(segment) = durable_now.segments.last_mut() {
            segment.len = self.head.len;
        }
        drop(durable);
        // A changed version is what wakes the tails; the value itself stays.
        self.shared.signal.send_modify(|_| {});
    }

    fn give_up(&mut self, batch: Vec<Item>, failure: Failure) {
        self.ends.clone_from(&self.shared.durable.read().ends);
        let (error, reason) = match failure {
            Failure::Refused(reason) => (AppendError::NotAppended(Arc::clone(&reason)), reason),
            Failure::NoSpace(reason) => {
                self.short_of_space = true;
                (AppendError::NotAppended(Arc::clone(&reason)), reason)
            }
            Failure::Fatal(reason) => {
                let reason: Arc<str> = format!("the log has stopped until a restart: {reason}").into();
                self.failed = Some(Arc::clone(&reason));
                (AppendError::Unknown(Arc::clone(&reason)), reason)
            }
        };
        let before = self.shared.trouble.lock().replace(Arc::clone(&reason));
        // Once, not for each append that meets the same trouble.
        if before.is_none() || self.failed.is_some() {
            tracing::error!(%reason, "an append to the log failed");
        }
        self.shared.queue.fail(batch, &error);
    }

    /// Readiness may keep all appends away while there is trouble; so the trouble must end without one.
    fn look_at_space(&mut self) {
        if self.space.admit(self.storage.as_mut(), 0, Instant::now()).is_ok() {
            self.end_trouble("the log has enough space again");
        }
    }

    fn end_trouble(&mut self, what: &str) {
        self.short_of_space = false;
        if self.shared.trouble.lock().take().is_some() {
            tracing::info!("{what}");
        }
    }
}

fn reason(what: &str, error: &io::Error) -> Arc<str> {
    format!("{what}: {error}").into()
}

/// Tells everybody that the thread is gone, whether it ended or panicked.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.queue.close();
        if std::thread::panicking() {
            let reason: Arc<str> = "the log's thread has panicked".into();
            *self.0.trouble.lock() = Some(Arc::clone(&reason));
            self.0.queue.fail(Vec::new(), &AppendError::NotAppended(reason));
        }
        self.0.signal.send_replace(Signal { closed: true });
    }
}
