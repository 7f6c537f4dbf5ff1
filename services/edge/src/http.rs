//! Connections over HTTP/1.1: taken, served with limits on every wait, and ended on shutdown.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD_WAIT: Duration = Duration::from_secs(60);
/// How long a client may send nothing of a body that it has begun.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// How long to wait after a connection couldn't be taken, most likely because there are no files left.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Serves until told to stop, then lets the requests that are under way end. WebSockets are not waited for: once
/// upgraded, they are the edge's.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) {
    let app = app.layer(RequestBodyTimeoutLayer::new(BODY_WAIT));
    let mut connections = JoinSet::new();
    let mut logged = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(error = &error as &dyn std::error::Error, "a connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                logged = false;
                connections.spawn(connection(socket, app.clone(), stop.clone()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut logged, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "no connection can be taken; trying on");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: TcpStream, app: Router, stop: CancellationToken) {
    // Frames are written whole, so that waiting to fill packets only delays them.
    drop(socket.set_nodelay(true));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that breaks off or sends no HTTP has had its answer or wants none.
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// Whether it went away before it was taken.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
