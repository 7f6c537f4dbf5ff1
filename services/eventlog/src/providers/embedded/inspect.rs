//! Reads a log that no server holds, without changing anything.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parley_domain::{Epoch, PartitionCount};

use super::error::OpenError;
use super::lock;
use super::meta::{self, Meta};
use super::scan::{RecoveryReport, Scan};
use super::torn;
use crate::record::StoredRecord;

/// All records of a log in the order in which they were appended, over all topics and partitions. After an error it
/// ends.
pub struct Inspection {
    meta: Meta,
    scan: Option<Scan>,
    report: Option<RecoveryReport>,
    source: Arc<str>,
    kept: Vec<PathBuf>,
    /// As long as somebody reads, nobody writes.
    _lock: Option<File>,
}

impl Inspection {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let missing = || OpenError::Missing { dir: dir.to_owned() };
        if !dir.is_dir() {
            return Err(missing());
        }
        let lock = lock::to_read(dir)?;
        let meta = meta::load(dir)?.ok_or_else(missing)?;
        let scan = Some(Scan::new(dir, meta)?);
        let kept = torn::kept(dir).map_err(OpenError::io("list", dir))?;
        Ok(Self { meta, scan, report: None, source: Arc::from(""), kept, _lock: lock })
    }

    /// The log's incarnation.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.meta.epoch
    }

    /// Partitions of each topic.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.meta.partitions
    }

    /// Files with torn ends that earlier starts cut back.
    #[must_use]
    pub fn kept_tails(&self) -> &[PathBuf] {
        &self.kept
    }

    /// What an `open` would report; only once the iterator has ended without an error.
    #[must_use]
    pub fn report(&self) -> Option<&RecoveryReport> {
        self.report.as_ref()
    }
}

impl Iterator for Inspection {
    type Item = Result<StoredRecord, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        let scan = self.scan.as_mut()?;
        let mut found = None;
        loop {
            let source = &mut self.source;
            match scan.step(|scanned| found = Some(scanned.frame.to_stored(source))) {
                Ok(true) if found.is_none() => {}
                Ok(true) => return found.map(Ok),
                Ok(false) => {
                    self.report = self.scan.take().map(|scan| scan.outcome().report);
                    return None;
                }
                Err(error) => {
                    self.scan = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
