//! The export itself: reads the log as a consumer does, and writes what counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parley_domain::{Event, Fact, Validity, Verdict};
use parley_eventlog::{EventLog, StoredRecord, Topic, TopicPartition};
use parley_keys::{Keys, Place};
use parley_wire::{clock, event, time};
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use super::files::{self, TableFiles};
use super::manifest::Manifest;
use super::plan::plan;
use super::rows::{self, AckRow, EventRow, Opened};
use super::table::Row as _;

/// Records that are read at once.
pub(super) const BATCH_RECORDS_MAX: usize = 1_000;
/// After so many rows or records what was written is published, so that an interrupted run loses at most that.
const PUBLISH_EVERY: u64 = 2_000_000;
/// The topics that are exported.
pub(super) const TOPICS: [Topic; 2] = [Topic::Events, Topic::Acks];

/// What is exported, and with it the text if there are keys.
pub(crate) struct Source {
    /// The log.
    pub(crate) log: Arc<dyn EventLog>,
    /// The data keys, for exports with content.
    pub(crate) keys: Option<Arc<Keys>>,
}

/// A record that counts, as rows.
enum Rows {
    Event(Box<EventRow>),
    Acks(Vec<AckRow>),
}

/// What is in the target directory, while nobody else exports there.
struct Target {
    dir: PathBuf,
    manifest: Manifest,
    events: TableFiles<EventRow>,
    acks: TableFiles<AckRow>,
    /// Rows since the last publishing.
    pending: u64,
    _lock: File,
}

impl Target {
    fn open(dir: &Path, log: &dyn EventLog, with_content: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
        let lock = File::open(dir).with_context(|| format!("{} can't be opened", dir.display()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another export to {} is under way", dir.display()))?;
        let (epoch, partitions) = (log.epoch(), log.partitions().get());
        let manifest = match Manifest::load(dir, epoch, partitions, with_content)? {
            Some(manifest) => manifest,
            None => {
                for table in [EventRow::TABLE, AckRow::TABLE] {
                    files::must_be_free(dir, table)?;
                }
                Manifest::begin(dir, epoch, partitions, with_content)?
            }
        };
        Ok(Self {
            events: TableFiles::open(dir, &manifest.files, with_content)?,
            acks: TableFiles::open(dir, &manifest.files, with_content)?,
            dir: dir.to_owned(),
            manifest,
            pending: 0,
            _lock: lock,
        })
    }

    fn write(&mut self, batch: &[Rows]) -> anyhow::Result<()> {
        for rows in batch {
            match rows {
                Rows::Event(row) => {
                    self.events.push(row.at(), row)?;
                    self.pending += 1;
                }
                Rows::Acks(rows) => {
                    for row in rows {
                        self.acks.push(row.at(), row)?;
                    }
                    self.pending += rows.len() as u64;
                }
            }
        }
        Ok(())
    }

    /// What was written so far counts from now on.
    fn publish(&mut self) -> anyhow::Result<()> {
        self.pending = 0;
        self.manifest.files.extend(self.events.publish()?);
        self.manifest.files.extend(self.acks.publish()?);
        self.manifest.exported_at = time::format(clock::now());
        self.manifest.save(&self.dir)
    }
}

/// Exports what came since the last run, up to where the log ends now. `step` is told how many records of how many are
/// done, and says whether to go on.
///
/// Returns `{"records", "rows", "files", "void", "unknown"}` of this run: numbers.
///
/// # Errors
/// [`crate::Usage`] if the directory holds something else; what the log or the file system says. What was published stays.
pub(crate) async fn export(
    source: &Source,
    dir: &Path,
    mut step: impl FnMut(u64, u64) -> bool + Send,
) -> anyhow::Result<Value> {
    let mut target = Target::open(dir, source.log.as_ref(), source.keys.is_some())?;
    let before = totals(&target.manifest);
    let ends = plan(source.log.as_ref(), &mut target.manifest).await?;
    let from: Vec<_> = ends.iter().map(|(at, (next, _))| (*at, *next)).collect();
    let total = ends.values().map(|(next, end)| end - next).sum();
    let (mut done, mut published) = (0, 0);
    let mut reading = Reading { ends, validity: validities(&target.manifest) };
    if total > 0 {
        let mut open: HashSet<TopicPartition> = reading.ends.keys().copied().collect();
        let mut tail = source.log.tail(from).await.context("the log can't be read")?;
        loop {
            let batch = tail.next_now(BATCH_RECORDS_MAX).await.context("the log can't be read")?;
            // Offsets need not be dense: a partition may end before its end offset. Then nothing more comes.
            if batch.is_empty() {
                break;
            }
            let mut rows = Vec::with_capacity(batch.len());
            for stored in &batch {
                if let Some(read) = reading.take(stored, &mut target.manifest) {
                    rows.extend(convert(source, stored, read?, &mut target.manifest).await?);
                }
                done += u64::from(reading.is_wanted(stored));
                if reading.is_at_end(stored) && open.remove(&stored.at) {
                    tail.remove(&[stored.at]);
                }
            }
            let due = done - published >= PUBLISH_EVERY;
            target = write(target, rows, due).await?;
            published = if target.pending == 0 { done } else { published };
            anyhow::ensure!(step(done, total), "nobody waits for the export any more: run it again to go on");
            if open.is_empty() {
                break;
            }
        }
    }
    let target = write(target, Vec::new(), true).await?;
    let after = totals(&target.manifest);
    let gained = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    Ok(json!({
        "records": gained("records"),
        "rows": gained("rows"),
        "files": gained("files"),
        "void": gained("void"),
        "unknown": gained("unknown"),
    }))
}

/// Compressing and writing takes a thread for a while, so it isn't done on one that serves.
async fn write(mut target: Target, rows: Vec<Rows>, due: bool) -> anyhow::Result<Target> {
    let written = tokio::task::spawn_blocking(move || {
        target.write(&rows)?;
        if due || target.pending >= PUBLISH_EVERY {
            target.publish()?;
        }
        Ok(target)
    });
    written.await.context("writing panicked")?
}

fn validities(manifest: &Manifest) -> HashMap<TopicPartition, Validity> {
    let of_topic = |topic: Topic| {
        let spans = manifest.topics.get(topic.name()).map(|part| &part.partitions);
        spans
            .into_iter()
            .flatten()
            .map(move |(partition, span)| (TopicPartition { topic, partition: *partition }, span.validity()))
    };
    TOPICS.into_iter().flat_map(of_topic).collect()
}

/// A record that counts, decoded.
enum Decoded {
    Fact(Option<Box<Fact>>),
    Cursors(Option<event::CursorsAdvanced>),
}

/// How far the reading has come.
struct Reading {
    ends: HashMap<TopicPartition, (u64, u64)>,
    validity: HashMap<TopicPartition, Validity>,
}

impl Reading {
    /// Whether it lies before where the log ended when the export began.
    fn is_wanted(&self, stored: &StoredRecord) -> bool {
        self.ends.get(&stored.at).is_some_and(|(next, end)| (*next..*end).contains(&stored.offset))
    }

    /// Whether nothing of its partition follows that is wanted.
    fn is_at_end(&self, stored: &StoredRecord) -> bool {
        self.ends.get(&stored.at).is_none_or(|(_, end)| stored.offset + 1 >= *end)
    }

    /// Takes the next record; what is in it, if it counts.
    fn take(&mut self, stored: &StoredRecord, manifest: &mut Manifest) -> Option<anyhow::Result<Decoded>> {
        if !self.is_wanted(stored) {
            return None;
        }
        let validity = self.validity.entry(stored.at).or_default();
        let verdict = parley_eventlog::admit(validity, stored);
        let part = manifest.topic(stored.at.topic.name());
        let span = part.partitions.entry(stored.at.partition).or_default();
        span.passed(stored.offset, stored.record.id, *validity);
        match verdict {
            Verdict::Claim => part.claims += 1,
            Verdict::Void => part.void += 1,
            Verdict::Valid => {
                span.counted(stored.offset);
                part.records += 1;
                return Some(decode(stored));
            }
        }
        None
    }
}

/// A type that a newer version made is passed over by its value; bytes that aren't what they say are an error.
fn decode(stored: &StoredRecord) -> anyhow::Result<Decoded> {
    let value = stored.record.value.clone();
    let place = || format!("{}/{}@{}", stored.at.topic.name(), stored.at.partition, stored.offset);
    let unknown = |error: &event::DecodeError| matches!(error, event::DecodeError::UnknownType(_));
    match stored.at.topic {
        Topic::Acks if stored.record.kind == event::CURSORS_TYPE => {
            Ok(Decoded::Cursors(Some(event::decode_cursors(value).with_context(place)?)))
        }
        Topic::Acks | Topic::Users => Ok(Decoded::Cursors(None)),
        Topic::Events => match event::decode_fact(&stored.record.kind, value) {
            Ok(fact) => Ok(Decoded::Fact(Some(Box::new(fact)))),
            Err(error) if unknown(&error) => Ok(Decoded::Fact(None)),
            Err(error) => Err(error).with_context(place),
        },
    }
}

async fn convert(
    source: &Source,
    stored: &StoredRecord,
    decoded: Decoded,
    manifest: &mut Manifest,
) -> anyhow::Result<Option<Rows>> {
    let (rows, count) = match decoded {
        Decoded::Fact(fact) => {
            let opened = match &fact {
                Some(fact) => open(source, fact).await?,
                None => Opened::Sealed,
            };
            let is_known = fact.is_some();
            let row = rows::event_row(stored, fact.as_deref(), opened);
            manifest.topic(stored.at.topic.name()).unknown += u64::from(!is_known);
            (Some(Rows::Event(Box::new(row))), 1)
        }
        Decoded::Cursors(Some(cursors)) => {
            let rows = rows::ack_rows(stored, &cursors);
            let count = rows.len() as u64;
            (Some(Rows::Acks(rows)), count)
        }
        Decoded::Cursors(None) => {
            manifest.topic(stored.at.topic.name()).unknown += 1;
            (None, 0)
        }
    };
    manifest.topic(stored.at.topic.name()).rows += count;
    Ok(rows)
}

/// The text of a message, if it is wanted.
async fn open(source: &Source, fact: &Fact) -> anyhow::Result<Opened> {
    let (Some(keys), Event::MessageSent(message)) = (&source.keys, &fact.event) else {
        return Ok(Opened::Sealed);
    };
    let Some(key) = keys.find(message.key_id).await? else { return Ok(Opened::Erased) };
    let place = Place { group_id: fact.group_id, message_id: message.message_id, sender: &message.sender };
    let cannot = || format!("message {} doesn't open", message.message_id);
    let content = key.open(place, &message.sealed).with_context(cannot)?;
    Ok(Opened::Text(event::decode_content(&content).with_context(cannot)?.text))
}

/// What is counted, over all topics.
fn totals(manifest: &Manifest) -> BTreeMap<&'static str, u64> {
    let mut totals = BTreeMap::from([("files", manifest.files.len() as u64)]);
    for part in manifest.topics.values() {
        let counts =
            [("records", part.records), ("rows", part.rows), ("void", part.void), ("unknown", part.unknown)];
        for (name, count) in counts {
            *totals.entry(name).or_default() += count;
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use parley_domain::{EventId, GroupId, Stamp, Timestamp, UserId};
    use parley_eventlog::Record;

    use super::*;

    const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 3 };
    const DAY_MS: i64 = 86_400_000;

    fn record(offset: u64, stamp: Stamp, kind: &'static str, value: bytes::Bytes) -> StoredRecord {
        let key = (stamp != Stamp::Claim).then(|| GroupId::from_bytes([7; 16]).to_string().into());
        let id = EventId::from_bytes([u8::try_from(offset).unwrap(); 16]);
        let kind = kind.into();
        let record = Record {
            key,
            value,
            id,
            kind,
            source: "w".into(),
            time: Timestamp(DAY_MS),
            stamp,
            trace: None,
            decoded: parley_wire::decoded::Decoded::default(),
        };
        StoredRecord { at: AT, offset, record }
    }

    fn claim(offset: u64) -> StoredRecord {
        record(offset, Stamp::Claim, event::CLAIM_TYPE, bytes::Bytes::new())
    }

    fn dissolved(offset: u64, claim: u64, index: u64) -> StoredRecord {
        let event = Event::GroupDissolved { actor: UserId::parse("ann").unwrap() };
        let kind = event::fact_type(&event);
        let fact = Fact {
            group_id: GroupId::from_bytes([7; 16]),
            seq: offset,
            event_id: EventId::from_bytes([u8::try_from(offset).unwrap(); 16]),
            at: Timestamp(2 * DAY_MS),
            message_count: 0,
            event,
        };
        record(
            offset,
            Stamp::Event { claim, index },
            kind,
            event::encode_fact(&fact, &mut bytes::BytesMut::new()),
        )
    }

    /// A fail-over: what the old owner still appended is void, whichever run reads it.
    fn fail_over() -> [StoredRecord; 7] {
        [
            claim(0),
            dissolved(1, 0, 0),
            claim(2),
            dissolved(3, 0, 1),
            dissolved(4, 2, 0),
            dissolved(5, 2, 2),
            dissolved(6, 2, 1),
        ]
    }

    fn manifest(dir: &Path) -> Manifest {
        Manifest::begin(dir, parley_domain::Epoch::from_bytes([1; 16]), 64, false).unwrap()
    }

    /// Takes the records from where the manifest stands up to an offset; the offsets of those that count.
    fn taken(manifest: &mut Manifest, end: u64) -> Vec<u64> {
        let next = manifest.topic(AT.topic.name()).partitions.get(&AT.partition).map_or(0, |span| span.next);
        let ends = HashMap::from([(AT, (next, end))]);
        let mut reading = Reading { ends, validity: validities(manifest) };
        let mut counting = Vec::new();
        for stored in fail_over() {
            if let Some(decoded) = reading.take(&stored, manifest) {
                assert!(matches!(decoded.unwrap(), Decoded::Fact(Some(_))));
                counting.push(stored.offset);
            }
        }
        counting
    }

    #[test]
    fn only_what_is_valid_counts_wherever_a_run_ends() {
        let dir = tempfile::tempdir().unwrap();
        for cut in 0..=7 {
            let mut manifest = manifest(dir.path());
            let mut counting = taken(&mut manifest, cut);
            counting.extend(taken(&mut manifest, 7));
            assert_eq!(counting, [1, 4, 6], "interrupted at {cut}");
            let part = manifest.topic(AT.topic.name());
            assert_eq!((part.records, part.void, part.claims), (3, 2, 2));
            let span = part.partitions[&AT.partition];
            assert_eq!((span.first, span.last, span.next), (Some(1), Some(6), 7));
        }
    }

    #[test]
    fn a_newer_writers_type_is_known_by_its_headers_and_damage_is_an_error() {
        let stamp = Stamp::Event { claim: 0, index: 0 };
        let newer = record(1, stamp, "parley.events.v2.Unheard", bytes::Bytes::from_static(b"\xff"));
        assert!(matches!(decode(&newer).unwrap(), Decoded::Fact(None)));
        let row = rows::event_row(&newer, None, Opened::Sealed);
        assert_eq!(row.at(), Timestamp(DAY_MS), "the header's time");
        let damaged = record(1, stamp, "parley.events.v1.MessageSent", bytes::Bytes::from_static(b"\xff"));
        let error = decode(&damaged).err().unwrap();
        assert!(error.to_string().contains("parley.events/3@1"), "{error}");
    }
}
