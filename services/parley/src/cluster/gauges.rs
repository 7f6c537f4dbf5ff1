//! What is a state rather than a count, of roles that are processes of their own.

use std::sync::Arc;
use std::time::Duration;

use parley_edge::Hub;
use parley_projector::Reached;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::roster::Entry;
use crate::serve::as_float;

/// How often they are set. As often as a process says that it is there, so that what changes here adds nothing to that.
const EVERY: Duration = Duration::from_secs(2);

/// Sets an edge's, and tells the others how many sockets it has.
pub(super) async fn of_edge(hub: Arc<Hub>, entry: watch::Sender<Entry>, stop: CancellationToken) {
    loop {
        let sockets = hub.sockets() as u64;
        metrics::gauge!("parley_sockets").set(as_float(sockets));
        metrics::gauge!("parley_outbox_bytes").set(as_float(hub.outbox_bytes() as u64));
        entry.send_if_modified(|entry| entry.sockets.replace(sockets) != Some(sockets));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Sets a projector's.
pub(super) async fn of_projector(reached: Arc<Reached>, stop: CancellationToken) {
    loop {
        if let Ok(lag) = reached.lag().await {
            metrics::gauge!("parley_projector_lag_records").set(as_float(lag));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
