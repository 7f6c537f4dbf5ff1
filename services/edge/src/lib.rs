//! The edge: REST and WebSocket. Verifies who asks, hands wishes to the owners of the partitions, delivers from the log,
//! and replays from the read models to whoever was away.
//!
//! ```text
//!              ┌───────────── session (one task) ─────────────┐
//!  frames ────▶│ reader ─▶ wishes ─▶ Commands                 │
//!  frames ◀────│ writer ◀─ outbox (bounded bytes)             │
//!              └──────────────▲──────────▲────────────────────┘
//!                    live     │          │ behind
//!  log tail ─▶ delivery ─▶ hub: group ─▶ subscriptions    replay ◀─ read models
//! ```

mod acks;
pub mod auth;
mod body;
mod delivery;
mod edge;
mod flusher;
mod http;
mod hub;
mod joins;
mod media;
mod opener;
mod options;
mod outbox;
mod owners;
mod replay;
mod rest;
mod resume;
mod session;
mod status;
#[cfg(test)]
mod testing;
pub mod ws;

pub use edge::{Edge, Readiness};
pub use http::serve;
pub use hub::Hub;
pub use options::{Engines, Limits, Options};
pub use owners::{OwnedBy, Owners, RemoteOwners};
pub use rest::{cors, is_own_page};
