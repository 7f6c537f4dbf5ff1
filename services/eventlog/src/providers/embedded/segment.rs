//! Segment files: their names and their header.
//!
//! ```text
//!  events-00000000000000012345.log     named by the ordinal of its first record
//!  byte 0          8         12        16         32               40        44
//!       ┌──────────┬─────────┬─────────┬──────────┬────────────────┬─────────┬──────── … ─┐
//!       │ PARLEYLG │ format  │ salt    │ epoch    │ first ordinal  │ crc32   │ frames     │
//!       │          │ u32 LE  │ u32 LE  │ 16 bytes │ u64 LE         │ u32 LE  │            │
//!       └──────────┴─────────┴─────────┴──────────┴────────────────┴─────────┴──────── … ─┘
//! ```
//!
//! A segment is put in place whole (written beside, synced, renamed), so that a header that can't be read is damage,
//! never a crash in the middle.

use std::fs;
use std::path::{Path, PathBuf};

use parley_domain::Epoch;

use super::error::OpenError;
use super::meta::FORMAT;

/// Bytes of the header; the first frame begins there.
pub(super) const HEADER_BYTES: usize = 44;
/// The same, as a place in a file.
pub(super) const FRAMES_START: u64 = HEADER_BYTES as u64;

const MAGIC: [u8; 8] = *b"PARLEYLG";
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where its frames' checksums start from; random.
    pub(super) salt: u32,
    /// The log that it belongs to, by the epoch that this was born with.
    pub(super) log: Epoch,
    /// The ordinal of its first record.
    pub(super) first_ordinal: u64,
}

impl Header {
    /// For a new segment, with a random salt.
    pub(super) fn fresh(log: Epoch, first_ordinal: u64) -> Self {
        // The last bytes of a UUIDv7 are random.
        let bytes = uuid::Uuid::now_v7().into_bytes();
        let salt = bytes.last_chunk::<4>().map_or(0, |random| u32::from_le_bytes(*random));
        Self { salt, log, first_ordinal }
    }

    /// The bytes as they lie in the file.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(self.log.as_bytes());
        out.extend_from_slice(&self.first_ordinal.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads and checks a header. `Err` says what is wrong with it.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderFault> {
        let (checked, crc) = bytes.split_at_checked(CHECKED_BYTES).ok_or(HeaderFault::Checksum)?;
        if crc != crc32fast::hash(checked).to_le_bytes() {
            return Err(HeaderFault::Checksum);
        }
        Self::fields(checked).ok_or(HeaderFault::Checksum)?
    }

    fn fields(bytes: &[u8]) -> Option<Result<Self, HeaderFault>> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (format, rest) = rest.split_first_chunk::<4>()?;
        let (salt, rest) = rest.split_first_chunk::<4>()?;
        let (log, rest) = rest.split_first_chunk::<16>()?;
        let (first_ordinal, _) = rest.split_first_chunk::<8>()?;
        if *magic != MAGIC {
            return Some(Err(HeaderFault::Magic));
        }
        if u32::from_le_bytes(*format) != FORMAT {
            return Some(Err(HeaderFault::Format(u32::from_le_bytes(*format))));
        }
        Some(Ok(Self {
            salt: u32::from_le_bytes(*salt),
            log: Epoch::from_bytes(*log),
            first_ordinal: u64::from_le_bytes(*first_ordinal),
        }))
    }
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderFault {
    /// Changed bytes, or none.
    #[error("the segment's header has a wrong checksum")]
    Checksum,
    /// Another kind of file.
    #[error("it is no segment of a log")]
    Magic,
    /// Another version of this program.
    #[error("it has format version {0}")]
    Format(u32),
}

/// The file of the segment that begins with this ordinal.
pub(super) fn path(dir: &Path, first_ordinal: u64) -> PathBuf {
    dir.join(format!("events-{first_ordinal:020}.log"))
}

/// The segments of a directory, by their first ordinals, which rise.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::io("list", dir))? {
        let path = entry.map_err(OpenError::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_prefix("events-").and_then(|name| name.strip_suffix(".log"));
        let Some(digits) = digits.filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if let Ok(first_ordinal) = digits.parse() {
            found.push((first_ordinal, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}
