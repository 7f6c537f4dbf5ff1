//! Opening a log: what is on the disk becomes what is in memory.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use parley_domain::{Epoch, PartitionCount};

use super::committer::Head;
use super::error::OpenError;
use super::index::{Entry, Index, partition_slot};
use super::lock;
use super::meta::{self, Meta};
use super::ring::Ring;
use super::scan::{Outcome, RecoveryReport, Scan};
use super::segment::{self, Header};
use super::shared::{Durable, Segment};
use super::storage::Disk;
use super::torn;

/// A log that was read through and is ready to be appended to.
pub(super) struct Recovered {
    pub(super) meta: Meta,
    pub(super) durable: Durable,
    pub(super) head: Head,
    pub(super) disk: Disk,
    pub(super) report: RecoveryReport,
    pub(super) lock: File,
}

/// Makes the log, if there is none, and recovers it.
pub(super) fn recover(
    dir: &Path,
    partitions: PartitionCount,
    tail_bytes_max: usize,
) -> Result<Recovered, OpenError> {
    make_dir(dir)?;
    let lock = lock::to_write(dir)?;
    let meta = match meta::load(dir)? {
        Some(meta) => meta,
        None => begin(dir, partitions)?,
    };
    if meta.partitions != partitions {
        let (found, configured) = (meta.partitions.get(), partitions.get());
        return Err(OpenError::Partitions { dir: dir.to_owned(), found, configured });
    }
    remove_leftovers(dir)?;
    let mut index = Index::new(partitions);
    let mut outcome = scan(dir, meta, &mut index)?;
    let Some(last) = outcome.segments.last() else {
        let reason = "the log is described here, but all its segments are missing".to_owned();
        return Err(OpenError::Damaged { file: segment::path(dir, 0), at: 0, reason });
    };
    if let Some(cut) = &mut outcome.report.cut {
        cut.kept_in = Some(torn::keep(cut).map_err(OpenError::io("keep the torn end of", &cut.file))?);
    }
    let mut disk = Disk::open(dir, &last.path).map_err(OpenError::io("open", &last.path))?;
    if let Some(cut) = &outcome.report.cut {
        use super::storage::Storage as _;
        disk.truncate(cut.at).map_err(OpenError::io("cut the torn end off", &cut.file))?;
    }
    // The records of the last batch may be whole without ever having been synced; from here on they are shown.
    disk.rewrite(outcome.last_batch_at, last.len).map_err(OpenError::io("sync", &last.path))?;
    let head = Head {
        segment: u32::try_from(outcome.segments.len() - 1).unwrap_or(u32::MAX),
        salt: last.header.salt,
        len: last.len,
        ordinal: outcome.ordinal,
    };
    let segments = outcome
        .segments
        .into_iter()
        .map(|scanned| Segment { path: Arc::new(scanned.path), salt: scanned.header.salt, len: scanned.len })
        .collect();
    let ring = Ring::new(outcome.ordinal, tail_bytes_max);
    let durable = Durable { ring, ends: outcome.ends, index, segments };
    Ok(Recovered { meta, durable, head, disk, report: outcome.report, lock })
}

fn fresh_epoch() -> Epoch {
    Epoch(uuid::Uuid::now_v7())
}

/// Gives a log that nobody holds a new epoch, and returns the former and the new one.
pub(super) fn begin_epoch(dir: &Path) -> Result<(Epoch, Epoch), OpenError> {
    let missing = || OpenError::Missing { dir: dir.to_owned() };
    if !dir.is_dir() {
        return Err(missing());
    }
    let _lock = lock::to_write(dir)?;
    let former = meta::load(dir)?.ok_or_else(missing)?;
    let meta = Meta { epoch: fresh_epoch(), ..former };
    meta::store(dir, meta)?;
    Ok((former.epoch, meta.epoch))
}

fn scan(dir: &Path, meta: Meta, index: &mut Index) -> Result<Outcome, OpenError> {
    let mut scan = Scan::new(dir, meta)?;
    loop {
        let more = scan.step(|scanned| {
            let place = scanned.frame.place;
            if let Some(slot) = partition_slot(place.at, meta.partitions) {
                let entry = Entry {
                    offset: place.offset,
                    ordinal: place.ordinal,
                    segment: u32::try_from(scanned.segment).unwrap_or(u32::MAX),
                    pos: u32::try_from(scanned.at).unwrap_or(u32::MAX),
                };
                index.note(slot, entry);
            }
        })?;
        if !more {
            return Ok(scan.outcome());
        }
    }
}

/// A new log: its first segment, then its description.
fn begin(dir: &Path, partitions: PartitionCount) -> Result<Meta, OpenError> {
    let epoch = fresh_epoch();
    let meta = Meta { epoch, first_epoch: epoch, partitions };
    let first = segment::path(dir, 0);
    let header = Header::fresh(meta.epoch, 0).encode();
    meta::write_whole(&first, &header).map_err(OpenError::io("write", &first))?;
    meta::store(dir, meta)?;
    Ok(meta)
}

fn make_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(OpenError::io("make", dir))?;
    meta::sync_parent(dir).map_err(OpenError::io("sync the parent of", dir))
}

/// Files that were being written beside their place when a crash came.
fn remove_leftovers(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(OpenError::io("list", dir))? {
        let path = entry.map_err(OpenError::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "log.tmp" || (name.starts_with("events-") && name.ends_with(".tmp")) {
            fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}
