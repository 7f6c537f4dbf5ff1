//! Who writes to sockets: not a task a session, which would have to be woken for each frame, but a few tasks that write for
//! all of them. Whatever was queued for a socket until its turn comes goes out in one system call.
//!
//! ```text
//!  outbox.push ─▶ lane: list of outboxes that have something ─▶ the lane's task: one write each
//!                                                                └▶ socket full: the session's own task waits for it
//! ```

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

/// Sockets that are written to before other tasks get their turn.
const SOCKETS_PER_TURN_MAX: usize = 64;

/// Outboxes that have something to write. Each is listed once, so the list is no longer than there are sockets.
#[derive(Default)]
pub(crate) struct Lane {
    listed: Mutex<Vec<Arc<Outbox>>>,
    wake: Notify,
}

impl Lane {
    pub(crate) fn list(&self, outbox: Arc<Outbox>) {
        let is_first = {
            let mut listed = self.listed.lock();
            listed.push(outbox);
            listed.len() == 1
        };
        if is_first {
            self.wake.notify_one();
        }
    }

    async fn run(&self, stop: CancellationToken) {
        let mut turn = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
            }
            // Everything else that can run now may have more for the same sockets.
            tokio::task::yield_now().await;
            std::mem::swap(&mut turn, &mut *self.listed.lock());
            while !turn.is_empty() {
                let rest = turn.len().saturating_sub(SOCKETS_PER_TURN_MAX);
                for outbox in turn.drain(rest..) {
                    outbox.flush();
                }
                if rest > 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// The lanes of an edge: as many as threads, so that writing uses all of them.
pub(crate) struct Flusher {
    lanes: Vec<Arc<Lane>>,
    next: std::sync::atomic::AtomicUsize,
}

impl Flusher {
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { lanes: (0..threads).map(|_| Arc::default()).collect(), next: 0.into() }
    }

    /// A lane for a new socket.
    pub(crate) fn lane(&self) -> Arc<Lane> {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % self.lanes.len().max(1);
        self.lanes.get(next).cloned().unwrap_or_default()
    }

    /// The tasks; they end when told to stop.
    pub(crate) fn tasks(&self, stop: &CancellationToken) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let lanes = self.lanes.iter().cloned();
        lanes
            .map(|lane| {
                let stop = stop.clone();
                async move { lane.run(stop).await }
            })
            .collect()
    }
}
