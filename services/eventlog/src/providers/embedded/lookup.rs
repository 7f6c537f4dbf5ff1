//! Reads some records of one partition: from the ring if they are recent, else through the sparse index.

use std::fs::File;
use std::sync::Arc;

use super::index::{Entry, SPAN_BYTES};
use super::reader::{FrameReader, Step};
use super::shared::{Segment, Shared};
use super::tail::damaged;
use crate::port::{ReadError, TopicPartition};
use crate::record::StoredRecord;

const CHUNK_BYTES: usize = 128 << 10;
/// How many of the newest records are looked through before the files are.
const RECENT_RECORDS_MAX: usize = 4_096;
/// How many index entries are taken at once.
const ENTRIES_MAX: usize = 256;

/// Records `from` to below `to` of a partition, from the ring; `None` if they aren't all there.
pub(super) fn recent(
    shared: &Shared,
    at: TopicPartition,
    from: u64,
    to: u64,
) -> Option<Vec<Arc<StoredRecord>>> {
    let durable = shared.durable.read();
    let mut found = Vec::new();
    for recent in durable.ring.newest_first().take(RECENT_RECORDS_MAX) {
        let stored = &recent.stored;
        if stored.at != at || stored.offset >= to {
            continue;
        }
        found.push(Arc::clone(stored));
        if stored.offset <= from {
            found.reverse();
            return Some(found);
        }
    }
    None
}

/// Records `from` to below `to` of a partition, from the files. Blocks.
pub(super) fn stored(
    shared: &Shared,
    at: TopicPartition,
    from: u64,
    to: u64,
) -> Result<Vec<StoredRecord>, ReadError> {
    let slot = shared.slot(at, from)?;
    let mut search = Search { at, next: from, to, found: Vec::new(), source: Arc::from(""), reader: None };
    while search.next < to {
        let (spans, segments) = spans(shared, slot, search.next);
        let before = search.next;
        for (entry, end) in spans {
            let Some(segment) = segments.get(entry.segment as usize) else {
                break;
            };
            search.read_span(segment, entry, end.unwrap_or(segment.len))?;
            if search.next >= to {
                break;
            }
        }
        if search.next == before {
            let place = segments.last().map(|segment| (Arc::clone(&segment.path), segment.len));
            let (path, len) = place.unwrap_or_default();
            return Err(damaged(&path, len, "a record that was here is missing"));
        }
    }
    Ok(search.found)
}

/// An entry, and where the next entry's records begin, if in the same segment.
type Span = (Entry, Option<u64>);

/// The next entries of a partition, and the segments that they lie in.
fn spans(shared: &Shared, slot: usize, from: u64) -> (Vec<Span>, Vec<Segment>) {
    let durable = shared.durable.read();
    let entries = durable.index.from(slot, from);
    let after = entries.iter().skip(1).map(Some).chain([None]);
    let spans = entries
        .iter()
        .zip(after)
        .take(ENTRIES_MAX)
        .map(|(entry, after)| {
            let same_segment = after.filter(|after| after.segment == entry.segment);
            (*entry, same_segment.map(|after| u64::from(after.pos)))
        })
        .collect();
    (spans, durable.segments.clone())
}

/// A read under way.
struct Search {
    at: TopicPartition,
    /// The offset that is wanted next.
    next: u64,
    to: u64,
    found: Vec<StoredRecord>,
    source: Arc<str>,
    reader: Option<(u32, FrameReader)>,
}

impl Search {
    /// Collects the partition's records between an index entry and `end`, but no further than an entry's span.
    fn read_span(&mut self, segment: &Segment, entry: Entry, end: u64) -> Result<(), ReadError> {
        let pos = u64::from(entry.pos);
        let reader = match &mut self.reader {
            Some((number, reader)) if *number == entry.segment => {
                reader.skip_to(pos);
                reader
            }
            other => {
                let file = File::open(&*segment.path).map_err(ReadError::Io)?;
                let reader = FrameReader::new(file, segment.salt, pos, segment.len, CHUNK_BYTES);
                &mut other.insert((entry.segment, reader)).1
            }
        };
        while self.next < self.to && reader.pos() < end.min(pos + SPAN_BYTES) {
            match reader.next().map_err(ReadError::Io)? {
                Step::Frame { at, frame } if frame.place.at == self.at && frame.place.offset >= self.next => {
                    if frame.place.offset != self.next {
                        return Err(damaged(
                            &segment.path,
                            at,
                            "the partition has a hole before this record",
                        ));
                    }
                    self.found.push(frame.to_stored(&mut self.source));
                    self.next += 1;
                }
                Step::Frame { .. } => {}
                Step::Fault(fault) => return Err(damaged(&segment.path, reader.pos(), &fault.to_string())),
                Step::End => break,
            }
        }
        Ok(())
    }
}
