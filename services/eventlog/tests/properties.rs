//! Whatever happens to the last segment, the log keeps a prefix of what was appended, or refuses to open.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/logs.rs"]
mod support;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use parley_eventlog::providers::embedded::{EmbeddedLog, OpenError};
use parley_eventlog::{EventLog as _, Record, StoredRecord, Topic, TopicPartition};
use proptest::prelude::*;

use support::{Bench, block_on, options, record};

#[derive(Debug, Clone)]
enum Step {
    /// One batch: topic, partition and value size of each record.
    Append(Vec<(usize, u32, usize)>),
    Reopen,
    /// Cuts so many bytes off the last segment, but never into its header.
    Truncate(usize),
    /// Flips a bit at this part of the last segment's frames.
    Flip(prop::sample::Index, u8),
    Garbage(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..3usize, 0..4u32, prop_oneof![4 => 0..200usize, 1 => 60_000..150_000usize]);
    prop_oneof![
        6 => prop::collection::vec(record, 1..6).prop_map(Step::Append),
        2 => Just(Step::Reopen),
        1 => (0..600usize).prop_map(Step::Truncate),
        1 => (any::<prop::sample::Index>(), 0..8u8).prop_map(|(at, bit)| Step::Flip(at, bit)),
        1 => prop::collection::vec(any::<u8>(), 1..300).prop_map(Step::Garbage),
    ]
}

fn all_records(dir: &Path) -> Result<Vec<StoredRecord>, OpenError> {
    EmbeddedLog::inspect(dir)?.collect()
}

fn append_batch(dir: &Path, model: &mut Vec<(TopicPartition, Record)>, batch: &[(usize, u32, usize)]) {
    let mut options = options(dir);
    options.segment_bytes_max = 3_000;
    options.tail_bytes_max = 1_000;
    let (log, _) = EmbeddedLog::open(options).unwrap();
    let records: Vec<_> = batch
        .iter()
        .map(|(topic, partition, bytes)| {
            let at = TopicPartition { topic: Topic::ALL[*topic], partition: *partition };
            (at, Record { value: Bytes::from(vec![0xF7; *bytes]), ..record(model.len() as u64) })
        })
        .collect();
    model.extend(records.iter().cloned());
    block_on(async {
        log.append(records).await.unwrap().unwrap();
        // All of it is there for readers, partition by partition.
        for at in batch
            .iter()
            .map(|(topic, partition, _)| TopicPartition { topic: Topic::ALL[*topic], partition: *partition })
        {
            let expected: Vec<_> =
                model.iter().filter(|(of, _)| *of == at).map(|(_, record)| record).collect();
            let read = log.read(at, 0, usize::MAX).await.unwrap();
            assert!(read.iter().map(|stored| &stored.record).eq(expected.iter().copied()));
            let mut tail = log.tail(vec![(at, 0)]).await.unwrap();
            let mut tailed = Vec::new();
            while tailed.len() < expected.len() {
                tailed.extend(tail.next(100).await.unwrap());
            }
            assert!(tailed.iter().map(|stored| &stored.record).eq(expected));
        }
    });
}

/// Damages the last segment's bytes, opens, and checks. `change` gets the bytes after the header.
fn damage(bench: &Bench, model: &mut Vec<(TopicPartition, Record)>, change: impl FnOnce(&mut Vec<u8>)) {
    let Some(last) = bench.segments().pop() else {
        return;
    };
    let before = fs::read(&last).unwrap();
    let mut frames = before[44..].to_vec();
    change(&mut frames);
    fs::write(&last, [&before[..44], &frames].concat()).unwrap();
    match EmbeddedLog::open(options(bench.dir())) {
        Ok((_, report)) => model.truncate(usize::try_from(report.records).unwrap()),
        Err(OpenError::Damaged { file, .. }) => {
            assert_eq!(file, last);
            fs::write(&last, before).unwrap();
        }
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prefix_is_kept(steps in prop::collection::vec(step(), 1..25)) {
        let bench = Bench::new();
        let mut model = Vec::new();
        drop(EmbeddedLog::open(options(bench.dir())).unwrap());
        for step in steps {
            match step {
                Step::Append(batch) => append_batch(bench.dir(), &mut model, &batch),
                Step::Reopen => damage(&bench, &mut model, |_| {}),
                Step::Truncate(bytes) => {
                    damage(&bench, &mut model, |frames| frames.truncate(frames.len().saturating_sub(bytes)));
                }
                Step::Flip(at, bit) => damage(&bench, &mut model, |frames| {
                    if !frames.is_empty() {
                        let at = at.index(frames.len());
                        frames[at] ^= 1 << bit;
                    }
                }),
                Step::Garbage(bytes) => damage(&bench, &mut model, |frames| frames.extend(bytes)),
            }
            let stored = all_records(bench.dir()).unwrap();
            prop_assert_eq!(stored.len(), model.len());
            prop_assert!(stored.into_iter().map(|stored| (stored.at, stored.record)).eq(model.iter().cloned()));
        }
    }
}
