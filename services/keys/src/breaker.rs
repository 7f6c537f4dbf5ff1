//! A circuit breaker in front of a store that is asked on the path of messages.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take. Messages that need nothing of the store wait as long.
const WAIT: Duration = Duration::from_secs(2);
/// How long whoever asks whether the store is back waits for that, and others with it. A store that is well is much faster.
const PROBE_WAIT: Duration = Duration::from_millis(100);
/// How long a store isn't asked again that gave no answer: those who need it are refused at once meanwhile, and don't hold up
/// those who don't. Twice as long after each further time, so that a hiccup is soon over and an outage isn't met with a storm.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// A store that fails again so soon has not been well in between.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// While a store gives no answers.
#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// Asks whether it is back, in a task of its own, which gives the time of a failure. Ends with the breaker.
    probe: Option<AbortOnDropHandle<Result<(), Instant>>>,
}

impl Open {
    fn new(since: Instant, pause: Duration) -> Self {
        Self { until: since + pause, pause, probe: None }
    }
}

/// Closed at first; open while a store gives no answers.
#[derive(Debug, Default)]
pub struct Breaker {
    open: Option<Open>,
    /// When it was closed last, and the pause before.
    closed: Option<(Instant, Duration)>,
}

impl Breaker {
    /// The answer; `None`: there is none now. That is logged when it begins and when it ends. An error is one of the store, not
    /// of what was asked for: that belongs into the answer.
    ///
    /// One caller waits for a store that falls silent. From then on one after each pause asks whether it is back, and waits for
    /// a moment; if the answer takes longer, it is waited for aside.
    pub async fn ask<T, E>(
        &mut self,
        what: &'static str,
        asking: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        while let Some(open) = &mut self.open {
            match &mut open.probe {
                None if Instant::now() < open.until => return None,
                None => {
                    let (tell, told) = oneshot::channel();
                    open.probe = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                        let Ok(Ok(answer)) = timeout(WAIT, asking).await else { return Err(Instant::now()) };
                        drop(tell.send(answer)); // perhaps nobody waits any more
                        Ok(())
                    })));
                    let answer = timeout(PROBE_WAIT, told).await.ok()?.ok()?;
                    self.close(what);
                    return Some(answer);
                }
                Some(probe) if !probe.is_finished() => return None,
                Some(probe) => match probe.await.unwrap_or_else(|_| Err(Instant::now())) {
                    Ok(()) => self.close(what),
                    Err(since) => *open = Open::new(since, (open.pause * 2).min(PAUSE_MAX)),
                },
            }
        }
        let error: Option<E> = match timeout(WAIT, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let before = self.closed.filter(|(at, _)| at.elapsed() < WELL_AFTER);
        let pause = before.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        self.open = Some(Open::new(Instant::now(), pause));
        let error = error.as_ref().map(|error| error as &dyn std::error::Error);
        match error {
            Some(_) => {
                tracing::error!(error, what, "a store fails: what needs it is refused until it is back")
            }
            None => tracing::error!(what, "a store is silent: what needs it is refused until it is back"),
        }
        None
    }

    fn close(&mut self, what: &'static str) {
        self.closed = self.open.take().map(|open| (Instant::now(), open.pause));
        tracing::info!(what, "a store answers again");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    async fn silence() -> Result<u32, Infallible> {
        std::future::pending().await
    }

    async fn answer() -> Result<u32, Infallible> {
        Ok(7)
    }

    /// A breaker that has just met a store's silence.
    async fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        let begun = Instant::now();
        for _ in 0..1_000 {
            assert!(breaker.ask("keys", silence()).await.is_none());
        }
        assert_eq!(begun.elapsed(), WAIT, "the first alone waits");
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_costs_one_wait_and_moments_from_then_on() {
        let mut breaker = opened().await;
        for pause in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0].map(Duration::from_secs_f64) {
            tokio::time::sleep(pause - MOMENT).await;
            let begun = Instant::now();
            assert!(breaker.ask("keys", answer()).await.is_none(), "not asked");
            assert_eq!(begun.elapsed(), Duration::ZERO);
            tokio::time::sleep(MOMENT).await;
            let begun = Instant::now();
            for _ in 0..1_000 {
                assert!(breaker.ask("keys", silence()).await.is_none());
            }
            assert_eq!(begun.elapsed(), PROBE_WAIT, "one waits, for a moment");
            tokio::time::sleep(WAIT - PROBE_WAIT).await;
        }
        tokio::time::sleep(PAUSE_MAX).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "the first to ask gets its answer");
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_of_a_store_that_is_back_serves_the_next() {
        let mut breaker = opened().await;
        tokio::time::sleep(PAUSE_MIN).await;
        let slowly = async {
            tokio::time::sleep(WAIT / 2).await;
            answer().await
        };
        assert!(breaker.ask("keys", slowly).await.is_none(), "waited for aside");
        tokio::time::sleep(WAIT / 2).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_is_long_over_is_nobodys_trouble() {
        let mut breaker = opened().await;
        tokio::time::sleep(PAUSE_MIN).await;
        assert!(breaker.ask("keys", silence()).await.is_none());
        // In vain, but an hour ago.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_again_at_once_is_left_alone_for_longer() {
        let mut breaker = opened().await;
        tokio::time::sleep(PAUSE_MIN).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
        assert!(breaker.ask("keys", silence()).await.is_none());
        tokio::time::sleep(PAUSE_MIN).await;
        assert!(breaker.ask("keys", answer()).await.is_none(), "twice as long");
        tokio::time::sleep(PAUSE_MIN).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
        tokio::time::sleep(WELL_AFTER).await;
        assert!(breaker.ask("keys", silence()).await.is_none());
        tokio::time::sleep(PAUSE_MIN).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "it had been well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_store_is_not_asked_for_a_while_either() {
        let mut breaker = Breaker::default();
        let asked = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let asked = asked.clone();
            let asking = async move {
                asked.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(std::io::Error::other("away"))
            };
            assert!(breaker.ask("keys", asking).await.is_none());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
