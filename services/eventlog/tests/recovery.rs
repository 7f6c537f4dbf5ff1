//! What a crash or damage leaves behind, and what opening the log makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/logs.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use parley_eventlog::EventLog as _;
use parley_eventlog::providers::embedded::{EmbeddedLog, OpenError};

use support::{AT, Bench, append, block_on, open, record, try_open};

/// How many records an open finds; each is the next number.
fn count(dir: &Path) -> u64 {
    let (log, _) = open(dir);
    block_on(async {
        let stored = log.read(AT, 0, usize::MAX).await.unwrap();
        for (number, stored) in (0..).zip(&stored) {
            assert_eq!((stored.offset, &stored.record), (number, &record(number)));
        }
        stored.len() as u64
    })
}

/// Three batches: of 2, 1 and 3 records.
fn three_batches() -> Bench {
    let mut bench = Bench::new();
    bench.batches(&[2, 1, 3]);
    bench
}

#[test]
fn a_log_cut_anywhere_in_its_last_batch_keeps_the_whole_records() {
    let bench = three_batches();
    let file = bench.only_segment();
    let whole = fs::read(&file).unwrap();
    let frames = bench.frame_ends();
    let last_batch = frames[2];
    for len in last_batch..=whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        let kept = frames.iter().filter(|end| **end <= len).count() as u64;
        let is_torn = !frames.contains(&len);

        let mut inspection = EmbeddedLog::inspect(bench.dir()).unwrap();
        assert_eq!(inspection.by_ref().map(Result::unwrap).count() as u64, kept, "cut at {len}");
        assert_eq!(fs::read(&file).unwrap(), &whole[..len], "inspecting changes nothing");
        assert!(
            matches!(try_open(bench.dir()), Err(OpenError::InUse { .. })),
            "who reads isn't written under"
        );
        let inspected = inspection.report().cloned();
        drop(inspection);

        let (log, report) = open(bench.dir());
        assert_eq!(report.records, kept);
        assert_eq!(report.cut.is_some(), is_torn, "cut at {len}");
        let mut expected = report.clone();
        if let Some(cut) = &mut expected.cut {
            let kept_in = cut.kept_in.take().unwrap();
            assert_eq!((cut.at + cut.bytes_lost, &cut.file), (len as u64, &file));
            assert_eq!(fs::read(&kept_in).unwrap(), &whole[usize::try_from(cut.at).unwrap()..len]);
            fs::remove_file(kept_in).unwrap();
        }
        assert_eq!(inspected, Some(expected));
        assert_eq!(block_on(append(&log, &[kept])), [kept], "and it goes on from there");
        drop(log);
        assert_eq!(count(bench.dir()), kept + 1);
    }
}

#[test]
fn a_flipped_byte_anywhere_in_the_last_batch_cuts_from_its_record_on() {
    let bench = three_batches();
    let file = bench.only_segment();
    let whole = fs::read(&file).unwrap();
    let frames = bench.frame_ends();
    for at in frames[2]..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&file, &bytes).unwrap();
        let (log, report) = open(bench.dir());
        drop(log);
        let kept = frames.iter().filter(|end| **end <= at).count();
        assert_eq!(report.records, kept as u64, "flipped at {at}");
        let cut = report.cut.unwrap();
        assert_eq!(cut.at, frames[kept - 1] as u64);
        assert!(!cut.reason.is_empty());
        assert_eq!(count(bench.dir()), kept as u64);
    }
}

#[test]
fn garbage_and_zeros_at_the_end_are_cut_off() {
    let bench = three_batches();
    let file = bench.only_segment();
    let whole = fs::read(&file).unwrap();
    let noise: Vec<u8> =
        (0u64..10_000).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0]).collect();
    let beginnings: Vec<u8> = [0xF7, b'P', b'L', 0xFE, 9, 0, 0, 0].repeat(500);
    let mut other = three_batches();
    other.batches(&[1]);
    // Whole frames of another log, as somebody might have us store them.
    let foreign = fs::read(other.only_segment()).unwrap()[44..].to_vec();
    for tail in [vec![0], vec![0; 3_000_000], noise, beginnings, foreign, b"\xF7PL".to_vec()] {
        let mut out = fs::File::create(&file).unwrap();
        out.write_all(&whole).unwrap();
        out.write_all(&tail).unwrap();
        drop(out);
        let (log, report) = open(bench.dir());
        drop(log);
        assert_eq!(report.records, 6);
        assert_eq!(report.cut.unwrap().bytes_lost, tail.len() as u64);
        assert_eq!(fs::read(&file).unwrap(), whole);
        assert_eq!(count(bench.dir()), 6);
    }
}

/// Opening is refused, names the place, and changes nothing.
fn assert_refused(dir: &Path, file: &Path, place: Option<u64>) {
    let listing = || {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = listing();
    match try_open(dir) {
        Err(OpenError::Damaged { file: named, at, .. }) => {
            assert_eq!(named, file);
            assert!(place.is_none_or(|place| place == at), "{at} for {place:?}");
        }
        other => panic!("opened or failed otherwise: {other:?}"),
    }
    assert!(listing() == before, "nothing on disk has changed");
    let inspected = EmbeddedLog::inspect(dir).and_then(|records| records.collect::<Result<Vec<_>, _>>());
    assert!(matches!(inspected, Err(OpenError::Damaged { .. })), "inspecting says it too");
}

#[test]
fn damage_before_the_last_batch_is_never_silently_lost() {
    let bench = three_batches();
    let file = bench.only_segment();
    let whole = fs::read(&file).unwrap();
    let frames = bench.frame_ends();
    for at in 44..frames[2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let begin = frames.iter().rev().find(|end| **end <= at).copied().unwrap_or(44);
        assert_refused(bench.dir(), &file, Some(begin as u64));
    }
    // A lost block in the middle, so that lengths no longer lead to the next record.
    let mut bytes = whole.clone();
    bytes[60..frames[1]].fill(0);
    fs::write(&file, &bytes).unwrap();
    assert_refused(bench.dir(), &file, Some(44));
    for at in 0..44 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_refused(bench.dir(), &file, Some(0));
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(count(bench.dir()), 6, "restored, it opens again");
    let error = OpenError::Damaged { file, at: 44, reason: "r".to_owned() }.to_string();
    assert!(error.contains("events-") && error.contains("byte 44") && error.contains("backup"), "{error}");
}

#[test]
fn a_segment_that_is_not_the_last_must_be_whole() {
    let mut bench = Bench::with_segments_of(400);
    bench.batches(&[3; 10]);
    let segments = bench.segments();
    assert!(segments.len() > 4);
    let middle = &segments[2];
    let whole = fs::read(middle).unwrap();
    for len in [whole.len() - 1, 100, 44, 10, 0] {
        fs::write(middle, &whole[..len]).unwrap();
        assert!(matches!(try_open(bench.dir()), Err(OpenError::Damaged { .. })), "cut to {len}");
    }
    fs::write(middle, [&whole[..], &[0]].concat()).unwrap();
    assert_refused(bench.dir(), middle, Some(whole.len() as u64));
    fs::remove_file(middle).unwrap();
    assert_refused(bench.dir(), &segments[3], Some(0));
    fs::write(middle, &whole).unwrap();
    assert_eq!(count(bench.dir()), 30);
    let mut other = Bench::with_segments_of(400);
    other.batches(&[3; 10]);
    fs::copy(other.segments().last().unwrap(), segments.last().unwrap()).unwrap();
    assert_refused(bench.dir(), segments.last().unwrap(), Some(0));
}

#[test]
fn what_describes_the_log_is_checked() {
    let bench = three_batches();
    let meta = bench.dir().join("log.json");
    let text = fs::read_to_string(&meta).unwrap();
    for (change, check) in [
        (text.replace("\"partitions\": 4", "\"partitions\": 8"), "configure 8"),
        (text.replace("\"format\": 1", "\"format\": 2"), "format version 2"),
        (text.replace("\"format\"", "\"formal\""), "can't be understood"),
        (text.replace("\"partitions\": 4", "\"partitions\": 5"), "no number of partitions"),
        (String::new(), "can't be understood"),
    ] {
        assert_ne!(change, text);
        fs::write(&meta, &change).unwrap();
        let error = try_open(bench.dir()).unwrap_err().to_string();
        assert!(error.contains(check), "{error}");
    }
    fs::remove_file(&meta).unwrap();
    assert_refused(bench.dir(), &meta, Some(0));
    fs::write(&meta, &text).unwrap();
    let segment = bench.only_segment();
    let whole = fs::read(&segment).unwrap();
    fs::remove_file(&segment).unwrap();
    assert!(matches!(try_open(bench.dir()), Err(OpenError::Damaged { .. })), "all segments are gone");
    fs::write(&segment, whole).unwrap();
    assert_eq!(count(bench.dir()), 6);
}

#[test]
fn a_birth_or_rotation_that_was_interrupted_is_finished() {
    let bench = Bench::new();
    // Nothing yet, then a first segment alone, then beginnings of files beside their place.
    fs::create_dir_all(bench.dir()).unwrap();
    assert!(matches!(EmbeddedLog::inspect(bench.dir()).err(), Some(OpenError::Missing { .. })));
    open(bench.dir());
    fs::remove_file(bench.dir().join("log.json")).unwrap();
    for leftover in ["log.tmp", "events-00000000000000000000.tmp", "events-00000000000000000009.tmp"] {
        fs::write(bench.dir().join(leftover), b"half").unwrap();
    }
    assert_eq!(count(bench.dir()), 0);
    assert!(
        fs::read_dir(bench.dir()).unwrap().all(|f| f
            .unwrap()
            .path()
            .extension()
            .is_none_or(|ext| ext != "tmp"))
    );
    // A segment that was made, with nothing in it yet.
    let mut bench = Bench::with_segments_of(100);
    bench.batches(&[1, 1]);
    let last = bench.segments().pop().unwrap();
    let header = fs::read(&last).unwrap()[..44].to_vec();
    fs::write(&last, header).unwrap();
    assert_eq!(count(bench.dir()), 1);
    bench.number = 1;
    bench.batches(&[1, 1]);
    assert_eq!(count(bench.dir()), 3);
}

#[test]
fn a_log_opened_twenty_times_stays_whole() {
    let mut bench = Bench::with_segments_of(1_000);
    let mut epoch = None;
    for round in 0..20 {
        let (log, report) = open(bench.dir());
        assert_eq!((report.records, report.cut), (round * 5, None));
        assert_eq!(*epoch.get_or_insert(log.epoch()), log.epoch());
        drop(log);
        bench.batches(&[2, 3]);
    }
    assert_eq!(count(bench.dir()), 100);
    let mut inspection = EmbeddedLog::inspect(bench.dir()).unwrap();
    assert_eq!(Some(inspection.epoch()), epoch);
    assert_eq!(inspection.partitions().get(), 4);
    assert!(inspection.report().is_none(), "not before the end");
    let numbers: Vec<_> = inspection.by_ref().map(|stored| stored.unwrap().offset).collect();
    assert!(numbers.into_iter().eq(0..100));
    let report = inspection.report().unwrap();
    assert_eq!((report.records, report.segments), (100, bench.segments().len()));
    let bytes: u64 = bench.segments().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(report.bytes, bytes);
}
