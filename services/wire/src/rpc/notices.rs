//! `Notices`: an edge tells its sockets what other processes say.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::notices_server::Notices;
use super::requests::{group, texts, user};
use super::{BadMessage, proto, replies};
use crate::service;

/// The service, in front of this edge's sockets.
pub(super) struct Service {
    pub(super) notices: Arc<dyn service::Notices>,
    pub(super) typing: Arc<dyn service::Peers>,
}

#[tonic::async_trait]
impl Notices for Service {
    async fn notify(&self, request: Request<proto::Notice>) -> Result<Response<proto::NotifyReply>, Status> {
        let notice = replies::notice_from(request.into_inner()).map_err(invalid)?;
        let online = self.notices.notify(notice).await;
        Ok(Response::new(proto::NotifyReply { online: texts(&online) }))
    }

    async fn pass_typing(
        &self,
        request: Request<proto::Typing>,
    ) -> Result<Response<proto::TypingReply>, Status> {
        let typing = request.into_inner();
        let (group, user) = (group(&typing.group_id).map_err(invalid)?, user(&typing.user).map_err(invalid)?);
        self.typing.typing(group, &user);
        Ok(Response::new(proto::TypingReply {}))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn invalid(bad: BadMessage) -> Status {
    Status::invalid_argument(bad.to_string())
}
