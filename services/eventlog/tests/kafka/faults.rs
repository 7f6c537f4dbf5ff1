//! What must not go unseen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_domain::{EventId, Stamp, Timestamp};
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions, OpenError};
use parley_eventlog::{AppendError, Bound, EventLog as _, ReadError, Record, Topic, TopicPartition};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use crate::options;
use crate::topics::admin;

const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

fn record(number: u64, value_bytes: usize) -> Record {
    Record {
        key: Some(Bytes::from_static(b"key")),
        value: Bytes::from(vec![1; value_bytes]),
        id: EventId::from_bytes([7; 16]),
        kind: "parley.test.v1".into(),
        source: "test".into(),
        time: Timestamp(0),
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
        stamp: Stamp::Event { claim: 0, index: number },
    }
}

async fn append(log: &KafkaLog, numbers: std::ops::Range<u64>) -> Result<Vec<u64>, AppendError> {
    log.append(numbers.map(|number| (AT, record(number, 10))).collect()).await.expect("answered")
}

/// Loses everything, as no broker should.
async fn lose(options: &KafkaOptions) {
    let admin = admin(options);
    let name = options.topic(AT.topic);
    for outcome in admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap() {
        outcome.unwrap();
    }
    let began = Instant::now();
    loop {
        let topic = NewTopic::new(&name, 4, TopicReplication::Fixed(1));
        let made = admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap();
        if made.iter().all(Result::is_ok) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{made:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_trouble(log: &KafkaLog, what: &str) -> Arc<str> {
    let began = Instant::now();
    loop {
        // Asking is what finds it.
        drop(log.offsets(&[AT], Bound::End).await);
        match log.trouble() {
            Some(reason) if reason.contains(what) => return reason,
            other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_log_that_lost_records_takes_no_more_for_good() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    append(&log, 0..10).await.unwrap();
    assert_eq!(log.offsets(&[AT], Bound::End).await.unwrap(), [10]);
    lose(&options).await;
    until_trouble(&log, "lost records").await;
    let refused = append(&log, 10..11).await;
    assert!(
        matches!(&refused, Err(AppendError::NotAppended(reason)) if reason.contains("lost")),
        "{refused:?}"
    );
    // It doesn't pass by itself.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(log.trouble().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn an_append_that_lands_before_what_was_known_is_not_acknowledged() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    append(&log, 0..10).await.unwrap();
    lose(&options).await;
    let began = Instant::now();
    // It may still get into the old log while that goes.
    while let Ok(offsets) = append(&log, 10..11).await {
        assert!(offsets[0] >= 10, "{offsets:?}");
        assert!(began.elapsed() < PATIENCE, "{offsets:?}");
    }
    until_trouble(&log, "lost records").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_tail_whose_place_is_gone_says_so() {
    let options = options();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    append(&log, 0..10).await.unwrap();
    let mut tail = log.tail(vec![(AT, 10)]).await.unwrap();
    lose(&options).await;
    let outcome = tokio::time::timeout(PATIENCE, tail.next(10)).await.expect("in time");
    assert!(matches!(outcome, Err(ReadError::OutOfRange { .. } | ReadError::Io(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn what_is_too_much_is_refused_before_anything_of_it_is_sent() {
    let mut options = options();
    options.pending_bytes_max = 1 << 20;
    let log = KafkaLog::open(options).await.unwrap();
    let appendings: Vec<_> = (0..40).map(|number| log.append(vec![(AT, record(number, 100_000))])).collect();
    let (mut landed, mut refused) = (0, 0);
    for appending in appendings {
        match appending.await.unwrap() {
            Ok(_) => landed += 1,
            Err(AppendError::NotAppended(reason)) => {
                assert!(reason.contains("too much"), "{reason}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(landed >= 10 && refused > 0, "{landed} landed, {refused} were refused");
    assert_eq!(log.offsets(&[AT], Bound::End).await.unwrap(), [landed]);
    // The room comes back.
    log.append(vec![(AT, record(0, 900_000))]).await.unwrap().unwrap();
    let beyond = log.append(vec![(AT, record(0, 2 << 20))]).await.unwrap();
    assert!(matches!(beyond, Err(AppendError::NotAppended(_))), "{beyond:?}");
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_log_without_brokers_is_a_clear_error_in_bounded_time() {
    let mut options = options();
    options.brokers = "127.0.0.1:1".to_owned();
    let began = Instant::now();
    let error = KafkaLog::open(options).await.err().expect("nobody answers");
    assert!(matches!(&error, OpenError::Kafka { brokers, .. } if brokers == "127.0.0.1:1"), "{error:?}");
    assert!(began.elapsed() < PATIENCE);
}
