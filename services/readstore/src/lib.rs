//! The read models: port, providers, and one conformance suite for all providers.
//!
//! - [`Directory`] and [`Timeline`] are the questions, [`Rows`] is how a projector writes, [`ReadStore`] holds versions.
//! - [`providers`] hold the engines; [`providers::embedded`] keeps everything in a directory.
//! - [`conformance`] is what every provider must pass.
//!
//! Architecture invariant: rows only say what facts say. Whatever a query needs beyond that (who is a member now, how
//! much is unread) is folded when it is asked, so that applying a fact twice or late changes nothing.

pub mod conformance;
mod page;
mod port;
pub mod providers;

pub use page::Page;
pub use port::*;
