//! What all parts of an edge share, and its life.

use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parley_domain::{Code, GroupId, Rejection, UserId};
use parley_wire::seldom::Seldom;
use parley_wire::service::{Reply, Request, Wish};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acks::Acks;
use crate::flusher::Flusher;
use crate::hub::Hub;
use crate::joins::Joins;
use crate::opener::Opener;
use crate::options::{Engines, Limits, Options};
use crate::replay::LogTier;
use crate::status::Statuses;

/// What every request, session and task of this edge can reach.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) engines: Engines,
    pub(crate) hub: Arc<Hub>,
    pub(crate) flusher: Flusher,
    pub(crate) opener: Opener,
    pub(crate) acks: Acks,
    pub(crate) statuses: Statuses,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Nobody is let in any more.
    pub(crate) draining: CancellationToken,
    pub(crate) joins: Joins,
    pub(crate) log_tier: LogTier,
    /// When it was last logged that replays are held up.
    pub(crate) replay_trouble: parking_lot::Mutex<Seldom>,
    limiter: Option<DefaultKeyedRateLimiter<UserId>>,
}

impl Shared {
    /// Hands a wish to the owner of a group and waits for the outcome.
    pub(crate) async fn call(
        &self,
        group_id: GroupId,
        actor: &UserId,
        wish: Wish,
    ) -> Result<Reply, Rejection> {
        let request = Request { group_id, actor: actor.clone(), wish };
        parley_wire::service::call(self.engines.commands.as_ref(), request, self.options.write_wait).await
    }

    /// Waits until the read models show all that anybody was told before now.
    pub(crate) async fn caught_up(&self, group: Option<GroupId>) -> Result<(), Rejection> {
        if self.engines.progress.caught_up(group, self.options.read_wait).await {
            return Ok(());
        }
        Err(Rejection::new(Code::Unavailable, "the read models are behind: try again").retry_after(1_000))
    }

    /// Counts a send; over the rate it is a rejection that says when to try again.
    pub(crate) fn over_rate(&self, user: &UserId) -> Option<Rejection> {
        use governor::clock::Clock as _;
        let limiter = self.limiter.as_ref()?;
        let until = limiter.check_key(user).err()?;
        let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let limits = &self.options.limits;
        let why = format!(
            "at most {} sends a second (burst {}): nothing was stored, send it again later",
            limits.sends_per_second, limits.send_burst
        );
        Some(Rejection::new(Code::RateLimited, why).retry_after(millis))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// Logs what broke, once, and gives what the client is told.
pub(crate) fn broken(what: &str, error: &(dyn std::error::Error + 'static)) -> Rejection {
    tracing::error!(error, "{what}");
    Rejection::new(Code::Unavailable, "a store that is needed for this can't be reached: try again")
        .retry_after(1_000)
}

/// How often idle users' rate limits are forgotten.
const FORGET_RATES_EVERY: Duration = Duration::from_secs(60);

/// A running edge.
pub struct Edge {
    shared: Arc<Shared>,
}

/// Whether an edge can serve, and if not, why.
pub type Readiness = Vec<(&'static str, String)>;

impl Edge {
    /// Starts the tasks of an edge. Sessions and requests come in through [`Edge::router`].
    ///
    /// # Errors
    /// The log can't be tailed.
    pub async fn start(
        options: Options,
        engines: Engines,
        hub: Arc<Hub>,
    ) -> Result<Self, parley_eventlog::ReadError> {
        let Limits { text_bytes, frame_bytes, .. } = options.limits;
        if text_bytes >= frame_bytes {
            tracing::warn!(
                text_bytes,
                frame_bytes,
                "no text can have limits.text_bytes, since its frame has at most limits.frame_bytes: longer ones close the connection"
            );
        }
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let limiter = quota(&options).map(RateLimiter::keyed);
        let opener = Opener::new(engines.keys.clone(), engines.log.epoch().0);
        let (acks, gather) = Acks::new(options.ack_gather, hub.needs().are_counted());
        let (statuses, count) = Statuses::new();
        let shared = Arc::new(Shared {
            options,
            engines,
            hub,
            flusher: Flusher::new(),
            opener,
            acks,
            statuses,
            tracker: tracker.clone(),
            stop: stop.clone(),
            draining: CancellationToken::new(),
            joins: Joins::default(),
            log_tier: LogTier::default(),
            replay_trouble: parking_lot::Mutex::default(),
            limiter,
        });
        let delivery = crate::delivery::Delivery::start(shared.clone()).await?;
        for task in shared.flusher.tasks(&stop) {
            tracker.spawn(task);
        }
        tracker.spawn(delivery.run());
        tracker.spawn(gather.run(shared.clone()));
        tracker.spawn(count.run(shared.clone()));
        let auth = shared.engines.auth.clone();
        let auth_stop = stop.clone();
        tracker.spawn(async move { auth.run(auth_stop).await });
        let forgetful = shared.clone();
        tracker.spawn(async move {
            while !forgetful.stop.is_cancelled() {
                tokio::select! {
                    () = forgetful.stop.cancelled() => return,
                    () = tokio::time::sleep(FORGET_RATES_EVERY) => {}
                }
                if let Some(limiter) = &forgetful.limiter {
                    limiter.retain_recent();
                }
                forgetful.hub.forget_typing();
                forgetful.log_tier.forget();
            }
        });
        Ok(Self { shared })
    }

    /// All routes: `/v1`, and, unless they are served apart, the probes.
    pub fn router(&self) -> axum::Router {
        crate::rest::router(self.shared.clone())
    }

    /// What is not ready, by name; empty: everything is.
    pub async fn readiness(&self) -> Readiness {
        let shared = &self.shared;
        let mut faults = Vec::new();
        if shared.is_draining() {
            faults.push(("edge", "stopping".to_owned()));
        }
        if let Some(trouble) = shared.engines.log.trouble() {
            faults.push(("log", trouble.to_string()));
        }
        if !shared.engines.progress.caught_up(None, Duration::from_secs(2)).await {
            faults.push(("projector", "more than 2 s behind the log".to_owned()));
        }
        if shared.engines.media.ready().await.is_err() {
            faults.push(("media", "the object store can't be reached".to_owned()));
        }
        faults
    }

    /// Sends everybody away: `go_away`, then close code 3001. New handshakes are refused from now on.
    pub async fn drain(&self) {
        self.shared.draining.cancel();
        self.shared.hub.send_away().await;
    }

    /// Ends all tasks; call after [`Edge::drain`].
    pub async fn shut_down(&self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}

fn quota(options: &Options) -> Option<Quota> {
    let rate = std::num::NonZeroU32::new(options.limits.sends_per_second)?;
    let burst = std::num::NonZeroU32::new(options.limits.send_burst).unwrap_or(rate);
    Some(Quota::per_second(rate).allow_burst(burst))
}
