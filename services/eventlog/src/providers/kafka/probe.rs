//! Looks at the brokers while there may be trouble, so that it ends by itself: readiness may keep every append away.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client::Context;
use super::core::Core;
use crate::port::Topic;

/// How long the brokers may take to say how they are.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether each partition has a leader and enough replicas in sync, according to the brokers.
pub(super) fn look(core: &Core, consumer: &BaseConsumer<Context>) {
    for topic in Topic::ALL {
        if let Err(reason) = look_at(core, consumer, core.name(topic)) {
            core.health.fail(&reason);
            return;
        }
    }
    core.health.recover();
}

fn look_at(core: &Core, consumer: &BaseConsumer<Context>, name: &str) -> Result<(), String> {
    let metadata = consumer
        .fetch_metadata(Some(name), PATIENCE)
        .map_err(|error| format!("the brokers can't be reached: {error}"))?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    let topic = topic.ok_or_else(|| format!("the brokers don't know {name}"))?;
    for partition in topic.partitions() {
        // A partition without a leader may have no list of replicas at all.
        if partition.leader() < 0 {
            return Err(format!("{name}/{} has no leader", partition.id()));
        }
        let in_sync = partition.isr().len();
        if in_sync < usize::from(core.options.min_insync) {
            return Err(format!("{name}/{} has only {in_sync} replicas in sync", partition.id()));
        }
    }
    Ok(())
}
