//! One fjall database: opening, closing, and consistent reads.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Weak};

use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, UserValue};
use parley_domain::Epoch;

use super::Options;
use super::codec::{check_meta, encode_meta};
use super::files::io_error;
use super::keys::{Key, Table};
use super::scan::{Pair, Scan};
use crate::Error;

const ROWS: &str = "rows";

/// A key and its value, as bytes of their own.
pub(super) type RawPair = (Vec<u8>, Vec<u8>);

/// An open database.
///
/// All tables lie in one keyspace, told apart by the first byte of the key. Fjall flushes and recovers keyspaces one by
/// one; in a single keyspace whatever part survives a crash is a prefix of the batches, so rows and checkpoints can't
/// come apart, whatever was flushed or lost.
pub(super) struct Engine {
    // The order of the fields is the order in which they are dropped: `closed` last, so that once nobody holds it the
    // database has really been closed.
    rows: Keyspace,
    database: Database,
    closed: Arc<()>,
}

/// Tells whether a database has been closed.
#[derive(Debug)]
pub(super) struct Closed(Weak<()>);

impl Closed {
    pub(super) fn is_closed(&self) -> bool {
        self.0.strong_count() == 0
    }
}

fn has_journal(dir: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        if entry?.path().extension().is_some_and(|extension| extension == "jnl") {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Engine {
    /// Makes a new database in a directory that doesn't exist yet.
    pub(super) fn create(dir: &Path, epoch: Epoch, options: &Options) -> Result<Self, Error> {
        let engine = Self::open_unchecked(dir, options)?;
        let meta = Key::of(Table::Meta).into_bytes();
        engine.rows.insert(meta, encode_meta(epoch)).map_err(engine_error)?;
        engine.persist()?;
        Ok(engine)
    }

    /// Opens a database, which must fit.
    pub(super) fn open(dir: &Path, epoch: Epoch, options: &Options) -> Result<Self, Error> {
        // Without its journal the engine would open, and lose what is written from then on at the next start.
        if !has_journal(dir).map_err(io_error)? {
            return Err(Error::Unfit("its journal is missing".to_owned()));
        }
        let engine = Self::open_unchecked(dir, options)?;
        let meta = engine.rows.get(Key::of(Table::Meta).as_slice()).map_err(engine_error)?;
        let meta = meta.ok_or_else(|| Error::Unfit("it was never finished".to_owned()))?;
        check_meta(&meta, epoch)?;
        Ok(engine)
    }

    fn open_unchecked(dir: &Path, options: &Options) -> Result<Self, Error> {
        let open = || {
            let database = Database::builder(dir)
                .cache_size(options.cache_bytes)
                .worker_threads(options.worker_threads.max(1))
                .open()?;
            let rows = database.keyspace(ROWS, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(options.memtable_bytes)
                    .data_block_size_policy(BlockSizePolicy::all(8 * 1024))
                    .data_block_compression_policy(CompressionPolicy::new([
                        fjall::CompressionType::None,
                        fjall::CompressionType::Lz4,
                    ]))
            })?;
            Ok(Self { rows, database, closed: Arc::new(()) })
        };
        // Fjall asserts some of what it reads. A damaged database is an error here and no reason to die: the caller
        // can rebuild it.
        std::panic::catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Error::Damaged("the engine can't open its files"))?
            .map_err(engine_error)
    }

    /// A consistent view of all tables.
    pub(super) fn view(&self) -> View {
        View { snapshot: self.database.snapshot(), rows: self.rows.clone() }
    }

    /// Writes all pairs or none. Not synced: what a crash takes away is projected again.
    pub(super) fn write(&self, pairs: Vec<RawPair>) -> Result<(), Error> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), pairs.len())
            .durability(Some(PersistMode::Buffer));
        for (key, value) in pairs {
            batch.insert(&self.rows, key, value);
        }
        batch.commit().map_err(engine_error)
    }

    /// Makes everything durable.
    pub(super) fn persist(&self) -> Result<(), Error> {
        self.database.persist(PersistMode::SyncAll).map_err(engine_error)
    }

    /// Tells whether this database has been closed, once all that hold it are gone.
    pub(super) fn watch(&self) -> Closed {
        Closed(Arc::downgrade(&self.closed))
    }
}

/// The database as it was at one moment.
pub(super) struct View {
    snapshot: Snapshot,
    rows: Keyspace,
}

impl View {
    /// The value of a key.
    pub(super) fn get(&self, key: &Key) -> Result<Option<UserValue>, Error> {
        self.snapshot.get(&self.rows, key.as_slice()).map_err(engine_error)
    }

    /// The pairs from a key up to but without another.
    pub(super) fn scan(&self, from: &Key, end: Key) -> Result<Scan<'_>, Error> {
        Scan::new(self, from.as_slice(), end)
    }

    /// All pairs that begin like `prefix`.
    pub(super) fn prefix(&self, prefix: Key) -> Result<Scan<'_>, Error> {
        let from = prefix.clone();
        self.scan(&from, prefix.past())
    }

    /// The last pair from a key up to another, both included.
    pub(super) fn last(&self, from: &Key, to: &Key) -> Result<Option<Pair>, Error> {
        if from.as_slice() > to.as_slice() {
            return Ok(None);
        }
        let mut range = self.snapshot.range(&self.rows, from.as_slice()..=to.as_slice());
        range.next_back().map(fjall::Guard::into_inner).transpose().map_err(engine_error)
    }

    /// The pairs from a key up to but without another, to be read from either end.
    pub(super) fn range(&self, from: &[u8], end: &[u8]) -> fjall::Iter {
        self.snapshot.range(&self.rows, from..end.max(from))
    }
}

/// The port's error for fjall's.
pub(super) fn engine_error(error: fjall::Error) -> Error {
    Error::Engine(Box::new(error))
}
