//! The projector: tails the log, asks the core what each event means for the read models, writes the rows and then how
//! far it has come. Nobody else writes rows.

mod apply;
#[cfg(test)]
mod fixtures;
mod progress;
mod projector;
mod rebuild;

pub use apply::StartError;
pub use progress::{Follower, Reached};
pub use projector::{Handle, Projector, Release};
pub use rebuild::{Comparison, RebuildError, RebuildStep, rebuild, switch_back};
