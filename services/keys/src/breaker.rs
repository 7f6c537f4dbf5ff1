//! A circuit breaker in front of a store that is asked on the path of messages.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take. Messages that need nothing of the store wait as long.
const WAIT: Duration = Duration::from_secs(2);
/// How long a store isn't asked again that gave no answer: those who need it are refused at once meanwhile, and don't hold up
/// those who don't. Twice as long after each further time, so that a hiccup is soon over and an outage isn't met with a storm.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// While a store gives no answers.
#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// Asks whether it is back, in a task of its own: nobody waits for that. Ends with the breaker.
    probe: Option<AbortOnDropHandle<bool>>,
}

impl Open {
    fn new(pause: Duration) -> Self {
        Self { until: Instant::now() + pause, pause, probe: None }
    }
}

/// Closed at first; open while a store gives no answers.
#[derive(Debug, Default)]
pub struct Breaker {
    open: Option<Open>,
}

impl Breaker {
    /// The answer; `None`: there is none now. That is logged when it begins and when it ends. An error is one of the store, not
    /// of what was asked for: that belongs into the answer.
    ///
    /// One caller waits for a store that falls silent, and nobody from then on: what is asked after a pause is asked aside, and
    /// once that was answered, the next one asks as usual.
    pub async fn ask<T, E>(
        &mut self,
        what: &'static str,
        asking: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        if let Some(open) = &mut self.open {
            match &mut open.probe {
                None => {
                    if open.until <= Instant::now() {
                        let answered =
                            async { matches!(tokio::time::timeout(WAIT, asking).await, Ok(Ok(_))) };
                        open.probe = Some(AbortOnDropHandle::new(tokio::spawn(answered)));
                    }
                    return None;
                }
                Some(probe) if !probe.is_finished() => return None,
                Some(probe) => {
                    if !probe.await.unwrap_or(false) {
                        *open = Open::new((open.pause * 2).min(PAUSE_MAX));
                        return None;
                    }
                    self.open = None;
                    tracing::info!(what, "a store answers again");
                }
            }
        }
        let error: Option<E> = match tokio::time::timeout(WAIT, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        self.open = Some(Open::new(PAUSE_MIN));
        let error = error.as_ref().map(|error| error as &dyn std::error::Error);
        match error {
            Some(_) => {
                tracing::error!(error, what, "a store fails: what needs it is refused until it is back")
            }
            None => tracing::error!(what, "a store is silent: what needs it is refused until it is back"),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn silence() -> Result<u32, Infallible> {
        std::future::pending().await
    }

    async fn answer() -> Result<u32, Infallible> {
        Ok(7)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_costs_one_wait_and_is_asked_aside_from_then_on() {
        let mut breaker = Breaker::default();
        let begun = Instant::now();
        for _ in 0..1_000 {
            assert!(breaker.ask("keys", silence()).await.is_none());
        }
        assert_eq!(begun.elapsed(), WAIT, "the first alone waits");
        for pause in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0].map(Duration::from_secs_f64) {
            tokio::time::sleep(pause - Duration::from_millis(1)).await;
            let begun = Instant::now();
            assert!(breaker.ask("keys", answer()).await.is_none(), "not asked");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(breaker.ask("keys", silence()).await.is_none(), "asked aside");
            assert!(breaker.ask("keys", answer()).await.is_none(), "by one alone");
            assert_eq!(begun.elapsed(), Duration::from_millis(1), "nobody waits");
            tokio::time::sleep(WAIT + Duration::from_millis(1)).await;
            assert!(breaker.ask("keys", answer()).await.is_none(), "the pause begins");
        }
        tokio::time::sleep(PAUSE_MAX).await;
        assert!(breaker.ask("keys", answer()).await.is_none(), "asked aside");
        tokio::task::yield_now().await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "closed again");
        assert!(breaker.ask("keys", silence()).await.is_none());
        tokio::time::sleep(PAUSE_MIN).await;
        assert!(breaker.ask("keys", answer()).await.is_none(), "from the shortest pause again");
        tokio::task::yield_now().await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
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
