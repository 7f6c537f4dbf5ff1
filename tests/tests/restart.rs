//! Stops, crashes, damage and full disks lose nothing that was acknowledged, and double nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parley_tests::chat::{STALLING_TEXTS, head};
use parley_tests::{Client, Server, ServerOptions, Value, connect, json};

/// What a sender was told: client message id → seq, in the order of its sends.
type Told = Vec<(String, u64)>;

/// Where the senders find the server, and whether they go on.
type Url = Arc<std::sync::Mutex<String>>;

/// Sends until told to stop; after a lost connection the same id goes out again.
async fn send_on(url: Url, token: String, name: String, group: String, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let now = url.lock().unwrap().clone();
        let Ok(mut client) = connect(&now, &token, "?replay=none").await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            let id = format!("{name}-{n}");
            let data = json!({"group_id": group, "client_message_id": id, "type": "text", "text": id});
            let frame = json!({"event": "send_group_message", "id": id, "data": data}).to_string();
            if client.try_raw(frame).await.is_err() {
                break;
            }
            let Ok(frame) = client.read_until(|frame| frame["id"] == id.as_str()).await else { break };
            if frame["event"] == "group_message_accepted" {
                told.push((id, frame["data"]["seq"].as_u64().unwrap()));
                n += 1;
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    told
}

async fn history(server: &Server, user: &str, group: &str) -> Vec<Value> {
    server.rest(user).await.history(group, 200).await
}

/// Everything told is there once, at the seq that was told, each sender's in the order of its sends, without a hole.
fn check(messages: &[Value], told: &[Told]) {
    let mut found: HashMap<&str, u64> = HashMap::new();
    for (message, expected) in messages.iter().zip(2..) {
        let (id, seq) = (message["client_message_id"].as_str().unwrap(), message["seq"].as_u64().unwrap());
        assert_eq!(seq, expected, "only messages follow the creation");
        assert!(found.insert(id, seq).is_none(), "{id} is there twice");
        assert_eq!(message["text"], id);
    }
    for told in told {
        assert!(told.len() > 20, "they did send: {}", told.len());
        assert!(told.is_sorted_by(|(_, one), (_, next)| one < next), "the order of the sends");
        for (id, seq) in told {
            assert_eq!(found.get(id.as_str()), Some(seq), "{id} was acknowledged");
        }
    }
    let told: usize = told.iter().map(Vec::len).sum();
    // What was stored without its sender being told can only be what was under way at the end.
    assert!(messages.len() <= told + 4, "{} messages, {told} told", messages.len());
}

/// Four senders in one group; they run until told to stop.
async fn load(server: &Server) -> (String, Url, Arc<AtomicBool>, Vec<tokio::task::JoinHandle<Told>>) {
    let group = server.rest("s0").await.group("g", &["s1", "s2", "s3"]).await;
    let (url, stop) = (Arc::new(std::sync::Mutex::new(server.url.clone())), Arc::new(AtomicBool::new(false)));
    let mut senders = Vec::new();
    for s in 0..4 {
        let (name, token) = (format!("s{s}"), server.token(&format!("s{s}")).await);
        senders.push(tokio::spawn(send_on(url.clone(), token, name, group.clone(), stop.clone())));
    }
    (group, url, stop, senders)
}

async fn stopped(stop: &AtomicBool, senders: Vec<tokio::task::JoinHandle<Told>>) -> Vec<Told> {
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for sender in senders {
        told.push(sender.await.unwrap());
    }
    told
}

/// Ends the load and checks what everybody was told against the history and the log.
async fn nothing_is_lost(
    mut server: Server,
    group: &str,
    stop: &AtomicBool,
    senders: Vec<tokio::task::JoinHandle<Told>>,
) {
    grown(&server, group, 4).await;
    let told = stopped(stop, senders).await;
    check(&history(&server, "s0", group).await, &told);
    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

/// Waits until the group has grown by so many events.
async fn grown(server: &Server, group: &str, by: u64) {
    let rest = server.rest("s0").await;
    let from = head(&rest, group).await;
    while head(&rest, group).await < from + by {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_and_double_nothing() {
    let mut server = Server::start().await;
    let (group, url, stop, senders) = load(&server).await;
    let epoch = server.quiet_client("s0").await.welcome["epoch"].clone();
    let mut acknowledged = 0;
    for round in 0..20u64 {
        grown(&server, &group, 1 + round * 7 % 40).await;
        if let Ok(mut reader) = connect(&server.url, &server.token("s1").await, "?replay=none").await {
            let head = reader.welcome["groups"][0]["head_seq"].clone();
            let told = reader
                .must(
                    "acknowledge_group_message",
                    json!({"group_id": group, "seq": head}),
                    "group_message_acknowledged",
                )
                .await;
            assert!(told["read_seq"].as_u64().unwrap() >= acknowledged);
            acknowledged = told["read_seq"].as_u64().unwrap();
        }
        server.kill().await;
        server.restart().await;
        url.lock().unwrap().clone_from(&server.url);
        let welcome = server.quiet_client("s1").await.welcome;
        assert_eq!(welcome["epoch"], epoch, "the epoch stays");
        assert!(
            welcome["groups"][0]["read_seq"].as_u64().unwrap() >= acknowledged,
            "cursors that were told stay"
        );
    }
    nothing_is_lost(server, &group, &stop, senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_sends_everybody_away_and_ends_with_zero() {
    let mut server = Server::start_with(ServerOptions::set(&["limits.sends_per_second=0"])).await;
    let (group, url, stop, senders) = load(&server).await;
    let mut away = Vec::new();
    for _ in 0..8 {
        away.push(server.quiet_client("s1").await);
    }
    let epoch = away[0].welcome["epoch"].clone();
    for _ in 0..2 {
        grown(&server, &group, 50).await;
        let begun = std::time::Instant::now();
        assert_eq!(server.terminate().await, Some(0));
        assert!(begun.elapsed() < Duration::from_secs(10), "within 10 s, as promised");
        server.restart().await;
        url.lock().unwrap().clone_from(&server.url);
    }
    let mut waits = std::collections::BTreeSet::new();
    for client in &mut away {
        let told = client.expect("go_away").await["data"].clone();
        assert!(told["reason"].is_string(), "{told}");
        waits.insert(told["reconnect_after_ms"].as_u64().unwrap());
        assert_eq!(client.closed().await, 3001);
    }
    assert_eq!(
        waits.len(),
        away.len(),
        "different for each session, so that not all come at once: {waits:?}"
    );
    assert_eq!(server.quiet_client("s1").await.welcome["epoch"], epoch);
    nothing_is_lost(server, &group, &stop, senders).await;
}

/// A supervisor may ask twice. The first time is what counts: whoever is connected is told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_said_again_takes_nothing_from_the_drain() {
    let mut server = Server::start().await;
    let mut ann = server.client("ann").await;
    server.ask_to_stop();
    ann.expect("go_away").await;
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(ann.closed().await, 3001);
}

/// As Ctrl-C sends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_as_sigterm_does() {
    let mut server = Server::start().await;
    let mut ann = server.client("ann").await;
    server.interrupt();
    ann.expect("go_away").await;
    assert_eq!(server.ended().await, Some(0));
    assert_eq!(ann.closed().await, 3001);
}

/// A person who insists needn't wait for a client that takes nothing, and loses nothing by that.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_stop_that_takes_its_time_and_nothing_is_lost() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let stalled = server.stalled("bob", "ann", &group).await;
    let mut ann = server.quiet_client("ann").await;
    server.ask_to_stop();
    ann.expect("go_away").await;
    server.interrupt();
    assert_eq!(server.ended().await, Some(0));
    // How long that took depends on the machine; that it didn't wait is told.
    let log = server.log();
    assert!(log.contains("not everything ended in time"), "{log}");
    drop(stalled);
    server.restart().await;
    assert_eq!(history(&server, "bob", &group).await.len(), STALLING_TEXTS);
}

/// Who has not said who it is, and who takes nothing any more: neither holds a stop up, and the first is told.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_sockets_that_nobody_listens_at() {
    let mut server = Server::start_with(ServerOptions::set(&["limits.sends_per_second=0"])).await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut unknown = Client::open(&server.url, None, "", &[]).await.unwrap();
    let stalled = server.client("bob").await;
    server.quiet_client("ann").await.flood(&group, 0..3_000, 4_000).await;
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(unknown.closed().await, 3001);
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_directory_is_refused() {
    let server = Server::start().await;
    let (code, _, err) = server.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("in use by another parley process"), "{err}");
    let (code, _, err) = server.run(&["log", "cat"]).await;
    assert!(code == 1 && err.contains("while no server holds it"), "{err}");
    assert_eq!(server.rest("ann").await.get("/groups").await["groups"], json!([]), "the first one goes on");
}

fn newest_segment(server: &Server) -> PathBuf {
    let entries = std::fs::read_dir(server.data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().expect("a segment")
}

async fn twenty_messages(server: &Server) -> String {
    let group = server.rest("ann").await.group("g", &[]).await;
    let mut ann = server.quiet_client("ann").await;
    for n in 0..20 {
        ann.text(&group, &n.to_string()).await;
    }
    group
}

/// How often a cut was told on standard error: the file, where, and how much.
fn cuts_told(server: &Server, file: &std::path::Path) -> usize {
    let log = std::fs::read_to_string(server.data.join("server.stderr")).unwrap();
    let file = file.file_name().unwrap().to_str().unwrap();
    log.lines()
        .filter(|line| ["WARN", file, "at=", "bytes_lost=", "cut"].iter().all(|part| line.contains(part)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_back_reported_and_nothing_before_it_is_lost() {
    let mut server = Server::start().await;
    let group = twenty_messages(&server).await;
    let mut told = 0;
    for damage in ["garbage", "zeros", "half a record", "a flipped byte"] {
        // The last record is one that the test can do without.
        let last = server.quiet_client("ann").await.text(&group, "last").await;
        server.kill().await;
        let path = newest_segment(&server);
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let length = file.seek(SeekFrom::End(0)).unwrap();
        match damage {
            "garbage" => file.write_all(&[0xA5; 777]).unwrap(),
            "zeros" => file.write_all(&[0; 512]).unwrap(),
            "half a record" => file.set_len(length - 3).unwrap(),
            _ => {
                let mut byte = [0];
                file.seek(SeekFrom::Start(length - 3)).unwrap();
                file.read_exact(&mut byte).unwrap();
                file.seek(SeekFrom::Start(length - 3)).unwrap();
                file.write_all(&[byte[0] ^ 0x10]).unwrap();
            }
        }
        drop(file);
        server.restart().await;
        let now = cuts_told(&server, &path);
        assert!(now > told, "{damage}: the cut is told");
        told = now;
        let messages = history(&server, "ann", &group).await;
        assert!(messages.len() >= 20, "{damage}: {}", messages.len());
        for (n, message) in messages.iter().take(20).enumerate() {
            assert_eq!(message["text"], n.to_string(), "{damage}");
        }
        let whole = matches!(damage, "garbage" | "zeros");
        let kept = messages.iter().any(|message| message["message_id"] == last["message_id"]);
        assert_eq!(kept, whole, "{damage}: the last message");
        // What follows takes the place of what was cut, and is there for good.
        let next = server.quiet_client("ann").await.text(&group, "next").await;
        let head = last["seq"].as_u64().unwrap() + u64::from(whole);
        assert_eq!(next["seq"], head, "{damage}");
        assert_eq!(history(&server, "ann", &group).await.last().unwrap()["message_id"], next["message_id"]);
    }
    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_refused_and_nothing_is_changed() {
    let mut server = Server::start().await;
    twenty_messages(&server).await;
    server.kill().await;
    let path = newest_segment(&server);
    let middle = std::fs::metadata(&path).unwrap().len() / 2;
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[0xFF; 16]).unwrap();
    drop(file);
    let before = std::fs::read(&path).unwrap();
    let (code, _, err) = server.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("damaged") && err.contains("backup"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_sends_keeps_reads_and_recovers() {
    // A small file system of its own, so that the disk is really full; where we may not mount one, this says so.
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
        .arg(dir.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("\n#### NOT RUN: a full disk needs the right to mount a tmpfs (root) ####\n");
        return;
    }
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut server = Server::start_on(&data, ServerOptions::set(&["limits.sends_per_second=0"])).await;
    let group = server.rest("ann").await.group("g", &[]).await;
    let mut ann = server.quiet_client("ann").await;
    ann.text(&group, "before").await;
    let filler = dir.path().join("filler");
    let filled = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=64k"])
        .arg(format!("of={}", filler.display()))
        .output()
        .unwrap();
    assert!(!filled.status.success(), "dd fills the disk to the last byte");
    let send = |n: u32| json!({"group_id": group, "client_message_id": format!("m{n}"), "type": "text", "text": "x".repeat(8_000)});
    let mut refused = false;
    for n in 0..2_000 {
        let frame = ann.ask("send_group_message", send(n)).await;
        if frame["event"] == "error" {
            assert_eq!(
                (&frame["data"]["code"], &frame["data"]["retryable"]),
                (&json!("unavailable"), &json!(true)),
                "{frame}"
            );
            refused = true;
            break;
        }
    }
    assert!(refused);
    assert_eq!(history(&server, "ann", &group).await[0]["text"], "before", "reads go on");
    let mut replayed = server.client("ann").await;
    replayed.subscribe(&group, json!({"after_seq": 1})).await;
    assert_eq!(replayed.event_of(&group).await["text"], "before", "replay goes on");
    // A start is no worse than going on.
    server.kill().await;
    server.restart().await;
    assert_eq!(history(&server, "ann", &group).await[0]["text"], "before", "reads go on after a start, too");
    let mut ann = server.quiet_client("ann").await;
    let frame = ann.ask("send_group_message", send(5_000)).await;
    assert_eq!(frame["data"]["code"], "unavailable", "{frame}");
    std::fs::remove_file(&filler).unwrap();
    let mut tries = 0..300;
    let accepted = loop {
        tries.next().expect("sends work again once there is space");
        let frame = ann.ask("send_group_message", send(9_999)).await;
        if frame["event"] == "group_message_accepted" {
            break frame;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let seq = accepted["data"]["seq"].as_u64().unwrap();
    let messages = history(&server, "ann", &group).await;
    assert_eq!(messages.last().unwrap()["seq"], seq);
    assert_eq!(messages.len() as u64, seq - 1, "dense: a refused send left no hole");
    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(std::process::Command::new("umount").arg(dir.path()).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_read_models_are_built_anew_at_the_next_start() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    server.quiet_client("ann").await.text(&group, "kept").await;
    server.terminate().await;
    std::fs::remove_dir_all(server.data.join("reads")).unwrap();
    server.restart().await;
    assert_eq!(history(&server, "bob", &group).await[0]["text"], "kept");
}
