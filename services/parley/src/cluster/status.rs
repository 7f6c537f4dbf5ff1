//! `parley status` where the work is shared: what the roles publish, and what the engines say.

use std::sync::Arc;

use anyhow::Context as _;
use parley_eventlog::EventLog as _;
use parley_readstore::ReadStore;

use super::engines::{self, Missing};
use super::roster;
use crate::config::Config;
use crate::status::{Instance, Status, of_log};

/// Asks.
///
/// # Errors
/// Engines that don't answer.
pub(crate) async fn ask(config: &Config) -> anyhow::Result<Status> {
    let log = engines::open_log(config, Missing::Refuse).await?;
    let reads = engines::shared_reads(config, log.epoch(), Missing::Refuse).await?;
    let present = roster::heard(&log.roster()).await.context("it can't be told who is there")?;
    let instances = present.entries.iter().map(|(name, entry)| Instance {
        instance: name.clone(),
        roles: entry.roles.clone(),
        sessions: entry.sockets,
    });
    let owner = |partition| present.owners.owner(partition).map(|owner| owner.instance.clone());
    let reads: Option<&dyn ReadStore> = reads.as_ref().map(Arc::as_ref);
    let status = of_log(log.as_ref(), reads, instances.collect(), owner).await;
    log.close().await;
    status
}
