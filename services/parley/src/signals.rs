//! What asks a process to stop, and how it does.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::telemetry::traces::Traces;

/// How long everything together may take to end.
const STOP_WAIT: Duration = Duration::from_secs(9);
/// An interrupt within so long of the first is the same one: a terminal's goes to every process of its group, and a wrapper among them
/// may pass its own on.
const SAME_INTERRUPT: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Whether it was an interrupt that came first.
    is_interrupted: bool,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, is_interrupted: false })
    }

    /// The next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => self.is_interrupted = true,
        }
    }

    /// Waits until told to stop, or until a task ends by itself, which none should: `true`.
    pub(crate) async fn until_told(&mut self, tasks: &mut JoinSet<()>) -> bool {
        let failed = tokio::select! {
            () = self.next() => false,
            ended = tasks.join_next() => {
                tracing::error!(?ended, "a part of the server ended by itself");
                true
            }
        };
        tracing::info!("stopping");
        failed
    }

    /// Returns once a person insists. Whoever sends SIGTERM again is a supervisor, which waits anyhow, and clients would lose what the
    /// stop is for: their `go_away` and close code.
    async fn insisted(&mut self) {
        if self.is_interrupted {
            tokio::time::sleep(SAME_INTERRUPT).await;
            drop(tokio::time::timeout(Duration::ZERO, self.interrupt.recv()).await);
        }
        self.interrupt.recv().await;
    }

    /// Stops, by a future that does; not for long, and at once if interrupted again.
    ///
    /// # Errors
    /// If a part had `failed`.
    pub(crate) async fn stop(
        &mut self,
        stopping: impl Future<Output = ()>,
        traces: Traces,
        failed: bool,
    ) -> anyhow::Result<()> {
        let stopping = async {
            stopping.await;
            traces.end().await;
        };
        let hurried = tokio::select! {
            stopped = tokio::time::timeout(STOP_WAIT, stopping) => stopped.is_err(),
            () = self.insisted() => true,
        };
        if hurried {
            tracing::warn!("not everything ended in time; what was acknowledged is durable");
            std::process::exit(i32::from(failed));
        }
        anyhow::ensure!(!failed, "a part of the server ended by itself");
        Ok(())
    }
}
