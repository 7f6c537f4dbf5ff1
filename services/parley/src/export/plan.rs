//! Where an export goes on, and whether the log is still the one that it read.

use std::collections::HashMap;

use anyhow::Context as _;
use parley_domain::EventId;
use parley_eventlog::{Bound, EventLog, TopicPartition};
use uuid::Uuid;

use super::manifest::Manifest;
use super::run::{BATCH_RECORDS_MAX, TOPICS};

/// Where each partition goes on, and where it ends now; those with something to read.
///
/// # Errors
/// The log lacks what was exported, or has something else there; what the log says.
pub(super) async fn plan(
    log: &dyn EventLog,
    manifest: &mut Manifest,
) -> anyhow::Result<HashMap<TopicPartition, (u64, u64)>> {
    let count = log.partitions().get();
    let all = |topic| (0..count).map(move |partition| TopicPartition { topic, partition });
    let places: Vec<TopicPartition> = TOPICS.into_iter().flat_map(all).collect();
    let starts =
        log.offsets(&places, Bound::Start).await.context("the log can't be asked where it begins")?;
    let ends = log.offsets(&places, Bound::End).await.context("the log can't be asked where it ends")?;
    let (mut planned, mut newest) = (HashMap::new(), HashMap::new());
    for (at, (start, end)) in places.into_iter().zip(starts.into_iter().zip(ends)) {
        let span = manifest.topic(at.topic.name()).partitions.get(&at.partition);
        let next = span.map_or(start, |span| span.next);
        let (name, partition) = (at.topic.name(), at.partition);
        anyhow::ensure!(
            next <= end,
            "{name}/{partition} ends at {end}, but {next} records of it were exported: the log lost records, or was \
             restored from an older backup; export to another directory"
        );
        anyhow::ensure!(
            start <= next,
            "{name}/{partition} is kept from {start} on only, but the export stands at {next}: the records between are \
             gone; export to another directory"
        );
        if let Some(id) = span.and_then(|span| span.newest_id)
            && start < next
        {
            newest.insert(at, (next - 1, id));
        }
        if next < end {
            planned.insert(at, (next, end));
        }
    }
    must_be_there(log, newest).await?;
    Ok(planned)
}

/// Whether the log still has what was read of it last. Of one that was restored from an older backup and has grown since, offsets
/// tell nothing: others have the places of what was exported.
async fn must_be_there(
    log: &dyn EventLog,
    mut newest: HashMap<TopicPartition, (u64, Uuid)>,
) -> anyhow::Result<()> {
    if newest.is_empty() {
        return Ok(());
    }
    let from = newest.iter().map(|(at, (offset, _))| (*at, *offset)).collect();
    let mut tail = log.tail(from).await.context("the log can't be read")?;
    while !newest.is_empty() {
        let batch = tail.next_now(BATCH_RECORDS_MAX).await.context("the log can't be read")?;
        if batch.is_empty() {
            break;
        }
        for stored in batch {
            let Some((offset, id)) = newest.remove(&stored.at) else { continue };
            tail.remove(&[stored.at]);
            anyhow::ensure!(
                stored.offset == offset && stored.record.id == EventId(id),
                other(stored.at, offset)
            );
        }
    }
    newest.into_iter().next().map_or(Ok(()), |(at, (offset, _))| Err(anyhow::anyhow!(other(at, offset))))
}

fn other(at: TopicPartition, offset: u64) -> String {
    format!(
        "what was exported up to {}/{}@{offset} isn't what the log holds there: it was restored from an older backup, and has \
         grown since; export to another directory",
        at.topic.name(),
        at.partition
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use parley_domain::PartitionCount;
    use parley_edge::Hub;
    use parley_eventlog::providers::embedded::{EmbeddedLog, Options};
    use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
    use parley_projector::Projector;
    use parley_readstore::ReadStore;
    use parley_readstore::providers::embedded::EmbeddedReadStore;
    use parley_writer::Writer;

    use super::super::{Source, export};
    use super::*;

    fn open(dir: &Path) -> Arc<EmbeddedLog> {
        EmbeddedLog::open(Options::new(dir, PartitionCount::new(2).unwrap())).unwrap().0
    }

    /// A writer that starts claims every partition, each time by another record.
    async fn grow(log: &Arc<EmbeddedLog>, starts: usize) {
        for _ in 0..starts {
            let dir = tempfile::tempdir().unwrap();
            let log: Arc<dyn EventLog> = log.clone();
            let ring = KeyRing::open_or_create(&dir.path().join("ring.json")).unwrap();
            let keys = Keys::new(ring, EmbeddedKeyStore::open(&dir.path().join("keys")).unwrap());
            let reads = dir.path().join("reads");
            let reads: Arc<dyn ReadStore> =
                EmbeddedReadStore::open(&reads, log.epoch(), Default::default()).unwrap();
            let (live, projector) = Projector::start(log.clone(), reads.clone()).await.unwrap();
            let engines = parley_writer::Engines {
                notices: Hub::new(log.epoch()),
                log,
                keys: Arc::new(keys),
                reads,
                progress: live.reached(),
                snapshots: None,
            };
            let (_, writer) = Writer::start(Default::default(), engines).await.unwrap();
            writer.shut_down().await;
            projector.shut_down().await;
        }
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(std::fs::copy(entry.path(), to).unwrap()),
            }
        }
    }

    async fn exported(log: &Arc<EmbeddedLog>, to: &Path) -> anyhow::Result<()> {
        let source = Source { log: log.clone(), keys: None };
        export(&source, to, |_, _| true).await.map(drop)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_was_restored_and_has_grown_since_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (live, backup, to) = (dir.path().join("live"), dir.path().join("backup"), dir.path().join("to"));
        let log = open(&live);
        grow(&log, 2).await;
        log.close().await;
        copy(&live, &backup);
        drop(log);
        let log = open(&live);
        for _ in 0..3 {
            grow(&log, 1).await;
            exported(&log, &to).await.unwrap();
            exported(&log, &to).await.unwrap();
        }
        log.close().await;

        let restored = open(&backup);
        let before = std::fs::read(to.join("manifest.json")).unwrap();
        for (starts, why) in [(2, "the log lost records"), (1, "has grown since"), (1, "has grown since")] {
            grow(&restored, starts).await;
            let error = exported(&restored, &to).await.unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("export to another directory"), "{error}");
            assert_eq!(std::fs::read(to.join("manifest.json")).unwrap(), before, "nothing was added");
        }
        exported(&restored, &dir.path().join("another")).await.unwrap();

        // A manifest of before has no ids: it is taken as it is.
        let mut old: serde_json::Value = serde_json::from_slice(&before).unwrap();
        for topic in TOPICS {
            for span in old["topics"][topic.name()]["partitions"].as_object_mut().unwrap().values_mut() {
                assert!(span.as_object_mut().unwrap().remove("newest_id").is_some());
            }
        }
        std::fs::write(to.join("manifest.json"), old.to_string()).unwrap();
        exported(&restored, &to).await.unwrap();
    }
}
