//! The server of a process: the services of its role, health and reflection.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::proto::commands_server::CommandsServer;
use super::proto::data_keys_server::DataKeysServer;
use super::proto::notices_server::NoticesServer;
use super::proto::projectors_server::ProjectorsServer;
use super::tls::{Tls, TlsError};
use super::{DESCRIPTORS, Forgets, MESSAGE_BYTES_MAX, Pausable, commands, data_keys, notices, projectors};
use crate::service::{Notices, Owner, Peers};

/// How often an idle connection is asked whether it is there, and how long it may take to say so.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(3);
/// How long what is under way may take to end at a stop.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How long to wait after a connection couldn't be taken, most likely because there are no files left.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What a process does for others.
#[derive(Clone, Default)]
pub struct Roles {
    /// A writer's partitions.
    pub owner: Option<Arc<dyn Owner>>,
    /// An edge's sockets.
    pub notices: Option<(Arc<dyn Notices>, Arc<dyn Peers>)>,
    /// A projector.
    pub projector: Option<Arc<dyn Pausable>>,
    /// Data keys at hand.
    pub keys: Option<Arc<dyn Forgets>>,
}

/// Serves until told to stop; then ends what is under way, within a limit.
///
/// # Errors
/// Certificates that can't be used.
pub async fn serve(
    listener: TcpListener,
    tls: Option<&Tls>,
    roles: Roles,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let tracker = TaskTracker::new();
    let router = router(tls, roles, &tracker, &stop).await?;
    let incoming = TcpListenerStream::new(listener).then(|accepted| async {
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_RETRY).await;
        }
        accepted
    });
    let stopped = stop.clone();
    let serving = router.serve_with_incoming_shutdown(incoming, stopped.cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_WAIT).await;
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::error!(error = &error as &dyn std::error::Error, "the server for other services ended");
        },
        () = late => {}
    }
    tracker.close();
    tracker.wait().await;
    Ok(())
}

async fn router(
    tls: Option<&Tls>,
    roles: Roles,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Router, TlsError> {
    let mut server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WAIT));
    if let Some(tls) = tls {
        server = server.tls_config(tls.server()).map_err(TlsError)?;
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let mut router = server.add_service(health_service);
    match reflection {
        Ok(reflection) => router = router.add_service(reflection),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "no reflection"),
    }
    if let Some(owner) = roles.owner {
        let service = commands::Service { owner, tracker: tracker.clone(), stop: stop.clone() };
        let service = CommandsServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
        health.set_serving::<CommandsServer<commands::Service>>().await;
        router = router.add_service(service);
    }
    if let Some((notices, typing)) = roles.notices {
        let service = NoticesServer::new(notices::Service { notices, typing });
        health.set_serving::<NoticesServer<notices::Service>>().await;
        router = router.add_service(service.max_decoding_message_size(MESSAGE_BYTES_MAX));
    }
    if let Some(projector) = roles.projector {
        health.set_serving::<ProjectorsServer<projectors::Service>>().await;
        router = router.add_service(ProjectorsServer::new(projectors::Service { projector }));
    }
    if let Some(keys) = roles.keys {
        health.set_serving::<DataKeysServer<data_keys::Service>>().await;
        router = router.add_service(DataKeysServer::new(data_keys::Service { keys }));
    }
    Ok(router)
}
