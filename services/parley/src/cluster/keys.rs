//! `parley keys` where the data keys are shared: every process has some at hand, so every process has to be told.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use parley_domain::GroupId;
use parley_eventlog::EventLog as _;
use parley_eventlog::providers::kafka::KafkaLog;
use parley_keys::{KeyRing, Keys};
use parley_wire::rpc::{Channels, Destroys};

use super::engines::{key_store, open_keys, ring_path};
use super::roster::{self, Present};
use crate::Usage;
use crate::config::Config;

/// Processes told at the same time.
const CALLS_MAX: usize = 16;

/// The data keys of this process, as others have some destroyed.
pub(super) struct AtHand(pub(super) Arc<Keys>);

#[async_trait]
impl Destroys for AtHand {
    async fn destroy(&self, group: GroupId) -> Result<u64, String> {
        match self.0.destroy(group).await {
            Ok(destroyed) => {
                tracing::warn!(%group, destroyed, "data keys destroyed");
                Ok(destroyed as u64)
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, %group, "data keys can't be destroyed");
                Err(format!("{:#}", anyhow::Error::from(error)))
            }
        }
    }
}

/// Destroys a group's data keys in the store and in every process that is there; how many there were, and how many
/// processes were told.
///
/// # Errors
/// Engines or processes that don't answer. Then it is to be run again.
pub(crate) async fn destroy(config: &Config, group: GroupId) -> anyhow::Result<(u64, usize)> {
    let present = present(config).await?;
    if present.entries.is_empty() {
        let destroyed = open_keys(config).await?.destroy(group).await?;
        return Ok((destroyed as u64, 0));
    }
    let channels = Channels::new(config.tls()?);
    let tell = |(instance, entry): (String, roster::Entry)| {
        let channels = &channels;
        async move {
            let told = channels.destroy_keys(&entry.rpc, group).await;
            told.map_err(|error| format!("{instance} ({:#})", anyhow::Error::from(error)))
        }
    };
    let told: Vec<Result<u64, String>> =
        stream::iter(present.entries).map(tell).buffer_unordered(CALLS_MAX).collect().await;
    // Those who look at the same time all count what they find.
    let destroyed = told.iter().flatten().max().copied().unwrap_or_default();
    let untold: Vec<&str> = told.iter().filter_map(|told| told.as_ref().err().map(String::as_str)).collect();
    anyhow::ensure!(
        untold.is_empty(),
        "{destroyed} data keys of group {group} are destroyed, but these processes may still have some at hand: {}; run it \
         again, or restart them",
        untold.join(", ")
    );
    Ok((destroyed, told.len()))
}

/// Adds a key-encryption key and wraps every data key under it; the key's name, and how many data keys were wrapped.
///
/// # Errors
/// Processes that run, engines that don't answer.
pub(crate) async fn rotate(config: &Config) -> anyhow::Result<(String, usize)> {
    let present = present(config).await?;
    if !present.entries.is_empty() {
        let running: Vec<&str> = present.entries.keys().map(String::as_str).collect();
        let why = format!(
            "these processes run, and know only the keys that the ring had when they started: stop them first: {}",
            running.join(", ")
        );
        return Err(Usage(why).into());
    }
    // Before anything changes.
    let store = key_store(config).await?;
    let path = ring_path(config);
    let mut ring = KeyRing::open_or_create(&path)?;
    ring.rotate(&path)?;
    let keys = Keys::new(ring, store);
    let wrapped = keys.rewrap().await.context("run it again: it goes on where it stopped")?;
    Ok((keys.ring().active().to_owned(), wrapped))
}

/// Who is there.
async fn present(config: &Config) -> anyhow::Result<Present> {
    let options = config.kafka_options().context("the log isn't on Kafka")?;
    let log = KafkaLog::open(options).await.context("the log can't be opened")?;
    let present = roster::heard(log.roster()).await;
    log.close().await;
    Ok(present)
}
