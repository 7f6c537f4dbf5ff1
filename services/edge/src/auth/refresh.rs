//! The keys in use, and how they are kept fresh.
//!
//! One loop (`refresh_forever`) reads the source; whoever meets an unknown `kid` wakes it and, if it may read
//! at once, waits for the outcome. So any number of tokens with invented `kid`s cost one read in
//! [`Pace::gap`], and everybody else goes on with the keys at hand.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::DecodingKey;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::{AuthSetupError, JwksError, Reason};
use super::jwks::KeySet;
use super::source::{JwksSource, READ_TIMEOUT, Source};
use super::token::Alg;

/// How often the source is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Without any reason.
    pub(super) every: Duration,
    /// At most, however many unknown `kid`s are seen.
    pub(super) gap: Duration,
}

impl Pace {
    fn of(source: &JwksSource) -> Self {
        match source {
            JwksSource::Url(_) => Self { every: Duration::from_secs(60), gap: Duration::from_secs(1) },
            // It costs next to nothing, and whoever takes a key out of his own file expects it to be out.
            JwksSource::File(_) => Self { every: Duration::from_secs(2), gap: Duration::from_millis(200) },
        }
    }
}

/// What the loop is at. Told to those who wait for it.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    is_running: bool,
    is_reading: bool,
    /// When it last read because of an unknown `kid`. Other reads don't count: a key that is published just
    /// after one of them need not wait for its turn.
    asked_at: Option<Instant>,
    reads_done: u64,
}

impl Progress {
    /// Whether the outcome of a read is near, if the loop runs at all.
    fn is_worth_waiting(&self, gap: Duration) -> bool {
        self.is_reading || self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= gap)
    }
}

/// Public keys, from a source that is read again and again.
#[derive(Debug)]
pub(super) struct Jwks {
    name: String,
    source: Source,
    pace: Pace,
    keys: ArcSwap<KeySet>,
    wanted: Notify,
    progress: watch::Sender<Progress>,
}

impl Jwks {
    /// Opens and reads the source.
    pub(super) async fn open(source: JwksSource, pace: Option<Pace>) -> Result<Self, AuthSetupError> {
        let name = source.name();
        let pace = pace.unwrap_or_else(|| Pace::of(&source));
        let opened = async {
            let source = Source::open(&source)?;
            let keys = KeySet::parse(&source.read().await?)?;
            Ok((source, keys))
        };
        match opened.await {
            Ok((source, keys)) => {
                tracing::info!(jwks = name, keys = keys.len(), refused = keys.refused(), "read the JWKS");
                let keys = ArcSwap::from_pointee(keys);
                let progress = watch::Sender::new(Progress::default());
                Ok(Self { name, source, pace, keys, wanted: Notify::new(), progress })
            }
            Err(source) => Err(AuthSetupError::Jwks { name, source }),
        }
    }

    /// The keys that may verify a token with this header.
    pub(super) async fn keys_for(&self, alg: Alg, kid: Option<&str>) -> Result<Vec<DecodingKey>, Reason> {
        let found = self.keys.load().find(alg, kid);
        if !matches!(found, Err(Reason::UnknownKey)) {
            return found;
        }
        self.ask_for_refresh().await;
        self.keys.load().find(alg, kid)
    }

    async fn ask_for_refresh(&self) {
        let mut watched = self.progress.subscribe();
        let seen = *watched.borrow_and_update();
        // Also when it must wait for its turn, or isn't running yet: then the next token profits.
        self.wanted.notify_one();
        if seen.is_worth_waiting(self.pace.gap) {
            // At once, if the loop doesn't run.
            let done = watched.wait_for(|now| now.reads_done > seen.reads_done || !now.is_running);
            // A little longer than a read may take. Whatever comes of it, the keys are looked at again.
            let _ = timeout(READ_TIMEOUT + Duration::from_secs(1), done).await;
        }
    }

    /// Reads the source over and over. Never ends by itself.
    pub(super) async fn refresh_forever(&self) {
        let _running = Running::begin(&self.progress);
        let mut is_failing = false;
        loop {
            let asked_at = tokio::select! {
                () = sleep(self.pace.every) => None,
                asked_at = self.turn_of_asked() => Some(asked_at),
            };
            self.progress.send_modify(|progress| {
                progress.is_reading = true;
                progress.asked_at = asked_at.or(progress.asked_at);
            });
            let outcome = self.refresh().await;
            self.log(outcome, &mut is_failing);
            self.progress.send_modify(|progress| {
                progress.is_reading = false;
                progress.reads_done += 1;
            });
        }
    }

    /// Returns once somebody has asked and the gap since the last time is over.
    async fn turn_of_asked(&self) -> Instant {
        self.wanted.notified().await;
        let asked_at = self.progress.borrow().asked_at;
        if let Some(asked_at) = asked_at {
            sleep_until(asked_at + self.pace.gap).await;
        }
        Instant::now()
    }

    async fn refresh(&self) -> Result<usize, JwksError> {
        // A set without a usable key counts as a failure too: it would lock everybody out, and is far more
        // often a mishap than meant. A key is withdrawn by publishing a set without it, but with another.
        let keys = KeySet::parse(&self.source.read().await?)?;
        let count = keys.len();
        self.keys.store(Arc::new(keys));
        Ok(count)
    }

    /// One line when it begins to fail and one when it works again, not one every time.
    fn log(&self, outcome: Result<usize, JwksError>, is_failing: &mut bool) {
        match outcome {
            Ok(keys) if *is_failing => {
                *is_failing = false;
                tracing::info!(jwks = self.name, keys, "the JWKS can be read again");
            }
            Ok(keys) => tracing::debug!(jwks = self.name, keys, "read the JWKS again"),
            Err(error) if !*is_failing => {
                *is_failing = true;
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(jwks = self.name, error, "can't refresh the JWKS, its old keys stay in use");
            }
            Err(_) => {}
        }
    }
}

/// Holds `is_running` up, and takes it down however the loop ends, so that nobody waits for a loop that is gone.
struct Running<'a>(&'a watch::Sender<Progress>);

impl<'a> Running<'a> {
    fn begin(progress: &'a watch::Sender<Progress>) -> Self {
        progress.send_modify(|progress| progress.is_running = true);
        Self(progress)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|progress| {
            progress.is_running = false;
            progress.is_reading = false;
        });
    }
}
