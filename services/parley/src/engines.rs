//! The embedded engines of a data directory, opened in the order in which they depend on each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parley_domain::{Epoch, PartitionCount};
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_eventlog::{EventLog, Offsets as _, Topic, TopicPartition};
use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options as ReadOptions};
use parley_readstore::{Error as ReadError, ReadStore};
use rustix::io::Errno;

use crate::config::Config;
use crate::data_dir::DataDir;

/// Everything durable, and the lock on it.
pub(crate) struct Engines {
    pub(crate) dir: DataDir,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) reads: Arc<dyn ReadStore>,
    /// Whether the read models couldn't be used, so that these are empty ones in their place.
    pub(crate) reads_were_unfit: bool,
}

/// `embedded:DIR`, or the data directory's own place.
pub(crate) fn place(url: &str, own: PathBuf) -> PathBuf {
    url.split_once(':').map_or(own, |(_, dir)| PathBuf::from(dir))
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
        let keys = Arc::new(keys_of(config, &dir, report.records).await?);
        let (reads, reads_were_unfit) = open_reads(&reads_dir, log.as_ref()).await?;
        Ok(Self { dir, log, keys, reads, reads_were_unfit })
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

/// Opens the data keys of a log with so many records, under their ring.
///
/// # Errors
/// What can't be opened, and that they aren't there though there are records: opening would make an empty store, with which
/// everything would pass for erased from then on.
pub(crate) async fn keys_of(config: &Config, dir: &DataDir, records: u64) -> anyhow::Result<Keys> {
    let store = dir.key_store();
    anyhow::ensure!(
        records == 0 || EmbeddedKeyStore::is_there(&store),
        "the log has records, but the data keys in {} are missing, and without them no message can be read: restore \
         them from a backup",
        store.display()
    );
    let keys = open_keys(open_ring(config, dir)?, dir)?;
    of_ring(keys, &key_ring(config, dir)).await
}

/// Keys under the ring that wrapped them: with another one nothing could be read, and what is sealed under it is lost once the right
/// one is back.
///
/// # Errors
/// It is another's.
pub(crate) async fn of_ring(keys: Keys, ring: &Path) -> anyhow::Result<Keys> {
    anyhow::ensure!(
        keys.is_of_ring().await.context("the key store can't be read")?,
        "the key ring {} opens none of the data keys that there are: it isn't the one that they were wrapped under. Restore that one, \
         or name it with keys.ring",
        ring.display()
    );
    Ok(keys)
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
/// lacks something, which must not go by in silence. Also whether it came to that.
async fn open_reads(dir: &Path, log: &EmbeddedLog) -> anyhow::Result<(Arc<dyn ReadStore>, bool)> {
    let FitReads { reads, known, were_unfit } = open_fit_reads(dir, log.epoch()).await?;
    is_whole(known, log).await?;
    Ok((reads, were_unfit))
}

/// How far read models have come, in each partition of each topic.
pub(crate) type Known = Vec<(TopicPartition, u64)>;

/// Read models that can be used.
pub(crate) struct FitReads {
    pub(crate) reads: Arc<EmbeddedReadStore>,
    /// How far they have come.
    pub(crate) known: Known,
    /// Whether those that there were couldn't be used, and these are empty.
    pub(crate) were_unfit: bool,
}

/// Opens embedded read models, and reads how far they have come. Those that can't be opened, or can't tell that, are thrown away,
/// since the log has everything: they are built anew.
///
/// # Errors
/// They belong to another log, or can't be made anew.
pub(crate) async fn open_fit_reads(dir: &Path, epoch: Epoch) -> anyhow::Result<FitReads> {
    let unfit = match try_open_reads(dir, epoch).await {
        Ok((reads, known)) => return Ok(FitReads { reads, known, were_unfit: false }),
        Err(error @ ReadError::OtherLog { .. }) => {
            let what = format!(
                "{} belongs to another log: if this is the right one, remove that directory, and it is built anew",
                dir.display()
            );
            return Err(anyhow::Error::new(error).context(what));
        }
        // Another process has them, for which nothing is wrong with them.
        Err(error) if is_busy(&error) => {
            return Err(anyhow::Error::new(error).context("the read models can't be opened"));
        }
        // Nor is anything wrong with them where there are no files or no space left.
        Err(error) if is_of_the_system(&error) => {
            let what = format!(
                "the read models can't be opened. If that stays, remove {}, and they are built anew from the log",
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
    let opened = try_open_reads(dir, epoch).await;
    let (reads, known) = opened.context("the read models can't be made anew")?;
    Ok(FitReads { reads, known, were_unfit: true })
}

fn is_busy(error: &ReadError) -> bool {
    causes(error).any(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
}

/// Whether the operating system refused something: that tells of the machine, and not of the files.
fn is_of_the_system(error: &ReadError) -> bool {
    const REFUSALS: [Errno; 9] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::IO,
        Errno::NOMEM,
    ];
    causes(error).filter_map(Errno::from_io_error).any(|errno| REFUSALS.contains(&errno))
}

fn causes(error: &ReadError) -> impl Iterator<Item = &std::io::Error> {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>())
}

/// Opens embedded read models as they are. Without a trace of them being open if they don't fit.
///
/// # Errors
/// What is wrong with them.
pub(crate) async fn try_open_reads(
    dir: &Path,
    epoch: Epoch,
) -> Result<(Arc<EmbeddedReadStore>, Known), ReadError> {
    let reads = EmbeddedReadStore::open(dir, epoch, ReadOptions::default())?;
    let mut known = Known::new();
    for ((topic, partition), checkpoint) in reads.live().checkpoints().await? {
        let topic = Topic::ALL.into_iter().find(|known| *known as u8 == topic);
        let topic = topic.ok_or(ReadError::Damaged("a checkpoint of a topic that is none of ours"))?;
        known.push((TopicPartition { topic, partition }, checkpoint.offset));
    }
    Ok((reads, known))
}

/// What a log lost that ends before what read models know of it; `None`: nothing.
pub(crate) fn lost(at: TopicPartition, end: u64, known: u64) -> Option<String> {
    (known > end).then(|| {
        format!(
            "the log lost records that were acknowledged: it ends at {end} in {}/{}, where the read models know it up to {known}",
            at.topic.name(),
            at.partition
        )
    })
}

/// Read models are built from what is durable. A log that ends before them has lost records that were acknowledged; with the next
/// ones it would give their places to others.
async fn is_whole(known: Known, log: &EmbeddedLog) -> anyhow::Result<()> {
    for (at, offset) in known {
        if let Some(lost) = lost(at, log.end_offset(at).await?, offset) {
            anyhow::bail!(
                "{lost}. Restore it from a backup. If there is none, `parley log accept-loss` makes what is left the truth, in a new \
                 epoch"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parley_readstore::conformance::{World, apply, script};
    use parley_readstore::{Checkpoint, CheckpointKey};

    use super::*;

    fn epoch() -> Epoch {
        Epoch::from_bytes([7; 16])
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    fn copy(from: &Path, to: &Path) {
        for file in files(from) {
            let target = to.join(file.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(file, target).unwrap();
        }
    }

    async fn make(dir: &Path, checkpoint: CheckpointKey) {
        let reads = EmbeddedReadStore::open(dir, epoch(), ReadOptions::default()).unwrap();
        apply(reads.live().as_ref(), &World::play(&script(3, 200)).log, 50).await.unwrap();
        let at = Checkpoint { offset: 9, ..Checkpoint::default() };
        reads.live().apply(Vec::new(), vec![(checkpoint, at)]).await.unwrap();
        reads.persist().await.unwrap();
    }

    /// Damage is found where a file is read, which for most of it isn't when it is opened.
    #[tokio::test]
    async fn read_models_that_are_damaged_anywhere_are_built_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, damaged) = (dir.path().join("whole"), dir.path().join("damaged"));
        make(&whole, (0, 1)).await;
        let FitReads { known, were_unfit, .. } = open_fit_reads(&whole, epoch()).await.unwrap();
        assert!(!were_unfit);
        assert_eq!(known, [(TopicPartition { topic: Topic::Events, partition: 1 }, 9)]);
        let mut found_later = 0;
        let tables = files(&whole).into_iter().filter(|file| file.parent().unwrap().ends_with("tables"));
        for table in tables.collect::<Vec<_>>() {
            let bytes = fs::read(&table).unwrap();
            for from in (0..bytes.len()).step_by(2_048) {
                copy(&whole, &damaged);
                let mut bytes = bytes.clone();
                bytes.iter_mut().skip(from).take(64).for_each(|byte| *byte ^= 0x5a);
                fs::write(damaged.join(table.strip_prefix(&whole).unwrap()), bytes).unwrap();
                let opened = EmbeddedReadStore::open(&damaged, epoch(), ReadOptions::default());
                let is_found_later = match &opened {
                    Ok(reads) => reads.live().checkpoints().await.is_err(),
                    Err(_) => false,
                };
                drop(opened);
                let FitReads { known, were_unfit, .. } = open_fit_reads(&damaged, epoch()).await.unwrap();
                if is_found_later {
                    found_later += 1;
                    assert!(were_unfit);
                    assert_eq!(known, [], "they begin anew");
                }
                fs::remove_dir_all(&damaged).unwrap();
            }
        }
        assert!(found_later > 0, "the checkpoints' block was damaged too");
    }

    #[tokio::test]
    async fn read_models_of_an_unknown_topic_are_built_anew_and_those_of_another_log_refused() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), (9, 0)).await;
        let other = open_fit_reads(dir.path(), Epoch::from_bytes([8; 16])).await;
        assert!(format!("{:#}", other.err().unwrap()).contains("belongs to another log"));
        assert_eq!(open_fit_reads(dir.path(), epoch()).await.unwrap().known, []);
    }

    #[test]
    fn what_the_system_refuses_is_no_damage() {
        let engine = |error: std::io::Error| ReadError::Engine(Box::new(error));
        for refused in ["EMFILE 24", "EACCES 13", "ENOSPC 28", "EIO 5"] {
            let code = refused.split_once(' ').unwrap().1.parse().unwrap();
            assert!(is_of_the_system(&engine(std::io::Error::from_raw_os_error(code))), "{refused}");
        }
        assert!(!is_of_the_system(&engine(std::io::Error::from_raw_os_error(2))), "a file is missing");
        assert!(!is_of_the_system(&engine(std::io::ErrorKind::InvalidData.into())));
        assert!(!is_of_the_system(&ReadError::Damaged("a row")));
    }
}
