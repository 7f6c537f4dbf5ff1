//! The command line: configuration, tokens, the log's tools, rebuilding, exit codes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parley_tests::chat::{assert_run, seqs, text_data};
use parley_tests::{Rest, Server, ServerOptions, Value, binary, handshake_status, json};
use tokio::process::Command;

/// `ce_type` of a claim.
const CLAIM: &str = "parley.writer.claimed.v1";

/// Runs the binary as a shell would: exit code, standard output, standard error.
async fn run(args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(binary()).args(args).envs(env.iter().copied()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn talked(server: &Server, texts: &[&str]) -> String {
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut ann = server.quiet_client("ann").await;
    for text in texts {
        ann.text(&group, text).await;
    }
    let seq = u64::try_from(texts.len()).unwrap() + 1;
    server.quiet_client("bob").await.acknowledge(&group, seq, "read").await;
    group
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_is_laid_in_layers_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parley.toml");
    std::fs::write(
        &file,
        "listen = \"127.0.0.1:1\"\n[limits]\nsend_burst = 1\ntext_bytes = 1\nframe_bytes = 1\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let env = [
        ("PARLEY_LIMITS__TEXT_BYTES", "2"),
        ("PARLEY_LIMITS__FRAME_BYTES", "2"),
        ("PARLEY_AUTH__HS256_SECRET", secret),
    ];
    let args = ["config", "--json", "--config", file, "--set", "limits.frame_bytes=3"];
    let (code, out, err) = run(&args, &env).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let shown: Value = serde_json::from_str(&out).unwrap();
    let limit = |name: &str| shown["limits"][name].as_u64().unwrap();
    assert_eq!(
        (limit("send_burst"), limit("text_bytes"), limit("frame_bytes"), limit("user_sockets")),
        (1, 2, 3, 20),
        "file, environment, flag, default"
    );
    assert_eq!(shown["listen"], "127.0.0.1:1");
    let broken = dir.path().join("broken.toml");
    std::fs::write(&broken, format!("[auth]\nhs256_secret = \"{secret}\n")).unwrap();
    let (code, _, err) = run(&["config", "--config", broken.to_str().unwrap()], &[]).await;
    assert!(code == 64 && err.contains("line 2") && !err.contains(secret), "{err}");
    for args in [&["config", "--json"][..], &["config"]] {
        let (code, out, err) = run(args, &env).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("hs256_secret") && !out.contains(secret), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_a_clear_error_and_exit_code_64() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parley.toml");
    std::fs::write(&file, "[limits]\nsend_brust = 1\n").unwrap();
    let (file, data) = (file.to_str().unwrap(), dir.path().join("data"));
    let data = data.to_str().unwrap();
    for (args, env, part) in [
        (vec!["config", "--config", file], None, "limits.send_brust"),
        (vec!["config", "--config", "/nowhere.toml"], None, "/nowhere.toml"),
        (vec!["config", "--set", "nonsense=1"], None, "nonsense"),
        (vec!["config", "--set", "limits.send_burst=many"], None, "limits.send_burst"),
        (vec!["config"], Some(("PARLEY_NONSENSE", "1")), "PARLEY_NONSENSE"),
        (vec!["serve", "--data", data, "--set", "limits.text_bytes=0"], None, "limits.text_bytes"),
        (vec!["serve", "--data", data, "--set", "writer.claim_seconds=3601"], None, "writer.claim_seconds"),
        (vec!["serve", "--data", data, "--listen", "nowhere"], None, "nowhere"),
        (vec!["serve", "--data", data, "--nonsense"], None, "--nonsense"),
        (vec!["token", "--data", data], None, "--user"),
        (vec!["token", "--data", data, "--user", "a", "--ttl", "soon"], None, "soon"),
        (vec!["token", "--data", data, "--user", ""], None, "user id"),
        (vec!["nonsense"], None, "nonsense"),
        (vec!["log"], None, "Usage"),
    ] {
        let (code, out, err) = run(&args, env.as_slice()).await;
        assert_eq!((code, out.as_str()), (64, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
    assert!(!Path::new(data).exists(), "nothing was made for what was refused");
    for args in [&["help"][..], &["--version"], &["serve", "--help"]] {
        let (code, out, _) = run(args, &[]).await;
        assert!(code == 0 && !out.is_empty(), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_in_the_order_of_their_users_and_count_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // `token` makes the key; the server that starts later takes it.
    let users = dir.path().join("users");
    std::fs::write(&users, "cem\nzoë /?\n\ndan\n").unwrap();
    let (data_arg, users) = (data.to_str().unwrap(), users.to_str().unwrap());
    let args = ["token", "--user", "ann", "--user", "bob", "--users-from", users, "--data", data_arg];
    let (code, out, err) = run(&args, &[]).await;
    assert_eq!(code, 0, "{err}");
    let tokens: Vec<&str> = out.lines().collect();
    assert_eq!(tokens.len(), 5, "{out}");
    let modes: Vec<u32> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.permissions().mode() & 0o777)
        .collect();
    assert!(!modes.is_empty() && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    let server = Server::start_on(&data, ServerOptions::default()).await;
    for (token, user) in tokens.iter().zip(["ann", "bob", "cem", "zoë /?", "dan"]) {
        assert_eq!(Rest::new(&server.url, token).get("/users/me").await["user_id"], user);
    }
    assert_eq!(server.rest("eva").await.get("/users/me").await["user_id"], "eva", "while it runs, too");
    let short = parley_tests::token(&data, "ann", "1s").await;
    assert_eq!(handshake_status(&server.url, Some(&short), &[]).await, 101);
    let other = tempfile::tempdir().unwrap();
    let foreign = parley_tests::token(other.path(), "ann", "1h").await;
    assert_eq!(handshake_status(&server.url, Some(&foreign), &[]).await, 401, "another directory's key");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut dirs, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files
}

/// What a forgotten mount looks like must not look like messages that were erased.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_keys_a_server_does_not_start() {
    let mut server = Server::start().await;
    talked(&server, &["one"]).await;
    assert_eq!(server.terminate().await, Some(0));
    let keys = server.data.join("keys");
    std::fs::rename(&keys, server.data.join("elsewhere")).unwrap();
    let (code, _, err) = server.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(code == 1 && err.contains("keys") && err.contains("restore"), "{err}");
    std::fs::remove_dir_all(&keys).ok();
    std::fs::rename(server.data.join("elsewhere"), &keys).unwrap();
    server.restart().await;
}

/// Claims follow each other while clients talk; who reads the log from any of them on gets all that follows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_claims_again_and_again_and_a_reader_may_start_at_any_claim() {
    let options = ServerOptions::set(&["writer.claim_seconds=1", "limits.sends_per_second=0"]);
    let mut server = Server::start_with(options).await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let (mut ann, mut bob) = (server.quiet_client("ann").await, server.client("bob").await);
    // A claim is a record as well: where the next message's offset leaps, there was one.
    let (mut offsets, mut leaps) = (Vec::<u64>::new(), 0);
    while leaps < 3 {
        let accepted = ann.text(&group, "and again").await;
        let offset = accepted["position"]["offset"].as_u64().unwrap();
        leaps += usize::from(offsets.last().is_some_and(|last| offset > last + 1));
        offsets.push(offset);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let sent = u64::try_from(offsets.len()).unwrap();
    assert_run(&bob.events_to(&group, sent + 1).await, 2, sent + 1, "a member who is online");
    bob.acknowledge(&group, sent + 1, "read").await;
    assert_eq!(server.terminate().await, Some(0));

    let (code, out, err) = server.run(&["log", "cat", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let all: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = all.iter().find(|record| record["subject"] == group.as_str()).unwrap();
    let ours = |record: &&Value| ["topic", "partition"].iter().all(|field| record[field] == event[field]);
    let ours: Vec<&Value> = all.iter().filter(ours).collect();
    let mut claims = 0;
    for (from, _) in ours.iter().enumerate().filter(|(_, record)| record["type"] == CLAIM) {
        claims += 1;
        let (mut claim, mut index) = (Value::Null, 0);
        for record in ours.iter().skip(from) {
            if record["type"] == CLAIM {
                (claim, index) = (record["offset"].clone(), 0);
            } else {
                assert_eq!((&record["claim"], &record["index"]), (&claim, &json!(index)), "void: {record}");
                index += 1;
            }
        }
    }
    assert!(claims >= 4, "the first, and one for each leap");
    let (code, out, _) = server.run(&["log", "verify", "--json"]).await;
    assert_eq!(code, 0, "{out}");
    server.restart().await;
    let mut bob = server.quiet_client("bob").await;
    bob.subscribe(&group, json!({"after_seq": 0})).await;
    assert_run(&bob.events_to(&group, sent + 1).await, 1, sent + 1, "a replay");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_as_consumers_read_it_and_no_text_lies_in_clear() {
    let mut server = Server::start().await;
    let secret = "xylophone-quartz-7421";
    let group = talked(&server, &[secret, "two", "three"]).await;
    let other = server.rest("ann").await.group("another", &[]).await;
    let (code, out, err) = server.run(&["log", "cat"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("while no server holds it"), "{err}");
    let (code, _, err) = server.run(&["log", "verify"]).await;
    assert!(code == 1 && err.contains("while no server holds it"), "{err}");
    assert_eq!(server.terminate().await, Some(0));

    let (code, out, err) = server.run(&["log", "cat", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut next: BTreeMap<(String, u64), u64> = BTreeMap::new();
    let mut claims: HashMap<(String, u64), (u64, u64)> = HashMap::new();
    for record in &records {
        let at = (record["topic"].as_str().unwrap().to_owned(), record["partition"].as_u64().unwrap());
        let offset = record["offset"].as_u64().unwrap();
        let expected = next.entry(at.clone()).or_insert(offset);
        assert_eq!(offset, *expected, "the order of the log: {record}");
        *expected += 1;
        if record["type"] == CLAIM {
            claims.insert(at, (offset, 0));
        } else if record["void"] == false {
            let (claim, index) = claims.get_mut(&at).expect("a claim comes first");
            assert_eq!((&record["claim"], &record["index"]), (&json!(*claim), &json!(*index)), "{record}");
            *index += 1;
        }
    }
    let (code, out, _) = server.run(&["log", "cat", "--json", "--group", &group]).await;
    assert_eq!(code, 0);
    let ours: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ours.iter().all(|record| record["subject"] == group.as_str()), "{out}");
    let events: Vec<Value> = ours
        .iter()
        .filter(|record| record["topic"] == "parley.events")
        .map(|record| record["value"].clone())
        .collect();
    assert_eq!(seqs(&events), [1, 2, 3, 4]);
    assert!(ours.iter().any(|record| record["topic"] == "parley.acks"), "{out}");
    assert!(records.iter().any(|record| record["subject"] == other.as_str()));
    let last = ours.iter().rfind(|record| record["topic"] == "parley.events").unwrap()["offset"].to_string();
    let (_, out, _) = server.run(&["log", "cat", "--group", &group, "--from", &last]).await;
    assert!(out.lines().count() < ours.len() && out.contains(&group), "{out}");

    let (code, out, _) = server.run(&["log", "verify", "--json"]).await;
    let verified: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &verified["ok"], &verified["messages"]), (0, &json!(true), &json!(3)), "{out}");
    for path in files(&server.data) {
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the text lies in clear in {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_missing_directories_are_told_with_exit_code_1() {
    let mut server = Server::start().await;
    talked(&server, &["one", "two", "three"]).await;
    server.terminate().await;
    let log =
        files(&server.data.join("log")).into_iter().find(|path| path.extension().is_some_and(|e| e == "log"));
    let log = log.unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&log, bytes).unwrap();
    for args in [&["log", "verify"][..], &["log", "cat"], &["rebuild"], &["serve", "--listen", "127.0.0.1:0"]]
    {
        let (code, _, err) = server.run(args).await;
        assert_eq!(code, 1, "{args:?}: {err}");
        assert!(err.contains("damaged"), "{args:?}: {err}");
    }
    // A program is told as well.
    let (code, out, _) = server.run(&["log", "verify", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["ok"]), (1, &json!(false)), "{out}");
    assert!(told["error"].as_str().unwrap().contains("damaged"), "{out}");
    let nowhere = server.data.join("nowhere");
    for args in [&["log", "verify"][..], &["log", "cat"], &["rebuild"]] {
        let all = [args, &["--data", nowhere.to_str().unwrap()]].concat();
        let (code, _, err) = run(&all, &[]).await;
        assert!(code != 0 && err.contains("nowhere"), "{args:?}: {err}");
        assert!(!nowhere.exists(), "{args:?} makes no directory");
    }
    let transcript = server.data.join("transcript.jsonl");
    std::fs::write(&transcript, "").unwrap();
    let import =
        ["import", "--url", &server.url, "--data", nowhere.to_str().unwrap(), transcript.to_str().unwrap()];
    let (code, _, err) = run(&import, &[]).await;
    assert!(code == 1 && err.contains("nowhere") && !nowhere.exists(), "{code} {err}");
}

/// Opening makes damaged read models anew. Whoever asked whether they are right is told that they weren't.
#[tokio::test(flavor = "multi_thread")]
async fn read_models_that_can_t_be_opened_are_not_called_equal() {
    let mut server = Server::start().await;
    talked(&server, &["one", "two"]).await;
    server.terminate().await;
    let rows = files(&server.data.join("reads")).into_iter().filter(|path| path.extension().is_none());
    for file in rows.filter(|path| path.file_name().is_some_and(|name| name != "live")) {
        let length = std::fs::read(&file).unwrap().len();
        std::fs::write(&file, vec![0x5a; length]).unwrap();
    }
    let (code, out, err) = server.run(&["rebuild", "--verify", "--json"]).await;
    assert_eq!(code, 1, "{out}{err}");
    let told: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&told["unreadable"], &told["equal"]), (&json!(true), &json!(false)), "{out}");
    let told = rebuild(&server, true).await;
    assert_eq!((&told["unreadable"], &told["equal"]), (&json!(false), &json!(true)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_their_own_ring_and_no_other() {
    let mut server = Server::start().await;
    let group = talked(&server, &["one", "two"]).await;
    server.terminate().await;
    let mut other = Server::start().await;
    other.terminate().await;
    let ring = other.data.join("keys").join("ring.json");
    let before = std::fs::read(&ring).unwrap();
    let set = format!("keys.ring={}", ring.display());
    let (code, _, err) = server.run(&["keys", "rotate", "--set", &set]).await;
    assert!(code == 1 && err.contains("opens none of the data keys"), "{code} {err}");
    assert_eq!(std::fs::read(&ring).unwrap(), before, "nothing was changed");
    let (code, out, err) = server.run(&["keys", "rotate"]).await;
    assert!(code == 0 && out.contains("is active"), "{code} {out}{err}");
    server.restart().await;
    assert_eq!(server.rest("bob").await.history(&group, 200).await[1]["text"], "two");
}

/// The outcome of `rebuild --json`.
async fn rebuild(server: &Server, verify: bool) -> Value {
    let args = if verify { vec!["rebuild", "--json", "--verify"] } else { vec!["rebuild", "--json"] };
    let (code, out, err) = server.run(&args).await;
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(out.trim()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_are_rebuilt_and_equal_on_a_stopped_server_and_on_a_running_one_under_load() {
    let mut server = Server::start_with(ServerOptions::set(&["limits.sends_per_second=0"])).await;
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let group = talked(&server, &texts).await;
    let before = server.rest("bob").await.history(&group, 200).await;
    assert_eq!(server.terminate().await, Some(0));
    for verify in [true, false, true] {
        let outcome = rebuild(&server, verify).await;
        assert_eq!((&outcome["equal"], &outcome["different"]), (&json!(true), &json!(0)), "{outcome}");
        assert!(outcome["rows"].as_u64().unwrap() > 50, "{outcome}");
    }
    server.restart().await;
    assert_eq!(server.rest("bob").await.history(&group, 200).await, before);

    let stop = Arc::new(AtomicBool::new(false));
    let (mut ann, mut bob) = (server.quiet_client("ann").await, server.quiet_client("bob").await);
    let sending = tokio::spawn({
        let (stop, group) = (stop.clone(), group.clone());
        async move {
            let mut sent = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let id = format!("n{}", sent.len());
                let data = text_data(&group, &id, &id);
                let accepted = ann.must("send_group_message", data, "group_message_accepted").await;
                bob.acknowledge(&group, accepted["seq"].as_u64().unwrap(), "delivered").await;
                sent.push(accepted["message_id"].clone());
            }
            sent
        }
    });
    for verify in [true, false, false, true] {
        let outcome = rebuild(&server, verify).await;
        assert_eq!(outcome["equal"], true, "verify {verify}: {outcome}");
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    assert!(!sent.is_empty());
    let history = server.rest("bob").await.history(&group, 200).await;
    let all: Vec<&Value> = history.iter().skip(before.len()).map(|message| &message["message_id"]).collect();
    assert_eq!(all, sent.iter().collect::<Vec<&Value>>(), "the read models that took over lack nothing");
    let shown = server.rest("bob").await.get("/groups").await["groups"][0].clone();
    assert_eq!((&shown["delivered_seq"], &shown["read_seq"]), (&shown["head_seq"], &json!(51)));
    assert_eq!(rebuild(&server, true).await["equal"], true);
    server.kill().await;
    assert_eq!(rebuild(&server, true).await["equal"], true, "after a crash, offline");
}

/// Each goes to the other of two, which is brought to the end of the log before it is live.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_taken_back_on_a_running_server_and_nothing_said_meanwhile_is_missing() {
    let mut server = Server::start().await;
    let group = talked(&server, &["0"]).await;
    let back = async || server.run(&["rebuild", "--back", "--json"]).await;
    let (code, out, err) = back().await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("no earlier version"), "{err}");
    rebuild(&server, false).await;
    let (mut ann, bob) = (server.quiet_client("ann").await, server.rest("bob").await);
    let (mut said, mut versions) = (vec!["0".to_owned()], Vec::new());
    for n in 1..=3 {
        let text = n.to_string();
        ann.text(&group, &text).await;
        said.push(text);
        let (code, out, err) = back().await;
        assert_eq!(code, 0, "{out}{err}");
        let told: Value = serde_json::from_str(out.trim()).unwrap();
        versions.push(told["version"].as_u64().unwrap());
        let history = bob.history(&group, 200).await;
        let texts: Vec<&str> = history.iter().map(|message| message["text"].as_str().unwrap()).collect();
        assert_eq!(texts, said, "version {versions:?}");
    }
    assert!(versions[0] != versions[1] && versions[0] == versions[2], "to and fro: {versions:?}");
    assert_eq!(rebuild(&server, true).await["equal"], true, "the one that was gone back to is right");
    let (code, _, err) = back().await;
    assert!(
        code == 1 && err.contains("no earlier version"),
        "a rebuild that only verifies took its place: {err}"
    );
    server.kill().await;
    server.restart().await;
    assert_eq!(server.rest("bob").await.history(&group, 200).await.len(), said.len(), "after a crash, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_generator_checks_every_delivery_and_says_what_it_measured() {
    let server = Server::start().await;
    let args = ["bench", "pair-1000x2", "--scale", "0.02", "--secs", "1", "--json", "--url", &server.url];
    let (code, out, err) = server.run(&args).await;
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&report["scenario"], &report["valid"]), (&json!("pair-1000x2"), &json!(true)), "{report}");
    for fault in ["gaps", "repeats", "inversions", "mismatches", "missing", "errors"] {
        assert_eq!(report["check"][fault], 0, "{fault}: {report}");
    }
    for rate in ["sends_per_s", "deliveries_per_s"] {
        assert!(report[rate].as_f64().unwrap() > 0.0, "{rate}: {report}");
    }
    let (code, _, err) = server.run(&["bench", "nonsense", "--url", &server.url]).await;
    assert!(code == 64 && err.contains("pair-1000x2"), "it says which there are: {code} {err}");
}
