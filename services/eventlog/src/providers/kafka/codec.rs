//! Our records as Kafka's messages, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{EventId, Stamp, Timestamp};
use parley_wire::decoded::Decoded;
use parley_wire::event::CLAIM_TYPE;
use parley_wire::trace::{TRACE_HEADER, TraceContext};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

use super::time;
use crate::headers::of_record;
use crate::port::TopicPartition;
use crate::record::{CLAIM_HEADER, INDEX_HEADER, Record, StoredRecord};

/// The headers that consumers of the log see.
pub(super) fn headers(record: &Record) -> OwnedHeaders {
    let all = of_record(record);
    let headers = OwnedHeaders::new_with_capacity(all.len());
    all.iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// Makes records of messages. Keeps the last source, which most messages share.
#[derive(Debug)]
pub(super) struct Decoder {
    source: Arc<str>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { source: Arc::from("") }
    }
}

/// What the headers say; what is missing or wrong there makes a void record, and no error: a stranger may have written it.
#[derive(Default)]
struct Found {
    id: Option<[u8; 16]>,
    kind: Option<String>,
    time: Option<Timestamp>,
    source: Option<Arc<str>>,
    claim: Option<u64>,
    index: Option<u64>,
    has_stamp: bool,
    trace: Option<TraceContext>,
}

impl Decoder {
    /// The record that a message holds. `None` only for an offset that makes no sense.
    pub(super) fn decode(
        &mut self,
        at: TopicPartition,
        message: &BorrowedMessage<'_>,
    ) -> Option<StoredRecord> {
        let offset = u64::try_from(message.offset()).ok()?;
        // The binding panics at a header whose name isn't UTF-8.
        let found = catch_unwind(AssertUnwindSafe(|| self.look(message))).unwrap_or_default();
        let key = message.key();
        let kind = found.kind.unwrap_or_default();
        let stamp = match (found.claim, found.index) {
            (Some(claim), Some(index)) => Stamp::Event { claim, index },
            _ if kind == CLAIM_TYPE && key.is_none() && !found.has_stamp => Stamp::Claim,
            _ => Stamp::Unclaimed,
        };
        let (key, value) = copy(key, message.payload().unwrap_or_default());
        let record = Record {
            key,
            value,
            id: EventId::from_bytes(found.id.unwrap_or_default()),
            kind: kind.into(),
            source: found.source.unwrap_or_else(|| Arc::from("")),
            time: found.time.unwrap_or(Timestamp(message.timestamp().to_millis().unwrap_or_default())),
            stamp,
            trace: found.trace.map(Box::new),
            decoded: Decoded::default(),
        };
        Some(StoredRecord { at, offset, record })
    }

    /// Its name must stay in backtraces: by it the process knows that a panic is caught here, and doesn't end.
    #[inline(never)]
    fn look(&mut self, message: &BorrowedMessage<'_>) -> Found {
        let mut found = Found::default();
        let Some(headers) = message.headers() else {
            return found;
        };
        for header in headers.iter() {
            let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
            match header.key {
                "ce_id" => {
                    found.id = text.and_then(|t| uuid::Uuid::try_parse(t).ok()).map(uuid::Uuid::into_bytes);
                }
                "ce_type" => found.kind = text.map(str::to_owned),
                "ce_time" => found.time = text.and_then(time::parse),
                "ce_source" => found.source = text.map(|text| self.source(text)),
                CLAIM_HEADER => (found.claim, found.has_stamp) = (text.and_then(decimal), true),
                TRACE_HEADER => found.trace = text.and_then(TraceContext::parse),
                INDEX_HEADER => (found.index, found.has_stamp) = (text.and_then(decimal), true),
                _ => {}
            }
        }
        found
    }

    fn source(&mut self, text: &str) -> Arc<str> {
        if *self.source != *text {
            self.source = text.into();
        }
        Arc::clone(&self.source)
    }
}

/// Digits only, so that there is one way to write a number.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// One allocation for both.
fn copy(key: Option<&[u8]>, value: &[u8]) -> (Option<Bytes>, Bytes) {
    let key_bytes = key.unwrap_or_default();
    let mut both = Vec::with_capacity(key_bytes.len() + value.len());
    both.extend_from_slice(key_bytes);
    both.extend_from_slice(value);
    let mut value = Bytes::from(both);
    let key_bytes = value.split_to(key_bytes.len());
    (key.map(|_| key_bytes), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_decimals() {
        for (text, number) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
        ] {
            assert_eq!(decimal(text), number, "{text:?}");
        }
    }

    #[test]
    fn key_and_value_come_apart_again() {
        let bytes = Bytes::from_static;
        assert_eq!(copy(Some(b"k"), b"value"), (Some(bytes(b"k")), bytes(b"value")));
        assert_eq!(copy(None, b"value"), (None, bytes(b"value")));
        assert_eq!(copy(Some(b""), b""), (Some(Bytes::new()), Bytes::new()));
    }
}
