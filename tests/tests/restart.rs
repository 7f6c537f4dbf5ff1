//! Line 8: stops and crashes lose nothing that was acknowledged, and double nothing.

use std::collections::HashMap;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parley_tests::{Server, ServerOptions, Value, binary, connect, json};

/// What a sender was told: client message id → seq.
type Told = HashMap<String, u64>;

/// Sends until told to stop; after a lost connection the same id goes out again.
async fn send_on(url: Arc<std::sync::Mutex<String>>, token: String, name: String, group: String, stop: Arc<AtomicBool>) -> Told {
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
                told.insert(id, frame["data"]["seq"].as_u64().unwrap());
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
    let rest = server.rest(user).await;
    let (mut messages, mut after) = (Vec::<Value>::new(), 0);
    loop {
        let page = rest.get(&format!("/groups/{group}/messages?after_seq={after}&limit=200")).await;
        messages.extend(page["messages"].as_array().unwrap().iter().cloned());
        if page["has_more"] == false {
            return messages;
        }
        after = messages.last().unwrap()["seq"].as_u64().unwrap();
    }
}

/// Everything told is there once, at the seq that was told.
fn check(messages: &[Value], told: &[Told]) {
    let mut found: HashMap<&str, u64> = HashMap::new();
    for message in messages {
        let id = message["client_message_id"].as_str().unwrap();
        assert!(found.insert(id, message["seq"].as_u64().unwrap()).is_none(), "{id} is there twice");
        assert_eq!(message["text"], id);
    }
    for (id, seq) in told.iter().flatten() {
        assert_eq!(found.get(id.as_str()), Some(seq), "{id} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_and_double_nothing() {
    let mut server = Server::start().await;
    let group = server.rest("s0").await.group("g", &["s1", "s2", "s3"]).await;
    let epoch = server.quiet_client("s0").await.welcome["epoch"].clone();
    let (url, stop) = (Arc::new(std::sync::Mutex::new(server.url.clone())), Arc::new(AtomicBool::new(false)));
    let mut senders = Vec::new();
    for s in 0..4 {
        let (name, token) = (format!("s{s}"), server.token(&format!("s{s}")).await);
        senders.push(tokio::spawn(send_on(url.clone(), token, name, group.clone(), stop.clone())));
    }
    let mut acknowledged = 0;
    for round in 0..20u64 {
        tokio::time::sleep(Duration::from_millis(40 + round * 17 % 130)).await;
        if let Ok(mut reader) = connect(&server.url, &server.token("s1").await, "?replay=none").await {
            let head = reader.welcome["groups"][0]["head_seq"].clone();
            let told = reader.must("acknowledge_group_message", json!({"group_id": group, "seq": head}), "group_message_acknowledged").await;
            assert!(told["read_seq"].as_u64().unwrap() >= acknowledged);
            acknowledged = told["read_seq"].as_u64().unwrap();
        }
        server.kill().await;
        server.restart().await;
        url.lock().unwrap().clone_from(&server.url);
        let welcome = server.quiet_client("s1").await.welcome;
        assert_eq!(welcome["epoch"], epoch, "the epoch stays");
        assert!(welcome["groups"][0]["read_seq"].as_u64().unwrap() >= acknowledged, "cursors that were told stay");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for sender in senders {
        told.push(sender.await.unwrap());
    }
    assert!(told.iter().all(|told| told.len() > 20), "they did send: {:?}", told.iter().map(HashMap::len).collect::<Vec<_>>());
    check(&history(&server, "s0", &group).await, &told);
    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_everybody_away_and_ends_with_zero() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    let mut last = Value::Null;
    for n in 0..50 {
        last = ann.text(&group, &n.to_string()).await;
    }
    assert_eq!(server.terminate().await, Some(0));
    let mut waits = Vec::new();
    for client in [&mut ann, &mut bob] {
        waits.push(client.expect("go_away").await["data"]["reconnect_after_ms"].as_u64().unwrap());
        assert_eq!(client.closed().await, 3001);
    }
    assert_ne!(waits[0], waits[1], "spread, not all at once");
    server.restart().await;
    let messages = history(&server, "bob", &group).await;
    assert_eq!((messages.len(), &messages[49]["message_id"]), (50, &last["message_id"]));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_back_reported_and_nothing_before_it_is_lost() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &[]).await;
    for n in 0..20 {
        server.quiet_client("ann").await.text(&group, &n.to_string()).await;
    }
    for (round, damage) in ["garbage", "zeros", "half a record"].into_iter().enumerate() {
        server.kill().await;
        let path = newest_segment(&server);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        match damage {
            "garbage" => file.write_all(&[0xA5; 777]).unwrap(),
            "zeros" => file.write_all(&[0; 512]).unwrap(),
            _ => {
                // Cuts the last record, a claim of the last start: nothing that anybody was told.
                let length = file.metadata().unwrap().len();
                file.set_len(length - 3).unwrap();
            }
        }
        drop(file);
        server.restart().await;
        let messages = history(&server, "ann", &group).await;
        assert_eq!(messages.len(), 20, "{damage}");
        let log = std::fs::read_to_string(server.data.join("server.stderr")).unwrap();
        assert_eq!(log.matches("cut back to the last whole record").count(), round + 1, "{damage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_refused_and_nothing_is_changed() {
    let mut server = Server::start().await;
    let group = server.rest("ann").await.group("g", &[]).await;
    for n in 0..20 {
        server.quiet_client("ann").await.text(&group, &n.to_string()).await;
    }
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
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(dir.path()).status();
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
    let filled = std::process::Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display())).output().unwrap();
    assert!(!filled.status.success(), "dd fills the disk to the last byte");
    let send = |n: u32| json!({"group_id": group, "client_message_id": format!("m{n}"), "type": "text", "text": "x".repeat(8_000)});
    let mut refused = false;
    for n in 0..2_000 {
        let frame = ann.ask("send_group_message", send(n)).await;
        if frame["event"] == "error" {
            assert_eq!((&frame["data"]["code"], &frame["data"]["retryable"]), (&json!("unavailable"), &json!(true)), "{frame}");
            refused = true;
            break;
        }
    }
    assert!(refused);
    assert_eq!(history(&server, "ann", &group).await[0]["text"], "before", "reads go on");
    assert_eq!(ann.ask("ping", json!({})).await["event"], "pong");
    std::fs::remove_file(&filler).unwrap();
    let accepted = loop {
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
    assert!(binary().exists());
}
