//! The REST calls of the contract's section 3.
//!
//! ```text
//! request ─▶ observe (id, span, count) ─▶ discard ─▶ catch panic ─▶ route ─▶ Caller ─▶ path, query, body ─▶ handler
//!                                                          │        │ 401       │ 400, 413        │
//!                                                          └─ 404 ───────────── all as `Fault` ◀──┘
//! ```
//!
//! Writes are wishes to the owner of a group's partition, reads come from the read models once these show everything
//! that anybody was told before.

mod access;
mod answer;
mod create;
mod download;
mod extract;
mod fault;
mod groups;
mod members;
mod messages;
mod observe;
mod origins;
mod page;
mod recipe;
mod statuses;
mod unread;
mod upload;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;

pub use origins::{cors, is_own_page};

use crate::edge::Shared;

/// Everything under `/v1`, the WebSocket's handshake included; any other path answers `not_found`.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/groups", get(groups::list).post(create::create))
        .route("/v1/groups/{group_id}", get(groups::show).patch(groups::update).delete(groups::dissolve))
        .route("/v1/groups/{group_id}/owner", put(members::transfer_ownership))
        .route("/v1/groups/{group_id}/members", get(members::list).post(members::add))
        .route("/v1/groups/{group_id}/members/{user_id}", delete(members::remove))
        .route("/v1/groups/{group_id}/members/{user_id}/role", put(members::set_role))
        .route("/v1/groups/{group_id}/messages", get(messages::history))
        .route("/v1/groups/{group_id}/messages/{message_id}/status", get(statuses::statuses))
        .route("/v1/media/uploads", post(upload::create))
        .route("/v1/media/{media_id}", get(download::create))
        .route("/v1/users/me", get(users::own).put(users::put_own))
        .route("/v1/users/{user_id}", get(users::show))
        .route("/v1/ws", get(crate::ws::handshake))
        .fallback(fault::no_such_route)
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(CatchPanicLayer::custom(fault::panicked))
        .layer(axum::middleware::from_fn(unread::discard))
        .layer(axum::middleware::from_fn(observe::observe))
        .with_state(shared)
}
