//! Goes through a whole log from its first record on and checks it, without changing anything.
//!
//! Both recovery and inspection are this scan; they differ in what they do with the records and with a torn end.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::frame::{Fault, Frame};
use super::meta::Meta;
use super::reader::{FrameReader, Step};
use super::segment::{self, FRAMES_START, HEADER_BYTES, Header, HeaderFault};
use super::{partition_slot, torn};

const CHUNK_BYTES: usize = 1 << 20;

/// The end of the last segment that is no whole record: a commit that a crash interrupted, never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the whole records end, in bytes from the file's start.
    pub at: u64,
    /// How many bytes follow there that are no whole record.
    pub bytes_lost: u64,
    /// What is wrong with the first of them.
    pub reason: String,
    /// The file beside the log that keeps these bytes (until the log is torn at the same place again); none from
    /// `inspect`, which changes nothing.
    pub kept_in: Option<PathBuf>,
}

/// What a scan of the whole log found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Whole records in the log.
    pub records: u64,
    /// Bytes of all segments, headers included and the torn end not.
    pub bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// The torn end, if there was one.
    pub cut: Option<CutTail>,
}

/// A segment that was read through.
#[derive(Debug, Clone)]
pub(super) struct ScannedSegment {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    /// Bytes up to the end of its last whole record.
    pub(super) len: u64,
}

/// A record that the scan passed.
pub(super) struct Scanned<'a> {
    /// Which segment, counted from 0.
    pub(super) segment: usize,
    /// Where its frame begins there.
    pub(super) at: u64,
    pub(super) frame: Frame<'a>,
}

/// The scan's place.
pub(super) struct Scan {
    meta: Meta,
    /// Segments still to be read, the next one last.
    files: Vec<(u64, PathBuf)>,
    current: Option<(FrameReader, ScannedSegment)>,
    done: Vec<ScannedSegment>,
    /// The next offset of each partition.
    ends: Vec<u64>,
    ordinal: u64,
    /// Where the last commit batch begins, in the last segment.
    last_batch_at: u64,
    cut: Option<CutTail>,
}

/// What is known once the scan is through.
pub(super) struct Outcome {
    pub(super) segments: Vec<ScannedSegment>,
    pub(super) ends: Vec<u64>,
    pub(super) ordinal: u64,
    pub(super) last_batch_at: u64,
    pub(super) report: RecoveryReport,
}

impl Scan {
    pub(super) fn new(dir: &Path, meta: Meta) -> Result<Self, OpenError> {
        let mut files = segment::list(dir)?;
        files.reverse();
        let ends = vec![0; crate::Topic::ALL.len() * meta.partitions.get() as usize];
        Ok(Self {
            meta,
            files,
            current: None,
            done: Vec::new(),
            ends,
            ordinal: 0,
            last_batch_at: FRAMES_START,
            cut: None,
        })
    }

    /// Goes one step: to the next record, which is given to `visit`, or over the end of a segment. `false`: all is read.
    pub(super) fn step(&mut self, visit: impl FnOnce(Scanned<'_>)) -> Result<bool, OpenError> {
        let Some((reader, segment)) = &mut self.current else {
            return self.open_next();
        };
        let file = &segment.path;
        let fault = match reader.next().map_err(OpenError::io("read", file))? {
            Step::Frame { at, frame } => {
                let damaged = |reason: &str| {
                    let reason = reason.to_owned();
                    OpenError::Damaged { file: file.clone(), at, reason }
                };
                let place = frame.place;
                if place.ordinal != self.ordinal {
                    return Err(damaged("the record has another ordinal than the one that is next"));
                }
                let end = partition_slot(place.at, self.meta.partitions)
                    .and_then(|slot| self.ends.get_mut(slot))
                    .filter(|end| **end == place.offset)
                    .ok_or_else(|| damaged("the record has another offset than its partition's next"))?;
                *end += 1;
                self.ordinal += 1;
                if place.first {
                    self.last_batch_at = at;
                }
                visit(Scanned { segment: self.done.len(), at, frame });
                return Ok(true);
            }
            Step::End => None,
            Step::Fault(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            self.cut_or_refuse(fault)?;
        }
        self.done.extend(self.current.take().map(|(_, segment)| segment));
        Ok(true)
    }

    pub(super) fn outcome(self) -> Outcome {
        let report = RecoveryReport {
            records: self.ordinal,
            bytes: self.done.iter().map(|segment| segment.len).sum(),
            segments: self.done.len(),
            cut: self.cut,
        };
        Outcome {
            segments: self.done,
            ends: self.ends,
            ordinal: self.ordinal,
            last_batch_at: self.last_batch_at,
            report,
        }
    }

    /// No whole record follows. At the log's end that is a commit which a crash interrupted: it was never
    /// acknowledged, and is left out. Anywhere else, and before a later commit, it had been durable: damage.
    fn cut_or_refuse(&mut self, fault: Fault) -> Result<(), OpenError> {
        let Some((reader, segment)) = &mut self.current else {
            return Ok(());
        };
        let (at, limit) = (reader.pos(), reader.limit());
        let damaged = |reason| OpenError::Damaged { file: segment.path.clone(), at, reason };
        if !self.files.is_empty() {
            return Err(damaged(fault.to_string()));
        }
        let later = torn::find_commit(reader.file(), segment.header.salt, at + 1, limit)
            .map_err(OpenError::io("read", &segment.path))?;
        if let Some(later) = later {
            return Err(damaged(format!("{fault}, but a later commit at byte {later} is whole")));
        }
        segment.len = at;
        self.cut = Some(CutTail {
            file: segment.path.clone(),
            at,
            bytes_lost: limit - at,
            reason: fault.to_string(),
            kept_in: None,
        });
        Ok(())
    }

    fn open_next(&mut self) -> Result<bool, OpenError> {
        let Some((first_ordinal, path)) = self.files.pop() else {
            return Ok(false);
        };
        self.current = Some(self.open(first_ordinal, path)?);
        self.last_batch_at = FRAMES_START;
        Ok(true)
    }

    fn open(&self, first_ordinal: u64, path: PathBuf) -> Result<(FrameReader, ScannedSegment), OpenError> {
        let damaged = |reason: String| OpenError::Damaged { file: path.clone(), at: 0, reason };
        let mut file = File::open(&path).map_err(OpenError::io("open", &path))?;
        let len = file.metadata().map_err(OpenError::io("read", &path))?.len();
        if len < FRAMES_START {
            return Err(damaged("the segment's header is cut off".to_owned()));
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(OpenError::io("read", &path))?;
        let header = match Header::decode(&header) {
            Ok(header) => header,
            Err(HeaderFault::Format(found)) => {
                return Err(OpenError::Format { file: path, found, known: super::meta::FORMAT });
            }
            Err(fault @ (HeaderFault::Checksum | HeaderFault::Magic)) => {
                return Err(damaged(fault.to_string()));
            }
        };
        if header.log != self.meta.first_epoch {
            return Err(damaged("the segment belongs to another log".to_owned()));
        }
        if header.first_ordinal != first_ordinal {
            return Err(damaged("the segment has another first ordinal than its name says".to_owned()));
        }
        if first_ordinal != self.ordinal {
            let reason = format!("records {} to {first_ordinal} are missing before it", self.ordinal);
            return Err(damaged(reason));
        }
        let reader = FrameReader::new(file, header.salt, FRAMES_START, len, CHUNK_BYTES);
        Ok((reader, ScannedSegment { header, path, len }))
    }
}
