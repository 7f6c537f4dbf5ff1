//! What an export holds, and where it goes on: `manifest.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use parley_domain::{Epoch, EventId, Validity};
use parley_wire::{clock, time};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Usage;

/// The file's name.
pub(crate) const NAME: &str = "manifest.json";
/// Of the manifest itself; a reader that knows another refuses.
const FORMAT: u32 = 1;

/// Everything that counts in an export. What isn't listed here is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Of this file: 1.
    pub(crate) format: u32,
    /// The log's incarnation.
    pub(crate) epoch: String,
    /// Partitions of each topic.
    pub(crate) partitions: u32,
    /// Whether message text is in it.
    pub(crate) with_content: bool,
    /// When it was last written to, RFC 3339.
    pub(crate) exported_at: String,
    /// By topic.
    pub(crate) topics: BTreeMap<String, TopicPart>,
    /// Oldest first.
    pub(crate) files: Vec<FilePart>,
}

/// What of a topic is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicPart {
    /// Valid records.
    pub(crate) records: u64,
    /// Rows made of them.
    pub(crate) rows: u64,
    /// Records that the void rule skips; not in it.
    pub(crate) void: u64,
    /// Writers' claims; not in it.
    pub(crate) claims: u64,
    /// Valid records whose values this version doesn't understand: events have a row of their headers, acks have none.
    pub(crate) unknown: u64,
    /// By partition.
    pub(crate) partitions: BTreeMap<u32, Span>,
}

/// What of a partition is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Offset of the first valid record; null before there is one.
    pub(crate) first: Option<u64>,
    /// Offset of the last.
    pub(crate) last: Option<u64>,
    /// Valid records.
    pub(crate) records: u64,
    /// The offset that the next run begins at.
    pub(crate) next: u64,
    /// The claim that holds there, and the index that the next valid record has.
    pub(crate) claim: Option<u64>,
    /// As above.
    pub(crate) next_index: u64,
    /// Id of the record before `next`, valid or not, by which another log shows; none in manifests of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest_id: Option<Uuid>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePart {
    /// From the export's directory.
    pub(crate) path: String,
    /// `events` or `acks`.
    pub(crate) table: String,
    /// The day, UTC.
    pub(crate) date: String,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// In lower-case hex.
    pub(crate) sha256: String,
}

impl Span {
    /// Where the void rule stands.
    pub(crate) fn validity(&self) -> Validity {
        Validity { claim: self.claim, next_index: self.next_index }
    }

    /// A record was read.
    pub(crate) fn passed(&mut self, offset: u64, id: EventId, validity: Validity) {
        (self.next, self.newest_id) = (offset + 1, Some(id.0));
        (self.claim, self.next_index) = (validity.claim, validity.next_index);
    }

    /// It counted.
    pub(crate) fn counted(&mut self, offset: u64) {
        self.first.get_or_insert(offset);
        self.last = Some(offset);
        self.records += 1;
    }
}

impl Manifest {
    /// Begins an export: what lies in the directory from now on that isn't listed is of an interrupted run.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn begin(
        dir: &Path,
        epoch: Epoch,
        partitions: u32,
        with_content: bool,
    ) -> anyhow::Result<Self> {
        let begun = Self {
            format: FORMAT,
            epoch: epoch.to_string(),
            partitions,
            with_content,
            exported_at: time::format(clock::now()),
            topics: BTreeMap::new(),
            files: Vec::new(),
        };
        begun.save(dir)?;
        Ok(begun)
    }

    /// Reads the manifest of a directory, if there is one.
    ///
    /// # Errors
    /// [`Usage`] if it is of another log, or has content where none is wanted or the other way round; a file that is no
    /// manifest.
    pub(crate) fn load(
        dir: &Path,
        epoch: Epoch,
        partitions: u32,
        with_content: bool,
    ) -> anyhow::Result<Option<Self>> {
        let path = dir.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
        };
        let found: Self = serde_json::from_slice(&text).with_context(|| {
            format!("{} is no manifest of an export: export to another directory", path.display())
        })?;
        let refuse =
            |why: &str| Err(Usage(format!("{}: {why}: export to another directory", path.display())));
        if found.format != FORMAT {
            refuse("it is of another version of parley")?;
        }
        // Begun, and then nothing came of it: what it was begun for binds nobody.
        if found.files.is_empty() && found.topics.is_empty() {
            return Self::begin(dir, epoch, partitions, with_content).map(Some);
        }
        if found.epoch != epoch.to_string() || found.partitions != partitions {
            refuse("it is of another log")?;
        }
        match (found.with_content, with_content) {
            (true, false) => refuse("it holds message text, and --with-content isn't given")?,
            (false, true) => refuse("it was begun without message text")?,
            (true, true) | (false, false) => {}
        }
        Ok(Some(found))
    }

    /// Writes it: whole, or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (temporary, path) = (dir.join(format!("{NAME}.tmp")), dir.join(NAME));
        let cannot = || format!("{} can't be written", path.display());
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut file = File::create(&temporary).with_context(cannot)?;
        file.write_all(&text).and_then(|()| file.sync_all()).with_context(cannot)?;
        std::fs::rename(&temporary, &path).with_context(cannot)?;
        File::open(dir).and_then(|dir| dir.sync_all()).with_context(cannot)
    }

    /// What is known of a topic.
    pub(crate) fn topic(&mut self, name: &str) -> &mut TopicPart {
        self.topics.entry(name.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(byte: u8) -> Epoch {
        Epoch::from_bytes([byte; 16])
    }

    #[test]
    fn what_was_saved_is_read_back_and_goes_on_where_it_stood() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::load(dir.path(), epoch(1), 64, false).unwrap(), None);
        let mut manifest = Manifest::begin(dir.path(), epoch(1), 64, false).unwrap();
        assert!(dir.path().join(NAME).exists(), "before anything else is written");
        let span = manifest.topic("parley.events").partitions.entry(3).or_default();
        let mut validity = Validity::default();
        for (offset, stamp) in [
            (0, parley_domain::Stamp::Claim),
            (1, parley_domain::Stamp::Event { claim: 0, index: 0 }),
            (2, parley_domain::Stamp::Event { claim: 0, index: 7 }),
        ] {
            let verdict = validity.admit(offset, stamp);
            span.passed(offset, EventId::from_bytes([7; 16]), validity);
            if verdict == parley_domain::Verdict::Valid {
                span.counted(offset);
            }
        }
        manifest.save(dir.path()).unwrap();
        let mut read = Manifest::load(dir.path(), epoch(1), 64, false).unwrap().unwrap();
        assert_eq!(read, manifest);
        let span = read.topic("parley.events").partitions[&3];
        assert_eq!((span.first, span.last, span.records, span.next), (Some(1), Some(1), 1, 3));
        assert_eq!(span.validity(), Validity { claim: Some(0), next_index: 1 });
    }

    #[test]
    fn another_logs_export_and_another_kind_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::begin(dir.path(), epoch(1), 64, false).unwrap();
        let anew = Manifest::load(dir.path(), epoch(2), 32, true).unwrap().unwrap();
        assert_eq!((anew.partitions, anew.with_content), (32, true), "nothing came of the first");
        manifest.topic("parley.events");
        manifest.save(dir.path()).unwrap();
        for (byte, partitions, with_content) in [(2, 64, false), (1, 32, false), (1, 64, true)] {
            let error = Manifest::load(dir.path(), epoch(byte), partitions, with_content).unwrap_err();
            assert!(error.is::<Usage>(), "{error}");
        }
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(Manifest::load(dir.path(), epoch(1), 64, false).is_err());
    }
}
