//! Bounded reads of one partition, by a few consumers that are kept for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use super::client::{self, Context};
use super::codec::Decoder;
use super::core::{Core, signed};
use crate::port::{ReadError, TopicPartition};
use crate::record::StoredRecord;

/// Reads at the same time; more wait.
const READERS: usize = 4;
/// How much a reader fetches ahead.
const AHEAD_BYTES: usize = 1 << 20;
/// How long a read may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

type Reader = BaseConsumer<Context>;

/// The consumers.
pub(super) struct Readers {
    core: Arc<Core>,
    permits: Arc<Semaphore>,
    /// As many as there are permits, at most: who takes one has a permit until it is given back.
    idle: Mutex<Vec<Reader>>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), permits: Arc::new(Semaphore::new(READERS)), idle: Mutex::default() }
    }

    /// At most `records_max` records from an offset on; all that lie before `end`, which must have been reached.
    pub(super) async fn read(
        self: &Arc<Self>,
        at: TopicPartition,
        from: u64,
        end: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let readers = Arc::clone(self);
        let read = move || {
            let _until_read = permit; // also where nobody waits for it any more
            let reader = readers.take().map_err(io_error)?;
            let records = readers.read_with(&reader, at, from, end, records_max)?;
            readers.give_back(reader);
            Ok(records)
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| ReadError::Io(io::Error::other(error)))?
    }

    /// The consumers that nobody uses.
    pub(super) fn drain(&self) -> Vec<Reader> {
        std::mem::take(&mut *self.idle.lock())
    }

    fn take(&self) -> KafkaResult<Reader> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| reader(&self.core), Ok)
    }

    /// One that failed doesn't come back.
    fn give_back(&self, reader: Reader) {
        if reader.unassign().is_ok() {
            self.idle.lock().push(reader);
        }
    }

    fn read_with(
        &self,
        reader: &Reader,
        at: TopicPartition,
        from: u64,
        end: u64,
        records_max: usize,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition(self.core.name(at.topic), signed(at.partition))
            .set_offset(offset)
            .map_err(io_error)?;
        let mut records = Vec::new();
        let mut decoder = Decoder::default();
        let mut next = from;
        scan(reader, &list, |message| {
            if let Some(stored) = decoder.decode(at, message).filter(|stored| stored.offset >= next) {
                next = stored.offset + 1;
                if stored.offset < end {
                    records.push(stored);
                }
            }
            next < end && records.len() < records_max
        })
        .map_err(|error| {
            let is_gone = error == KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset);
            if is_gone { ReadError::OutOfRange { at, offset: from } } else { io_error(error) }
        })?;
        Ok(records)
    }
}

/// A consumer of one partition at a time, which tells when it is at the end.
pub(super) fn reader(core: &Arc<Core>) -> KafkaResult<Reader> {
    client::reading(&core.options, AHEAD_BYTES)
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create_with_context(Context::new(core))
}

/// Reads on from the only place of a list until `take` says that it has enough, or the end of the partition.
pub(super) fn scan(
    reader: &Reader,
    list: &TopicPartitionList,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> KafkaResult<()> {
    reader.assign(list)?;
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reader.poll(left.min(Duration::from_millis(100))) {
            Some(Ok(message)) => {
                if !take(&message) {
                    return Ok(());
                }
                deadline = Instant::now() + PATIENCE;
            }
            // The end of the partition, as its leader of now knows it.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_final(&error) => return Err(error),
            // A broker is away; the client looks for it.
            Some(Err(error)) => tracing::debug!(%error, "a read of the log waits"),
            None => {}
        }
        if left.is_zero() {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
    }
}

fn is_final(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumptionFatal(_)
            | KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)
    )
}

/// As the port has it.
pub(super) fn io_error(error: KafkaError) -> ReadError {
    ReadError::Io(io::Error::other(error))
}
