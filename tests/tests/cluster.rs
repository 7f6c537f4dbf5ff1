//! Six processes on real engines. `scripts/test` starts the engines; without them these tests fail.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use parley_tests::cluster::Cluster;
use parley_tests::collector::Collector;
use parley_tests::transcript::{expected, groups, history, import, replayed, transcript};
use parley_tests::{Value, fresh_id, json};

fn text(group: &str, text: &str) -> Value {
    json!({"group_id": group, "client_message_id": fresh_id(), "type": "text", "text": text})
}

/// Real input through one edge; a late reader, who was never online, at the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn a_real_transcript_goes_in_at_one_edge_and_comes_out_at_the_other() {
    let cluster = Cluster::start(&[]).await;
    let expected = expected();
    let messages: usize = expected.values().map(Vec::len).sum();
    let first = import(&cluster.url("edge-1"), cluster.data(), &transcript()).await;
    eprintln!("import: {first}");
    assert_eq!(first["accepted"], messages);

    let archive = cluster.rest("edge-2", "archive").await;
    let groups = groups(&archive).await;
    assert_eq!(groups.len(), expected.len());
    let mut late = cluster.client("edge-2", "archive", "?replay=none").await;
    assert!(replayed(&mut late, &groups).await == expected, "the replay is the transcript");
    for (name, group) in &groups {
        assert!(history(&archive, group).await == expected[name], "the history of {name} is the transcript");
    }
    let second = import(&cluster.url("edge-2"), cluster.data(), &transcript()).await;
    assert_eq!((&second["accepted"], &second["already_there"]), (&json!(0), &json!(messages)));

    let (code, out, err) = cluster.run(&["rebuild", "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let rebuilt: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rebuilt["equal"], true, "{rebuilt}");
    let some = groups.iter().next().unwrap();
    assert!(history(&archive, some.1).await == expected[some.0], "of the new read models");
}

/// What is said at one edge is heard at the other: messages, acknowledgements, statuses, notices, typing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn two_edges_are_one_chat() {
    let collector = Collector::start().await;
    let cluster = Cluster::start(&[&format!("telemetry.otlp={}", collector.url)]).await;
    let mut bob = cluster.client("edge-2", "bob", "").await;
    let mut bobs_phone = cluster.client("edge-1", "bob", "").await;
    let ann = cluster.rest("edge-1", "ann").await;
    let group = ann.group("Tea", &["bob"]).await;
    let mut ann = cluster.client("edge-1", "ann", "").await;
    let notified = ann.must("notify_create_group", json!({"group_id": group}), "create_group_notified").await;
    assert_eq!((&notified["online"], &notified["pending"]), (&json!(1), &json!(0)), "bob counts once");
    for client in [&mut bob, &mut bobs_phone] {
        client.expect("a_group_created").await;
        client.must("subscribe_to_group", json!({"group_id": group}), "subscribed_to_group").await;
    }
    let accepted = ann.must("send_group_message", text(&group, "Shall we?"), "group_message_accepted").await;
    let seq = accepted["seq"].as_u64().unwrap();
    for client in [&mut bob, &mut bobs_phone] {
        while client.event_of(&group).await["seq"] != seq {}
    }
    let read = json!({"group_id": group, "seq": seq, "status": "read"});
    bob.must("acknowledge_group_message", read, "group_message_acknowledged").await;
    let told = bobs_phone.expect("group_message_acknowledged").await;
    assert_eq!(told["data"]["read_seq"], seq, "the user's session at another edge");
    let status = ann.expect("group_message_status").await["data"].clone();
    assert_eq!((&status["read_count"], &status["seq"]), (&json!(1), &json!(seq)));
    bob.send("typing", json!({"group_id": group})).await;
    assert_eq!(ann.expect("typing").await["data"]["user_id"], "bob");

    let by = collector.message().await.map(|(instance, _)| instance);
    assert!(by[0].contains("edge-") && by[1].contains("writer-") && by[2].contains("edge-"), "{by:?}");
    let page = reqwest::get(format!("{}/", cluster.url("edge-2"))).await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let origin = parley_tests::engines::Engines::named().unwrap().get("media").to_owned();
    let origin = origin.split("endpoint=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert!(page.text().await.unwrap().contains("app.js"), "an edge serves the web client");
    assert!(policy.contains(&origin), "{policy} lets pictures go to {origin}");
}

/// The thread of a partition: its owner is killed, and sends go on, in order and once each.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn a_writer_is_killed_and_its_partitions_move() {
    let mut cluster = Cluster::start(&[]).await;
    let rest = cluster.rest("edge-1", "ann").await;
    let mut made = Vec::new();
    for number in 0..8 {
        made.push(rest.group(&format!("g{number}"), &[]).await);
    }
    let mut ann = cluster.client("edge-1", "ann", "?replay=none").await;
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); made.len()];
    for round in 0..3 {
        if round == 1 {
            cluster.kill("writer-1").await;
        }
        if round == 2 {
            cluster.restart("writer-1").await;
        }
        for (group, texts) in made.iter().zip(&mut expected) {
            let said = format!("round {round}");
            let wish = text(group, &said);
            let begun = Instant::now();
            loop {
                let answer = ann.ask("send_group_message", wish.clone()).await;
                if answer["event"] == "group_message_accepted" {
                    break;
                }
                assert_eq!(answer["data"]["retryable"], true, "{answer}");
                assert!(begun.elapsed() < Duration::from_secs(60), "{answer}");
            }
            if begun.elapsed() > Duration::from_millis(500) {
                eprintln!("round {round}: accepted after {:?}", begun.elapsed());
            }
            texts.push(said);
        }
    }
    let other = cluster.rest("edge-2", "ann").await;
    for (group, texts) in made.iter().zip(&expected) {
        assert_eq!(history(&other, group).await, *texts);
    }
}

/// From outside the six processes: who is there, and the log as Parquet, which a second run goes on with.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn an_export_and_the_status_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let group = cluster.rest("edge-1", "ann").await.group("Tea", &["bob"]).await;
    let mut ann = cluster.client("edge-2", "ann", "?replay=none").await;
    ann.must("send_group_message", text(&group, "Shall we?"), "group_message_accepted").await;
    let to = cluster.data().join("export");
    let export = async || {
        let (code, out, err) =
            cluster.run(&["export", "--json", "--with-content", "--to", to.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    assert_eq!((&export().await["rows"], &export().await["rows"]), (&json!(2), &json!(0)));
    ann.must("send_group_message", text(&group, "At five."), "group_message_accepted").await;
    assert_eq!(export().await["rows"], 1);
    let (code, out, err) = cluster.run(&["status", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["instances"].as_array().unwrap().len(), 6, "{status}");
    assert_eq!(status["sessions"], 1, "{status}");
    let partitions = status["partitions"].as_array().unwrap();
    assert!(partitions.iter().all(|partition| partition["owner"].is_string()), "{status}");
}

/// Erased is erased at every edge, also where the key was at hand and the message in memory; what is said later can be read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn a_groups_keys_are_destroyed_in_every_process() {
    let mut cluster = Cluster::start(&[]).await;
    let group = cluster.rest("edge-1", "ann").await.group("Tea", &["bob"]).await;
    let mut ann = cluster.client("edge-1", "ann", "?replay=none").await;
    let mut bob = cluster.client("edge-2", "bob", "").await;
    bob.must("subscribe_to_group", json!({"group_id": group}), "subscribed_to_group").await;
    ann.text(&group, "A secret.").await;
    while bob.event_of(&group).await["text"] != "A secret." {}

    let destroy = ["keys", "destroy", "--yes", "--group", &group];
    // Nothing that is acknowledged while keys are about to go goes with them.
    let (code, out, err) = {
        let mut destroying = std::pin::pin!(cluster.run(&destroy));
        loop {
            tokio::select! {
                biased;
                ended = &mut destroying => break ended,
                () = tokio::time::sleep(Duration::from_millis(60)) => drop(ann.text(&group, "Meanwhile.").await),
            }
        }
    };
    assert_eq!((code, out.starts_with("1 data keys")), (0, true), "{out}{err}");
    assert!(out.contains("in the 6 processes"), "{out}");
    let left = texts(&cluster, "edge-2", &group).await;
    let gone = left.iter().take_while(|text| text.is_null()).count();
    assert!(
        left[gone..].iter().all(|text| text == "Meanwhile."),
        "nothing is gone after what was kept: {left:?}"
    );
    assert!(gone < left.len(), "what was said last, long after all were told, was kept: {left:?}");
    ann.text(&group, "No secret.").await;
    while bob.event_of(&group).await["text"] != "No secret." {}
    for edge in ["edge-1", "edge-2"] {
        let mut late = cluster.client(edge, "bob", "?replay=none").await;
        let all = json!({"group_id": group, "after_seq": 1});
        late.must("subscribe_to_group", all, "subscribed_to_group").await;
        let erased = late.event_of(&group).await;
        assert_eq!(
            (&erased["withheld"], &erased["text"]),
            (&json!("erased"), &Value::Null),
            "{edge}: {erased}"
        );
        while late.event_of(&group).await["text"] != "No secret." {}
        let mut said = left.clone();
        said.push(json!("No secret."));
        assert_eq!(texts(&cluster, edge, &group).await, said, "{edge}");
    }
    let (code, _, err) = cluster.run(&["keys", "rotate"]).await;
    assert!(code != 0 && err.contains("writer-"), "they know only the old ring: {err}");
    for role in ["writer", "projector", "edge"] {
        for number in [1, 2] {
            cluster.kill(&format!("{role}-{number}")).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(12)).await; // until they count as gone
    let (code, out, err) = cluster.run(&["keys", "rotate"]).await;
    assert_eq!(
        (code, out.lines().next()),
        (0, Some("key k2 is active; 1 data keys are wrapped under it")),
        "{err}"
    );
    for role in ["writer", "projector", "edge"] {
        cluster.restart(&format!("{role}-1")).await;
    }
    let mut said = left;
    said.push(json!("No secret."));
    assert_eq!(texts(&cluster, "edge-1", &group).await, said, "under the fresh key");
}

async fn texts(cluster: &Cluster, edge: &str, group: &str) -> Vec<Value> {
    let messages = cluster.rest(edge, "bob").await.history(group, 200).await;
    messages.into_iter().map(|mut message| message["text"].take()).collect()
}

/// Groups that share a partition with the one that is replayed.
const OTHERS: usize = 10_000;
/// Groups that one user makes of them: who is in few is looked up with one short read.
const MAKERS_GROUPS: usize = 100;
/// Tries to make one of them.
const TRIES_MAX: usize = 20;
/// What a replay of 100 messages may read at most, of rows and of the log together.
const READ_MAX: f64 = 400.0;

/// A replay costs what it returns: one group's 100 messages, among 10,000 groups of the same partition.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs engines: scripts/test starts them"]
async fn a_replay_reads_its_own_group_and_not_the_partition() {
    let cluster = Cluster::start(&["partitions=1"]).await;
    let rest = cluster.rest("edge-1", "ann").await;
    let group = rest.group("the one", &["bob"]).await;
    let mut ann = cluster.client("edge-1", "ann", "?replay=none").await;
    let mut makers = Vec::new();
    for number in 0..OTHERS / MAKERS_GROUPS {
        makers.push(cluster.rest("edge-1", &format!("maker{number}")).await);
    }
    let make = |number: usize| {
        let maker = &makers[number / MAKERS_GROUPS];
        async move { maker.group_in(TRIES_MAX, &format!("other {number}"), &[]).await }
    };
    let mut made = futures::stream::iter((0..OTHERS).map(make)).buffer_unordered(64);
    let mut number = 0;
    while made.next().await.is_some() {
        if number % (OTHERS / 100) == 0 {
            ann.text(&group, &format!("message {}", number / (OTHERS / 100))).await;
        }
        number += 1;
    }
    assert_eq!(number, OTHERS);
    let read = async |metric| cluster.metric("edge-2", metric).await;
    let names = ["parley_replay_rows_total", "parley_delivery_records_read_total"];
    let before = read(names[0]).await + read(names[1]).await;
    let mut bob = cluster.client("edge-2", "bob", "?replay=none").await;
    bob.must("subscribe_to_group", json!({"group_id": group, "after_seq": 1}), "subscribed_to_group").await;
    for number in 0..100 {
        assert_eq!(bob.event_of(&group).await["text"], format!("message {number}"));
    }
    let cost = read(names[0]).await + read(names[1]).await - before;
    eprintln!("replayed 100 messages among {OTHERS} groups of one partition: {cost} rows and records read");
    assert!((100.0..READ_MAX).contains(&cost), "{cost} rows and records read for 100 messages");
}
