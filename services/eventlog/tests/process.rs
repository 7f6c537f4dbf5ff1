//! What only a process of its own can show: `kill -9` in the middle, and a limit that the kernel itself enforces.
//!
//! The tests run this same program again, with one of the ignored ones, in the directory that they name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/logs.rs"]
mod support;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::Bytes;
use parley_eventlog::{AppendError, EventLog as _, Offsets as _, Record};

use support::{AT, append, block_on, open, record};

const DIR: &str = "PARLEY_EVENTLOG_TEST_DIR";

/// The directory that the starting test names; none if somebody runs the ignored tests by hand.
fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn this_program() -> OsString {
    std::env::current_exe().unwrap().into()
}

#[test]
#[ignore = "run by the next test, in a process of its own"]
fn child_appends_for_ever() {
    let Some(dir) = dir() else {
        return;
    };
    let (log, _) = open(&dir);
    block_on(async {
        for number in log.end_offset(AT).await.unwrap().. {
            append(&log, &[number]).await;
            // Not `println`: the test harness would capture it.
            writeln!(std::io::stderr(), "acknowledged {number}").unwrap();
        }
    });
}

#[test]
fn nothing_acknowledged_is_missing_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for _ in 0..3 {
        let mut child = Command::new(this_program())
            .args(["--exact", "child_appends_for_ever", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let numbers =
            |line: String| line.strip_prefix("acknowledged ").map(|number| number.parse::<u64>().unwrap());
        acknowledged = lines.by_ref().filter_map(numbers).take(200).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(numbers).last().unwrap_or(acknowledged);
        let (log, report) = open(dir.path());
        assert!(report.records > acknowledged, "{} records, {acknowledged} acknowledged", report.records);
        let stored = block_on(log.read(AT, 0, usize::MAX)).unwrap();
        assert!(
            stored
                .iter()
                .map(|stored| &stored.record)
                .eq((0..report.records).map(record).collect::<Vec<_>>().iter())
        );
    }
    assert!(acknowledged >= 599);
}

fn sized(bytes: usize) -> Record {
    Record { value: Bytes::from(vec![7; bytes]), ..record(0) }
}

#[test]
#[ignore = "run by the next test, in a process whose files may not grow beyond 32 or 64 KiB"]
fn child_meets_the_limit() {
    let Some(dir) = dir() else {
        return;
    };
    let (log, _) = open(&dir);
    block_on(async {
        let mut durable = 0;
        let mut grow = async |bytes| {
            loop {
                match log.append(vec![(AT, sized(bytes))]).await.unwrap() {
                    Ok(offsets) => {
                        assert_eq!(offsets, [durable]);
                        durable += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error, AppendError::NotAppended(_)), "{error}");
                        assert!(log.trouble().is_some());
                        assert_eq!(log.end_offset(AT).await.unwrap(), durable);
                        return durable;
                    }
                }
                assert!(durable < 1_000, "there is no limit");
            }
        };
        let large = grow(5_000).await;
        let all = grow(10).await;
        assert!(large >= 5 && all > large, "after the failure what still fits was taken: {large}, {all}");
        log.close().await;
    });
}

#[test]
fn a_write_that_the_kernel_refuses_half_way_leaves_a_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    // Ignored signals stay ignored in the next program, so the write fails with EFBIG instead of killing it.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(this_program())
        .args(["--exact", "child_meets_the_limit", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let (log, report) = open(dir.path());
    assert_eq!(report.cut, None, "nothing half written is left");
    assert!(report.records > 6);
    assert_eq!(block_on(append(&log, &[0])), [report.records], "without the limit it goes on");
}
