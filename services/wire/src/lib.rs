//! The formats: the only place that knows JSON, protobuf and the names on the wire, and that converts between them
//! and the domain.
//!
//! - [`event`]: records of the log, to and from protobuf.
//! - [`frame`]: the WebSocket's events, as in the contract's section 4.
//! - [`rest`]: bodies of the REST calls, section 3.
//! - [`service`]: the traits by which edges and writers call each other.
//! - [`code`]: error codes and close codes.
//! - [`documents`]: OpenAPI and AsyncAPI, made from the types above.

pub mod clock;
pub mod code;
pub mod documents;
pub mod event;
pub mod frame;
pub mod rest;
pub mod service;
pub mod time;

/// What `build.rs` generates from `schemas/parley/events/v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated code; its documentation is in the .proto"
)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/parley.events.v1.rs"));
}
