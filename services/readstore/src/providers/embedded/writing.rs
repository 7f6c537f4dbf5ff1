//! The one thread that writes rows, one batch after the other.
//!
//! Of its own, and not the runtime's threads for what blocks: those take turns, dozens of them once many clients have connected at
//! the same time, and each begins with cold caches and has a heap of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::apply;
use super::engine::Engine;
use super::files::io_error;
use super::model::Checkpoints;
use super::run::Unsorted;
use crate::{Checkpoint, CheckpointKey, Error, Write};

/// Batches that wait for the thread; whoever has more waits with them.
const WAITING_BATCHES_MAX: usize = 4;

struct Batch {
    /// With the batch and not with the thread, so that the database is closed as soon as nobody else holds it.
    engine: Arc<Engine>,
    writes: Vec<Write>,
    checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// The way to the thread, which ends once this is dropped. A batch that was handed over is written before any later one, also
/// when whoever asked for it is gone.
pub(super) struct Writing(mpsc::Sender<Batch>);

impl Writing {
    pub(super) fn begin() -> Result<Self, Error> {
        let (batches, waiting) = mpsc::channel(WAITING_BATCHES_MAX);
        let run = move || Writer::default().run(waiting);
        thread::Builder::new().name("parley-project".to_owned()).spawn(run).map_err(io_error)?;
        Ok(Self(batches))
    }

    pub(super) async fn apply(
        &self,
        engine: Arc<Engine>,
        writes: Vec<Write>,
        checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    ) -> Result<(), Error> {
        let (reply, written) = oneshot::channel();
        let gone = || Error::Engine("the thread that writes rows is gone".into());
        self.0.send(Batch { engine, writes, checkpoints, reply }).await.map_err(|_| gone())?;
        written.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The state of the thread, which one batch leaves to the next.
#[derive(Default)]
struct Writer {
    /// All checkpoints, once they were read: those of many partitions are written as one row.
    checkpoints: Option<Checkpoints>,
    /// Memory for rows.
    rows: Unsorted,
}

impl Writer {
    fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(Batch { engine, writes, checkpoints, reply }) = batches.blocking_recv() {
            // A bug of the engine's is an error of this batch alone: what it left is read again by the next one.
            let write = AssertUnwindSafe(|| self.write(&engine, &writes, &checkpoints));
            let written = std::panic::catch_unwind(write)
                .unwrap_or_else(|_| Err(Error::Engine("writing rows panicked".into())));
            // Before the answer: whoever has it may open the database anew.
            drop(engine);
            // That nobody listens any more is fine.
            drop(reply.send(written));
        }
    }

    fn write(
        &mut self,
        engine: &Engine,
        writes: &[Write],
        checkpoints: &[(CheckpointKey, Checkpoint)],
    ) -> Result<(), Error> {
        // Gone until the batch is written, so that what isn't is read again.
        let mut all = match self.checkpoints.take() {
            Some(all) => all,
            None => engine.view().checkpoints()?.into_iter().collect(),
        };
        all.extend(checkpoints.iter().copied());
        // What a batch left that couldn't be made rows of.
        self.rows.clear();
        engine.write(apply::sorted(&mut self.rows, writes, checkpoints, &all)?)?;
        self.checkpoints = Some(all);
        Ok(())
    }
}
