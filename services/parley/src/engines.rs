//! The embedded engines of a data directory, opened in the order in which they depend on each other.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use parley_domain::PartitionCount;
use parley_eventlog::EventLog;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
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
fn place(url: &str, own: PathBuf) -> PathBuf {
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
    /// Locks the data directory and opens what is in it; makes what isn't.
    ///
    /// # Errors
    /// Whatever can't be opened. Read models that can't be are thrown away instead, since the log has everything.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let dir = DataDir::lock(&config.data_dir())?;
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
        let ring = KeyRing::open_or_create(&dir.key_ring())?;
        let store = EmbeddedKeyStore::open(&dir.key_store()).context("the key store can't be opened")?;
        let keys = Arc::new(Keys::new(ring, store));
        let reads = open_reads(place(&config.reads, dir.reads()), log.as_ref())?;
        Ok(Self { dir, log, keys, reads })
    }
}

fn open_reads(dir: PathBuf, log: &EmbeddedLog) -> anyhow::Result<Arc<dyn ReadStore>> {
    let options = ReadOptions::default();
    match EmbeddedReadStore::open(&dir, log.epoch(), options) {
        Ok(reads) => Ok(reads),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the read models can't be opened: they are built anew from the log"
            );
            EmbeddedReadStore::discard(&dir).context("the read models can't be thrown away")?;
            let reads = EmbeddedReadStore::open(&dir, log.epoch(), options);
            Ok(reads.context("the read models can't be made anew")?)
        }
    }
}
