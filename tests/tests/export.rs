//! `parley export`: what is exported is what the log holds, once, whoever holds the log and whatever interrupts it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use parley_tests::chat::assert_run;
use parley_tests::transcript::{expected, import, transcript};
use parley_tests::{Server, Value, binary, json};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use tokio::process::Command;

type Row = BTreeMap<String, Value>;

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Long(number) | Field::TimestampMillis(number) => json!(number),
        Field::Str(text) => json!(text),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => panic!("a column of a kind that isn't documented: {other:?}"),
    }
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap()
}

/// Files of a table that have their names, from the export's directory.
fn files(dir: &Path, table: &str) -> BTreeSet<String> {
    let Ok(days) = std::fs::read_dir(dir.join(table)) else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for day in days.map(Result::unwrap) {
        for file in std::fs::read_dir(day.path()).unwrap().map(Result::unwrap) {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                found.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// The rows of a table, of the files that the manifest lists; checks that it lists all, and each as it is.
fn rows(dir: &Path, table: &str) -> Vec<Row> {
    let manifest = manifest(dir);
    let listed = manifest["files"].as_array().unwrap().iter().filter(|part| part["table"] == table);
    let (mut rows, mut names) = (Vec::new(), BTreeSet::new());
    for part in listed {
        let path = part["path"].as_str().unwrap();
        let bytes = std::fs::read(dir.join(path)).unwrap();
        let sum: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&part["bytes"], &part["sha256"]), (&json!(bytes.len()), &json!(sum)), "{path}");
        assert!(path.starts_with(&format!("{table}/date={}/", part["date"].as_str().unwrap())), "{path}");
        names.insert(path.to_owned());
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let before = rows.len();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            rows.push(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect());
        }
        assert_eq!(part["rows"], json!(rows.len() - before), "{path}");
    }
    assert_eq!(names, files(dir, table), "files that the manifest doesn't list");
    rows
}

async fn export(server: &Server, to: &Path, more: &[&str]) -> (i32, Value, String) {
    let mut args = vec!["export", "--json", "--to", to.to_str().unwrap()];
    args.extend(more);
    let (code, out, err) = server.run(&args).await;
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

fn of_type<'a>(rows: &'a [Row], name: &str) -> Vec<&'a Row> {
    let kind = format!("parley.events.v1.{name}");
    rows.iter().filter(|row| row["type"] == kind.as_str()).collect()
}

/// Every kind of event that a client can cause, and some acknowledgements; gives the group and the accepted texts.
async fn conversation(server: &Server) -> (String, Vec<Value>) {
    let ann = server.rest("ann").await;
    let group = ann.group("Tea", &["bob"]).await;
    let call = async |method: &str, path: &str, body: Value| {
        let (status, answer) = ann.call(method, &format!("/groups/{group}{path}"), Some(body)).await;
        assert!(status < 300, "{answer}");
    };
    let mut socket = server.quiet_client("ann").await;
    let mut accepted = vec![socket.text(&group, "the secret of the tea").await];
    call("POST", "/members", json!({"user_ids": ["cleo", "dan"]})).await;
    call("PUT", "/members/cleo/role", json!({"role": "admin"})).await;
    call("PATCH", "", json!({"name": "Coffee", "description": "black"})).await;
    accepted.push(socket.text(&group, "äöü").await);
    call("DELETE", "/members/dan", Value::Null).await;
    call("PUT", "/owner", json!({"user_id": "bob"})).await;
    let mut bob = server.quiet_client("bob").await;
    bob.acknowledge(&group, 2, "delivered").await;
    bob.acknowledge(&group, 6, "read").await;
    (group, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_cursors_are_rows_with_what_is_in_clear() {
    let server = Server::start().await;
    let (group, accepted) = conversation(&server).await;
    let to = server.data.join("export");
    let (code, outcome, err) = export(&server, &to, &[]).await;
    assert_eq!(code, 0, "{err}");
    let events = rows(&to, "events");
    assert_eq!(
        outcome["records"],
        manifest(&to)["topics"]["parley.events"]["records"].as_u64().unwrap()
            + rows(&to, "acks").len() as u64
    );
    let seqs: Vec<_> = events.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=8).collect::<Vec<u64>>());
    assert!(events.iter().all(|row| row["group_id"] == group.as_str() && row["topic"] == "parley.events"));
    let created = of_type(&events, "GroupCreated")[0];
    assert_eq!(
        (&created["name"], &created["actor"], &created["user_ids"], &created["member_count"]),
        (&json!("Tea"), &json!("ann"), &json!(["ann", "bob"]), &json!(2))
    );
    let added = of_type(&events, "MembersAdded")[0];
    assert_eq!((&added["user_ids"], &added["member_count"]), (&json!(["cleo", "dan"]), &json!(4)));
    let role = of_type(&events, "RoleChanged")[0];
    assert_eq!((&role["user_ids"], &role["role"]), (&json!(["cleo"]), &json!("admin")));
    assert_eq!(of_type(&events, "MembersRemoved")[0]["user_ids"], json!(["dan"]));
    assert_eq!(of_type(&events, "OwnerTransferred")[0]["user_ids"], json!(["bob"]));
    let updated = of_type(&events, "GroupUpdated")[0];
    assert_eq!((&updated["name"], &updated["description"]), (&json!("Coffee"), &json!("black")));
    for (row, answer) in of_type(&events, "MessageSent").into_iter().zip(&accepted) {
        for name in ["message_id", "client_message_id", "seq"] {
            assert_eq!(row[name], answer[name]);
        }
        assert_eq!(
            (&row["partition"], &row["offset"]),
            (&answer["position"]["partition"], &answer["position"]["offset"])
        );
        assert_eq!(
            (&row["sender"], &row["message_type"], &row["text"]),
            (&json!("ann"), &json!("text"), &Value::Null)
        );
    }
    let sizes: Vec<_> = of_type(&events, "MessageSent").iter().map(|row| row["size_bytes"].clone()).collect();
    assert_eq!(sizes, [json!(21), json!(6)]);
    let cursors: Vec<_> = rows(&to, "acks")
        .iter()
        .map(|row| json!([row["user_id"], row["delivered_seq"], row["read_seq"]]))
        .collect();
    assert_eq!(cursors, [json!(["bob", 2, 1]), json!(["bob", 6, 6])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_there_only_if_asked_for_and_never_after_its_key_is_destroyed() {
    let mut server = Server::start().await;
    let (group, _) = conversation(&server).await;
    let (sealed, opened) = (server.data.join("sealed"), server.data.join("opened"));
    assert_eq!(export(&server, &sealed, &[]).await.0, 0);
    assert_eq!(export(&server, &opened, &["--with-content"]).await.0, 0);
    let texts = |dir: &Path| -> Vec<Value> {
        of_type(&rows(dir, "events"), "MessageSent").iter().map(|row| row["text"].clone()).collect()
    };
    assert_eq!(texts(&opened), [json!("the secret of the tea"), json!("äöü")]);
    assert_eq!(texts(&sealed), [Value::Null, Value::Null]);
    // What was begun one way doesn't go on the other.
    for (dir, more) in [(&sealed, &["--with-content"][..]), (&opened, &[])] {
        let (code, _, err) = export(&server, dir, more).await;
        assert!(code == 64 && err.contains("export to another directory"), "{code} {err}");
    }
    server.terminate().await;
    let (code, _, err) = export(&server, &sealed, &["--with-content"]).await;
    assert!(code == 64 && err.contains("without message text"), "{code} {err}");
    let (code, _, err) = server.run(&["keys", "destroy", "--group", &group, "--yes"]).await;
    assert_eq!(code, 0, "{err}");
    let erased = server.data.join("erased");
    assert_eq!(export(&server, &erased, &["--with-content"]).await.0, 0);
    let rows = rows(&erased, "events");
    for row in of_type(&rows, "MessageSent") {
        assert_eq!((&row["text"], &row["withheld"]), (&Value::Null, &json!("erased")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_adds_what_came_since_from_a_running_server_and_from_a_stopped_one() {
    let mut server = Server::start().await;
    let to = server.data.join("export");
    let (group, _) = conversation(&server).await;
    export(&server, &to, &[]).await;
    let first = rows(&to, "events");
    let kept = files(&to, "events");
    let (code, again, err) = export(&server, &to, &[]).await;
    assert_eq!((code, &again["rows"], &again["files"]), (0, &json!(0), &json!(0)), "{err}");
    server.quiet_client("bob").await.text(&group, "more").await;
    export(&server, &to, &[]).await;
    server.terminate().await;
    server.restart().await;
    server.quiet_client("bob").await.text(&group, "and more").await;
    server.terminate().await;
    let (code, outcome, err) = export(&server, &to, &[]).await;
    assert_eq!((code, &outcome["rows"]), (0, &json!(1)), "{err}");
    let all = rows(&to, "events");
    assert_eq!(all[..first.len()], first[..], "what was exported stays");
    assert!(files(&to, "events").is_superset(&kept));
    let seqs: BTreeSet<_> = all.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    assert_eq!((seqs.len(), all.len()), (10, 10), "each event once");
    // A whole one gives the same, and the same spans.
    let whole = server.data.join("whole");
    assert_eq!(export(&server, &whole, &[]).await.0, 0);
    assert_eq!(rows(&whole, "events"), all);
    let (one, other) = (manifest(&whole), manifest(&to));
    assert_eq!(one["topics"], other["topics"]);
    let partition = all[0]["partition"].to_string();
    let span = &one["topics"]["parley.events"]["partitions"][&partition];
    assert_eq!((&span["first"], &span["last"]), (&all[0]["offset"], &all[9]["offset"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_the_files_of_others_is_left_as_it_is() {
    let server = Server::start().await;
    conversation(&server).await;
    let to = server.data.join("lake");
    let day = to.join("events").join("date=2026-11-24");
    std::fs::create_dir_all(&day).unwrap();
    let theirs = day.join("part-00000-7c1e.c000.snappy.parquet");
    std::fs::write(&theirs, "theirs").unwrap();
    let (code, _, err) = export(&server, &to, &[]).await;
    assert!(code == 64 && err.contains("export to an empty directory"), "{code} {err}");
    assert!(theirs.exists() && !to.join("manifest.json").exists());
}

/// Waits until an export is writing, and kills it.
async fn killed_while_writing(server: &Server, to: &Path) -> bool {
    let mut child = Command::new(binary())
        .args(["export", "--to", to.to_str().unwrap(), "--data", server.data.to_str().unwrap()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let began = Instant::now();
    let events = to.join("events");
    while began.elapsed() < Duration::from_secs(60) {
        let is_writing = std::fs::read_dir(&events).is_ok_and(|days| {
            days.flatten()
                .any(|day| std::fs::metadata(day.path().join("open.tmp")).is_ok_and(|file| file.len() > 0))
        });
        if is_writing {
            child.kill().await.unwrap();
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the export neither wrote nor ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_export_leaves_nothing_that_counts_and_the_next_one_is_whole() {
    let mut server = Server::start().await;
    import(&server.url, &server.data, &transcript()).await;
    server.terminate().await;
    let to: PathBuf = server.data.join("export");
    let interrupted = killed_while_writing(&server, &to).await;
    assert!(interrupted, "it ended before it could be interrupted");
    assert_eq!(manifest(&to)["files"], json!([]), "nothing counts yet");
    assert!(files(&to, "events").is_empty());
    let (code, _, err) = export(&server, &to, &[]).await;
    assert_eq!(code, 0, "{err}");
    let events = rows(&to, "events");
    let messages: usize = expected().values().map(Vec::len).sum();
    assert_eq!(of_type(&events, "MessageSent").len(), messages);
    let mut heads: BTreeMap<String, u64> = BTreeMap::new();
    for row in &events {
        let head = heads.entry(row["group_id"].to_string()).or_default();
        *head += 1;
        assert_eq!(row["seq"], *head, "in the order of the stream");
    }
    assert_eq!(heads.len(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_runs_and_that_nothing_does() {
    let mut server = Server::start().await;
    let (_, accepted) = conversation(&server).await;
    let _socket = server.quiet_client("cleo").await;
    let (code, out, err) = server.run(&["status", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["instances"][0]["roles"], json!(["writer", "projector", "edge"]));
    assert!(status["sessions"].as_u64().unwrap() >= 1, "{status}");
    assert_eq!(status["partitions"].as_array().unwrap().len(), 64);
    let position = &accepted[1]["position"];
    let partition = &status["partitions"][position["partition"].as_u64().unwrap() as usize];
    assert!(partition["head"]["parley.events"].as_u64() > position["offset"].as_u64(), "{partition}");
    assert_eq!(partition["owner"], status["instances"][0]["instance"]);
    let (code, out, _) = server.run(&["status"]).await;
    assert!(
        code == 0 && out.contains("writer, projector, edge") && out.contains("64 partitions, 0 without"),
        "{out}"
    );
    server.terminate().await;
    let (code, _, err) = server.run(&["status"]).await;
    assert!(code == 1 && err.contains("no server runs on"), "{err}");
}

/// What lies in the edge's memory is erased as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_withheld_from_who_comes_back() {
    let server = Server::start().await;
    let group = server.rest("ann").await.group("Crew", &["bob"]).await;
    let mut ann = server.client("ann").await;
    for n in 0..3 {
        ann.text(&group, &format!("text {n}")).await;
    }
    let mut bob = server.client("bob").await;
    assert!(bob.events(&group, 3).await.iter().all(|event| event["text"].is_string()));
    let (code, _, err) = server.run(&["keys", "destroy", "--group", &group, "--yes"]).await;
    assert_eq!(code, 0, "{err}");
    let mut again = server.client("bob").await;
    let events = again.events(&group, 3).await;
    assert_run(&events, 2, 4, "what was there is counted");
    for event in &events {
        assert_eq!((&event["text"], &event["withheld"]), (&Value::Null, &json!("erased")), "{event}");
    }
    // A new key seals what comes.
    ann.text(&group, "text 0").await;
    assert_eq!(again.events(&group, 1).await[0]["text"], "text 0");
}
