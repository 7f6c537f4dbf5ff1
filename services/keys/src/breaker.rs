//! A circuit breaker in front of a store that is asked on the path of messages.

use std::time::Duration;

use tokio::time::Instant;

/// How long an answer may take. Messages that need nothing of the store wait as long.
const WAIT: Duration = Duration::from_secs(2);
/// How long a store isn't asked again that gave no answer: those who need it are refused at once meanwhile, and don't hold up
/// those who don't. Twice as long after each further time, so that what was a hiccup costs little, and an outage little of
/// everybody's time.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
struct Open {
    until: Instant,
    pause: Duration,
}

/// Closed at first; open while a store gives no answers.
#[derive(Debug, Default)]
pub struct Breaker {
    open: Option<Open>,
}

impl Breaker {
    /// The answer; `None`: there is none now. That is logged when it begins and when it ends. An error is one of the store, not
    /// of what was asked for: that belongs into the answer.
    pub async fn ask<T, E>(
        &mut self,
        what: &'static str,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Option<T>
    where
        E: std::error::Error + 'static,
    {
        let before = self.open;
        if before.is_some_and(|open| Instant::now() < open.until) {
            return None;
        }
        let outcome = tokio::time::timeout(WAIT, asking).await;
        if let Ok(Ok(answer)) = outcome {
            if self.open.take().is_some() {
                tracing::info!(what, "a store answers again");
            }
            return Some(answer);
        }
        let pause = before.map_or(PAUSE_MIN, |open| (open.pause * 2).min(PAUSE_MAX));
        self.open = Some(Open { until: Instant::now() + pause, pause });
        if before.is_none() {
            match outcome {
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, what, "a store fails: what needs it is refused until it is back");
                }
                Ok(Ok(_)) | Err(_) => {
                    tracing::error!(what, "a store is silent: what needs it is refused until it is back");
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_costs_one_wait_a_pause_and_is_asked_again_after_it() {
        let mut breaker = Breaker::default();
        let silence = || std::future::pending::<Result<(), Infallible>>();
        let answer = async || Ok::<_, Infallible>(7);
        for pause in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0].map(Duration::from_secs_f64) {
            let begun = Instant::now();
            for _ in 0..1_000 {
                assert!(breaker.ask("keys", silence()).await.is_none());
            }
            assert_eq!(begun.elapsed(), WAIT, "the first alone waits");
            tokio::time::sleep(pause - Duration::from_millis(1)).await;
            assert!(breaker.ask("keys", answer()).await.is_none(), "not asked");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "closed again");
        assert!(breaker.ask("keys", silence()).await.is_none());
        tokio::time::sleep(PAUSE_MIN).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "from the shortest pause again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_store_is_not_asked_for_a_while_either() {
        let mut breaker = Breaker::default();
        let mut asked = 0;
        for _ in 0..10 {
            let asking = async {
                asked += 1;
                Err::<(), _>(std::io::Error::other("away"))
            };
            assert!(breaker.ask("keys", asking).await.is_none());
        }
        assert_eq!(asked, 1);
    }
}
