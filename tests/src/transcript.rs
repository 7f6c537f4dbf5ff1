//! A transcript of real chat, and what a server must give of it once it was imported.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::{Client, Rest};
use crate::server::binary;

/// 65,432 real messages of 8,691 people in 51 groups.
#[must_use]
pub fn transcript() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join("ubuntu-irc.jsonl.gz")
}

/// The texts of each group, in order, read independently of the importer.
#[must_use]
pub fn expected() -> HashMap<String, Vec<String>> {
    let mut text = String::new();
    let file = std::fs::File::open(transcript()).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut texts: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let group = texts.entry(line["group"].as_str().unwrap().to_owned()).or_default();
        if line["kind"] == "message" {
            group.push(line["text"].as_str().unwrap().to_owned());
        }
    }
    texts
}

/// The command that imports a file through a server or edge, with tokens of a data directory.
#[must_use]
pub fn importing(url: &str, data: &Path, file: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["import", "--json", "--url", url, "--data"]).arg(data).arg(file).kill_on_drop(true);
    command
}

/// Imports a file, to its end; the summary.
pub async fn import(url: &str, data: &Path, file: &Path) -> Value {
    let output = importing(url, data, file).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Group ids by name, as `archive` lists them.
pub async fn groups(archive: &Rest) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = archive.get(&format!("/groups?limit=20{cursor}")).await;
        for group in page["groups"].as_array().unwrap() {
            found.insert(
                group["name"].as_str().unwrap().to_owned(),
                group["group_id"].as_str().unwrap().to_owned(),
            );
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// The texts of a group, as history has them.
pub async fn history(archive: &Rest, group: &str) -> Vec<String> {
    let messages = archive.history(group, 200).await;
    messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

/// The texts of each group, replayed to a client that was never online: one resume gives everything, dense and in order.
pub async fn replayed(
    archive: &mut Client,
    groups: &HashMap<String, String>,
) -> HashMap<String, Vec<String>> {
    let epoch = archive.welcome["epoch"].clone();
    let mut replayed = HashMap::new();
    for (name, group) in groups {
        let from = json!({"groups": [{"group_id": group, "epoch": epoch, "after_seq": 0}]});
        let resumed = archive.must("resume", from, "resumed").await;
        let resumed = &resumed["groups"][0];
        assert_eq!((&resumed["complete"], &resumed["from_seq"]), (&json!(true), &json!(1)), "{resumed}");
        let mut texts = Vec::new();
        for seq in 1..=resumed["to_seq"].as_u64().unwrap() {
            let event = archive.event_of(group).await;
            assert_eq!(event["seq"], seq, "no gap, no repeat");
            if event["event"] == "group_message" {
                texts.push(event["text"].as_str().unwrap().to_owned());
            }
        }
        replayed.insert(name.clone(), texts);
    }
    replayed
}
