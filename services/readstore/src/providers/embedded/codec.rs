//! Values. They are private and can be rebuilt from the log: bincode behind a version byte where there is text,
//! big-endian numbers where there is nothing else. [`FORMAT`] covers all of them together.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};
use parley_domain::{Epoch, Position, Seq, Timestamp, Validity};

use crate::{Checkpoint, Error};

/// The format of all keys and values. A database of another number is rebuilt, never converted.
pub(super) const FORMAT: u32 = 4;

/// The version byte before bincode's bytes.
const VERSION: u8 = 1;

/// More than the largest value: a description or a profile. Hostile lengths must not allocate.
const LIMIT: usize = 64 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> =
    bincode::config::standard().with_limit::<LIMIT>();

/// A cell of a group; each has a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum Cell<'a> {
    Origin { creator: &'a str, created_at: i64 },
    Description { name: &'a str, description: &'a str },
    Owner { owner: &'a str },
    MemberCount { member_count: u32 },
    Changed { updated_at: i64 },
    Dissolved { seq: Seq },
}

impl Cell<'_> {
    /// The end of the cell's key.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Self::Origin { .. } => 1,
            Self::Description { .. } => 2,
            Self::Owner { .. } => 3,
            Self::MemberCount { .. } => 4,
            Self::Changed { .. } => 5,
            Self::Dissolved { .. } => DISSOLVED,
        }
    }
}

/// Tag of [`Cell::Dissolved`].
pub(super) const DISSOLVED: u8 = 6;

/// Who had sent a message that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) struct RolledBack<'a> {
    pub(super) sender: &'a str,
}

/// A profile; its key is the user.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) struct Profile<'a> {
    pub(super) display_name: &'a str,
    pub(super) avatar_url: Option<&'a str>,
    pub(super) at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
struct CheckpointValue {
    offset: u64,
    claim: Option<u64>,
    next_index: u64,
}

/// A value as bytes.
pub(super) fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![VERSION];
    bincode::encode_into_std_write(value, &mut bytes, CONFIG)
        .map_err(|error| Error::Engine(Box::new(error)))?;
    Ok(bytes)
}

/// A value from all of its bytes.
pub(super) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Error> {
    let Some((&VERSION, rest)) = bytes.split_first() else {
        return Err(Error::Damaged("a value of an unknown version"));
    };
    match bincode::borrow_decode_from_slice(rest, CONFIG) {
        Ok((value, read)) if read == rest.len() => Ok(value),
        Ok(_) | Err(_) => Err(Error::Damaged("a value that doesn't decode")),
    }
}

/// A number as bytes.
pub(super) fn encode_u64(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// A number from its bytes.
pub(super) fn decode_u64(bytes: &[u8]) -> Result<u64, Error> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Damaged("a number"))
}

/// A time as bytes.
pub(super) fn encode_time(at: Timestamp) -> [u8; 8] {
    at.as_millis().to_be_bytes()
}

/// A time from its bytes.
pub(super) fn decode_time(bytes: &[u8]) -> Result<Timestamp, Error> {
    bytes.try_into().map(|bytes| Timestamp(i64::from_be_bytes(bytes))).map_err(|_| Error::Damaged("a time"))
}

/// Checkpoints of some partitions as bytes.
pub(super) fn encode_checkpoints(checkpoints: &[(u32, Checkpoint)]) -> Result<Vec<u8>, Error> {
    let value = |(partition, checkpoint): &(u32, Checkpoint)| {
        let Checkpoint { offset, validity: Validity { claim, next_index } } = *checkpoint;
        (*partition, CheckpointValue { offset, claim, next_index })
    };
    encode(&checkpoints.iter().map(value).collect::<Vec<_>>())
}

/// Checkpoints from their bytes.
pub(super) fn decode_checkpoints(bytes: &[u8]) -> Result<Vec<(u32, Checkpoint)>, Error> {
    let values: Vec<(u32, CheckpointValue)> = decode(bytes)?;
    let checkpoint = |(partition, value): (u32, CheckpointValue)| {
        let CheckpointValue { offset, claim, next_index } = value;
        (partition, Checkpoint { offset, validity: Validity { claim, next_index } })
    };
    Ok(values.into_iter().map(checkpoint).collect())
}

/// What stands before an event's bytes in the timeline. Fixed, so that counting reads no more than this. It also says all
/// that other tables would have to be written for with every message: the head, the last message, which events are messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventHeader {
    pub(super) is_message: bool,
    pub(super) message_count: u64,
    pub(super) position: Position,
}

/// How long an [`EventHeader`] is, in bytes.
const HEADER_LEN: usize = 21;

/// The header of an event as bytes, behind which the event's come.
pub(super) fn encode_header(header: &EventHeader) -> [u8; HEADER_LEN] {
    let mut bytes = [u8::from(header.is_message); HEADER_LEN];
    bytes[1..9].copy_from_slice(&header.message_count.to_be_bytes());
    bytes[9..13].copy_from_slice(&header.position.partition.to_be_bytes());
    bytes[13..].copy_from_slice(&header.position.offset.to_be_bytes());
    bytes
}

/// An event's header, and its bytes.
pub(super) fn decode_event(bytes: &[u8]) -> Result<(EventHeader, &[u8]), Error> {
    const DAMAGED: Error = Error::Damaged("an event of the timeline");
    let (is_message, rest) = bytes.split_first().ok_or(DAMAGED)?;
    let (message_count, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
    let (partition, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
    let (offset, value) = rest.split_first_chunk().ok_or(DAMAGED)?;
    let position =
        Position { partition: u32::from_be_bytes(*partition), offset: u64::from_be_bytes(*offset) };
    let message_count = u64::from_be_bytes(*message_count);
    Ok((EventHeader { is_message: *is_message != 0, message_count, position }, value))
}

/// Format and epoch of a database. This layout stays for good, so that any version can tell that it doesn't fit.
pub(super) fn encode_meta(epoch: Epoch) -> Vec<u8> {
    [FORMAT.to_be_bytes().as_slice(), epoch.as_bytes()].concat()
}

/// Checks format and epoch.
pub(super) fn check_meta(bytes: &[u8], epoch: Epoch) -> Result<(), Error> {
    let (format, rest) = bytes.split_first_chunk().ok_or(Error::Damaged("the read model's format"))?;
    let format = u32::from_be_bytes(*format);
    if format != FORMAT {
        return Err(Error::Unfit(format!("it has format {format}, this program's is {FORMAT}")));
    }
    match Epoch::from_slice(rest) {
        Some(found) if found == epoch => Ok(()),
        Some(found) => Err(Error::OtherLog { found, epoch }),
        None => Err(Error::Damaged("the read model's epoch")),
    }
}

#[cfg(test)]
mod tests;
