//! The embedded engines of a data directory, opened in the order in which they depend on each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parley_domain::PartitionCount;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{EventLog, Offsets as _, Topic, TopicPartition};
use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
use parley_readstore::ReadStore;
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options as ReadOptions};

use crate::config::Config;
use crate::data_dir::DataDir;

/// Everything durable, and the lock on it.
pub(crate) struct Engines {
    pub(crate) dir: DataDir,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) reads: Arc<dyn ReadStore>,
}

/// `embedded:DIR`, or the data directory's own place.
pub(crate) fn place(url: &str, own: PathBuf) -> PathBuf {
    url.split_once(':').map_or(own, |(_, dir)| PathBuf::from(dir))
}

/// Where the objects lie.
pub(crate) fn media_dir(config: &Config, dir: &DataDir) -> PathBuf {
    place(&config.media, dir.media())
}

/// Where the log lies.
pub(crate) fn log_dir(config: &Config, dir: &DataDir) -> PathBuf {
    place(&config.log, dir.log())
}

impl Engines {
    /// Opens what is in a data directory; makes what isn't.
    ///
    /// # Errors
    /// Whatever can't be opened. Read models that can't be are thrown away instead, since the log has everything.
    pub(crate) async fn open(config: &Config, dir: DataDir) -> anyhow::Result<Self> {
        let partitions = PartitionCount::new(config.partitions).unwrap_or(PartitionCount::DEFAULT);
        let (log, report) = EmbeddedLog::open(LogOptions::new(log_dir(config, &dir), partitions))
            .context("the log can't be opened")?;
        tracing::info!(
            records = report.records,
            bytes = report.bytes,
            segments = report.segments,
            "log opened"
        );
        if let Some(cut) = report.cut {
            tracing::warn!(
                file = %cut.file.display(),
                at = cut.at,
                bytes_lost = cut.bytes_lost,
                reason = cut.reason,
                "the log's tail was damaged and is cut back to the last whole record; what was cut is kept beside it"
            );
        }
        anyhow::ensure!(
            report.records == 0 || dir.key_store().exists(),
            "the log has records, but the data keys in {} are missing, and without them no message can be read: restore \
             them from a backup",
            dir.key_store().display()
        );
        let keys = Arc::new(open_keys(open_ring(config, &dir)?, &dir)?);
        let reads = open_reads(&place(&config.reads, dir.reads()), log.as_ref()).await?;
        Ok(Self { dir, log, keys, reads })
    }
}

/// The key ring's file.
pub(crate) fn key_ring(config: &Config, dir: &DataDir) -> PathBuf {
    config.key_ring(|| dir.key_ring())
}

/// Opens the key ring; makes one only where there are no data keys yet.
///
/// # Errors
/// What can't be opened, or that the ring is gone.
pub(crate) fn open_ring(config: &Config, dir: &DataDir) -> anyhow::Result<KeyRing> {
    let path = key_ring(config, dir);
    // A fresh ring would open none of the data keys: every send to the groups that have one would fail.
    anyhow::ensure!(
        path.exists() || !dir.key_store().exists(),
        "the key ring {} is missing, but there are data keys that it wrapped: restore it from a backup, or name it with \
         keys.ring",
        path.display()
    );
    Ok(KeyRing::open_or_create(&path)?)
}

/// Opens the data keys under a ring.
///
/// # Errors
/// What can't be opened.
pub(crate) fn open_keys(ring: KeyRing, dir: &DataDir) -> anyhow::Result<Keys> {
    let store = EmbeddedKeyStore::open(&dir.key_store()).context("the key store can't be opened")?;
    Ok(Keys::new(ring, store))
}

/// Opens the read models. Those that don't fit the log are thrown away, since it has everything.
async fn open_reads(dir: &Path, log: &EmbeddedLog) -> anyhow::Result<Arc<dyn ReadStore>> {
    let options = ReadOptions::default();
    let unfit: anyhow::Error = match EmbeddedReadStore::open(dir, log.epoch(), options) {
        Ok(reads) => match fits(reads.as_ref(), log).await {
            Ok(()) => return Ok(reads),
            Err(error) => error,
        },
        Err(error) => error.into(),
    };
    tracing::warn!(
        reason = format!("{unfit:#}"),
        "the read models can't be used: they are built anew from the log"
    );
    EmbeddedReadStore::discard(dir).context("the read models can't be thrown away")?;
    let reads = EmbeddedReadStore::open(dir, log.epoch(), options);
    Ok(reads.context("the read models can't be made anew")?)
}

/// A log that was cut back, or restored from a backup, lacks what the read models were built from.
async fn fits(reads: &EmbeddedReadStore, log: &EmbeddedLog) -> anyhow::Result<()> {
    for ((topic, partition), checkpoint) in reads.live().checkpoints().await? {
        let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic);
        let topic = topic.context("they know of a topic that is none of ours")?;
        let end = log.end_offset(TopicPartition { topic, partition }).await?;
        anyhow::ensure!(
            checkpoint.offset <= end,
            "they were built from {}/{partition} up to {}, but the log ends at {end}",
            topic.name(),
            checkpoint.offset
        );
    }
    Ok(())
}
