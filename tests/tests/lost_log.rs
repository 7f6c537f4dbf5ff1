//! A log that lacks what was known of it is no reason to go on as if nothing were.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use parley_tests::{Server, ServerOptions, json};

fn only_segment(server: &Server) -> PathBuf {
    let entries = fs::read_dir(server.data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().expect("a segment")
}

/// A start that must be refused: one that isn't would serve on.
async fn serve(server: &Server) -> (i32, String, String) {
    let started = server.run(&["serve", "--listen", "127.0.0.1:0"]);
    tokio::time::timeout(Duration::from_secs(60), started).await.expect("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_what_was_acknowledged_is_refused_until_an_operator_accepts_the_loss() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut ann = server.quiet_client("ann").await;
    let kept = ann.text(&group, "kept").await;
    let lost = ann.text(&group, "lost").await;
    assert_eq!(server.terminate().await, Some(0));
    let segment = only_segment(&server);
    let length = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 3).unwrap();

    let before = fs::read_dir(server.data.join("reads")).unwrap().count();
    let (code, _, err) = serve(&server).await;
    assert!(code == 1 && err.contains("lost records that were acknowledged"), "{code} {err}");
    assert!(err.contains("accept-loss"), "it says what to do: {err}");
    assert_eq!(fs::read_dir(server.data.join("reads")).unwrap().count(), before, "the proof stays");
    assert_eq!(serve(&server).await.0, 1, "and again");
    // Whoever looks before is told the same: what was cut at the first try is whole by now, and by itself shows nothing.
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert!(code == 1 && out.contains("lost records that were acknowledged"), "{code} {out}{err}");
    assert!(out.contains("cut a torn tail back and kept it"), "{out}");
    let (code, _, err) = server.run(&["log", "accept-loss"]).await;
    assert!(code == 64 && err.contains("--yes"), "{code} {err}");
    let (code, out, err) = server.run(&["log", "accept-loss", "--yes"]).await;
    assert!(code == 0 && out.contains("begins"), "{code} {out}{err}");

    server.restart().await;
    let messages = server.rest("ann").await.history(&group, 200).await;
    let texts: Vec<_> = messages.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["kept"]);
    // Who knows what was lost is told.
    let mut bob = server.quiet_client("bob").await;
    let known = json!({"group_id": group, "epoch": lost["epoch"], "after_seq": lost["seq"]});
    let resumed = bob.must("resume", json!({"groups": [known]}), "resumed").await;
    assert_eq!(resumed["groups"][0]["complete"], false);
    assert_eq!(resumed["groups"][0]["reset_reason"], "epoch_changed");
    let next = server.quiet_client("ann").await.text(&group, "next").await;
    assert_eq!(next["seq"].as_u64(), kept["seq"].as_u64().map(|seq| seq + 1));
    assert_ne!(next["epoch"], kept["epoch"]);
    // A new segment or not, the log is one log.
    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = server.run(&["log", "accept-loss", "--yes"]).await;
    assert!(code == 64 && err.contains("nothing is lost"), "an epoch isn't begun for nothing: {code} {err}");
    server.restart().await;
    assert_eq!(server.rest("bob").await.history(&group, 200).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_not_begun_anew_beside_the_keys() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &[]).await;
    server.quiet_client("ann").await.text(&group, "kept").await;
    assert_eq!(server.terminate().await, Some(0));
    let (log, aside) = (server.data.join("log"), server.data.join("aside"));
    fs::rename(&log, &aside).unwrap();
    let (code, _, err) = serve(&server).await;
    assert!(code == 1 && err.contains("no log in"), "{code} {err}");
    assert!(!log.exists(), "nothing was made");
    // Where it is can be said.
    let place = format!("log=embedded:{}", aside.display());
    let (code, out, err) = server.run(&["log", "cat", "--set", &place]).await;
    assert!(code == 0 && out.contains("GroupCreated"), "{code} {out}{err}");
    fs::rename(&aside, &log).unwrap();
    server.restart().await;
    assert_eq!(server.rest("ann").await.history(&group, 200).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_data_directories_cannot_share_a_log() {
    let shared = tempfile::tempdir().unwrap();
    let place = format!("log=embedded:{}", shared.path().join("log").display());
    let first = Server::start_with(ServerOptions::set(&[&place])).await;
    let other = tempfile::tempdir().unwrap();
    for command in [["serve", "--listen", "127.0.0.1:0"].as_slice(), &["log", "cat"], &["log", "verify"]] {
        let mut args: Vec<&str> = command.to_vec();
        let other = other.path().to_str().unwrap().to_owned();
        args.extend(["--set", &place, "--data", &other]);
        // `run` adds the first one's directory: this one is asked for by itself.
        let output = std::process::Command::new(parley_tests::binary()).args(&args).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {err}");
        assert!(err.contains("in use by another parley process"), "{command:?}: {err}");
    }
    assert_eq!(first.rest("ann").await.get("/groups").await["groups"], json!([]), "the first one goes on");
}
