//! What the log does when the disk fails it: the real disk behind a wrapper that fails, waits or panics as told.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use parley_domain::{EventId, PartitionCount, Stamp, Timestamp};

use super::storage::{Disk, Space, Storage};
use super::{EmbeddedLog, Options};
use crate::{AppendError, Appending, EventLog, Offsets as _, ReadError, Record, Topic, TopicPartition};

const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 0 };

const PATIENCE: Duration = Duration::from_secs(10);

/// What happens at the next calls.
#[derive(Default)]
struct Plan {
    /// The next write leaves so many bytes and fails.
    write_stops_after: Option<usize>,
    write_panics: bool,
    sync_fails: bool,
    truncate_fails: bool,
    create_fails: bool,
    free: Option<u64>,
    /// Writes, or syncs, wait until this is taken away.
    write_waits: bool,
    sync_waits: bool,
    /// Whether one does now.
    waiting: bool,
    syncs: usize,
}

#[derive(Default)]
struct Script {
    plan: Mutex<Plan>,
    changed: Condvar,
}

impl Script {
    fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock());
        self.changed.notify_all();
    }

    /// Waits until the log's thread stands still in a write or sync.
    fn wait_for_the_thread(&self) {
        let mut plan = self.plan.lock();
        while !plan.waiting {
            let waited = self.changed.wait_for(&mut plan, PATIENCE);
            assert!(!waited.timed_out(), "the log's thread comes to the disk");
        }
    }

    fn pause_while(&self, waits: impl Fn(&Plan) -> bool) {
        let mut plan = self.plan.lock();
        while waits(&plan) {
            plan.waiting = true;
            self.changed.notify_all();
            self.changed.wait(&mut plan);
        }
        plan.waiting = false;
    }
}

struct Faulty {
    disk: Disk,
    script: Arc<Script>,
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl Storage for Faulty {
    fn create(&mut self, path: &Path, header: &[u8]) -> io::Result<()> {
        if self.script.plan.lock().create_fails { Err(full()) } else { self.disk.create(path, header) }
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.script.pause_while(|plan| plan.write_waits);
        assert!(!self.script.plan.lock().write_panics, "as the test wants it");
        match self.script.plan.lock().write_stops_after.take() {
            None => self.disk.write_at(at, bytes),
            Some(stop) => {
                self.disk.write_at(at, &bytes[..stop.min(bytes.len())])?;
                Err(full())
            }
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if self.script.plan.lock().truncate_fails {
            Err(io::Error::other("can't truncate"))
        } else {
            self.disk.truncate(len)
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.script.pause_while(|plan| plan.sync_waits);
        self.script.plan.lock().syncs += 1;
        if self.script.plan.lock().sync_fails { Err(io::Error::other("I/O error")) } else { self.disk.sync() }
    }

    fn space(&mut self) -> io::Result<Space> {
        let free = self.script.plan.lock().free;
        free.map_or_else(|| self.disk.space(), |free| Ok(Space { free, total: 10 << 30 }))
    }
}

struct Setup {
    dir: tempfile::TempDir,
    script: Arc<Script>,
}

impl Setup {
    fn new() -> (Self, Arc<EmbeddedLog>) {
        let setup = Self { dir: tempfile::tempdir().unwrap(), script: Arc::default() };
        let log = setup.open(|_| {});
        (setup, log)
    }

    fn open(&self, change: impl FnOnce(&mut Options)) -> Arc<EmbeddedLog> {
        let mut options = Options::new(self.dir.path(), PartitionCount::new(2).unwrap());
        change(&mut options);
        let script = Arc::clone(&self.script);
        let (log, report) = EmbeddedLog::open_on(options, |disk| Box::new(Faulty { disk, script })).unwrap();
        assert_eq!(report.cut, None, "nothing torn is left behind");
        log
    }

    fn file_bytes(&self) -> u64 {
        fs::metadata(self.dir.path().join("events-00000000000000000000.log")).unwrap().len()
    }
}

fn record(bytes: usize) -> Record {
    Record {
        key: None,
        value: Bytes::from(vec![1; bytes]),
        id: EventId::from_bytes([0; 16]),
        kind: "parley.test.v1".into(),
        source: "test".into(),
        time: Timestamp(0),
        stamp: Stamp::Event { claim: 0, index: 0 },
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    }
}

fn append(log: &EmbeddedLog) -> Appending {
    log.append(vec![(AT, record(100))])
}

fn is_refused(outcome: &Result<Vec<u64>, AppendError>) -> bool {
    matches!(outcome, Err(AppendError::NotAppended(_)))
}

/// Once nothing is appended any more, trouble must still end.
async fn wait_for_the_end_of_trouble(log: &EmbeddedLog) {
    for _ in 0..500 {
        if log.trouble().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the trouble stays: {:?}", log.trouble());
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_all_that_waits_and_the_log_goes_on() {
    for stop in [0, 1, 50, 5_000] {
        let (setup, log) = Setup::new();
        assert_eq!(append(&log).await.unwrap().unwrap(), [0]);
        let good = setup.file_bytes();
        setup.script.set(|plan| {
            plan.write_waits = true;
            plan.write_stops_after = Some(stop);
        });
        let first = append(&log);
        setup.script.wait_for_the_thread();
        // Queued before anybody could know that the first one fails: these must not land without it.
        let queued = [append(&log), append(&log)];
        setup.script.set(|plan| plan.write_waits = false);
        assert!(is_refused(&first.await.unwrap()));
        for queued in queued {
            assert!(is_refused(&queued.await.unwrap()));
        }
        assert_eq!(setup.file_bytes(), good, "cut back to the last good length");
        assert!(log.trouble().is_some());
        assert_eq!(log.end_offset(AT).await.unwrap(), 1);
        assert_eq!(append(&log).await.unwrap().unwrap(), [1]);
        assert_eq!(log.trouble(), None);
        drop(log);
        assert_eq!(setup.open(|_| {}).read(AT, 0, 10).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_log_and_is_not_tried_again() {
    let (setup, log) = Setup::new();
    append(&log).await.unwrap().unwrap();
    let mut tail = log.tail(vec![(AT, 1)]).await.unwrap();
    setup.script.set(|plan| {
        plan.sync_waits = true;
        plan.sync_fails = true;
        plan.syncs = 0;
    });
    let first = append(&log);
    setup.script.wait_for_the_thread();
    let queued = append(&log);
    setup.script.set(|plan| plan.sync_waits = false);
    assert!(matches!(first.await.unwrap(), Err(AppendError::Unknown(_))));
    assert!(is_refused(&queued.await.unwrap()));
    setup.script.set(|plan| plan.sync_fails = false);
    assert!(is_refused(&append(&log).await.unwrap()), "for good, even if the disk would do it now");
    assert!(log.trouble().unwrap().contains("stopped until a restart"));
    assert_eq!(setup.script.plan.lock().syncs, 1);
    assert_eq!(log.end_offset(AT).await.unwrap(), 1);
    assert!(tail.next_now(10).await.unwrap().is_empty(), "nobody sees what isn't durable");
    drop(log);
    let log = setup.open(|_| {});
    assert_eq!(log.end_offset(AT).await.unwrap(), 2, "unknown: here it was written after all");
    assert_eq!(append(&log).await.unwrap().unwrap(), [2]);
}

#[tokio::test]
async fn a_write_that_can_not_be_undone_stops_the_log() {
    let (setup, log) = Setup::new();
    append(&log).await.unwrap().unwrap();
    setup.script.set(|plan| {
        plan.write_stops_after = Some(0);
        plan.truncate_fails = true;
    });
    assert!(matches!(append(&log).await.unwrap(), Err(AppendError::Unknown(_))));
    setup.script.set(|plan| plan.truncate_fails = false);
    assert!(is_refused(&append(&log).await.unwrap()));
    assert!(log.trouble().is_some());
    log.close().await;
}

#[tokio::test]
async fn the_reserve_stays_free_and_trouble_ends_when_space_comes_back() {
    let (setup, log) = Setup::new();
    append(&log).await.unwrap().unwrap();
    // Beyond the 100 ms for which a look at the disk holds.
    let forget = Duration::from_millis(150);
    tokio::time::sleep(forget).await;
    setup.script.set(|plan| plan.free = Some((64 << 20) - 1));
    let bytes = setup.file_bytes();
    assert!(is_refused(&append(&log).await.unwrap()));
    assert!(log.trouble().unwrap().contains("nearly full"));
    assert_eq!(setup.file_bytes(), bytes, "not even tried");
    setup.script.set(|plan| plan.free = Some(1 << 30));
    wait_for_the_end_of_trouble(&log).await;
    assert_eq!(append(&log).await.unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn a_segment_that_can_not_be_made_refuses_and_is_made_later() {
    let (setup, log) = Setup::new();
    drop(log);
    let log = setup.open(|options| options.segment_bytes_max = 100);
    append(&log).await.unwrap().unwrap();
    setup.script.set(|plan| plan.create_fails = true);
    assert!(is_refused(&append(&log).await.unwrap()));
    setup.script.set(|plan| plan.create_fails = false);
    assert_eq!(append(&log).await.unwrap().unwrap(), [1]);
    drop(log);
    assert_eq!(setup.open(|_| {}).read(AT, 0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_seen_before_its_sync_returns() {
    let (setup, log) = Setup::new();
    append(&log).await.unwrap().unwrap();
    let mut tail = log.tail(vec![(AT, 0)]).await.unwrap();
    assert_eq!(tail.next(10).await.unwrap().len(), 1);
    setup.script.set(|plan| plan.sync_waits = true);
    let mut appending = append(&log);
    setup.script.wait_for_the_thread();
    assert!(setup.file_bytes() > 300, "it is in the file already");
    assert!(tail.next_now(10).await.unwrap().is_empty());
    assert_eq!(log.end_offset(AT).await.unwrap(), 1);
    assert!(log.read(AT, 1, 10).await.unwrap().is_empty());
    assert!(log.tail(vec![(AT, 2)]).await.is_err());
    assert!(appending.try_recv().is_err());
    setup.script.set(|plan| plan.sync_waits = false);
    let next = tokio::time::timeout(PATIENCE, tail.next(10)).await.expect("the tail is woken");
    assert_eq!(next.unwrap().len(), 1);
    assert_eq!(appending.await.unwrap().unwrap(), [1]);
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let (setup, log) = Setup::new();
    drop(log);
    let log = setup.open(|options| options.pending_bytes_max = 100_000);
    setup.script.set(|plan| plan.write_waits = true);
    let mut waiting = Vec::new();
    let refused = loop {
        let mut appending = log.append(vec![(AT, record(1_000))]);
        match appending.try_recv() {
            Ok(outcome) => break outcome,
            Err(_) => waiting.push(appending),
        }
        assert!(waiting.len() < 100, "the bound holds");
    };
    assert!(is_refused(&refused));
    assert!(waiting.len() > 50, "and isn't far too small");
    setup.script.set(|plan| plan.write_waits = false);
    for (offset, appending) in (0..).zip(waiting) {
        assert_eq!(appending.await.unwrap().unwrap(), [offset]);
    }
    append(&log).await.unwrap().unwrap();
    // All room was given back.
    log.append(vec![(AT, record(99_000))]).await.unwrap().unwrap();
    let too_large = log.append(vec![(AT, record(super::RECORD_BYTES_MAX + 1))]).await.unwrap();
    assert!(is_refused(&too_large));
}

#[tokio::test]
async fn what_is_too_much_for_one_commit_keeps_its_order() {
    let (setup, log) = Setup::new();
    setup.script.set(|plan| plan.write_waits = true);
    let mut waiting = vec![append(&log)];
    setup.script.wait_for_the_thread();
    waiting.extend([5 << 20, 5 << 20, 100, 7 << 20, 100].map(|bytes| log.append(vec![(AT, record(bytes))])));
    setup.script.set(|plan| plan.write_waits = false);
    for (offset, appending) in (0..).zip(waiting) {
        assert_eq!(appending.await.unwrap().unwrap(), [offset]);
    }
    assert_eq!(setup.script.plan.lock().syncs, 4, "the first, then 5 MiB, 5 MiB and a bit, 7 MiB and a bit");
}

#[tokio::test]
async fn a_panic_of_the_thread_is_told_to_everybody() {
    let (setup, log) = Setup::new();
    append(&log).await.unwrap().unwrap();
    let mut tail = log.tail(vec![(AT, 1)]).await.unwrap();
    setup.script.set(|plan| plan.write_panics = true);
    assert!(append(&log).await.is_err(), "no answer: unknown");
    assert!(matches!(tail.next(1).await, Err(ReadError::Closed)));
    assert!(log.trouble().unwrap().contains("panicked"));
    assert!(is_refused(&append(&log).await.unwrap()));
    log.close().await;
}
