//! How processes of Parley call each other: the traits of [`crate::service`] over gRPC.
//!
//! ```text
//!  edge ── Link (one stream a writer) ──▶ Commands ──▶ Owner          of a writer
//!  writer, edge ── notify, pass_typing ─▶ Notices  ──▶ Notices, Peers of an edge
//!  rebuild ── pause ────────────────────▶ Projectors ▶ Pausable       of a projector
//!  keys destroy ── forget ──────────────▶ DataKeys ──▶ Forgets        of everybody
//! ```
//!
//! Nothing else here knows protobuf of commands, and nothing outside of this crate knows tonic.

mod client;
mod commands;
mod data_keys;
mod notices;
mod projectors;
mod replies;
mod requests;
mod server;
mod tls;

pub use client::{Answers, CallError, Channels, Link, Replied};
pub use data_keys::Forgets;
pub use projectors::{NotPaused, Pausable, Paused};
pub use server::{Roles, serve};
pub use tls::{Tls, TlsError};

pub(crate) use crate::generated::commands::v1 as proto;

/// The largest message: a notice to 10,000 members of the longest names.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Requests of one stream that may be open at once.
const OPEN_REQUESTS_MAX: usize = 16_384;
/// What `schemas/` says, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A message that another version sent, or nobody of ours.
#[derive(Debug, thiserror::Error)]
#[error("field {0} is missing, impossible or of a newer version")]
pub struct BadMessage(&'static str);
