//! The live projector: one task that keeps the live read models up with the log.

use std::sync::Arc;
use std::time::Duration;

use parley_eventlog::{EventLog, ReadError, StoredRecord};
use parley_readstore::ReadStore;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applier, StartError};
use crate::progress::Reached;

/// Waits between tries while an engine fails, at first.
const RETRY_MS: [u64; 4] = [50, 200, 500, 1_000];
/// Waits after those.
const RETRY_MS_MAX: u64 = 2_000;

/// A pause that was asked for: sent when the projector stands still; it goes on when the other end is dropped.
type Pause = oneshot::Sender<oneshot::Sender<()>>;

/// The live projector's task.
pub struct Projector {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Asks the live projector to stand still. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pauses: mpsc::Sender<Pause>,
    reached: Arc<Reached>,
}

impl Handle {
    /// How far it has come.
    #[must_use]
    pub fn reached(&self) -> Arc<Reached> {
        self.reached.clone()
    }

    /// Makes the projector stand still until the returned guard is dropped; then it goes on with what is live then.
    /// `None`: it has ended.
    pub(crate) async fn pause(&self) -> Option<oneshot::Sender<()>> {
        let (tx, rx) = oneshot::channel();
        self.pauses.send(tx).await.ok()?;
        rx.await.ok()
    }
}

fn waits() -> impl Iterator<Item = Duration> {
    RETRY_MS.into_iter().chain(std::iter::repeat(RETRY_MS_MAX)).map(Duration::from_millis)
}

struct Task {
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    reached: Arc<Reached>,
    pauses: mpsc::Receiver<Pause>,
    stop: CancellationToken,
}

impl Projector {
    /// Starts projecting from where the live read models stand.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        log: Arc<dyn EventLog>,
        reads: Arc<dyn ReadStore>,
    ) -> Result<(Handle, Self), StartError> {
        let reached = Reached::new(log.clone());
        let (tx, pauses) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut task = Task { log, reads, reached: reached.clone(), pauses, stop: stop.clone() };
        let applier = task.open().await?;
        let task = tokio::spawn(task.run(applier));
        Ok((Handle { pauses: tx, reached }, Self { task, stop }))
    }

    /// Stops after the write that is under way.
    pub async fn shut_down(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the projector panicked");
        }
    }
}

impl Task {
    async fn open(&mut self) -> Result<Applier, StartError> {
        let applier = Applier::resume(self.log.as_ref(), self.reads.live()).await?;
        self.reached.set(applier.reached().iter().map(|(at, checkpoint)| (*at, checkpoint.offset)));
        Ok(applier)
    }

    async fn run(mut self, mut applier: Applier) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(pause) = self.pauses.recv() => {
                    let (resume, resumed) = oneshot::channel();
                    if pause.send(resume).is_ok() {
                        drop(resumed.await);
                        let Some(fresh) = self.open_again().await else { return };
                        applier = fresh;
                    }
                }
                records = applier.next() => match records {
                    Ok(records) => self.apply(&mut applier, &records).await,
                    Err(ReadError::Closed) => return,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the projector can't read the log; trying on"
                        );
                        tokio::select! {
                            () = self.stop.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_millis(RETRY_MS_MAX)) => {}
                        }
                        let Some(fresh) = self.open_again().await else { return };
                        applier = fresh;
                    }
                },
            }
        }
    }

    /// Goes on from the checkpoints, however long it takes until it can; `None`: it is to stop.
    async fn open_again(&mut self) -> Option<Applier> {
        let mut waits = waits();
        let mut logged = false;
        loop {
            match self.open().await {
                Ok(fresh) => return Some(fresh),
                Err(StartError::Log(ReadError::Closed)) => return None,
                Err(error) => {
                    if !std::mem::replace(&mut logged, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the projector can't go on; trying on");
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(waits.next().unwrap_or_default()) => {}
            }
        }
    }

    async fn apply(&self, applier: &mut Applier, records: &[Arc<StoredRecord>]) {
        let (writes, moved) = applier.project(records);
        let mut waits = waits();
        let mut logged = false;
        while let Err(error) = applier.write(writes.clone(), &moved).await {
            if !logged {
                logged = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the read store takes no rows; trying on"
                );
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(waits.next().unwrap_or_default()) => {}
            }
        }
        metrics::counter!("parley_projector_records_total").increment(records.len() as u64);
        self.reached.set(moved.iter().map(|(at, checkpoint)| (*at, checkpoint.offset)));
    }
}
