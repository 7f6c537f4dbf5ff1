//! `DataKeys`: a process destroys data keys, also those that it has at hand.

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::GroupId;
use tonic::{Request, Response, Status};

use super::proto;
use super::proto::data_keys_server::DataKeys;
use super::requests::group;

/// Something that has data keys at hand.
#[async_trait]
pub trait Destroys: Send + Sync {
    /// Destroys a group's data keys in the store and at hand; how many were in the store.
    ///
    /// # Errors
    /// Why they may still be there, in words for an operator.
    async fn destroy(&self, group: GroupId) -> Result<u64, String>;
}

/// The service, in front of this process' data keys.
pub(super) struct Service {
    pub(super) keys: Arc<dyn Destroys>,
}

#[tonic::async_trait]
impl DataKeys for Service {
    async fn destroy(
        &self,
        request: Request<proto::DestroyKeysRequest>,
    ) -> Result<Response<proto::DestroyKeysReply>, Status> {
        let wrong = |error: super::BadMessage| Status::invalid_argument(error.to_string());
        let group = group(&request.into_inner().group_id).map_err(wrong)?;
        let destroyed = self.keys.destroy(group).await.map_err(Status::unavailable)?;
        Ok(Response::new(proto::DestroyKeysReply { destroyed }))
    }
}
