//! What every object store must do, tried over HTTP as a client does it.
//!
//! ```no_run
//! # async fn example(store: &dyn parley_media::MediaStore, http: &dyn parley_media::conformance::Http) {
//! parley_media::conformance::run(store, http).await.expect("a conforming store");
//! # }
//! ```
//!
//! It leaves its objects in the store, under media ids of its own. Takes some seconds, as it waits for URLs to
//! expire.

pub mod blobs;
mod case;
mod downloads;
mod uploads;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

pub use case::{Case, Put};

use crate::error::BoxError;
use crate::port::MediaStore;

/// The HTTP client that the suite drives. It must send each request as it is, and not follow redirects.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends a request with its whole body and reads the whole answer.
    ///
    /// # Errors
    /// If there was no answer. An error status is one.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError>;
}

/// Why a store doesn't conform.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did something else than it must.
    #[error("{rule}: {saw}")]
    Broke {
        /// What it must do.
        rule: String,
        /// What it did.
        saw: String,
    },
    /// The store gave an error.
    #[error("the store failed")]
    Store(#[from] crate::Error),
    /// No answer, or none that could be read.
    #[error("no answer")]
    Http(#[source] BoxError),
}

/// Runs the whole suite.
///
/// # Errors
/// The first rule that is broken.
pub async fn run(store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
    store.ready().await?;
    uploads::what_was_uploaded_is_seen_and_read(store, http).await?;
    uploads::nothing_else_than_signed_is_taken(store, http).await?;
    uploads::a_key_is_written_once(store, http).await?;
    uploads::of_uploads_at_once_one_wins(store, http).await?;
    downloads::a_part_can_be_read(store, http).await?;
    downloads::nothing_is_there_before_it_was_uploaded(store, http).await?;
    downloads::a_url_is_for_one_use(store, http).await?;
    downloads::nothing_without_a_signature(store, http).await?;
    downloads::urls_expire(store, http).await
}

/// Fails unless a condition holds.
pub(crate) fn must(rule: &str, holds: bool, saw: impl std::fmt::Debug) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Broke { rule: rule.to_owned(), saw: format!("{saw:?}") }) }
}
