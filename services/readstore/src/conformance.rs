//! The suite that every provider must pass.
//!
//! A [`World`] plays a script of wishes against the domain and so has a log: facts, acknowledgements, profiles. The
//! domain's own fold of that log says what the answers must be. [`run`] puts both next to a provider, in order, out of
//! order and repeatedly; [`versions`] does the same for a whole [`ReadStore`](crate::ReadStore).
//!
//! A difference panics, as in any test; an [`Error`] of the provider is returned.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these are tests, which live here so that every provider can run them"
)]

mod answers;
mod oracle;
mod order;
mod scenarios;
mod stores;
mod world;

use std::future::Future;
use std::sync::Arc;

pub use answers::check;
pub use order::{Dump, dump};
pub use stores::versions;
pub use world::{Entry, Op, World, script};

use crate::{Error, ReadModel, Write};

/// Runs the whole suite, with so many random logs. `make` gives an empty read model each time.
///
/// # Errors
/// What the provider answered where it should have answered a row.
pub async fn run<F, Fut>(make: F, logs: u64) -> Result<(), Error>
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = Arc<dyn ReadModel>> + Send,
{
    check(&*make().await, &World::default()).await?;
    scenarios::rejoining(&*make().await).await?;
    scenarios::unread(&*make().await).await?;
    scenarios::unread_stops(&*make().await).await?;
    scenarios::many_steps(&*make().await).await?;
    scenarios::paging(&*make().await).await?;
    scenarios::long_history(&*make().await).await?;
    scenarios::rolled_back(&*make().await).await?;
    scenarios::notifications(&*make().await).await?;
    scenarios::early_acknowledgements(&*make().await).await?;
    scenarios::one_batch(&*make().await).await?;
    scenarios::checkpoints(&*make().await).await?;
    for seed in 1..=logs {
        let world = World::play(&script(seed, 150));
        let model = make().await;
        apply(&*model, &world.log, 7).await?;
        check(&*model, &world).await?;
        order::any_order(&make, &world).await?;
    }
    Ok(())
}

/// Applies some entries of a log, in batches.
///
/// # Errors
/// The provider's.
pub async fn apply(model: &dyn ReadModel, entries: &[Entry], batch: usize) -> Result<(), Error> {
    for entries in entries.chunks(batch) {
        let writes: Vec<Write> = entries.iter().flat_map(Entry::writes).collect();
        model.apply(writes, Vec::new()).await?;
    }
    Ok(())
}
