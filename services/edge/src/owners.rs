//! The owners of the partitions, when they are other processes: finds them, keeps the order of the requests to each
//! partition, and asks again when a partition moves.
//!
//! ```text
//!  Commands::submit ──▶ queue ──▶ task ─── lane of the partition ─── link to its owner ──▶ writer
//!                                  ▲  ▲                                                     │
//!               who owns what ─────┘  └──────────────────── answers ────────────────────────┘
//! ```
//!
//! A lane keeps its open requests in their order. When its owner refuses one or can't be reached, everything that is open
//! goes to the next owner again, in that order and with the same ids: so a connection's sends get their `seq` in the order
//! of their frames also while a partition moves. Whatever can't be repeated and may have happened is `outcome_unknown`.

mod directory;
mod lane;
mod task;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::{Code, PartitionCount, ProfileChanged, Rejection, partition_of};
use parley_wire::rpc::Channels;
use parley_wire::service::{Commands, Reply, ReplyTo, Request, outcome_unknown};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use directory::{OwnedBy, Owners};
use task::Task;

/// Requests that may wait for the task; beyond that `busy`.
const QUEUE_REQUESTS_MAX: usize = 65_536;
/// How long a request may look for an owner that answers it. A partition moves within less. Less than who asks waits for an answer
/// ([`Options::write_wait`](crate::Options)): only here it is known that a request went to nobody, and so that nothing was stored.
const REQUEST_WAIT: Duration = Duration::from_secs(9);
/// How long to wait before a profile's owner is asked again.
const PROFILE_RETRY: Duration = Duration::from_millis(100);

/// The owners, as the edge asks them. Cheap to clone.
#[derive(Clone)]
pub struct RemoteOwners {
    queue: mpsc::Sender<(Request, ReplyTo)>,
    owners: watch::Receiver<Arc<Owners>>,
    channels: Arc<Channels>,
    partitions: PartitionCount,
}

impl RemoteOwners {
    /// Starts the task that finds the owners; it ends with `stop`, and answers what is open then.
    #[must_use]
    pub fn start(
        owners: watch::Receiver<Arc<Owners>>,
        channels: Arc<Channels>,
        partitions: PartitionCount,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let task = Task::new(owners.clone(), channels.clone(), partitions, REQUEST_WAIT);
        let task = tokio::spawn(task.run(requests, stop));
        (Self { queue, owners, channels, partitions }, task)
    }
}

/// Nobody was found who owns the partition.
fn nobody() -> Rejection {
    Rejection::new(Code::Unavailable, "the group is moving to another server: nothing was stored, try again")
        .retry_after(500)
}

#[async_trait]
impl Commands for RemoteOwners {
    fn submit(&self, request: Request, reply_to: ReplyTo) {
        if let Err(error) = self.queue.try_send((request, reply_to)) {
            let (_, reply_to) = error.into_inner();
            let why = "too many requests wait: nothing was stored, try again";
            reply_to.answer(Err(Rejection::new(Code::Busy, why).retry_after(250)));
        }
    }

    /// A profile may be stored twice: the last one counts, and both are the same.
    async fn put_profile(&self, profile: ProfileChanged) -> Result<(), Rejection> {
        let partition = partition_of(profile.user.as_str().as_bytes(), self.partitions);
        let until = Instant::now() + REQUEST_WAIT;
        let mut tried = false;
        while Instant::now() < until {
            let owner = self.owners.borrow().owner(partition).cloned();
            if let Some(owner) = owner {
                tried = true;
                match self.channels.put_profile(&owner.address, owner.term, &profile).await {
                    Ok(Ok(Reply::NotOwner)) => {}
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(rejection)) if rejection.code != Code::OutcomeUnknown => return Err(rejection),
                    Ok(Err(_)) => {}
                    Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no answer"),
                }
            }
            tokio::time::sleep(PROFILE_RETRY).await;
        }
        Err(if tried { outcome_unknown() } else { nobody() })
    }
}
