//! The producer against brokers that fail on command. (librdkafka's own mock of a cluster: good for the client's paths of
//! error, not for what a broker promises. The real one is in `tests/kafka`.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_domain::{EventId, PartitionCount, Stamp, Timestamp};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::append::{Append, Pending};
use super::core::Core;
use super::options::KafkaOptions;
use super::producer::Appender;
use crate::{AppendError, Record, Topic, TopicPartition};

const AT: TopicPartition = TopicPartition { topic: Topic::Events, partition: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    core: Arc<Core>,
    appender: Appender,
}

impl Bench {
    fn new(produce_timeout: Duration) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let mut options = KafkaOptions::new(cluster.bootstrap_servers(), PartitionCount::new(4).unwrap());
        options.produce_timeout = produce_timeout;
        for topic in Topic::ALL {
            cluster.create_topic(topic.name(), 4, 1).unwrap();
        }
        let core = Arc::new(Core::new(options));
        let appender = Appender::start(&core).unwrap();
        Self { cluster, core, appender }
    }

    async fn append(&self, records: usize) -> Result<Vec<u64>, AppendError> {
        let records: Vec<_> = (0..records).map(|_| (AT, record())).collect();
        tokio::time::timeout(PATIENCE, self.appender.append(&records))
            .await
            .expect("in time")
            .expect("answered")
    }
}

fn record() -> Record {
    Record {
        key: Some(Bytes::from_static(b"key")),
        value: Bytes::from_static(b"value"),
        id: EventId::from_bytes([7; 16]),
        kind: "parley.test.v1".into(),
        source: "test".into(),
        time: Timestamp(1),
        stamp: Stamp::Event { claim: 0, index: 0 },
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_producer_has_a_successor_and_what_it_had_is_unknown() {
    let bench = Bench::new(Duration::from_secs(10));
    assert_eq!(bench.append(3).await.unwrap(), [0, 1, 2]);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    bench.cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    let outcome = bench.append(2).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    assert!(bench.core.health.trouble().is_some());
    let began = Instant::now();
    let offsets = loop {
        match bench.append(1).await {
            Ok(offsets) => break offsets,
            // The broken one refuses at once, until it is replaced.
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(offsets[0] >= 3, "{offsets:?}");
    bench.appender.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_refuses_is_unknown_and_what_it_takes_again_is_well() {
    let bench = Bench::new(Duration::from_secs(10));
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    bench.cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    let outcome = bench.append(1).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    bench.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    bench.append(1).await.unwrap();
    // What passes is tried again by the client.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    bench.cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
    bench.append(1).await.unwrap();
    bench.appender.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_the_outcome_is_unknown_in_bounded_time() {
    let bench = Bench::new(Duration::from_secs(1));
    bench.append(1).await.unwrap();
    bench.cluster.broker_down(1).unwrap();
    let outcome = bench.append(2).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    bench.cluster.broker_up(1).unwrap();
    let began = Instant::now();
    while bench.append(1).await.is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
    bench.appender.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_sends_what_was_handed_over_and_refuses_more() {
    let bench = Bench::new(Duration::from_secs(10));
    let appendings: Vec<_> = (0..100).map(|_| bench.appender.append(&[(AT, record())])).collect();
    bench.appender.close().await;
    for (expected, appending) in (0..).zip(appendings) {
        assert_eq!(appending.await.unwrap().unwrap(), [expected]);
    }
    let refused = bench.append(1).await;
    assert!(matches!(refused, Err(AppendError::NotAppended(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_below_what_was_known_stops_the_log() {
    let bench = Bench::new(Duration::from_secs(10));
    bench.append(1).await.unwrap();
    // As if the partition had reached more before.
    bench.core.reached(bench.core.slot(AT).unwrap(), 50);
    let outcome = bench.append(1).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    assert!(bench.core.health.lost().unwrap().contains("lost records"));
    bench.core.health.recover();
    assert!(bench.core.health.trouble().is_some(), "it doesn't pass");
    bench.appender.close().await;
}

#[tokio::test]
async fn a_partial_hand_over_is_unknown_and_a_refused_one_is_not() {
    let pending = Arc::new(Pending::new(100));
    assert!(pending.take(60) && !pending.take(60) && pending.take(40));
    let (reply, outcome) = tokio::sync::oneshot::channel();
    let append = Append::new(3, 60, &pending, reply);
    append.report(0, Ok(7));
    append.cut_short(2, Some("the client took no record".into()));
    assert!(matches!(outcome.await.unwrap(), Err(AppendError::Unknown(_))));
    assert!(pending.take(60), "the room is given back");
    let (reply, outcome) = tokio::sync::oneshot::channel();
    Append::new(3, 60, &pending, reply).refuse("closed".into());
    assert!(matches!(outcome.await.unwrap(), Err(AppendError::NotAppended(_))));
    let (reply, outcome) = tokio::sync::oneshot::channel();
    let append = Append::new(2, 40, &pending, reply);
    append.report(1, Err("first".into()));
    append.report(0, Err("second".into()));
    assert!(matches!(outcome.await.unwrap(), Err(AppendError::Unknown(reason)) if &*reason == "first"));
}
