use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use parley_eventlog::Topic;
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_readstore::{Error, ReadModel};
use parley_wire::service::Progress as _;

use super::*;
use crate::Follower;
use crate::fixtures::{USERS, engines, profiles};

/// A store as another process sees it: it learns of a switch once it looks, which it may be unable to.
struct Elsewhere {
    store: Arc<EmbeddedReadStore>,
    seen: Mutex<(u64, Arc<dyn ReadModel>)>,
    is_away: AtomicBool,
}

impl Elsewhere {
    fn new(store: Arc<EmbeddedReadStore>) -> Arc<Self> {
        let seen = Mutex::new((store.live_version(), store.live()));
        Arc::new(Self { store, seen, is_away: AtomicBool::new(false) })
    }
}

#[async_trait]
impl ReadStore for Elsewhere {
    fn live(&self) -> Arc<dyn ReadModel> {
        self.seen.lock().1.clone()
    }

    fn live_version(&self) -> u64 {
        self.seen.lock().0
    }

    async fn refresh(&self) -> Result<(), Error> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Error::Engine("away".into()));
        }
        *self.seen.lock() = (self.store.live_version(), self.store.live());
        Ok(())
    }

    async fn create_next(&self) -> Result<Arc<dyn ReadModel>, Error> {
        self.store.create_next().await
    }

    async fn switch(&self) -> Result<(), Error> {
        self.store.switch().await
    }

    async fn former(&self) -> Result<Arc<dyn ReadModel>, Error> {
        self.store.former().await
    }

    async fn switch_back(&self) -> Result<(), Error> {
        self.store.switch_back().await
    }

    async fn persist(&self) -> Result<(), Error> {
        self.store.persist().await
    }
}

async fn stands_at(model: &dyn ReadModel) -> u64 {
    let checkpoints = model.checkpoints().await.unwrap();
    let users = checkpoints.into_iter().find(|(key, _)| *key == (Topic::Users as u8, USERS.partition));
    users.map_or(0, |(_, checkpoint)| checkpoint.offset)
}

const IN_TIME: Duration = Duration::from_secs(20);

/// Builds the next version up to the end of the log and makes it live, while all that write stand still.
async fn switch(log: &Arc<dyn EventLog>, store: &EmbeddedReadStore) {
    let next = store.create_next().await.unwrap();
    let mut applier = Applier::resume(log.as_ref(), next, Vec::new(), Scope::All).await.unwrap();
    let records = applier.next_now().await.unwrap();
    let step = applier.admit(records);
    step.write(applier.model().as_ref()).await.unwrap();
    store.switch().await.unwrap();
}

/// A projector that runs on a log of some profiles.
struct Started {
    log: Arc<dyn EventLog>,
    store: Arc<EmbeddedReadStore>,
    reads: Arc<Elsewhere>,
    handle: Handle,
    projector: Projector,
}

async fn started(dir: &Path) -> Started {
    let (log, store) = engines(dir);
    profiles(&log, 0..5).await;
    let reads = Elsewhere::new(store.clone());
    let (handle, projector) = Projector::start(log.clone(), reads.clone()).await.unwrap();
    Started { log, store, reads, handle, projector }
}

#[tokio::test]
async fn after_a_pause_it_writes_what_is_live_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let Started { log, store, handle, projector, .. } = started(dir.path()).await;
    let reached = handle.reached();
    assert!(reached.caught_up(None, IN_TIME).await);
    let former = store.live();

    let paused = handle.pause().await.unwrap();
    switch(&log, &store).await;
    profiles(&log, 5..9).await;
    drop(paused);
    assert!(reached.caught_up(None, IN_TIME).await);
    assert_eq!(stands_at(store.live().as_ref()).await, 9);
    assert_eq!(stands_at(former.as_ref()).await, 5, "nothing more is written to the former version");
    projector.shut_down().await;
}

#[tokio::test]
async fn one_that_cannot_go_on_stands_still_when_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let Started { log, store, reads, handle, projector } = started(dir.path()).await;
    reads.is_away.store(true, Ordering::Relaxed);
    // From here on it tries to begin again, in vain.
    drop(handle.pause().await.unwrap());
    let pausing = async { handle.pause().await.unwrap() };
    let paused = tokio::time::timeout(IN_TIME, pausing).await.unwrap();
    switch(&log, &store).await;
    profiles(&log, 5..9).await;
    reads.is_away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stands_at(store.live().as_ref()).await, 5, "it stands still");
    drop(paused);
    assert!(handle.reached().caught_up(None, IN_TIME).await);
    assert_eq!(stands_at(store.live().as_ref()).await, 9);
    projector.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_not_granted_in_time_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    // Nobody runs the task.
    let (handle, task) = Task::new(log, store, None);
    assert!(matches!(handle.pause().await, Err(NotPaused::Running { .. })));
    drop(task);
    assert_eq!(handle.pause().await.err(), Some(NotPaused::Stopping));
}

/// What one version had reached says nothing of the one that is live by now.
#[tokio::test]
async fn reads_wait_for_the_version_that_they_ask() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    profiles(&log, 0..5).await;
    let reached = Reached::new(log.clone(), store.clone());
    let soon = Duration::from_millis(20);
    assert!(!reached.caught_up(None, soon).await, "nothing was measured");
    reached.set(1, [(USERS, 5)]);
    assert!(reached.caught_up(None, soon).await);
    store.create_next().await.unwrap();
    store.switch().await.unwrap();
    assert!(!reached.caught_up(None, soon).await, "that was the former version");
    reached.set(2, [(USERS, 4)]);
    assert!(!reached.caught_up(None, soon).await);
    reached.set(2, [(USERS, 5)]);
    assert!(reached.caught_up(None, soon).await);
    store.switch_back().await.unwrap();
    reached.reset(1, [(USERS, 4)]);
    assert!(!reached.caught_up(None, soon).await);
    reached.set(1, [(USERS, 5)]);
    assert!(reached.caught_up(None, soon).await);
}

#[tokio::test]
async fn a_follower_follows_the_version_that_is_live() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    profiles(&log, 0..5).await;
    let (reached, follower) = Follower::new(log.clone(), store.clone());
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(stop.clone()));
    assert!(!reached.caught_up(None, Duration::from_millis(50)).await);
    let waiting = tokio::spawn({
        let reached = reached.clone();
        async move { reached.caught_up(None, IN_TIME).await }
    });
    switch(&log, &store).await;
    assert!(waiting.await.unwrap());
    stop.cancel();
    following.await.unwrap();
}
