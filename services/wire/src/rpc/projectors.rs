//! `Projectors`: a projector stands still while a rebuild compares.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use tonic::{Request, Response, Status};

use super::proto;
use super::proto::projectors_server::Projectors;

/// Something that can stand still.
#[async_trait]
pub trait Pausable: Send + Sync {
    /// Returns once it stands still; it goes on when the returned value is dropped.
    ///
    /// # Errors
    /// [`NotPaused`].
    async fn pause(&self) -> Result<Paused, NotPaused>;
}

/// Why something doesn't stand still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPaused {
    /// It has ended, or is about to.
    #[error("the projector is stopping")]
    Stopping,
    /// It didn't come to a stand in time, or couldn't be asked to.
    #[error("{projector} doesn't stand still: {why}")]
    Running {
        /// Which one.
        projector: String,
        /// What is known of the reason.
        why: String,
    },
}

/// Held while something stands still.
pub struct Paused(#[allow(dead_code, reason = "it is there to be dropped")] Box<dyn std::any::Any + Send>);

impl Paused {
    /// Around whatever lets go when it is dropped.
    #[must_use]
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

/// The service, in front of this process' projector.
pub(super) struct Service {
    pub(super) projector: Arc<dyn Pausable>,
}

type Pauses = Pin<Box<dyn Stream<Item = Result<proto::Paused, Status>> + Send>>;

#[tonic::async_trait]
impl Projectors for Service {
    type PauseStream = Pauses;

    async fn pause(&self, _: Request<proto::PauseRequest>) -> Result<Response<Pauses>, Status> {
        let paused = self.projector.pause().await;
        let paused = paused.map_err(|error| match error {
            NotPaused::Stopping => Status::unavailable(error.to_string()),
            NotPaused::Running { .. } => Status::deadline_exceeded(error.to_string()),
        })?;
        // One message, and then silence until the caller lets go of the stream, which drops the guard.
        let stream = futures::stream::unfold(Some(paused), |held| async move {
            let paused = held?;
            Some((Ok(proto::Paused {}), Some(paused)))
        });
        let mut told = false;
        let stream = futures::StreamExt::take_while(stream, move |_| {
            let first = !std::mem::replace(&mut told, true);
            async move {
                if !first {
                    std::future::pending::<()>().await;
                }
                true
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
