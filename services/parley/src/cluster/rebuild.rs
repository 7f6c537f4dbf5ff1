//! `parley rebuild` where the work is shared: in a process of its own, while the projectors stand still for the comparison.

use std::sync::Arc;

use indicatif::ProgressBar;
use parley_eventlog::EventLog as _;
use parley_wire::rpc::Channels;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engines::{Engines, Missing};
use super::peers::AllProjectors;
use super::roster::{self, Present};
use crate::config::Config;
use crate::progress;
use crate::rebuild::{Wish, perform};

/// Builds, compares and switches, or switches back.
///
/// # Errors
/// Engines that don't answer, projectors that don't stand still, or as [`parley_projector::rebuild`].
pub(crate) async fn run(config: &Config, wish: Wish, bar: &ProgressBar) -> anyhow::Result<Value> {
    let engines = Engines::open(config, false, false, Missing::Refuse).await?;
    let stop = CancellationToken::new();
    let (seen, present) = watch::channel(Present::default());
    let following = tokio::spawn(roster::follow(engines.log.roster(), None, seen, stop.clone()));
    tokio::time::sleep(roster::HEARD_AFTER).await;
    let projectors = AllProjectors { channels: Arc::new(Channels::new(config.tls()?)), present };
    let tell = |step| progress::show(bar, &step);
    let outcome = perform(engines.log.clone(), engines.reads.clone(), Some(&projectors), wish, tell).await;
    stop.cancel();
    drop(following.await);
    engines.log.close().await;
    Ok(outcome?.json())
}
