//! Looks at the brokers while there may be trouble, so that it ends by itself: readiness may keep every append away.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::Metadata;

use super::client::Context;
use super::core::Core;
use crate::port::Topic;

/// How long the brokers may take to say how they are.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notes whether each partition has a leader and enough replicas in sync, according to the brokers; says whether they answered.
pub(super) fn look(core: &Core, consumer: &BaseConsumer<Context>) -> bool {
    for topic in Topic::ALL {
        let name = core.name(topic);
        let metadata = match consumer.fetch_metadata(Some(name), PATIENCE) {
            Ok(metadata) => metadata,
            Err(error) => {
                core.health.fail(&format!("the brokers can't be reached: {error}"));
                return false;
            }
        };
        if let Err(reason) = look_at(core, &metadata, name) {
            core.health.fail(&reason);
            return true;
        }
    }
    core.health.recover();
    true
}

fn look_at(core: &Core, metadata: &Metadata, name: &str) -> Result<(), String> {
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
