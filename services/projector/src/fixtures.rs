//! A small log and read models of it, for tests.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::path::Path;
use std::sync::Arc;

use parley_domain::{EventId, PartitionCount, ProfileChanged, Stamp, Timestamp, UserId};
use parley_eventlog::conformance::append;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options};
use parley_eventlog::{EventLog, Record, Topic, TopicPartition};
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::event;

/// The partition that these logs have.
pub(crate) const USERS: TopicPartition = TopicPartition { topic: Topic::Users, partition: 0 };

/// A log of one partition, and read models of it.
pub(crate) fn engines(dir: &Path) -> (Arc<dyn EventLog>, Arc<EmbeddedReadStore>) {
    let options = Options::new(dir.join("log"), PartitionCount::new(1).unwrap());
    let log: Arc<dyn EventLog> = EmbeddedLog::open(options).unwrap().0;
    let store = EmbeddedReadStore::open(&dir.join("reads"), log.epoch(), Default::default()).unwrap();
    (log, store)
}

/// Appends some records: a claim first, then the profiles of some users.
pub(crate) async fn profiles(log: &Arc<dyn EventLog>, numbers: std::ops::Range<u8>) {
    let records = numbers.map(|number| {
        let (id, at) = (EventId::from_bytes([number; 16]), Timestamp(i64::from(number)));
        let user = UserId::parse(&format!("user-{number}")).unwrap();
        let profile = ProfileChanged { user, display_name: "x".to_owned(), avatar_url: None, at };
        let (value, kind, stamp) = match number.checked_sub(1) {
            None => (event::encode_claim(id, &"test".into(), 0, at), event::CLAIM_TYPE, Stamp::Claim),
            Some(index) => {
                let stamp = Stamp::Event { claim: 0, index: u64::from(index) };
                (event::encode_profile(&profile, id), event::PROFILE_TYPE, stamp)
            }
        };
        let key = (number > 0).then(|| profile.user.as_str().to_owned().into());
        let source = "test".into();
        (
            USERS,
            Record {
                key,
                value,
                id,
                kind: kind.into(),
                source,
                time: at,
                stamp,
                trace: None,
                decoded: parley_wire::decoded::Decoded::default(),
            },
        )
    });
    append(log, records.collect()).await.unwrap();
}
