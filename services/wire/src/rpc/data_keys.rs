//! `DataKeys`: a process forgets data keys that are destroyed.

use std::sync::Arc;

use parley_domain::KeyId;
use tonic::{Request, Response, Status};

use super::proto;
use super::proto::data_keys_server::DataKeys;

/// Something that has data keys at hand.
pub trait Forgets: Send + Sync {
    /// These are destroyed; from now on they aren't used.
    fn forget(&self, keys: &[KeyId]);
}

/// The service, in front of this process' data keys.
pub(super) struct Service {
    pub(super) keys: Arc<dyn Forgets>,
}

#[tonic::async_trait]
impl DataKeys for Service {
    async fn forget(
        &self,
        request: Request<proto::ForgetKeysRequest>,
    ) -> Result<Response<proto::ForgetKeysReply>, Status> {
        let ids = request.into_inner().key_ids;
        let keys: Option<Vec<KeyId>> = ids.iter().map(|id| KeyId::from_slice(id)).collect();
        let keys = keys.ok_or_else(|| Status::invalid_argument("key_ids must have 16 bytes each"))?;
        self.keys.forget(&keys);
        Ok(Response::new(proto::ForgetKeysReply {}))
    }
}
