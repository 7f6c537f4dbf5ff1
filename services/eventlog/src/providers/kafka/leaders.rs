//! Who leads which partition, as far as is known. Only for dealing questions to lanes: the client finds leaders itself.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client::Context;
use super::core::Core;
use crate::port::{Topic, TopicPartition};

/// How long a broker may take to tell.
const PATIENCE: Duration = Duration::from_millis(500);
/// Nobody asks more often.
const EVERY: Duration = Duration::from_millis(500);
const NOBODY: i32 = -1;

/// The leaders by slot.
pub(super) struct Leaders {
    ids: Vec<AtomicI32>,
    /// When it was looked last.
    looked: Mutex<Option<Instant>>,
}

impl Leaders {
    pub(super) fn new(slots: usize) -> Self {
        Self { ids: (0..slots).map(|_| AtomicI32::new(NOBODY)).collect(), looked: Mutex::new(None) }
    }

    /// The broker's id; `None` if nobody leads.
    pub(super) fn of(&self, slot: usize) -> Option<i32> {
        let id = self.ids.get(slot).map_or(NOBODY, |id| id.load(Ordering::Relaxed));
        (id != NOBODY).then_some(id)
    }

    /// Asks some broker, which makes the client itself forget leaders that don't answer. Not more often than needed.
    pub(super) fn look(&self, core: &Core, consumer: &BaseConsumer<Context>) {
        // Held meanwhile, so that one asks for all.
        let mut looked = self.looked.lock();
        if looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return;
        }
        for topic in Topic::ALL {
            match consumer.fetch_metadata(Some(core.name(topic)), PATIENCE) {
                Ok(metadata) => {
                    let ours = metadata.topics().iter().filter(|found| found.error().is_none());
                    for partition in ours.flat_map(|found| found.partitions()) {
                        let at = u32::try_from(partition.id())
                            .map(|partition| TopicPartition { topic, partition });
                        let id = at.ok().and_then(|at| core.slot(at)).and_then(|slot| self.ids.get(slot));
                        if let Some(id) = id {
                            id.store(partition.leader(), Ordering::Relaxed);
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "no broker tells who leads"),
            }
        }
        *looked = Some(Instant::now());
    }
}
