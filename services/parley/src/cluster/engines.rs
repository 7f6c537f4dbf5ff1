//! The engines that several processes share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parley_domain::Epoch;
use parley_eventlog::EventLog as _;
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions};
use parley_keys::{CassandraKeyStore, EmbeddedKeyStore, KeyRing, KeyStore, Keys, StoreError};
use parley_media::Blobs;
use parley_media::providers::directory::DirectoryBlobs;
use parley_media::providers::s3::S3Blobs;
use parley_readstore::ReadStore;
use parley_readstore::providers::cassandra::CassandraReadStore;
use rustix::fs::FlockOperation;

use crate::config::Config;
use crate::engines::{of_ring, open_fit_reads, place};
use crate::{Usage, data_dir};

/// Tries to open an engine that others may be setting up, and the pause between them, at least.
const OPEN_TRIES_MAX: u32 = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(500);

/// What becomes of an engine that isn't there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is made, as a server does that starts.
    Make,
    /// It is an error: of a command about what there is, whose configuration may be mistyped.
    Refuse,
}

/// What all roles work with.
pub(crate) struct Engines {
    pub(crate) kafka: KafkaOptions,
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) reads: Arc<dyn ReadStore>,
    /// Of who seals or opens messages.
    pub(crate) keys: Option<Arc<Keys>>,
}

impl Engines {
    /// Opens what the configuration names. `alone`: every role is in this process, so that engines may be its own. `opens`: it seals
    /// or opens messages, as writers and edges do, for which it needs the key ring.
    ///
    /// # Errors
    /// Engines that can't be shared by processes, that don't answer, or that are missing and aren't made.
    pub(crate) async fn open(
        config: &Config,
        alone: bool,
        opens: bool,
        missing: Missing,
    ) -> anyhow::Result<Self> {
        let Some(kafka) = config.kafka_options() else {
            let why = "a role as a process of its own needs a log that processes can share: set log to kafka://HOST:PORT \
                       (`parley serve` runs every role in one process on embedded engines)";
            return Err(Usage(why.into()).into());
        };
        if opens && !alone && !are_keys_shared(config) {
            let why = "a role as a process of its own needs data keys that processes can share, or others would take every message \
                       for erased: set keys.store to cassandra";
            return Err(Usage(why.into()).into());
        }
        let log = open_log(config, missing).await?;
        let reads: Arc<dyn ReadStore> = match shared_reads(config, log.epoch(), missing).await? {
            Some(reads) => reads,
            None if alone => {
                let place = place(&config.reads, config.data_dir().join("reads"));
                open_fit_reads(&place, log.epoch()).await?.reads
            }
            None => {
                let why = "a role as a process of its own needs read models that processes can share: set reads to \
                           cassandra://HOST:PORT";
                return Err(Usage(why.into()).into());
            }
        };
        let keys = if opens { Some(Arc::new(open_keys(config).await?)) } else { None };
        Ok(Self { kafka, log, reads, keys })
    }
}

/// Opens where writers keep snapshots of their state.
///
/// # Errors
/// A directory that can't be made, or settings of S3 that can't be used.
pub(crate) fn snapshots(config: &Config) -> anyhow::Result<Arc<dyn Blobs>> {
    Ok(match config.s3_options()? {
        Some(options) => Arc::new(S3Blobs::new(options)?),
        None => Arc::new(DirectoryBlobs::open(&config.data_dir().join("snapshots"))?),
    })
}

/// Opens the log on Kafka.
///
/// # Errors
/// Brokers that don't answer, or a log that is missing and isn't made.
pub(crate) async fn open_log(config: &Config, missing: Missing) -> anyhow::Result<Arc<KafkaLog>> {
    let mut options = config.kafka_options().context("the log isn't on Kafka")?;
    options.must_exist = missing == Missing::Refuse;
    KafkaLog::open(options).await.context("the log can't be opened")
}

/// Opens the read models on Cassandra; `None` if they are embedded.
///
/// # Errors
/// Nodes that don't answer, or a keyspace that is missing and isn't made.
pub(crate) async fn shared_reads(
    config: &Config,
    epoch: Epoch,
    missing: Missing,
) -> anyhow::Result<Option<Arc<dyn ReadStore>>> {
    let Some(mut options) = config.cassandra_options() else { return Ok(None) };
    options.must_exist = missing == Missing::Refuse;
    let open = || CassandraReadStore::open(options.clone(), epoch);
    let is_transient =
        |error: &_| missing == Missing::Make && matches!(error, parley_readstore::Error::Engine(_));
    match patiently(open, is_transient).await {
        Ok(reads) => Ok(Some(reads)),
        Err(error @ parley_readstore::Error::OtherLog { .. }) => {
            let what = format!(
                "keyspace {} belongs to another log: name another one in reads; or if this is the right log, stop all roles and \
                 drop that keyspace (not the one with the data keys), and the read models are built anew",
                options.keyspace
            );
            Err(anyhow::Error::new(error).context(what))
        }
        Err(error) => Err(error).context("the read models can't be opened"),
    }
}

/// Opens the data keys under the ring that all processes share; makes one only where there are no data keys yet.
///
/// # Errors
/// What can't be opened, and a ring that isn't the one.
pub(crate) async fn open_keys(config: &Config) -> anyhow::Result<Keys> {
    let (path, store) = (ring_path(config), key_store(config, Missing::Make).await?);
    let is_begun = !store.page(None, 1).await.context("the key store can't be read")?.is_empty();
    // A fresh one would open none of them, and its own keys would be opened by no other process.
    anyhow::ensure!(path.exists() || !is_begun, "{}", ring_is_missing(&path));
    of_ring(Keys::new(ring(&path, &config.data_dir())?, store), &path).await
}

/// The same for who only reads: makes nothing.
///
/// # Errors
/// As [`open_keys`], and that there is no ring.
pub(crate) async fn open_keys_to_read(config: &Config) -> anyhow::Result<Keys> {
    let (path, store) = (ring_path(config), key_store(config, Missing::Refuse).await?);
    anyhow::ensure!(path.exists(), "{}", ring_is_missing(&path));
    if store.page(None, 1).await.context("the key store can't be read")?.is_empty() {
        tracing::warn!(
            "there are no data keys in the key store: every message counts as erased. Is it the one that writers use?"
        );
    }
    of_ring(Keys::new(KeyRing::open_or_create(&path)?, store), &path).await
}

fn ring_is_missing(path: &Path) -> String {
    format!(
        "the key ring {} is missing, but there are data keys that one wrapped: give this machine the ring that the others have, or \
         name it with keys.ring",
        path.display()
    )
}

/// The file of the ring that all processes share.
pub(crate) fn ring_path(config: &Config) -> PathBuf {
    config.key_ring(|| config.data_dir().join("keys").join("ring.json"))
}

/// Whether data keys are in Cassandra, by default with the read models.
fn are_keys_shared(config: &Config) -> bool {
    match config.keys.store.as_str() {
        "cassandra" => true,
        "embedded" => false,
        _ => config.reads.starts_with("cassandra:"),
    }
}

/// Opens the store of wrapped data keys.
///
/// # Errors
/// That it can't be opened, or is missing and isn't made.
pub(super) async fn key_store(config: &Config, missing: Missing) -> anyhow::Result<Arc<dyn KeyStore>> {
    let in_cassandra = are_keys_shared(config);
    let cannot = "the key store can't be opened";
    match config.cassandra_key_options().filter(|_| in_cassandra) {
        Some(mut options) => {
            options.must_exist = missing == Missing::Refuse;
            let is_transient = |error: &_| missing == Missing::Make && matches!(error, StoreError::Engine(_));
            Ok(patiently(|| CassandraKeyStore::open(&options), is_transient).await.context(cannot)?)
        }
        None => {
            let dir = config.data_dir().join("keys").join("store");
            anyhow::ensure!(
                missing == Missing::Make || EmbeddedKeyStore::is_there(&dir),
                "{cannot}: there is none in {}",
                dir.display()
            );
            Ok(EmbeddedKeyStore::open(&dir).context(cannot)?)
        }
    }
}

/// Opens something that several processes may be making at this very moment: Cassandra tells some of them that a table
/// isn't there which another has just made. A server waits for an engine that isn't up yet, whoever runs a command is told.
async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
    open: impl Fn() -> F,
    is_transient: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    E: std::error::Error + 'static,
{
    for _ in 1..OPEN_TRIES_MAX {
        match open().await {
            Err(error) if is_transient(&error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an engine isn't ready; trying on");
                tokio::time::sleep(OPEN_PAUSE + Duration::from_millis(rand::random_range(0..500))).await;
            }
            outcome => return outcome,
        }
    }
    open().await
}

/// The key ring, which all processes share. Several may start at once on one machine, and only one of them makes it.
fn ring(path: &Path, dir: &Path) -> anyhow::Result<KeyRing> {
    data_dir::create(dir)?;
    let lock =
        std::fs::File::create(dir.join("cluster.lock")).context("the data directory can't be written")?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("the data directory can't be locked")?;
    if !path.exists() {
        let ring = path.display();
        tracing::warn!(%ring, "there is no key ring yet, so one is made: every writer and edge, on every machine, needs this very file");
    }
    Ok(KeyRing::open_or_create(path)?)
}
