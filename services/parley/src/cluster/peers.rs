//! The other processes, as this one's roles call them.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parley_domain::{GroupId, UserId};
use parley_wire::rpc::{Channels, NotPaused, Pausable, Paused};
use parley_wire::service::{Notice, Notices, Peers};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::roster::{Present, Role};

/// Typing that may wait to be passed on. Beyond that it is dropped: it is best effort.
const TYPING_MAX: usize = 1_024;

/// All edges, as a writer tells them.
pub(crate) struct AllEdges {
    pub(crate) channels: Arc<Channels>,
    pub(crate) present: watch::Receiver<Present>,
}

#[async_trait]
impl Notices for AllEdges {
    async fn notify(&self, notice: Notice) -> Vec<UserId> {
        let edges = self.present.borrow().addresses(Role::Edge, "");
        let mut calls: FuturesUnordered<_> =
            edges.iter().map(|address| self.channels.notify(address, &notice)).collect();
        let mut online = Vec::new();
        while let Some(told) = calls.next().await {
            match told {
                Ok(told) => online.extend(told),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    group = %notice.group.group_id,
                    "an edge can't be told; its users are told when they connect"
                ),
            }
        }
        // A user at two edges is one user.
        online.sort_unstable();
        online.dedup();
        online
    }
}

/// The other edges, as an edge passes on that somebody types.
pub(crate) struct OtherEdges(mpsc::Sender<(GroupId, UserId)>);

impl OtherEdges {
    /// With the task that passes on.
    pub(crate) fn new(
        channels: Arc<Channels>,
        present: watch::Receiver<Present>,
        instance: String,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (tx, mut rx) = mpsc::channel::<(GroupId, UserId)>(TYPING_MAX);
        let pass = async move {
            loop {
                let typing = tokio::select! {
                    () = stop.cancelled() => return,
                    typing = rx.recv() => typing,
                };
                let Some((group, user)) = typing else { return };
                let edges = present.borrow().addresses(Role::Edge, &instance);
                let calls = edges.iter().map(|address| channels.pass_typing(address, group, &user));
                drop(futures::future::join_all(calls).await);
            }
        };
        (Self(tx), pass)
    }
}

impl Peers for OtherEdges {
    fn typing(&self, group: GroupId, user: &UserId) {
        drop(self.0.try_send((group, user.clone())));
    }
}

/// All projectors, as a rebuild makes them stand still.
pub(crate) struct AllProjectors {
    pub(crate) channels: Arc<Channels>,
    pub(crate) present: watch::Receiver<Present>,
}

#[async_trait]
impl Pausable for AllProjectors {
    async fn pause(&self) -> Result<Paused, NotPaused> {
        let projectors = self.present.borrow().addresses(Role::Projector, "");
        let mut paused = Vec::new();
        for address in projectors {
            match self.channels.pause(&address).await {
                Ok(one) => paused.push(one),
                Err(error) => {
                    let why = format!("{:#}", anyhow::Error::new(error));
                    return Err(NotPaused::Running { projector: format!("the projector at {address}"), why });
                }
            }
        }
        Ok(Paused::new(paused))
    }
}
