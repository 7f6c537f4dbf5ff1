//! Appends and replay of the embedded log, in numbers: `cargo run --release -p parley-eventlog --example append [DIR]`.
//!
//! Makes a log of some 100 MB below the directory (by default the current one) and removes it again.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool for those who work on the log"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_domain::{EventId, PartitionCount, Stamp, Timestamp};
use parley_eventlog::providers::embedded::{EmbeddedLog, Options};
use parley_eventlog::{EventLog, Record, Topic, TopicPartition};

const ALONE: u64 = 500;
const MANY: u64 = 400_000;
const VALUE_BYTES: usize = 200;

fn at(number: u64) -> TopicPartition {
    TopicPartition { topic: Topic::Events, partition: u32::try_from(number % 64).unwrap_or_default() }
}

fn record(number: u64) -> Record {
    Record {
        key: Some(Bytes::from_static(b"0198c9a2-1111-7222-8333-444455556666")),
        value: Bytes::from(vec![7; VALUE_BYTES]),
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        kind: "parley.message.sent.v1".into(),
        source: "bench".into(),
        time: Timestamp(0),
        trace: None,
        decoded: parley_wire::decoded::Decoded::default(),
        stamp: Stamp::Event { claim: 0, index: number },
    }
}

fn report(what: &str, count: u64, took: Duration) {
    println!("{what:<40} {:>10.0} records/s   ({count} in {took:.2?})", count as f64 / took.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let base = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = base.join(format!("parley-append-{}", std::process::id()));
    run(&dir).await;
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn run(dir: &std::path::Path) {
    let (log, _) = EmbeddedLog::open(Options::new(dir, PartitionCount::DEFAULT)).unwrap();
    let mut times = Vec::new();
    let began = Instant::now();
    for number in 0..ALONE {
        let one = Instant::now();
        log.append(vec![(at(number), record(number))]).await.unwrap().unwrap();
        times.push(one.elapsed());
    }
    report("append, one at a time", ALONE, began.elapsed());
    times.sort_unstable();
    println!("{:<40} p50 {:.2?}, p99 {:.2?}", "", times[times.len() / 2], times[times.len() * 99 / 100]);

    let records: Vec<_> = (0..MANY).map(|number| record(ALONE + number)).collect();
    let began = Instant::now();
    let mut appendings = std::collections::VecDeque::new();
    for (number, record) in (ALONE..).zip(records) {
        appendings.push_back(log.append(vec![(at(number), record)]));
        if appendings.len() == 10_000 {
            appendings.pop_front().unwrap().await.unwrap().unwrap();
        }
    }
    for appending in appendings {
        appending.await.unwrap().unwrap();
    }
    report("append, 10,000 under way", MANY, began.elapsed());

    replay(&log, "tail, all of it, files then memory").await;
    let began = Instant::now();
    let mut found = 0;
    for from in (0..6_000).step_by(500) {
        found += log.read(at(5), from, 500).await.unwrap().len() as u64;
    }
    report("read, 500 of one partition in 64 a time", found, began.elapsed());
    drop(log);

    let began = Instant::now();
    let (log, found) = EmbeddedLog::open(Options::new(dir, PartitionCount::DEFAULT)).unwrap();
    report("open", found.records, began.elapsed());
    println!("{:<40} {} MB", "", found.bytes / 1_000_000);
    replay(&log, "tail, all of it, from files").await;
}

async fn replay(log: &Arc<EmbeddedLog>, what: &str) {
    let all = (0..64).map(|partition| (at(partition), 0)).collect();
    let began = Instant::now();
    let mut tail = log.tail(all).await.unwrap();
    let mut seen = 0;
    while seen < ALONE + MANY {
        seen += tail.next(1_000).await.unwrap().len() as u64;
    }
    report(what, seen, began.elapsed());
}
