//! The log's incarnation: the first record of `parley.meta`. Whoever starts first writes it; if two do at the same time,
//! the first record counts for both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parley_domain::Epoch;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::client::Context;
use super::core::Core;
use super::error::OpenError;
use super::producer::Appender;
use super::readers;
use crate::port::AppendError;

/// Writing takes as long as an append may; the partitions of a new topic may have no leader for a while.
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the epoch, or makes one unless the log must exist. Blocks.
pub(super) fn find(core: &Arc<Core>, appender: &Appender) -> Result<Epoch, OpenError> {
    let topic = core.options.meta();
    let mut failure = None;
    for _ in 0..TRIES {
        if let Some(epoch) = read(core, &topic)? {
            return Ok(epoch);
        }
        if core.options.must_exist {
            return Err(OpenError::absent(&core.options, topic));
        }
        if let Some(reason) = failure {
            tracing::warn!(topic, %reason, "the epoch wasn't written; once more");
        }
        failure = write(appender, &topic);
    }
    let unwritten =
        || OpenError::EpochUnwritten { topic: topic.clone(), reason: failure.unwrap_or_default() };
    read(core, &topic)?.ok_or_else(unwritten)
}

/// Says why it isn't known whether it was written, if so.
fn write(appender: &Appender, topic: &str) -> Option<Arc<str>> {
    let epoch = uuid::Uuid::now_v7();
    let written = appender.publish(topic, None, Some(epoch.as_bytes()));
    match tokio::runtime::Handle::current().block_on(written) {
        Ok(_) => {
            tracing::info!(topic, %epoch, "a new log");
            None
        }
        Err(AppendError::Unknown(reason) | AppendError::NotAppended(reason)) => Some(reason),
    }
}

fn read(core: &Arc<Core>, topic: &str) -> Result<Option<Epoch>, OpenError> {
    let fail = || OpenError::kafka(&core.options, format!("read {topic}"));
    let reader = readers::reader(core).map_err(fail())?;
    let (start, end) = bounds(&reader, topic).map_err(fail())?;
    if start == end {
        return Ok(None);
    }
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, 0).set_offset(Offset::Offset(start)).map_err(fail())?;
    let mut first = None;
    readers::scan(&reader, &list, |message| {
        first = Some(message.payload().unwrap_or_default().to_vec());
        false
    })
    .map_err(fail())?;
    let Some(value) = first else {
        return Ok(None);
    };
    let found = value.len();
    let epoch = uuid::Uuid::from_slice(&value);
    epoch.map(|epoch| Some(Epoch(epoch))).map_err(|_| OpenError::Epoch { topic: topic.to_owned(), found })
}

/// First and next offset. The leader of a topic that was made just now may not know yet that it leads.
fn bounds(reader: &BaseConsumer<Context>, topic: &str) -> KafkaResult<(i64, i64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reader.fetch_watermarks(topic, 0, PATIENCE) {
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, topic, "not there yet");
                std::thread::sleep(PAUSE);
            }
            bounds => return bounds,
        }
    }
}
