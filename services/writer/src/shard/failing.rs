//! When a shard's state can't be trusted any more: what is answered then, and how its partitions are taken over again.

use std::time::Duration;

use futures::StreamExt as _;
use parley_domain::{Code, Rejection};
use parley_eventlog::AppendError;
use parley_wire::seldom::Seldom;
use parley_wire::service::{Reply, outcome_unknown};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{InFlight, Queued, RETRY_MS, Shard};
use crate::flight::{Answer, Flight, Landed};

impl Shard {
    /// Refuses what hangs on a flight, for an error of its append or because it can't be told whether its answers hold.
    pub(super) fn refuse(&self, flight: Flight, error: Option<&AppendError>) {
        let may_be_kept = match error {
            Some(AppendError::Unknown(_)) | None => !flight.expected.is_empty(),
            Some(_) => false,
        };
        refuse(flight.answers, &self.refusal(may_be_kept));
    }

    /// The answer to what wasn't answered otherwise. Only what can't be in the log may be put to another owner again: who hands a
    /// group over twice is told that it isn't his.
    pub(super) fn refusal(&self, may_be_kept: bool) -> Result<Reply, Rejection> {
        match (may_be_kept, self.is_one_of_many()) {
            (true, _) => Err(outcome_unknown()),
            (false, true) => Ok(Reply::NotOwner),
            (false, false) => Err(unavailable()),
        }
    }

    /// Whether there are other writers, to whom the edges may turn.
    pub(super) fn is_one_of_many(&self) -> bool {
        self.options.generation > 0
    }

    /// Answers everything that can't be kept.
    pub(super) async fn give_up(&mut self, in_flight: &mut InFlight) {
        // What was decided on top of the failed append is void, whatever the log says of it.
        while let Some(Landed { flight, outcome, .. }) = in_flight.next().await {
            let error = outcome.err().unwrap_or_else(|| AppendError::Unknown("after a failure".into()));
            self.refuse(flight, Some(&error));
        }
        for (_, _, reply_to) in std::mem::take(&mut self.deferred) {
            reply_to.answer(self.refusal(false));
        }
        for held in std::mem::take(&mut self.held) {
            refuse(held.answers, &self.refusal(held.has_records));
        }
        // By the time that it were kept the next owner may have kept a newer one.
        self.storing = None;
    }

    /// Takes the partitions over again, however long that takes; between tries requests are refused as `unavailable`. `false` if
    /// it was told to stop before, or nobody is left who could ask; then whatever was queued is refused too.
    ///
    /// A claim may be on its way when it is told to stop. No next owner suffers from that: shards that run so have the log alone.
    pub(super) async fn recover(
        &mut self,
        requests: &mut mpsc::Receiver<Queued>,
        stop: &CancellationToken,
    ) -> bool {
        let has_recovered = tokio::select! {
            () = stop.cancelled() => false,
            has_recovered = self.try_until_recovered(requests) => has_recovered,
        };
        if !has_recovered {
            requests.close();
            while let Some(queued) = requests.recv().await {
                queued.into_reply_to().answer(Err(unavailable()));
            }
        }
        has_recovered
    }

    /// `false` if nobody is left who could ask.
    async fn try_until_recovered(&mut self, requests: &mut mpsc::Receiver<Queued>) -> bool {
        let mut trouble = Seldom::default();
        loop {
            match Self::fold(&self.options, &self.engines, &self.owned, None).await {
                Ok(state) => {
                    (self.state, self.tried_records) = (state, 0);
                    return true;
                }
                Err(error) if trouble.is_due() => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the partitions can't be claimed; trying on"
                ),
                Err(_) => {}
            }
            let until = Instant::now() + Duration::from_millis(rand::random_range(RETRY_MS));
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    queued = requests.recv() => match queued {
                        Some(queued) => queued.into_reply_to().answer(Err(unavailable())),
                        None => return false,
                    },
                }
            }
        }
    }
}

fn unavailable() -> Rejection {
    Rejection::new(Code::Unavailable, "the log takes no writes now: nothing was stored, try again")
        .retry_after(1_000)
}

fn refuse(answers: Vec<Answer>, result: &Result<Reply, Rejection>) {
    for answer in answers {
        let (Answer::Plain(reply_to, _) | Answer::AfterNotice(reply_to, _)) = answer;
        reply_to.answer(result.clone());
    }
}
