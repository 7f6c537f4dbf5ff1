//! Follows the log: from the segment files while behind, from the ring once it has caught up.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::index::partition_slot;
use super::reader::{FrameReader, Step};
use super::segment::FRAMES_START;
use super::shared::{Durable, Shared, Signal};
use crate::port::{ReadError, Tail, TopicPartition};
use crate::record::StoredRecord;

const CHUNK_BYTES: usize = 256 << 10;
/// The most that one visit to the files takes, so that what waits in memory is bounded.
const VISIT_BYTES_MAX: u64 = 1 << 20;
const VISIT_RECORDS_MAX: usize = 2_048;
/// The most records that are looked at under the lock.
const LOOK_RECORDS_MAX: usize = 4_096;

/// Which records a tail gives: those at or after the start of each of its partitions.
#[derive(Debug, Clone)]
struct Filter {
    shared: Arc<Shared>,
    /// By partition slot the next offset to give; `u64::MAX` where none is wanted.
    starts: Arc<[u64]>,
}

impl Filter {
    fn wants(&self, at: TopicPartition, offset: u64) -> bool {
        let start = partition_slot(at, self.shared.meta.partitions).and_then(|slot| self.starts.get(slot));
        start.is_some_and(|start| offset >= *start)
    }

    /// Wants no record of a partition that lies before an offset.
    fn start_at(&mut self, at: TopicPartition, offset: u64) {
        let slot = partition_slot(at, self.shared.meta.partitions);
        if let Some(start) = slot.and_then(|slot| Arc::make_mut(&mut self.starts).get_mut(slot)) {
            *start = offset;
        }
    }

    /// What was found won't be wanted again.
    fn found(&mut self, records: &[Arc<StoredRecord>]) {
        for stored in records {
            self.start_at(stored.at, stored.offset + 1);
        }
    }
}

/// A place in the log, before a record.
#[derive(Debug)]
struct Cursor {
    ordinal: u64,
    segment: usize,
    pos: u64,
    /// The segment's file, while it is read.
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    path: Arc<PathBuf>,
    reader: FrameReader,
}

impl Cursor {
    /// Makes sure that a file is open which has a durable frame at the cursor; `false` at the durable end.
    fn open_file(&mut self, shared: &Shared) -> Result<bool, ReadError> {
        loop {
            // Once a limit, not once a record.
            if self.open.as_ref().is_some_and(|open| self.pos < open.reader.limit()) {
                return Ok(true);
            }
            let (segment, is_last) = {
                let durable = shared.durable.read();
                let Some(segment) = durable.segments.get(self.segment) else {
                    return Ok(false);
                };
                (segment.clone(), self.segment + 1 == durable.segments.len())
            };
            if self.pos >= segment.len {
                if is_last {
                    return Ok(false);
                }
                self.segment += 1;
                self.pos = FRAMES_START;
                self.open = None;
            } else if let Some(open) = &mut self.open {
                open.reader.set_limit(segment.len);
            } else {
                let file = File::open(&*segment.path).map_err(ReadError::Io)?;
                let reader = FrameReader::new(file, segment.salt, self.pos, segment.len, CHUNK_BYTES);
                self.open = Some(OpenSegment { path: segment.path, reader });
            }
        }
    }
}

/// What a visit to the files brings back.
#[derive(Debug)]
struct Visit {
    cursor: Cursor,
    found: Result<Vec<Arc<StoredRecord>>, ReadError>,
}

/// A reader's place in the embedded log.
#[derive(Debug)]
pub(super) struct EmbeddedTail {
    filter: Filter,
    signal: watch::Receiver<Signal>,
    /// `None` only while a visit is under way.
    cursor: Option<Cursor>,
    /// Under way, even if the caller stopped waiting for it: the next call goes on with it.
    visit: Option<JoinHandle<Visit>>,
    /// Read, but not asked for yet.
    ready: VecDeque<Arc<StoredRecord>>,
}

/// What a look at the ring gave.
enum Look {
    Found(Vec<Arc<StoredRecord>>),
    /// Looked at many records, none of them wanted; there are more.
    More,
    /// They have fallen out of the ring, or never were there.
    Behind,
    AtEnd,
}

impl EmbeddedTail {
    /// Begins at the given offsets.
    pub(super) fn new(shared: &Arc<Shared>, from: &[(TopicPartition, u64)]) -> Result<Self, ReadError> {
        let signal = shared.signal.subscribe();
        let durable = shared.durable.read();
        let mut starts = vec![u64::MAX; durable.ends.len()];
        for (at, offset) in from {
            let slot = shared.slot(*at, *offset)?;
            if let Some(start) = starts.get_mut(slot) {
                *start = (*start).min(*offset);
            }
        }
        // The end, unless some partition has records before it that are wanted.
        let last = durable.segments.len().saturating_sub(1);
        let len = durable.segments.last().map_or(FRAMES_START, |segment| segment.len);
        let mut cursor = Cursor { ordinal: durable.ring.next_ordinal(), segment: last, pos: len, open: None };
        go_back(&mut cursor, shared, &durable, from)?;
        drop(durable);
        let filter = Filter { shared: Arc::clone(shared), starts: starts.into() };
        Ok(Self { filter, signal, cursor: Some(cursor), visit: None, ready: VecDeque::new() })
    }

    /// The next records, or none if there are none now. Nothing is taken before the last `await`.
    async fn advance(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let records_max = records_max.max(1);
        loop {
            if !self.ready.is_empty() {
                return Ok(self.ready.drain(..records_max.min(self.ready.len())).collect());
            }
            if self.visit.is_some() {
                self.finish_visit().await?;
                continue;
            }
            match self.look(records_max) {
                Look::Found(records) => return Ok(records),
                Look::AtEnd => return Ok(Vec::new()),
                Look::More => tokio::task::yield_now().await,
                Look::Behind => self.begin_visit()?,
            }
        }
    }

    /// Takes what the ring has, without waiting.
    fn look(&mut self, records_max: usize) -> Look {
        let Some(cursor) = &mut self.cursor else {
            return Look::Behind;
        };
        let shared = Arc::clone(&self.filter.shared);
        let durable = shared.durable.read();
        if cursor.ordinal >= durable.ring.next_ordinal() {
            return Look::AtEnd;
        }
        let Some(recent) = durable.ring.from(cursor.ordinal) else {
            return Look::Behind;
        };
        // Whatever file was open is not where the cursor will be.
        cursor.open = None;
        let mut found = Vec::new();
        for recent in recent.take(LOOK_RECORDS_MAX) {
            if found.len() == records_max {
                break;
            }
            if self.filter.wants(recent.stored.at, recent.stored.offset) {
                found.push(Arc::clone(&recent.stored));
            }
            cursor.ordinal += 1;
            cursor.segment = recent.segment as usize;
            cursor.pos = recent.end;
        }
        drop(durable);
        self.filter.found(&found);
        if found.is_empty() { Look::More } else { Look::Found(found) }
    }

    fn begin_visit(&mut self) -> Result<(), ReadError> {
        let Some(cursor) = self.cursor.take() else {
            return Err(ReadError::Io(io::Error::other("an earlier read of this tail panicked")));
        };
        let filter = self.filter.clone();
        self.visit = Some(tokio::task::spawn_blocking(move || visit(&filter, cursor)));
        Ok(())
    }

    async fn finish_visit(&mut self) -> Result<(), ReadError> {
        let Some(handle) = &mut self.visit else {
            return Ok(());
        };
        let visit = handle.await;
        self.visit = None;
        // A visit that panicked took the cursor with it; then each further call fails too.
        let Visit { cursor, found } = visit.map_err(|error| ReadError::Io(io::Error::other(error)))?;
        self.cursor = Some(cursor);
        let mut found = found?;
        // Partitions may have been removed since the visit began.
        found.retain(|stored| self.filter.wants(stored.at, stored.offset));
        self.filter.found(&found);
        self.ready.extend(found);
        Ok(())
    }
}

#[async_trait]
impl Tail for EmbeddedTail {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        loop {
            // Before looking, so that what is published after the look still wakes this.
            let closed = self.signal.borrow_and_update().closed;
            let records = self.advance(records_max).await?;
            if !records.is_empty() {
                return Ok(records);
            }
            // The sender lives as long as this does, in `shared`.
            if closed || self.signal.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    async fn next_now(&mut self, records_max: usize) -> Result<Vec<Arc<StoredRecord>>, ReadError> {
        let closed = self.signal.borrow_and_update().closed;
        let records = self.advance(records_max).await?;
        if records.is_empty() && closed { Err(ReadError::Closed) } else { Ok(records) }
    }

    async fn add(&mut self, from: Vec<(TopicPartition, u64)>) -> Result<(), ReadError> {
        while self.visit.is_some() {
            self.finish_visit().await?;
        }
        let Some(cursor) = &mut self.cursor else {
            return Err(ReadError::Io(io::Error::other("an earlier read of this tail panicked")));
        };
        let shared = Arc::clone(&self.filter.shared);
        let is_new = |(at, _): &(TopicPartition, u64)| !self.filter.wants(*at, u64::MAX - 1);
        let from: Vec<_> = from.into_iter().filter(is_new).collect();
        // What the others were given already is filtered out on the way.
        go_back(cursor, &shared, &shared.durable.read(), &from)?;
        for (at, offset) in from {
            self.filter.start_at(at, offset);
        }
        Ok(())
    }

    fn remove(&mut self, places: &[TopicPartition]) {
        for at in places {
            self.filter.start_at(*at, u64::MAX);
        }
        self.ready.retain(|stored| !places.contains(&stored.at));
    }
}

/// Moves a cursor back to the first record of these places, if it is beyond it; an offset out of range moves nothing.
fn go_back(
    cursor: &mut Cursor,
    shared: &Shared,
    durable: &Durable,
    from: &[(TopicPartition, u64)],
) -> Result<(), ReadError> {
    let (mut ordinal, mut place) = (cursor.ordinal, None);
    for (at, offset) in from {
        let slot = shared.slot(*at, *offset)?;
        let end = durable.ends.get(slot).copied().unwrap_or_default();
        if *offset > end {
            return Err(ReadError::OutOfRange { at: *at, offset: *offset });
        }
        let entry = durable.index.from(slot, *offset).first().filter(|_| *offset < end);
        if let Some(entry) = entry.filter(|entry| entry.ordinal < ordinal) {
            ordinal = entry.ordinal;
            place = Some((entry.segment as usize, u64::from(entry.pos)));
        }
    }
    if let Some((segment, pos)) = place {
        *cursor = Cursor { ordinal, segment, pos, open: None };
    }
    Ok(())
}

/// Reads on in the segment files, on a thread that may block.
fn visit(filter: &Filter, mut cursor: Cursor) -> Visit {
    let mut records = Vec::new();
    let mut source: Arc<str> = Arc::from("");
    let mut bytes = 0;
    let found = loop {
        match pass(filter, &mut cursor, &mut source) {
            Ok(Passed::Frame { bytes: passed, wanted }) => {
                bytes += passed;
                records.extend(wanted.map(Arc::new));
            }
            Ok(Passed::End) => break Ok(records),
            // What was read before the error is given first; the next visit meets the error again.
            Err(_) if !records.is_empty() => break Ok(records),
            Err(error) => break Err(error),
        }
        if records.len() >= VISIT_RECORDS_MAX || bytes >= VISIT_BYTES_MAX {
            break Ok(records);
        }
    };
    Visit { cursor, found }
}

/// What the cursor went over.
enum Passed {
    Frame {
        bytes: u64,
        wanted: Option<StoredRecord>,
    },
    /// Nothing: it is at the durable end.
    End,
}

/// Goes over one frame.
fn pass(filter: &Filter, cursor: &mut Cursor, source: &mut Arc<str>) -> Result<Passed, ReadError> {
    if !cursor.open_file(&filter.shared)? {
        return Ok(Passed::End);
    }
    let Some(OpenSegment { path, reader }) = &mut cursor.open else {
        return Ok(Passed::End);
    };
    match reader.next().map_err(ReadError::Io)? {
        Step::Frame { frame, .. } if frame.place.ordinal == cursor.ordinal => {
            let bytes = frame.bytes as u64;
            cursor.pos += bytes;
            cursor.ordinal += 1;
            let wanted = filter.wants(frame.place.at, frame.place.offset);
            Ok(Passed::Frame { bytes, wanted: wanted.then(|| frame.to_stored(source)) })
        }
        Step::Frame { .. } => Err(damaged(path, cursor.pos, "another ordinal than expected")),
        Step::Fault(fault) => Err(damaged(path, cursor.pos, &fault.to_string())),
        Step::End => Ok(Passed::End),
    }
}

/// Bytes that were right at the start are wrong now.
pub(super) fn damaged(path: &Path, at: u64, reason: &str) -> ReadError {
    let message = format!("{} is damaged at byte {at}: {reason}", path.display());
    ReadError::Io(io::Error::new(io::ErrorKind::InvalidData, message))
}
