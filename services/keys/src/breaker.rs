//! A circuit breaker in front of a store that is asked on the path of messages.

use std::time::Duration;

use tokio::time::Instant;

/// How long an answer may take. Messages that need nothing of the store wait as long.
const WAIT: Duration = Duration::from_secs(1);
/// How long a store isn't asked again that gave no answer: those who need it are refused at once meanwhile, and don't hold up
/// those who don't.
const PAUSE: Duration = Duration::from_secs(5);

/// Closed at first; open while a store gives no answers.
#[derive(Debug, Default)]
pub struct Breaker {
    open_until: Option<Instant>,
}

impl Breaker {
    /// The answer; `None`: there is none now. That is logged when it begins.
    pub async fn ask<T, E>(
        &mut self,
        what: &'static str,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Option<T>
    where
        E: std::error::Error + 'static,
    {
        let was_open = self.open_until.is_some();
        if self.open_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let outcome = tokio::time::timeout(WAIT, asking).await;
        if let Ok(Ok(answer)) = outcome {
            self.open_until = None;
            return Some(answer);
        }
        self.open_until = Some(Instant::now() + PAUSE);
        if !was_open {
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
        let begun = Instant::now();
        for _ in 0..1_000 {
            assert!(breaker.ask("keys", silence()).await.is_none());
        }
        assert_eq!(begun.elapsed(), WAIT, "the first alone waits");
        let answer = async || Ok::<_, Infallible>(7);
        assert!(breaker.ask("keys", answer()).await.is_none(), "not asked");
        tokio::time::sleep(PAUSE).await;
        assert_eq!(breaker.ask("keys", answer()).await, Some(7));
        assert_eq!(breaker.ask("keys", answer()).await, Some(7), "closed again");
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
