//! What others see of our records, and we of theirs.

use std::time::Duration;

use bytes::Bytes;
use parley_domain::{EventId, Stamp, Timestamp, Validity, Verdict};
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions};
use parley_eventlog::{AppendError, Bound, EventLog as _, Record, Topic, TopicPartition, admit};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::options;

const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 2 };
const PATIENCE: Duration = Duration::from_secs(20);

fn record(key: Option<&'static str>, stamp: Stamp) -> Record {
    Record {
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        value: Bytes::from_static(b"value"),
        id: EventId::from_bytes([7; 16]),
        kind: if stamp == Stamp::Claim { "parley.writer.claimed.v1" } else { "parley.test.v1" }.into(),
        source: "writer-1".into(),
        time: Timestamp(1_795_557_430_123),
        stamp,
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    }
}

/// Writes as anybody could.
fn write(options: &KafkaOptions, headers: OwnedHeaders, key: Option<&str>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &options.brokers).create().unwrap();
    let name = options.topic(AT.topic);
    let mut record = BaseRecord::to(&name).partition(2).payload("theirs").headers(headers);
    if let Some(key) = key {
        record = record.key(key);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn an_outsider_reads_keys_and_headers_as_published() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let records = [record(None, Stamp::Claim), record(Some("group-1"), Stamp::Event { claim: 0, index: 0 })];
    log.append(records.map(|record| (AT, record)).to_vec()).await.unwrap().unwrap();

    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &options.brokers).set("group.id", "x").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&options.topic(AT.topic), 2, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let read = || {
        let message = consumer.poll(PATIENCE).unwrap().unwrap();
        let headers: Vec<_> = message.headers().unwrap().iter().collect();
        let text = |header: &Header<'_, &[u8]>| {
            (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap())
        };
        let headers: Vec<_> = headers.iter().map(text).collect();
        let key = message.key().map(<[u8]>::to_vec);
        (key, headers, message.timestamp().to_millis(), message.payload().unwrap().to_vec())
    };
    let id = "07070707-0707-0707-0707-070707070707";
    let expected = |more: Vec<(&str, &str)>, kind: &str| -> Vec<(String, String)> {
        let all = [
            ("ce_specversion", "1.0"),
            ("ce_id", id),
            ("ce_type", kind),
            ("ce_source", "writer-1"),
            ("ce_time", "2026-11-24T21:57:10.123Z"),
        ];
        all.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (key, headers, time, value) = read();
    assert_eq!((key, time, &value[..]), (None, Some(1_795_557_430_123), &b"value"[..]));
    assert_eq!(headers, expected(vec![("content-type", "application/protobuf")], "parley.writer.claimed.v1"));
    let (key, headers, ..) = read();
    assert_eq!(key.as_deref(), Some(&b"group-1"[..]));
    let more = vec![
        ("ce_subject", "group-1"),
        ("content-type", "application/protobuf"),
        ("parley_claim", "0"),
        ("parley_index", "0"),
    ];
    assert_eq!(headers, expected(more, "parley.test.v1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn what_strangers_write_is_given_and_void() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let header = |key, value| Header { key, value: Some(value) };
    log.append(vec![(AT, record(None, Stamp::Claim))]).await.unwrap().unwrap();
    write(&options, OwnedHeaders::new(), None);
    write(&options, OwnedHeaders::new(), Some("group-1"));
    let odd = OwnedHeaders::new()
        .insert(header("ce_id", "not an id"))
        .insert(header("ce_type", "parley.test.v1"))
        .insert(header("ce_time", "yesterday"))
        .insert(header("parley_claim", "00"))
        .insert(header("parley_index", "0"))
        .insert(Header { key: "none", value: None::<&str> });
    write(&options, odd, Some("group-1"));
    // A claim under a claim is none.
    let odd = OwnedHeaders::new()
        .insert(header("ce_type", "parley.writer.claimed.v1"))
        .insert(header("parley_claim", "x"));
    write(&options, odd, None);
    log.append(vec![(AT, record(Some("group-1"), Stamp::Event { claim: 0, index: 0 }))])
        .await
        .unwrap()
        .unwrap();

    let stored = log.read(AT, 0, 100).await.unwrap();
    let mut validity = Validity::default();
    let verdicts: Vec<_> = stored.iter().map(|stored| admit(&mut validity, stored)).collect();
    use Verdict::{Claim, Valid, Void};
    assert_eq!(verdicts, [Claim, Void, Void, Void, Void, Valid]);
    assert!(stored[1..5].iter().all(|stored| stored.record.value == "theirs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn profiles_are_under_no_claim_and_others_must_be() {
    let log = KafkaLog::open(options()).await.unwrap();
    let users = TopicPartition { topic: Topic::Users, partition: 1 };
    assert!(!log.is_fenced(Topic::Users) && log.is_fenced(Topic::Events) && log.is_fenced(Topic::Acks));
    let profile = record(Some("user-1"), Stamp::Unclaimed);
    assert_eq!(log.append(vec![(users, profile.clone())]).await.unwrap().unwrap(), [0]);
    let stored = log.read(users, 0, 10).await.unwrap();
    assert_eq!(stored[0].record, profile);
    assert_eq!(admit(&mut Validity::default(), &stored[0]), Verdict::Valid);
    for (at, record) in [
        (users, record(None, Stamp::Claim)),
        (users, record(None, Stamp::Unclaimed)),
        (users, record(Some("user-1"), Stamp::Event { claim: 0, index: 0 })),
        (AT, record(Some("group-1"), Stamp::Unclaimed)),
    ] {
        let refused = log.append(vec![(users, profile.clone()), (at, record)]).await.unwrap();
        assert!(matches!(refused, Err(AppendError::NotAppended(_))), "{refused:?}");
    }
    assert_eq!(log.offsets(&[users, AT], Bound::End).await.unwrap(), [1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn holes_that_others_leave_hold_nobody_up() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let mut tail = log.tail(vec![(AT, 0)]).await.unwrap();
    log.append(vec![(AT, record(None, Stamp::Claim))]).await.unwrap().unwrap();
    // A transaction leaves a marker, which is an offset without a record, as compaction does.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("transactional.id", options.prefix.as_ref().unwrap())
        .create()
        .unwrap();
    let name = options.topic(AT.topic);
    tokio::task::spawn_blocking(move || {
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        producer
            .send(BaseRecord::<str, str>::to(&name).partition(2).payload("theirs"))
            .map_err(|(e, _)| e)
            .unwrap();
        producer.commit_transaction(PATIENCE).unwrap();
    })
    .await
    .unwrap();
    // It comes a moment after the commit.
    let began = std::time::Instant::now();
    while log.offsets(&[AT], Bound::End).await.unwrap() != [3] {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(log.read(AT, 0, 100).await.unwrap().len(), 2);
    assert!(log.read(AT, 2, 100).await.unwrap().is_empty());
    let mut given = 0;
    loop {
        let some = tail.next_now(10).await.unwrap();
        if some.is_empty() {
            break;
        }
        given += some.len();
    }
    assert_eq!(given, 2);
    log.append(vec![(AT, record(Some("group-1"), Stamp::Event { claim: 0, index: 0 }))])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tail.next_now(10).await.unwrap()[0].offset, 3);
}
