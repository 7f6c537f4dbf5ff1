//! One fjall database: opening, closing, and consistent reads.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, UserValue};
use parking_lot::{Mutex, MutexGuard, RwLock};
use parley_domain::Epoch;

use super::Options;
use super::codec::{check_meta, encode_meta};
use super::files::io_error;
use super::keys::{Key, Table};
use super::merged::Merged;
use super::run::{RowOf, Run};
use super::scan::{Pair, Scan};
use super::staged::Staged;
use super::walk::Walk;
use crate::Error;

const ROWS: &str = "rows";
/// Fjall's own threads, which merge tables. No more: of several one only writes memtables, which we don't have, and hands every
/// merge that it is given back to the queue, which then is where it finds the next one, for as long as another thread merges.
const WORKER_THREADS: usize = 1;
/// So many tables are merged with the next level at once, all of which is written again with them. A reader looks into each of them
/// until then, which costs it nothing to be measured (filters, and blocks in a cache).
const TABLES_PER_MERGE: u8 = 16;
/// So many tables that weren't merged with others yet make whoever writes the next one wait, up to a time. A reader looks into
/// each of them; but a merge takes ten seconds while the machine is full, and those who wait for rows wait for whoever waits here.
const UNMERGED_TABLES_MAX: usize = 64;
const MERGE_WAIT: Duration = Duration::from_secs(10);
const MERGE_PAUSE: Duration = Duration::from_millis(10);

/// What is told of a database that doesn't merge its tables any more.
const UNMERGED: &str = "the read models' tables aren't merged any more, so that reads get slower and slower: see to the disk, then \
     restart the server or run `parley rebuild`";

/// An open database.
///
/// Rows are gathered in memory, and written to the database as a table of their own once there are enough of them. All tables
/// of the read models lie in one keyspace, told apart by the first byte of the key, and so in one such file: whatever part
/// survives a crash is a prefix of the batches, so rows and checkpoints can't come apart.
pub(super) struct Engine {
    staged: Arc<RwLock<Arc<Staged>>>,
    /// Whoever writes what is leaving; one at a time.
    leaving: Mutex<Option<JoinHandle<()>>>,
    memtable_bytes: usize,
    // The order of the fields is the order in which they are dropped: `closed` last, so that once nobody holds it the
    // database has really been closed.
    stored: Stored,
    closed: Arc<()>,
}

/// What lies in files.
#[derive(Clone)]
struct Stored {
    rows: Keyspace,
    database: Database,
    /// Nothing is merged any more.
    is_unmerged: Arc<AtomicBool>,
}

impl Stored {
    /// Waits while there are too many tables that weren't merged yet, unless they won't ever be.
    fn wait_for_merges(&self) {
        let begun = Instant::now();
        while self.rows.l0_table_count() >= UNMERGED_TABLES_MAX
            && begun.elapsed() < MERGE_WAIT
            && !self.is_unmerged.load(Ordering::Relaxed)
        {
            thread::sleep(MERGE_PAUSE);
        }
    }

    /// Notices that merging has ended. After one merge that failed fjall does no other one until the database is opened again, and
    /// tells only those who use its journal, which we don't.
    fn look_after_merges(&self) {
        if let Err(error) = self.database.persist(PersistMode::Buffer)
            && !self.is_unmerged.swap(true, Ordering::Relaxed)
        {
            tracing::error!(error = &error as &dyn std::error::Error, "{UNMERGED}");
        }
    }
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
        engine.stored.rows.insert(meta, encode_meta(epoch)).map_err(engine_error)?;
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
        let meta = engine.stored.rows.get(Key::of(Table::Meta).as_slice()).map_err(engine_error)?;
        let meta = meta.ok_or_else(|| Error::Unfit("it was never finished".to_owned()))?;
        check_meta(&meta, epoch)?;
        Ok(engine)
    }

    fn open_unchecked(dir: &Path, options: &Options) -> Result<Self, Error> {
        let open = || {
            let database = Database::builder(dir)
                .cache_size(options.cache_bytes)
                .worker_threads(WORKER_THREADS)
                .open()?;
            let rows = database.keyspace(ROWS, || {
                KeyspaceCreateOptions::default()
                    .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(TABLES_PER_MERGE)))
                    .data_block_size_policy(BlockSizePolicy::all(8 * 1024))
                    // In one piece they are half a megabyte a table, read and checked for each row that is looked for.
                    .index_block_partitioning_policy(PartitioningPolicy::all(true))
                    .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                    // New tables count as the second level here.
                    .data_block_compression_policy(CompressionPolicy::new([
                        fjall::CompressionType::None,
                        fjall::CompressionType::None,
                        fjall::CompressionType::Lz4,
                    ]))
            })?;
            Ok(Self {
                staged: Arc::default(),
                leaving: Mutex::default(),
                memtable_bytes: usize::try_from(options.memtable_bytes).unwrap_or(usize::MAX),
                stored: Stored { rows, database, is_unmerged: Arc::default() },
                closed: Arc::new(()),
            })
        };
        // Fjall asserts some of what it reads. A damaged database is an error here and no reason to die: the caller
        // can rebuild it.
        std::panic::catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Error::Damaged("the engine can't open its files"))?
            .map_err(engine_error)
    }

    /// A consistent view of all tables.
    pub(super) fn view(&self) -> View {
        // Under one lock: what has left memory is in the snapshot, and nothing newer is.
        let staged = self.staged.read();
        let Stored { rows, database, .. } = &self.stored;
        View { snapshot: database.snapshot(), staged: Arc::clone(&staged), rows: rows.clone() }
    }

    /// Takes all rows, given in the order of their keys, or none. Not durable: what a crash takes away is projected again.
    pub(super) fn write(&self, rows: Run) -> Result<(), Error> {
        if self.staged.read().gathered_bytes() >= self.memtable_bytes {
            self.make_room()?;
        }
        if !rows.is_empty() {
            Arc::make_mut(&mut self.staged.write()).push(rows);
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn persist(&self) -> Result<(), Error> {
        let _nothing_else_leaves = self.wait_for_leaving()?;
        self.store_leaving()?;
        self.stored.database.persist(PersistMode::SyncAll).map_err(engine_error)
    }

    /// Sends what was gathered to the database, without waiting until it is there.
    fn make_room(&self) -> Result<(), Error> {
        let mut leaving = self.wait_for_leaving()?;
        Arc::make_mut(&mut self.staged.write()).leave();
        let (staged, stored) = (Arc::clone(&self.staged), self.stored.clone());
        // If it fails it still is on its way, and whoever waits for that tries again and is told.
        let storing = move || drop(store_leaving(&staged, &stored));
        let spawned = thread::Builder::new().name("parley-rows".to_owned()).spawn(storing);
        *leaving = Some(spawned.map_err(io_error)?);
        Ok(())
    }

    /// Waits until nothing is on its way, which nothing will be while the guard is held.
    fn wait_for_leaving(&self) -> Result<MutexGuard<'_, Option<JoinHandle<()>>>, Error> {
        let mut leaving = self.leaving.lock();
        if let Some(storing) = leaving.take() {
            drop(storing.join());
        }
        if self.staged.read().is_leaving() {
            self.store_leaving()?;
        }
        Ok(leaving)
    }

    fn store_leaving(&self) -> Result<(), Error> {
        store_leaving(&self.staged, &self.stored)
    }

    /// What is wrong with the database although it goes on, if anything.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.stored.is_unmerged.load(Ordering::Relaxed).then_some(UNMERGED)
    }

    /// Tells whether this database has been closed, once all that hold it are gone.
    pub(super) fn watch(&self) -> Closed {
        Closed(Arc::downgrade(&self.closed))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(leaving) = self.leaving.get_mut().take() {
            drop(leaving.join());
        }
    }
}

/// Writes what is on its way to the database, or what was gathered if nothing is. Synced when it returns.
fn store_leaving(staged: &RwLock<Arc<Staged>>, stored: &Stored) -> Result<(), Error> {
    let runs = Arc::make_mut(&mut staged.write()).leave();
    if !runs.is_empty() {
        stored.wait_for_merges();
        let mut table = stored.rows.start_ingestion().map_err(engine_error)?;
        for (key, value) in Merged::new(&runs).map(RowOf::pair) {
            table.write(key, value).map_err(engine_error)?;
        }
        table.finish().map_err(engine_error)?;
        stored.look_after_merges();
    }
    drop(runs);
    Arc::make_mut(&mut staged.write()).has_left();
    Ok(())
}

/// The database as it was at one moment.
pub(super) struct View {
    snapshot: Snapshot,
    staged: Arc<Staged>,
    rows: Keyspace,
}

impl View {
    /// The value of a key.
    pub(super) fn get(&self, key: &Key) -> Result<Option<UserValue>, Error> {
        if let Some(value) = self.staged.get(key.as_slice()) {
            return Ok(Some(value));
        }
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
    pub(super) fn last(&self, from: &Key, to: Key) -> Result<Option<Pair>, Error> {
        self.range(from.as_slice(), to.next().as_slice()).next_back().transpose()
    }

    /// The pairs from a key up to but without another, to be read from either end.
    pub(super) fn range(&self, from: &[u8], end: &[u8]) -> Walk {
        let end = end.max(from);
        Walk::new(self.staged.newest_first(), (from, end), self.stored(from, end))
    }

    /// The same, of what is in the database.
    pub(super) fn stored(&self, from: &[u8], end: &[u8]) -> fjall::Iter {
        self.snapshot.range(&self.rows, from..end.max(from))
    }
}

/// The port's error for fjall's.
pub(super) fn engine_error(error: fjall::Error) -> Error {
    Error::Engine(Box::new(error))
}
