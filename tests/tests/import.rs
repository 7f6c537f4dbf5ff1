//! Real input: 65,432 real messages of 8,691 people in 51 groups, through the public API as their users.

use std::process::Stdio;
use std::time::Duration;

use parley_tests::transcript::{expected, groups, history, import, importing, replayed, transcript};
use parley_tests::{Server, ServerOptions, Value, json};

/// Accepted messages a second that the project promises with fsync on two cores; told, not asserted, as machines are noisy.
const PROMISED_PER_SECOND: f64 = 5_000.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_transcript_is_imported_exactly_once_and_in_order() {
    let mut server = Server::start().await;
    let expected = expected();
    let messages: usize = expected.values().map(Vec::len).sum();

    let first = import(&server.url, &server.data, &transcript()).await;
    eprintln!("import: {first}");
    assert_eq!(first["accepted"], messages);
    assert_eq!((&first["groups"], &first["users"]), (&json!(51), &json!(8_691)));
    if first["accepted_per_second"].as_f64().unwrap() < PROMISED_PER_SECOND {
        eprintln!("WARNING: below the promised {PROMISED_PER_SECOND} accepted messages a second");
    }

    let archive = server.rest("archive").await;
    let groups = groups(&archive).await;
    assert_eq!(groups.len(), expected.len());
    // `archive` was never online.
    let mut late = server.quiet_client("archive").await;
    assert!(replayed(&mut late, &groups).await == expected, "the replay is the transcript");
    for (name, group) in &groups {
        assert!(history(&archive, group).await == expected[name], "the history of {name} is the transcript");
    }

    let second = import(&server.url, &server.data, &transcript()).await;
    assert_eq!((&second["accepted"], &second["already_there"]), (&json!(0), &json!(messages)));
    for (name, group) in groups.iter().take(5) {
        assert_eq!(
            history(&archive, group).await.len(),
            expected[name].len(),
            "a second import doubles nothing"
        );
    }

    assert_eq!(server.terminate().await, Some(0));
    let (code, out, err) = server.run(&["log", "verify", "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let verified: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&verified["faults"], &verified["messages"]), (&json!(0), &json!(messages)), "{verified}");
    let (code, out, _) = server.run(&["rebuild", "--verify", "--json"]).await;
    assert_eq!(code, 0, "rebuilt rows equal live rows: {out}");
    a_damaged_read_model_is_replaced(&mut server).await;
}

/// A flipped bit where the rows lie: what can't be read is an error rather than wrong, and a rebuild on the running server
/// puts it right.
async fn a_damaged_read_model_is_replaced(server: &mut Server) {
    let reads = server.data.join("reads");
    let live = std::fs::read_to_string(reads.join("live")).unwrap();
    let (mut dirs, mut files) = (vec![reads.join(format!("v{}", live.trim()))], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.path().parent().unwrap().ends_with("tables") {
                files.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    let (len, largest) = files.into_iter().max().unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[usize::try_from(len / 2).unwrap()] ^= 0x40;
    std::fs::write(&largest, bytes).unwrap();
    server.restart().await;
    let (code, _, err) = server.run(&["rebuild", "--verify"]).await;
    assert!(code == 1 && err.contains("read store"), "{err}");
    let (code, out, err) = server.run(&["rebuild", "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let replaced: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&replaced["unreadable"], &replaced["equal"]), (&json!(true), &json!(false)), "{replaced}");
    let (code, out, _) = server.run(&["rebuild", "--verify", "--json"]).await;
    assert_eq!(code, 0, "the new ones are right: {out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_default_limits_an_import_waits_as_it_is_told_and_completes() {
    let server = Server::start_with(ServerOptions::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fast-talker.jsonl");
    let line = |n: u32| json!({"group": "g", "at": "2026-01-01T00:00:00Z", "kind": "message", "user": "ann", "text": n.to_string()});
    let lines: Vec<String> = (0..150).map(|n| line(n).to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let outcome = import(&server.url, &server.data, &file).await;
    assert_eq!(outcome["accepted"], 150);
    assert!(outcome["waits"].as_u64().unwrap() > 0, "a burst of 60 and 20 a second: {outcome}");
    let archive = server.rest("archive").await;
    let group = groups(&archive).await.remove("g").unwrap();
    assert_eq!(history(&archive, &group).await, (0..150).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_transcript_of_a_group_and_one_that_has_grown_add_what_is_new() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let imported = async |name: &str, said: &[(&str, &str)]| {
        let line = |(user, text): &(&str, &str)| json!({"group": "g", "at": name, "kind": "message", "user": user, "text": text});
        let lines: Vec<String> = said.iter().map(|said| line(said).to_string()).collect();
        let file = dir.path().join(name);
        std::fs::write(&file, lines.join("\n")).unwrap();
        let outcome = import(&server.url, &server.data, &file).await;
        (outcome["accepted"].as_u64().unwrap(), outcome["already_there"].as_u64().unwrap())
    };
    assert_eq!(imported("day1", &[("ann", "1"), ("bob", "2")]).await, (2, 0));
    let mut day2 = vec![("ann", "3"), ("cid", "4")];
    assert_eq!(imported("day2", &day2).await, (2, 0), "as many lines of the same group, but others");
    // Who speaks first in what was added was never let in.
    day2.push(("dan", "5"));
    assert_eq!(imported("day2", &day2).await, (1, 2));
    assert_eq!(imported("day2", &day2).await, (0, 3));
    assert_eq!(imported("day1", &[("ann", "1"), ("bob", "2")]).await, (0, 2));
    let archive = server.rest("archive").await;
    let group = groups(&archive).await.remove("g").unwrap();
    assert_eq!(history(&archive, &group).await, ["1", "2", "3", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_where_it_stopped_and_doubles_nothing() {
    // With the default limits Ann's lines take seconds, so that there is something to kill.
    let server = Server::start_with(ServerOptions::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("transcript.jsonl");
    let line = |group: &str, user: &str, n: usize| json!({"group": group, "at": "2026-01-01T00:00:00Z", "kind": "message", "user": user, "text": n.to_string()});
    let lines: Vec<String> = (0..180)
        .flat_map(|n| {
            let others = (n % 6 == 0).then(|| line("side", "bob", n));
            [Some(line("main", "ann", n)), others].into_iter().flatten()
        })
        .map(|line| line.to_string())
        .collect();
    std::fs::write(&file, lines.join("\n")).unwrap();

    let mut first = importing(&server.url, &server.data, &file).stdout(Stdio::null()).spawn().unwrap();
    let archive = server.rest("archive").await;
    let head = async || {
        let listed = archive.get("/groups").await;
        let main = listed["groups"].as_array().unwrap().iter().find(|group| group["name"] == "main");
        main.map_or(0, |group| group["head_seq"].as_u64().unwrap())
    };
    while head().await <= 50 {
        assert!(first.try_wait().unwrap().is_none(), "it is under way");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.kill().await.unwrap();
    let groups = groups(&archive).await;
    let before = history(&archive, &groups["main"]).await.len();
    assert!(before < 180, "it was killed in the midst of it");

    let second = import(&server.url, &server.data, &file).await;
    let count = |name: &str| second[name].as_u64().unwrap();
    assert_eq!(count("accepted") + count("already_there"), 210, "{second}");
    assert!(count("already_there") >= u64::try_from(before).unwrap(), "{second}");
    for (name, step) in [("main", 1), ("side", 6)] {
        let texts: Vec<String> = (0..180).step_by(step).map(|n: usize| n.to_string()).collect();
        assert_eq!(history(&archive, &groups[name]).await, texts, "{name}");
    }
}
