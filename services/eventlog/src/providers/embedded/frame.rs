//! One record as it lies in a segment file.
//!
//! ```text
//!  byte 0        4          8         12
//!       ┌────────┬──────────┬──────────┬───────────────────────────────────────── … ─┐
//!       │ magic  │ length   │ crc32    │ body, `length` bytes                        │
//!       │ F7 P L │ u32 LE   │ u32 LE   │                                             │
//!       │ FE     │          │          │                                             │
//!       └────────┴──────────┴──────────┴───────────────────────────────────────── … ─┘
//!                └─ crc covers ─┘      └────────────── and this ─────────────────────┘
//!
//!  body: flags u8 │ ordinal u64 LE │ topic u8 │ time i64 LE │ id 16 bytes │ partition ~ │ offset ~
//!        │ claim ~ │ index ~ (neither on a claim) │ kind ~len + UTF-8 │ source ~len + UTF-8
//!        │ key ~len + bytes (only with the flag) │ value ~len + bytes          (~ is LEB128, at most 10 bytes)
//!        │ trace 16 bytes, span 8 bytes (only with the flag)
//!
//!  flags: 1 = first of a commit batch   2 = a claim   4 = has a key   8 = was traced
//! ```
//!
//! The magic is no UTF-8, so no name or text that a user chose can hold it. The crc starts from the segment's random
//! salt, so that bytes of another segment, or bytes that somebody had us store, are never taken for a frame.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{EventId, Stamp, Timestamp};
use parley_wire::decoded::Decoded;
use parley_wire::trace::TraceContext;

use crate::port::{Topic, TopicPartition};
use crate::record::{Record, StoredRecord};

/// How each frame begins.
pub(super) const MAGIC: [u8; 4] = [0xF7, b'P', b'L', 0xFE];
/// Bytes before the body: magic, length, crc.
pub(super) const PREFIX_BYTES: usize = 12;
/// The greatest body. Longer records are refused; a longer length in a file is damage.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// What a frame may take beyond kind, source, key and value: prefix, fixed fields, a trace, and eight numbers at their longest.
pub(super) const OVERHEAD_BYTES_MAX: usize = PREFIX_BYTES + 34 + 8 * 10 + 24;

const FLAG_FIRST: u8 = 1;
const FLAG_CLAIM: u8 = 2;
const FLAG_KEY: u8 = 4;
const FLAG_TRACE: u8 = 8;

/// Where a record goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Its number in the whole log, over all topics and partitions.
    pub(super) ordinal: u64,
    /// Topic and partition.
    pub(super) at: TopicPartition,
    /// Its offset there.
    pub(super) offset: u64,
    /// Whether it begins a commit batch.
    pub(super) first: bool,
}

/// The most bytes that the record may take as a frame.
pub(super) fn bytes_at_most(record: &Record) -> usize {
    let key = record.key.as_ref().map_or(0, Bytes::len);
    OVERHEAD_BYTES_MAX + record.kind.len() + record.source.len() + key + record.value.len()
}

/// Adds the frame of a record to `out`. The record must have passed the length check against [`BODY_BYTES_MAX`].
pub(super) fn encode(out: &mut Vec<u8>, salt: u32, place: Placement, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; PREFIX_BYTES - 4]);
    let mut flags = 0;
    if place.first {
        flags |= FLAG_FIRST;
    }
    if record.stamp == Stamp::Claim {
        flags |= FLAG_CLAIM;
    }
    if record.key.is_some() {
        flags |= FLAG_KEY;
    }
    if record.trace.is_some() {
        flags |= FLAG_TRACE;
    }
    out.push(flags);
    out.extend_from_slice(&place.ordinal.to_le_bytes());
    out.push(place.at.topic as u8);
    out.extend_from_slice(&record.time.as_millis().to_le_bytes());
    out.extend_from_slice(record.id.as_bytes());
    put_number(out, u64::from(place.at.partition));
    put_number(out, place.offset);
    if let Stamp::Event { claim, index } = record.stamp {
        put_number(out, claim);
        put_number(out, index);
    }
    put_bytes(out, record.kind.as_bytes());
    put_bytes(out, record.source.as_bytes());
    if let Some(key) = &record.key {
        put_bytes(out, key);
    }
    put_bytes(out, &record.value);
    if let Some(trace) = &record.trace {
        out.extend_from_slice(&trace.trace_id);
        out.extend_from_slice(&trace.span_id);
    }
    seal(out, start, salt);
}

/// Fills length and crc in, now that the body is there.
fn seal(out: &mut [u8], start: usize, salt: u32) {
    let Some((prefix, body)) =
        out.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(PREFIX_BYTES))
    else {
        return;
    };
    debug_assert!(body.len() <= BODY_BYTES_MAX, "checked when it was queued");
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = checksum(salt, length, body).to_le_bytes();
    for (slot, byte) in prefix.iter_mut().skip(MAGIC.len()).zip(length.into_iter().chain(crc)) {
        *slot = byte;
    }
}

fn checksum(salt: u32, length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Fewer bytes than the frame says it has.
    #[error("the record is cut off")]
    Short,
    /// No frame begins here.
    #[error("no record begins here")]
    Magic,
    /// No record is that long.
    #[error("the record's length is impossible")]
    Length,
    /// Bytes were changed.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// The checksum is right, but the body isn't what this program writes.
    #[error("the record's body is malformed")]
    Body,
}

/// A whole frame, its checksum verified, borrowed from a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Bytes of the frame, prefix included.
    pub(super) bytes: usize,
    /// Where its record lies.
    pub(super) place: Placement,
    stamp: Stamp,
    time: Timestamp,
    id: EventId,
    kind: &'a str,
    source: &'a str,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    trace: Option<TraceContext>,
}

/// How long the frame is that begins with these bytes, if enough of them are there to say so.
pub(super) fn bytes_of(bytes: &[u8]) -> Result<usize, Fault> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Fault::Short)?;
    if *magic != MAGIC {
        return Err(Fault::Magic);
    }
    let (length, _) = rest.split_first_chunk::<4>().ok_or(Fault::Short)?;
    match usize::try_from(u32::from_le_bytes(*length)) {
        Ok(length) if length <= BODY_BYTES_MAX => Ok(PREFIX_BYTES + length),
        _ => Err(Fault::Length),
    }
}

/// Reads the frame that begins with these bytes.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Result<Frame<'_>, Fault> {
    let whole = bytes_of(bytes)?;
    let frame = bytes.get(..whole).ok_or(Fault::Short)?;
    let (prefix, body) = frame.split_at_checked(PREFIX_BYTES).ok_or(Fault::Short)?;
    let (_, sums) = prefix.split_first_chunk::<4>().ok_or(Fault::Short)?;
    let (length, crc) = sums.split_first_chunk::<4>().ok_or(Fault::Short)?;
    if crc != checksum(salt, *length, body).to_le_bytes() {
        return Err(Fault::Checksum);
    }
    parse_body(body, whole).ok_or(Fault::Body)
}

fn parse_body(body: &[u8], bytes: usize) -> Option<Frame<'_>> {
    let mut body = Input(body);
    let [flags] = body.array()?;
    let ordinal = u64::from_le_bytes(body.array()?);
    let [topic] = body.array()?;
    let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic)?;
    let time = Timestamp(i64::from_le_bytes(body.array()?));
    let id = EventId::from_bytes(body.array()?);
    let partition = u32::try_from(body.number()?).ok()?;
    let offset = body.number()?;
    let stamp = if flags & FLAG_CLAIM == 0 {
        Stamp::Event { claim: body.number()?, index: body.number()? }
    } else {
        Stamp::Claim
    };
    let kind = std::str::from_utf8(body.bytes()?).ok()?;
    let source = std::str::from_utf8(body.bytes()?).ok()?;
    let key = if flags & FLAG_KEY == 0 { None } else { Some(body.bytes()?) };
    let value = body.bytes()?;
    let trace = if flags & FLAG_TRACE == 0 {
        None
    } else {
        Some(TraceContext { trace_id: body.array()?, span_id: body.array()? })
    };
    if !body.0.is_empty() {
        return None;
    }
    let at = TopicPartition { topic, partition };
    let place = Placement { ordinal, at, offset, first: flags & FLAG_FIRST != 0 };
    Some(Frame { bytes, place, stamp, time, id, kind, source, key, value, trace })
}

impl Frame<'_> {
    /// The record with buffers of its own, so that keeping it doesn't keep the chunk that it was read in.
    ///
    /// `source` is the last one seen: most records have the same, and then share it.
    pub(super) fn to_stored(self, source: &mut Arc<str>) -> StoredRecord {
        if **source != *self.source {
            *source = self.source.into();
        }
        let key = self.key.unwrap_or_default();
        // One allocation for both.
        let mut both = Vec::with_capacity(key.len() + self.value.len());
        both.extend_from_slice(key);
        both.extend_from_slice(self.value);
        let mut value = Bytes::from(both);
        let key_bytes = value.split_to(key.len());
        let record = Record {
            key: self.key.map(|_| key_bytes),
            value,
            id: self.id,
            kind: self.kind.to_owned().into(),
            source: Arc::clone(source),
            time: self.time,
            stamp: self.stamp,
            trace: self.trace.map(Box::new),
            decoded: Decoded::default(),
        };
        StoredRecord { at: self.place.at, offset: self.place.offset, record }
    }
}

/// Takes fields off the front; `None` when they aren't there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return None;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stamp: Stamp, key: Option<&'static [u8]>, value: usize) -> Record {
        Record {
            key: key.map(Bytes::from_static),
            value: Bytes::from(vec![7; value]),
            id: EventId::from_bytes([9; 16]),
            kind: "parley.test.v1".into(),
            source: "writer".into(),
            time: Timestamp(-5),
            trace: (value > 0).then(|| Box::new(TraceContext { trace_id: [3; 16], span_id: [4; 8] })),
            decoded: Decoded::default(),
            stamp,
        }
    }

    fn place() -> Placement {
        let at = TopicPartition { topic: Topic::Users, partition: 4_095 };
        Placement { ordinal: u64::MAX, at, offset: u64::MAX, first: true }
    }

    #[test]
    fn what_is_written_is_read() {
        let longest = Stamp::Event { claim: u64::MAX, index: u64::MAX };
        for record in [record(Stamp::Claim, None, 0), record(longest, Some(b"k"), 70_000)] {
            let mut bytes = Vec::new();
            encode(&mut bytes, 42, place(), &record);
            assert!(bytes.len() <= bytes_at_most(&record));
            let frame = parse(&bytes, 42).unwrap();
            assert_eq!((frame.bytes, frame.place.ordinal, frame.place.first), (bytes.len(), u64::MAX, true));
            let stored = frame.to_stored(&mut "".into());
            assert_eq!(stored, StoredRecord { at: place().at, offset: u64::MAX, record });
        }
    }

    #[test]
    fn any_flipped_bit_is_found_and_so_is_another_salt() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 42, place(), &record(Stamp::Claim, Some(b"key"), 20));
        assert_eq!(parse(&bytes, 43).unwrap_err(), Fault::Checksum);
        for at in 0..bytes.len() {
            assert_eq!(parse(&bytes[..at], 42).unwrap_err(), Fault::Short);
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(parse(&bytes, 42).is_err(), "byte {at}, bit {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
    }
}
