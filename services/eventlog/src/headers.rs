//! The headers of a record, as a consumer of the log sees them (contract, section 5).

use parley_domain::Stamp;
use parley_wire::time;
use parley_wire::trace::TRACE_HEADER;

use crate::record::{CE_SPECVERSION, CLAIM_HEADER, CONTENT_TYPE, INDEX_HEADER, Record, StoredRecord};

/// The CloudEvents headers (binary mode) and the two of the claim rule, as name and text, in a fixed order.
///
/// `ce_time` is RFC 3339 in UTC with milliseconds. `ce_subject` is the key; a claim has none, and neither
/// `parley_claim` nor `parley_index`, which are decimal.
#[must_use]
pub fn headers(stored: &StoredRecord) -> Vec<(&'static str, String)> {
    of_record(&stored.record)
}

/// The same, of a record that has no place yet.
pub(crate) fn of_record(record: &Record) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("ce_specversion", CE_SPECVERSION.to_owned()),
        ("ce_id", record.id.to_string()),
        ("ce_type", record.kind.clone().into_owned()),
        ("ce_source", record.source.to_string()),
        ("ce_time", time::format(record.time)),
    ];
    if let Some(key) = &record.key {
        headers.push(("ce_subject", String::from_utf8_lossy(key).into_owned()));
    }
    headers.push(("content-type", CONTENT_TYPE.to_owned()));
    if let Stamp::Event { claim, index } = record.stamp {
        headers.push((CLAIM_HEADER, claim.to_string()));
        headers.push((INDEX_HEADER, index.to_string()));
    }
    if let Some(trace) = &record.trace {
        headers.push((TRACE_HEADER, trace.traceparent()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use parley_domain::{EventId, Timestamp};

    use super::*;
    use crate::{Record, Topic, TopicPartition};

    fn stored(key: Option<&'static str>, stamp: Stamp) -> StoredRecord {
        let record = Record {
            key: key.map(|key| Bytes::from_static(key.as_bytes())),
            value: Bytes::from_static(b"v"),
            id: EventId::from_bytes([1; 16]),
            kind: "parley.some.event.v1".into(),
            source: Arc::from("writer-1"),
            time: Timestamp(0),
            stamp,
            trace: None,
            decoded: parley_wire::decoded::Decoded::default(),
        };
        StoredRecord { at: TopicPartition { topic: Topic::Events, partition: 3 }, offset: 7, record }
    }

    #[test]
    fn an_event_names_its_claim_and_a_claim_does_not() {
        let names = |stored| headers(&stored).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let event = stored(Some("k"), Stamp::Event { claim: 12, index: 3 });
        let text = |name| headers(&event).into_iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!((text("parley_claim"), text("parley_index")), ("12".to_owned(), "3".to_owned()));
        assert_eq!(
            (text("ce_time").as_str(), text("ce_subject").as_str()),
            ("1970-01-01T00:00:00.000Z", "k")
        );
        assert_eq!(
            names(event),
            [
                "ce_specversion",
                "ce_id",
                "ce_type",
                "ce_source",
                "ce_time",
                "ce_subject",
                "content-type",
                "parley_claim",
                "parley_index"
            ]
        );
        assert_eq!(
            names(stored(None, Stamp::Claim)),
            ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type"]
        );
    }
}
