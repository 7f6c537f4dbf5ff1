//! The way in: finds the shard of a group and hands the request over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::{Code, PartitionCount, ProfileChanged, Rejection, partition_of};
use parley_eventlog::AppendError;
use parley_wire::service::{Commands, Reply, ReplyTo, Request, outcome_unknown};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::{Engines, Options, StartError};
use crate::shard::{Opening, Queued, Shard, State, fold};

/// How long a profile may take to become durable before its outcome is called unknown.
const PROFILE_WAIT: Duration = Duration::from_secs(10);

/// The writer's tasks.
pub struct Writer {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Hands requests to a writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shards: Arc<[mpsc::Sender<Queued>]>,
    partitions: PartitionCount,
}

impl Writer {
    /// Claims all partitions of the log, folds them, and serves.
    ///
    /// # Errors
    /// [`StartError`]; then no task is left.
    pub async fn start(options: Options, engines: Engines) -> Result<(Handle, Self), StartError> {
        let partitions = engines.log.partitions();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let count = options.shards.clamp(1, partitions.get() as usize);
        let owned =
            |shard| (0..partitions.get()).filter(move |partition| *partition as usize % count == shard);
        let sets: Vec<Vec<u32>> = (0..count).map(|shard| owned(shard).collect()).collect();
        // All together: an embedded log is read as a whole, whatever is wanted of it.
        let states: Vec<Option<State>> =
            match fold(&options, &engines, &sets, Opening::Afterwards, None).await {
                Ok(states) => states.into_iter().map(Some).collect(),
                // A log that takes no writes, as on a full disk, is no reason not to serve those who read.
                Err(StartError::Claim(error @ AppendError::NotAppended(_))) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the partitions can't be claimed; trying on");
                    sets.iter().map(|_| None).collect()
                }
                Err(error) => return Err(error),
            };
        let mut shards = Vec::new();
        let mut senders = Vec::new();
        for (owned, state) in sets.into_iter().zip(states) {
            let (tx, requests) = mpsc::channel(options.queue_requests_max);
            let (options, engines, tracker) = (options.clone(), engines.clone(), tracker.clone());
            let is_claimed = state.is_some();
            let shard = match state {
                Some(state) => Shard::new(options, engines, owned, tracker, state),
                None => Shard::unclaimed(options, engines, owned, tracker),
            };
            shards.push((shard, requests, is_claimed));
            senders.push(tx);
        }
        for (shard, requests, is_claimed) in shards {
            let stop = stop.clone();
            tracker.spawn(async move {
                match is_claimed {
                    true => shard.run(requests, stop).await,
                    false => shard.run_once_claimed(requests, stop).await,
                }
            });
        }
        tracker.close();
        Ok((Handle { shards: senders.into(), partitions }, Self { tracker, stop }))
    }

    /// Refuses what comes now, answers what came before, and ends.
    pub async fn shut_down(self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

impl Handle {
    fn queue(&self, key: &str, queued: Queued) {
        let partition = partition_of(key.as_bytes(), self.partitions) as usize;
        let Some(shard) = self.shards.get(partition % self.shards.len().max(1)) else { return };
        if let Err(error) = shard.try_send(queued) {
            let (queued, rejection) = match error {
                mpsc::error::TrySendError::Full(queued) => (queued, busy()),
                mpsc::error::TrySendError::Closed(queued) => (
                    queued,
                    Rejection::new(
                        Code::Unavailable,
                        "the server is stopping: nothing was stored, try again",
                    )
                    .retry_after(1_000),
                ),
            };
            queued.into_reply_to().answer(Err(rejection));
        }
    }
}

/// More wait than may.
pub(crate) fn busy() -> Rejection {
    Rejection::new(Code::Busy, "too many requests wait: nothing was stored, try again").retry_after(250)
}

#[async_trait]
impl Commands for Handle {
    fn submit(&self, request: Request, reply_to: ReplyTo) {
        let mut text = [0; 36];
        let key: &str = request.group_id.0.hyphenated().encode_lower(&mut text);
        self.queue(key, Queued::Group(Box::new(request), reply_to));
    }

    async fn put_profile(&self, profile: ProfileChanged) -> Result<(), Rejection> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let reply_to = ReplyTo::new(move |result| drop(tx.send(result)));
        let key = profile.user.clone();
        self.queue(key.as_str(), Queued::Profile(profile, reply_to));
        match tokio::time::timeout(PROFILE_WAIT, rx).await {
            Ok(Ok(Ok(Reply::Done))) => Ok(()),
            Ok(Ok(Err(rejection))) => Err(rejection),
            Ok(Ok(Ok(_)) | Err(_)) | Err(_) => Err(outcome_unknown()),
        }
    }
}
