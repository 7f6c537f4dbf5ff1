//! The formats: the only place that knows JSON, protobuf and the names on the wire, and that converts between them
//! and the domain.
//!
//! - [`event`]: records of the log, to and from protobuf.
//! - [`frame`]: the WebSocket's events, as in the contract's section 4.
//! - [`rest`]: bodies of the REST calls, section 3.
//! - [`service`]: the traits by which edges and writers call each other; [`rpc`]: the same between processes, as gRPC.
//! - [`code`]: error codes and close codes.
//! - [`documents`]: OpenAPI and AsyncAPI, made from the types above.

pub mod clock;
pub mod code;
pub mod decoded;
pub mod documents;
pub mod event;
pub mod frame;
pub mod rest;
pub mod rpc;
pub mod seldom;
pub mod service;
pub mod time;
pub mod trace;

/// What `build.rs` generates from `schemas/`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code; its documentation is in the .proto"
)]
mod generated {
    pub mod events {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/parley.events.v1.rs"));
        }
    }
    pub mod commands {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/parley.commands.v1.rs"));
        }
    }
}

pub use generated::events::v1 as proto;
