//! Taking partitions over: claim, read up to the claims, only then serve.

use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use parley_eventlog::TopicPartition;
use parley_keys::Breaker;
use parley_wire::seldom::Seldom;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::claim::claim_all;
use super::fold::{Opening, fold};
use super::lane::Lane;
use super::{BUFFER_BYTES, Counters, InFlight, Shard, State};
use crate::options::{Engines, Options, StartError};

impl Shard {
    /// Takes some partitions over as one shard. `claiming` as for [`fold`].
    pub(crate) async fn take_over(
        options: Options,
        engines: Engines,
        owned: Vec<u32>,
        tracker: TaskTracker,
        claiming: Option<DropGuard>,
    ) -> Result<Self, StartError> {
        let state = Self::fold(&options, &engines, &owned, claiming).await?;
        Ok(Self::new(options, engines, owned, tracker, state))
    }

    /// One that knows nothing yet and has no claims, so that it can only be [run](Self::run_once_claimed) once it has.
    pub(crate) fn unclaimed(
        options: Options,
        engines: Engines,
        owned: Vec<u32>,
        tracker: TaskTracker,
    ) -> Self {
        let state = State::of(None, &options);
        Self::new(options, engines, owned, tracker, state)
    }

    pub(crate) fn new(
        options: Options,
        engines: Engines,
        owned: Vec<u32>,
        tracker: TaskTracker,
        state: State,
    ) -> Self {
        let mut shard = Self {
            options,
            engines,
            owned,
            tracker,
            state,
            to_notify: std::collections::BTreeMap::new(),
            deferred: Vec::new(),
            held: Vec::new(),
            keys_breaker: Breaker::default(),
            reads_breaker: Breaker::default(),
            unusable: Seldom::default(),
            storing: None,
            tried_records: 0,
            counters: Counters::default(),
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
        };
        shard.remember_to_notify();
        shard
    }

    /// Claims partitions, and then folds what lies before the claims. `claiming` as for [`fold`].
    pub(super) async fn fold(
        options: &Options,
        engines: &Engines,
        owned: &[u32],
        claiming: Option<DropGuard>,
    ) -> Result<State, StartError> {
        let states = fold(options, engines, &[owned.to_vec()], Opening::Afterwards, claiming).await?;
        states.into_iter().next().ok_or(StartError::Superseded)
    }

    /// When the claims of now are to be followed by new ones.
    pub(super) fn next_claim(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.options.claim_seconds)
    }

    /// Lets everything land that is in flight; `false` if the shard's state can't be trusted any more.
    pub(super) async fn settle(&mut self, in_flight: &mut InFlight) -> bool {
        while let Some(landed) = in_flight.next().await {
            if !self.landed(landed, in_flight) {
                return false;
            }
        }
        self.held.is_empty()
    }

    /// Claims the partitions once more and goes on under the new claims; what was folded stays, as nobody else wrote.
    /// `false` if that isn't so, and everything is to be folded anew.
    ///
    /// With nothing in flight: an event may name a claim only once its offset is known. One that named a claim still
    /// under way could count as another writer's first, if that writer's claim got the offset.
    pub(super) async fn claim_anew(&mut self, in_flight: &mut InFlight) -> bool {
        if !self.settle(in_flight).await {
            return false;
        }
        match claim_all(&self.options, &self.engines, &self.owned).await {
            Ok(lanes) => {
                let follows = |(at, lane): (&TopicPartition, &Lane)| {
                    self.state.lanes.get(at).is_some_and(|before| lane.follows(before))
                };
                if !lanes.iter().all(follows) {
                    tracing::error!("somebody else wrote to this writer's partitions: folding them anew");
                    return false;
                }
                self.state.lanes = lanes;
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "the partitions can't be claimed anew: folding them anew");
                false
            }
        }
    }
}
