//! The harness of the end-to-end tests: the real binary, and clients that know nothing but the contract.
//!
//! A test starts a [`Server`] on a directory of its own and port 0; dropping it kills the process. Clients speak through
//! `tokio-tungstenite` and `reqwest`, never through the server's own code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a harness of tests fails by panicking"
)]

pub mod bad_tokens;
pub mod chat;
mod client;
pub mod cluster;
pub mod collector;
pub mod engines;
pub mod media;
pub mod raw;
pub mod repository;
mod server;
pub mod transcript;

pub use client::{Client, Rest, connect, handshake_status};
pub use serde_json::{Value, json};
pub use server::{Server, ServerOptions, binary, token};

/// A fresh id, as clients make them.
#[must_use]
pub fn fresh_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
