//! The embedded engines of a data directory, opened in the order in which they depend on each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parley_domain::PartitionCount;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{EventLog, Offsets as _, Topic, TopicPartition};
use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options as ReadOptions};
use parley_readstore::{Error as ReadError, ReadStore};

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
    log_place(config, dir.path())
}

/// The same, of a data directory that isn't held.
pub(crate) fn log_place(config: &Config, data: &Path) -> PathBuf {
    place(&config.log, data.join("log"))
}

/// Where the read models lie.
pub(crate) fn reads_dir(config: &Config, dir: &DataDir) -> PathBuf {
    place(&config.reads, dir.reads())
}

impl Engines {
    /// Opens what is in a data directory; makes what isn't.
    ///
    /// # Errors
    /// Whatever can't be opened, and a log that lacks what was known of it. Read models that can't be opened are thrown away instead,
    /// since the log has everything.
    pub(crate) async fn open(config: &Config, dir: DataDir) -> anyhow::Result<Self> {
        let partitions = PartitionCount::new(config.partitions).unwrap_or(PartitionCount::DEFAULT);
        let log_dir = log_dir(config, &dir);
        let (keys_dir, reads_dir) = (dir.key_store(), reads_dir(config, &dir));
        // Checked first: opening would make an empty log, and every group would be gone without a word.
        anyhow::ensure!(
            !EmbeddedKeyStore::is_there(&keys_dir) || EmbeddedLog::is_there(&log_dir)?,
            "there are data keys in {}, but there is no log in {}: restore it from a backup, or name its place with \
             log=embedded:DIR; to begin with an empty log, name another data directory with --data",
            keys_dir.display(),
            log_dir.display()
        );
        let (log, report) =
            EmbeddedLog::open(LogOptions::new(&log_dir, partitions)).context("the log can't be opened")?;
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
        must_have_keys_of(report.records, &dir)?;
        let keys = Arc::new(open_keys(open_ring(config, &dir)?, &dir)?);
        let reads = open_reads(&reads_dir, log.as_ref()).await?;
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
        path.exists() || !EmbeddedKeyStore::is_there(&dir.key_store()),
        "the key ring {} is missing, but there are data keys that it wrapped: restore it from a backup, or name it with \
         keys.ring",
        path.display()
    );
    Ok(KeyRing::open_or_create(&path)?)
}

/// Whether there are data keys: opening would make an empty store, beside which no log is begun.
///
/// # Errors
/// There are none.
pub(crate) fn must_have_keys(dir: &DataDir) -> anyhow::Result<()> {
    let store = dir.key_store();
    anyhow::ensure!(
        EmbeddedKeyStore::is_there(&store),
        "there are no data keys in {}: no server has run there yet",
        store.display()
    );
    Ok(())
}

/// Whether the data keys of a log with so many records are there: opening would make an empty store, with which everything would
/// pass for erased from then on.
///
/// # Errors
/// They are not.
pub(crate) fn must_have_keys_of(records: u64, dir: &DataDir) -> anyhow::Result<()> {
    let store = dir.key_store();
    anyhow::ensure!(
        records == 0 || EmbeddedKeyStore::is_there(&store),
        "the log has records, but the data keys in {} are missing, and without them no message can be read: restore \
         them from a backup",
        store.display()
    );
    Ok(())
}

/// Opens the data keys under a ring.
///
/// # Errors
/// What can't be opened.
pub(crate) fn open_keys(ring: KeyRing, dir: &DataDir) -> anyhow::Result<Keys> {
    let store = EmbeddedKeyStore::open(&dir.key_store()).context("the key store can't be opened")?;
    Ok(Keys::new(ring, store))
}

/// Opens the read models. Those that can't be opened are thrown away, since the log has everything: unless it is the log that
/// lacks something, which must not go by in silence.
async fn open_reads(dir: &Path, log: &EmbeddedLog) -> anyhow::Result<Arc<dyn ReadStore>> {
    let options = ReadOptions::default();
    let unfit = match EmbeddedReadStore::open(dir, log.epoch(), options) {
        Ok(reads) => {
            is_whole(reads.as_ref(), log).await?;
            return Ok(reads);
        }
        Err(error @ ReadError::OtherLog { .. }) => {
            let what = format!(
                "{} belongs to another log: if this is the right one, remove that directory, and it is built anew",
                dir.display()
            );
            return Err(anyhow::Error::new(error).context(what));
        }
        Err(error) => error,
    };
    tracing::warn!(
        error = &unfit as &dyn std::error::Error,
        "the read models can't be used: they are built anew from the log"
    );
    EmbeddedReadStore::discard(dir).context("the read models can't be thrown away")?;
    let reads = EmbeddedReadStore::open(dir, log.epoch(), options);
    Ok(reads.context("the read models can't be made anew")?)
}

/// Read models are built from what is durable. A log that ends before them has lost records that were acknowledged; with the next
/// ones it would give their places to others.
async fn is_whole(reads: &EmbeddedReadStore, log: &EmbeddedLog) -> anyhow::Result<()> {
    for ((topic, partition), checkpoint) in reads.live().checkpoints().await? {
        let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic);
        let topic = topic.context("the read models know of a topic that is none of ours")?;
        let end = log.end_offset(TopicPartition { topic, partition }).await?;
        anyhow::ensure!(
            checkpoint.offset <= end,
            "the log lost records that were acknowledged: it ends at {end} in {}/{partition}, where the read models know it up to \
             {}. Restore it from a backup. If there is none, `parley log accept-loss` makes what is left the truth, in a new epoch",
            topic.name(),
            checkpoint.offset
        );
    }
    Ok(())
}
