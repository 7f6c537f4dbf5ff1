//! The torn end of the last segment: is it one, and where its bytes are kept.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, MAGIC, PREFIX_BYTES};
use super::meta::sync_parent;
use super::scan::CutTail;

const CHUNK_BYTES: u64 = 1 << 20;
/// How a file that keeps a torn end is called at its own end.
const KEPT: &str = "torn";

/// Looks for a whole frame that begins a commit batch, between two places of a segment. A batch is begun only after
/// the one before it was synced, so such a frame proves that everything before it had been durable.
pub(super) fn find_commit(file: &File, salt: u32, from: u64, limit: u64) -> io::Result<Option<u64>> {
    let mut chunk = Vec::new();
    let mut start = from;
    while start + PREFIX_BYTES as u64 <= limit {
        // Overlapping by less than a prefix, so that no magic is cut in two.
        let end = limit.min(start + CHUNK_BYTES);
        read_range(file, start, end, &mut chunk)?;
        for (at, window) in (start..).zip(chunk.windows(MAGIC.len())) {
            if window == MAGIC && is_commit(file, salt, at, limit)? {
                return Ok(Some(at));
            }
        }
        if end == limit {
            break;
        }
        start = end - (MAGIC.len() as u64 - 1);
    }
    Ok(None)
}

fn is_commit(file: &File, salt: u32, at: u64, limit: u64) -> io::Result<bool> {
    let mut bytes = Vec::new();
    read_range(file, at, limit.min(at + PREFIX_BYTES as u64), &mut bytes)?;
    let Ok(whole) = frame::bytes_of(&bytes) else {
        return Ok(false);
    };
    read_range(file, at, limit.min(at + whole as u64), &mut bytes)?;
    Ok(frame::parse(&bytes, salt).is_ok_and(|frame| frame.place.first))
}

/// `from` to `to` must lie within the file.
fn read_range(file: &File, from: u64, to: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    into.resize(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX), 0);
    file.read_exact_at(into, from)
}

/// Copies the torn end to a file beside the log, durably. Nobody was told of these records, but who restores or
/// investigates may want them.
pub(super) fn keep(cut: &CutTail) -> io::Result<PathBuf> {
    let kept = cut.file.with_extension(format!("log.{}.{KEPT}", cut.at));
    let from = File::open(&cut.file)?;
    let mut out = File::create(&kept)?;
    let mut chunk = Vec::new();
    let (mut at, end) = (cut.at, cut.at + cut.bytes_lost);
    while at < end {
        let to = end.min(at + CHUNK_BYTES);
        read_range(&from, at, to, &mut chunk)?;
        out.write_all(&chunk)?;
        at = to;
    }
    out.sync_all()?;
    sync_parent(&kept)?;
    Ok(kept)
}

/// What was kept so far.
pub(super) fn kept(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == KEPT) {
            kept.push(path);
        }
    }
    kept.sort();
    Ok(kept)
}
