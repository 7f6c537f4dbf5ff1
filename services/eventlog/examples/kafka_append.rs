//! Appends, offsets and replay of the log on Kafka, in numbers, beside a bare producer with the same settings, records and
//! number in flight: `cargo run --release -p parley-eventlog --example kafka_append HOST:PORT[,…] [REPLICATION]`.
//!
//! Makes topics with a prefix of their own, which stay; run it on a cluster that you can throw away.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool for those who work on the log"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_domain::{EventId, PartitionCount, Stamp, Timestamp};
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions};
use parley_eventlog::{Bound, EventLog, Record, StoredRecord, Topic, TopicPartition, headers};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

const ALONE: u64 = 1_000;
const MANY: u64 = 300_000;
const IN_FLIGHT: u64 = 10_000;
const ROUNDS: usize = 3;
const VALUE_BYTES: usize = 200;
const PARTITIONS: u32 = 64;

fn at(number: u64) -> TopicPartition {
    TopicPartition {
        topic: Topic::Events,
        partition: u32::try_from(number % u64::from(PARTITIONS)).unwrap_or_default(),
    }
}

fn record(number: u64) -> Record {
    Record {
        key: Some(Bytes::from_static(b"0198c9a2-1111-7222-8333-444455556666")),
        value: Bytes::from(vec![7; VALUE_BYTES]),
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        kind: "parley.message.sent.v1".into(),
        source: "bench".into(),
        time: Timestamp(1_795_557_430_123),
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
        stamp: Stamp::Event { claim: 0, index: number },
    }
}

fn report(what: &str, count: u64, took: Duration) -> f64 {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:<52} {rate:>10.0}/s   ({count} in {took:.2?})");
    rate
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{what:<52} p50 {:.2?}, p99 {:.2?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let replication: u16 = arguments.next().map_or(1, |text| text.parse().unwrap());
    let mut options = KafkaOptions::new(brokers, PartitionCount::new(PARTITIONS).unwrap());
    options.prefix = Some(format!("bench-{}", uuid::Uuid::now_v7().simple()));
    (options.replication, options.min_insync) = (replication, replication.min(2));
    options.allow_single = true;
    let began = Instant::now();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    println!("opened in {:.2?}", began.elapsed());
    let first = Instant::now();
    log.append(vec![(at(0), record(0))]).await.unwrap().unwrap();
    println!("the first append took {:.2?}", first.elapsed());

    let bare = Bare::new(&options);
    latencies(&log, &bare).await;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let theirs = bare.flood();
        let ours = flood(&log, 1).await;
        let batched = flood(&log, 16).await;
        println!(
            "{:<52} {:.0} %, {:.0} %",
            "ours of the bare one's",
            ours / theirs * 100.0,
            batched / theirs * 100.0
        );
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{:<52} {:.0} % (min {:.0} %, max {:.0} %)",
        "median",
        ratios[1] * 100.0,
        ratios[0] * 100.0,
        ratios[2] * 100.0
    );
    replay(&log).await;
    log.close().await;
}

async fn latencies(log: &Arc<KafkaLog>, bare: &Bare) {
    for number in 0..ALONE {
        bare.one(number);
    }
    let mut bares = Vec::new();
    let mut ours = Vec::new();
    let mut offsets = Vec::new();
    let all: Vec<_> = (0..u64::from(PARTITIONS)).map(at).collect();
    let mut all_offsets = Vec::new();
    for number in 0..ALONE {
        let one = Instant::now();
        log.append(vec![(at(number), record(number))]).await.unwrap().unwrap();
        ours.push(one.elapsed());
        let one = Instant::now();
        bare.one(number);
        bares.push(one.elapsed());
        let one = Instant::now();
        log.offsets(&[at(number)], Bound::End).await.unwrap();
        offsets.push(one.elapsed());
        let one = Instant::now();
        log.offsets(&all, Bound::End).await.unwrap();
        all_offsets.push(one.elapsed());
    }
    percentiles("append, one at a time", ours);
    percentiles("bare producer, one at a time", bares);
    percentiles("end of one partition", offsets);
    percentiles("ends of all partitions", all_offsets);
    let mut live = Vec::new();
    let end = log.offsets(&all, Bound::End).await.unwrap();
    let mut tail = log.tail(all.into_iter().zip(end).collect()).await.unwrap();
    for number in 0..ALONE {
        let one = Instant::now();
        let appending = log.append(vec![(at(number), record(number))]);
        assert_eq!(tail.next(10).await.unwrap().len(), 1);
        live.push(one.elapsed());
        appending.await.unwrap().unwrap();
    }
    percentiles("append until a tail gives it", live);
}

/// Appends of so many records each.
async fn flood(log: &Arc<KafkaLog>, batch: u64) -> f64 {
    let records: Vec<_> = (0..MANY).map(record).collect();
    let mut records = records.into_iter();
    let began = Instant::now();
    let mut appendings = VecDeque::new();
    let mut number = 0;
    while number < MANY {
        let place = at(number / batch);
        let some: Vec<_> =
            records.by_ref().take(usize::try_from(batch).unwrap()).map(|r| (place, r)).collect();
        number += batch;
        appendings.push_back(log.append(some));
        if appendings.len() as u64 * batch >= IN_FLIGHT {
            appendings.pop_front().unwrap().await.unwrap().unwrap();
        }
    }
    for appending in appendings {
        appending.await.unwrap().unwrap();
    }
    report(&format!("append, {batch} a call, {IN_FLIGHT} in flight"), MANY, began.elapsed())
}

async fn replay(log: &Arc<KafkaLog>) {
    let places: Vec<_> = (0..u64::from(PARTITIONS)).map(at).collect();
    let ends: u64 = log.offsets(&places, Bound::End).await.unwrap().iter().sum();
    let began = Instant::now();
    let mut tail = log.tail(places.into_iter().map(|at| (at, 0)).collect()).await.unwrap();
    let mut seen = 0;
    while seen < ends {
        seen += tail.next(1_000).await.unwrap().len() as u64;
    }
    report("tail, all of it", seen, began.elapsed());
    let mut times = Vec::new();
    for number in 0..200 {
        let one = Instant::now();
        assert_eq!(log.read(at(number), number * 10, 100).await.unwrap().len(), 100);
        times.push(one.elapsed());
    }
    percentiles("read, 100 of one partition", times);
}

/// Counts what was confirmed.
#[derive(Default)]
struct Confirmed(AtomicU64);

impl ClientContext for Confirmed {}

impl ProducerContext for Confirmed {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        assert!(delivery.is_ok());
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// A producer without anything around it.
struct Bare {
    producer: ThreadedProducer<Confirmed>,
    topic: String,
}

impl Bare {
    fn new(options: &KafkaOptions) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &options.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("socket.nagle.disable", "true")
            .set("queue.buffering.max.messages", "0")
            .create_with_context(Confirmed::default())
            .unwrap();
        Self { producer, topic: options.topic(Topic::Events) }
    }

    fn confirmed(&self) -> u64 {
        self.producer.context().0.load(Ordering::Acquire)
    }

    fn send(&self, at: TopicPartition, stored: &StoredRecord) {
        let all = headers(stored);
        let with = all.iter().fold(OwnedHeaders::new_with_capacity(all.len()), |with, (key, value)| {
            with.insert(Header { key, value: Some(value) })
        });
        let partition = i32::try_from(at.partition).unwrap();
        let record = BaseRecord::to(&self.topic)
            .partition(partition)
            .payload(&stored.record.value[..])
            .key(stored.record.key.as_deref().unwrap())
            .timestamp(stored.record.time.as_millis())
            .headers(with);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    fn one(&self, number: u64) {
        let before = self.confirmed();
        self.send(at(number), &StoredRecord { at: at(number), offset: 0, record: record(number) });
        while self.confirmed() == before {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn flood(&self) -> f64 {
        let records: Vec<_> = (0..MANY)
            .map(|number| StoredRecord { at: at(number), offset: 0, record: record(number) })
            .collect();
        let start = self.confirmed();
        let began = Instant::now();
        for (number, stored) in (1..).zip(&records) {
            self.send(stored.at, stored);
            while number - (self.confirmed() - start) >= IN_FLIGHT {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        while self.confirmed() - start < MANY {
            std::thread::sleep(Duration::from_micros(20));
        }
        report(&format!("bare producer, {IN_FLIGHT} in flight"), MANY, began.elapsed())
    }
}
