//! `parley keys` where the data keys are shared: every process has some at hand, so every process has to be told.

use std::sync::Arc;

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use parley_domain::{GroupId, KeyId};
use parley_eventlog::EventLog as _;
use parley_eventlog::providers::kafka::Roster;
use parley_keys::{KeyRing, Keys};
use parley_wire::rpc::{Channels, Forgets};

use super::engines::{Missing, key_store, open_log, ring_path};
use super::roster::{self, Present};
use crate::Usage;
use crate::config::Config;
use crate::engines::of_ring;

/// Processes told at the same time.
const CALLS_MAX: usize = 16;

/// The data keys of this process, if it uses any, as it is told of some that are destroyed.
pub(super) struct AtHand(pub(super) Option<Arc<Keys>>);

impl Forgets for AtHand {
    fn forget(&self, keys: &[KeyId]) {
        if let Some(at_hand) = &self.0 {
            if !keys.is_empty() {
                tracing::warn!(keys = keys.len(), "data keys are destroyed");
            }
            at_hand.forget(keys);
        }
    }
}

/// Destroys a group's data keys; how many there were, and how many processes were told.
///
/// Every process is told before: what it seals from then on the destruction doesn't take with it. And once more after it, since one
/// that came meanwhile may have found them in the store. That all can be told is seen before any is: those that were show content as
/// erased that is still there.
///
/// # Errors
/// Engines or processes that don't answer. Then it is to be run again.
pub(crate) async fn destroy(config: &Config, group: GroupId) -> anyhow::Result<(usize, usize)> {
    let store = key_store(config, Missing::Refuse).await?;
    let keys = store.of_group(group).await.context("no key is destroyed: run it again")?;
    let ids: Vec<KeyId> = keys.iter().map(|(_, id)| *id).collect();
    let log = open_log(config, Missing::Refuse).await?;
    let everybody = Everybody { roster: log.roster(), channels: Channels::new(config.tls()?) };
    let outcome = async {
        let none = "no key is destroyed: run it again";
        let present = everybody.present().await.context(none)?;
        let reached = everybody.forget(&present, &[]).await.context(none)?;
        if ids.is_empty() {
            return Ok(reached);
        }
        everybody.forget(&present, &ids).await.context(
            "no key is destroyed, but processes that were told show the group's content as erased: run it again",
        )?;
        let again = "the keys may not be destroyed: run it again";
        store.destroy(group, &keys).await.context(again)?;
        let again =
            "the keys are destroyed in the store, but some processes may have them at hand: run it again";
        let present = everybody.present().await.context(again)?;
        everybody.forget(&present, &ids).await.context(again)
    };
    let told = outcome.await;
    log.close().await;
    Ok((ids.len(), told?))
}

/// All processes of a cluster.
struct Everybody {
    roster: Roster,
    channels: Channels,
}

impl Everybody {
    /// Those who are there now; to hear them takes some seconds.
    async fn present(&self) -> anyhow::Result<Present> {
        roster::heard(&self.roster).await.context("it can't be told who is there")
    }

    /// Tells those who are there that these keys are destroyed; how many they are.
    async fn forget(&self, present: &Present, ids: &[KeyId]) -> anyhow::Result<usize> {
        let tell = |(instance, entry): (String, roster::Entry)| async move {
            let told = self.channels.forget_keys(&entry.rpc, ids).await;
            told.map_err(|error| format!("{instance} ({:#})", anyhow::Error::from(error)))
        };
        let told: Vec<Result<(), String>> =
            stream::iter(present.entries.clone()).map(tell).buffer_unordered(CALLS_MAX).collect().await;
        let untold: Vec<&str> =
            told.iter().filter_map(|told| told.as_ref().err().map(String::as_str)).collect();
        anyhow::ensure!(
            untold.is_empty(),
            "these processes can't be told: {}; if one is gone for good, it is forgotten after some seconds",
            untold.join(", ")
        );
        Ok(told.len())
    }
}

/// Adds a key-encryption key and wraps every data key under it; the key's name, and how many data keys were wrapped.
///
/// # Errors
/// Processes that run, a ring that isn't here, engines that don't answer.
pub(crate) async fn rotate(config: &Config) -> anyhow::Result<(String, usize)> {
    let path = ring_path(config);
    if !path.exists() {
        let why = format!(
            "{} isn't there: run this where the cluster's key ring is, or name it with keys.ring",
            path.display()
        );
        return Err(Usage(why).into());
    }
    let present = present(config).await?;
    if !present.entries.is_empty() {
        let running: Vec<&str> = present.entries.keys().map(String::as_str).collect();
        let why = format!(
            "these processes run, and know only the keys that the ring had when they started: stop them first: {}",
            running.join(", ")
        );
        return Err(Usage(why).into());
    }
    // Whether it is this one is asked before anything changes.
    let store = key_store(config, Missing::Refuse).await?;
    let mut keys = of_ring(Keys::new(KeyRing::open_or_create(&path)?, store), &path).await?;
    keys.rotate(&path)?;
    let wrapped = keys.rewrap().await.with_context(|| {
        format!(
            "some data keys may be under the fresh key {} already: give {} to every machine, and run this again",
            keys.ring().active(),
            path.display()
        )
    })?;
    Ok((keys.ring().active().to_owned(), wrapped))
}

/// Who is there.
async fn present(config: &Config) -> anyhow::Result<Present> {
    let log = open_log(config, Missing::Refuse).await?;
    let present = roster::heard(&log.roster()).await;
    log.close().await;
    present.context("it can't be told who is there")
}
