//! `log.json`: what a log is. Written at its birth, and where an operator begins a new epoch.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parley_domain::{Epoch, PartitionCount};
use serde::{Deserialize, Serialize};

use super::error::OpenError;
use super::segment;

/// The version of everything in the directory.
pub(super) const FORMAT: u32 = 1;
const FILE: &str = "log.json";

/// What a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Its incarnation.
    pub(super) epoch: Epoch,
    /// The epoch that it was born with, which its segments name.
    pub(super) first_epoch: Epoch,
    /// Partitions of each topic.
    pub(super) partitions: PartitionCount,
}

#[derive(Serialize, Deserialize)]
struct Text {
    format: u32,
    epoch: uuid::Uuid,
    /// Only where it isn't `epoch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_epoch: Option<uuid::Uuid>,
    partitions: u32,
}

/// Read apart, so that a newer format is named as such whatever else has changed.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Reads the description; `None` if there is no log yet, or its birth was interrupted.
pub(super) fn load(dir: &Path) -> Result<Option<Meta>, OpenError> {
    let file = path(dir);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if was_never_born(dir)? {
                Ok(None)
            } else {
                let reason = "segments are here, but the file that describes the log is missing".to_owned();
                Err(OpenError::Damaged { file, at: 0, reason })
            };
        }
        Err(error) => return Err(OpenError::io("read", &file)(error)),
    };
    let understand = |source| OpenError::Meta { file: file.clone(), source };
    let Version { format } = serde_json::from_slice(&text).map_err(understand)?;
    if format != FORMAT {
        return Err(OpenError::Format { file, found: format, known: FORMAT });
    }
    let text: Text = serde_json::from_slice(&text).map_err(understand)?;
    match PartitionCount::new(text.partitions) {
        Some(partitions) => {
            let first_epoch = Epoch(text.first_epoch.unwrap_or(text.epoch));
            Ok(Some(Meta { epoch: Epoch(text.epoch), first_epoch, partitions }))
        }
        None => {
            let reason = format!("{} is no number of partitions", text.partitions);
            Err(OpenError::Damaged { file, at: 0, reason })
        }
    }
}

/// The description is written after the first segment, so that without one there is at most an empty first segment.
/// (In the other order, segments that somebody deleted would look like a log that was never begun.)
fn was_never_born(dir: &Path) -> Result<bool, OpenError> {
    match segment::list(dir)?.as_slice() {
        [] => Ok(true),
        [(0, first)] => {
            let len = fs::metadata(first).map_err(OpenError::io("read", first))?.len();
            Ok(len <= segment::FRAMES_START)
        }
        _ => Ok(false),
    }
}

/// Writes a log's description, durably and all at once.
pub(super) fn store(dir: &Path, meta: Meta) -> Result<(), OpenError> {
    let file = path(dir);
    let first_epoch = (meta.first_epoch != meta.epoch).then_some(meta.first_epoch.0);
    let text = Text { format: FORMAT, epoch: meta.epoch.0, first_epoch, partitions: meta.partitions.get() };
    let text =
        serde_json::to_vec_pretty(&text).map_err(|source| OpenError::Meta { file: file.clone(), source })?;
    write_whole(&file, &text).map_err(OpenError::io("write", &file))
}

/// Writes a file so that after a crash it is either not there or whole.
pub(super) fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("tmp");
    let mut out = fs::File::create(&temporary)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&temporary, file)?;
    sync_parent(file)
}

/// Makes the directory entry of a file durable.
pub(super) fn sync_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => fs::File::open(".")?.sync_all(),
    }
}
