//! From an HTTP request to a session.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use http::{HeaderMap, StatusCode, header};
use hyper_util::rt::TokioIo;
use parley_domain::{Code, Rejection};
use parley_wire::clock;
use parley_wire::rest::ErrorEnvelope;
use tokio::io::{AsyncReadExt as _, Chain};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::auth::{AuthError, Identity, bearer};
use crate::edge::Shared;
use crate::rest::is_own_page;
use crate::session;

/// What the kernel keeps of what was written and not yet acknowledged by the peer; it takes twice that, its own records
/// counted. Left to itself it would keep megabytes for each client that doesn't read. Over a round trip of 100 ms it still
/// lets a megabyte a second through.
const SOCKET_SEND_BYTES: usize = 128 * 1024;

/// The client's and the server's half of an upgraded connection.
pub(crate) type Halves = (ReadHalf, OwnedWriteHalf);
/// The client's half; what came right behind the handshake was read with it.
pub(crate) type ReadHalf = Chain<Cursor<Bytes>, OwnedReadHalf>;

/// `GET /v1/ws`.
pub(crate) async fn handshake(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    if !is_upgrade_request(&request) {
        return refuse(
            StatusCode::BAD_REQUEST,
            &Rejection::bad_request("this route speaks WebSocket (RFC 6455) only"),
        );
    }
    if let Err(rejection) = check_origin(&shared, request.headers()) {
        return refuse(StatusCode::FORBIDDEN, &rejection);
    }
    let identity = match identify(&shared, request.headers()).await {
        Ok(identity) => identity,
        Err(error) => return refuse(StatusCode::UNAUTHORIZED, &error.of_call()),
    };
    let no_place = if shared.is_draining() {
        Some("the server is stopping: try again, at another one if there is one")
    } else if shared.hub.sockets() >= shared.options.limits.sockets {
        Some("the server has as many connections as it takes: try again later")
    } else {
        None
    };
    if let Some(why) = no_place {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &Rejection::new(Code::Unavailable, why).retry_after(2_000),
        );
    }
    let replay =
        !request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "replay=none"));
    let (response, upgraded) = match upgrade(&mut request) {
        Ok(parts) => parts,
        Err(_) => {
            let why = "not a WebSocket handshake: Sec-WebSocket-Key and Sec-WebSocket-Version 13 are needed";
            return refuse(StatusCode::BAD_REQUEST, &Rejection::bad_request(why));
        }
    };
    shared.tracker.spawn({
        let shared = shared.clone();
        async move {
            if let Some(halves) = take_socket(upgraded).await {
                session::run(shared, halves, identity, replay).await;
            }
        }
    });
    response.map(|_| Body::empty())
}

fn check_origin(shared: &Shared, headers: &HeaderMap) -> Result<(), Rejection> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let listed = |origin: &http::HeaderValue| {
        shared.options.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    };
    if origins.all(listed) || (shared.options.own_page && is_own_page(headers)) {
        return Ok(());
    }
    Err(Rejection::new(Code::Forbidden, "this origin is not on the server's list (http.origins)"))
}

async fn identify(shared: &Shared, headers: &HeaderMap) -> Result<Option<Identity>, AuthError> {
    match bearer(headers)? {
        Some(token) => shared.engines.auth.verify_for_socket(token, clock::now()).await.map(Some),
        None => Ok(None),
    }
}

fn refuse(status: StatusCode, rejection: &Rejection) -> Response {
    let mut response = (status, axum::Json(ErrorEnvelope::new(rejection))).into_response();
    let headers = response.headers_mut();
    if let Some(millis) = rejection.retry_after_ms {
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from(millis.div_ceil(1_000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    }
    response
}

async fn take_socket(upgraded: UpgradeFut) -> Option<Halves> {
    let upgraded = upgraded.await.ok()?.into_inner().into_inner();
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an upgraded connection is no TCP socket, as those of this server are");
        return None;
    };
    let socket = parts.io.into_inner();
    // Not essential: it was connected a moment ago, and if it is broken its first write says so.
    let _: rustix::io::Result<()> =
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_SEND_BYTES);
    let (read, write) = socket.into_split();
    // A copy, since it is a part, mostly an empty one, of the buffer that the request was read into: that would live as long
    // as the connection.
    let rest = Bytes::copy_from_slice(&parts.read_buf);
    Some((Cursor::new(rest).chain(read), write))
}
