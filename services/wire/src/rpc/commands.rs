//! `Commands`: a writer answers the edges.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use parley_domain::Rejection;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::proto::commands_server::Commands;
use super::proto::put_profile_reply::Refused;
use super::{OPEN_REQUESTS_MAX, proto, replies, requests};
use crate::service::{Owner, Reply, ReplyTo};

/// The service, in front of what this process owns.
pub(super) struct Service {
    pub(super) owner: Arc<dyn Owner>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

type Replies = Pin<Box<dyn Stream<Item = Result<proto::Reply, Status>> + Send>>;

#[tonic::async_trait]
impl Commands for Service {
    type SubmitStream = Replies;

    async fn submit(&self, request: Request<Streaming<proto::Request>>) -> Result<Response<Replies>, Status> {
        // One more than may be open, for the answer to a message that is none.
        let (replies, answered) = mpsc::channel(OPEN_REQUESTS_MAX + 1);
        let stream = read(self.owner.clone(), request.into_inner(), replies);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = stream => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }

    async fn put_profile(
        &self,
        request: Request<proto::PutProfileRequest>,
    ) -> Result<Response<proto::PutProfileReply>, Status> {
        let request = request.into_inner();
        let term = request.term;
        let profile =
            requests::profile_from(request).map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        let refused = match self.owner.put_profile(term, profile).await {
            Ok(Reply::NotOwner) => Some(Refused::NotOwner(proto::NotOwner {})),
            Ok(_) => None,
            Err(rejection) => Some(Refused::Rejection(replies::rejection_to(&rejection))),
        };
        Ok(Response::new(proto::PutProfileReply { refused }))
    }
}

/// Reads requests and hands them over, no more at once than may be open, so that a reply never has to wait for room.
async fn read(
    owner: Arc<dyn Owner>,
    mut requests: Streaming<proto::Request>,
    replies: mpsc::Sender<Result<proto::Reply, Status>>,
) {
    let open = Arc::new(Semaphore::new(OPEN_REQUESTS_MAX));
    while let Some(Ok(request)) = requests.next().await {
        let Ok(permit) = open.clone().acquire_owned().await else { return };
        let (number, term) = (request.number, request.term);
        let reply_to = {
            let replies = replies.clone();
            ReplyTo::new(move |result| {
                // Whoever asked may be gone.
                drop(replies.try_send(Ok(replies::to(number, &result))));
                drop(permit);
            })
        };
        match requests::from(request) {
            Ok(request) => owner.submit(term, request, reply_to),
            Err(bad) => reply_to.answer(Err(Rejection::bad_request(bad.to_string()))),
        }
    }
}
