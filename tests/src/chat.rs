//! What many tests of chat do: names, many tokens, runs of events, whole histories.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::client::{Client, Rest, connect};
use crate::server::{Server, binary};

/// Texts that [`Server::stalled`] sends.
pub const STALLING_TEXTS: usize = 500;

/// `prefix000`, `prefix001` …: they sort in the order of their numbers.
#[must_use]
pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:04}")).collect()
}

/// The data of a text message.
#[must_use]
pub fn text_data(group: &str, client_message_id: &str, text: &str) -> Value {
    json!({"group_id": group, "client_message_id": client_message_id, "type": "text", "text": text})
}

/// The `seq` of each.
#[must_use]
pub fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(seq).collect()
}

/// The `seq` of one.
#[must_use]
pub fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {event}"))
}

/// Fails unless these are exactly the events from one `seq` to another, in order.
pub fn assert_run(events: &[Value], from: u64, to: u64, who: impl Display) {
    assert_eq!(seqs(events), (from..=to).collect::<Vec<u64>>(), "{who}");
}

/// Fails unless this is a time as the contract writes it.
pub fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

/// Milliseconds since 1970 of a time as the contract writes it.
#[must_use]
pub fn millis(value: &Value) -> i64 {
    assert_time(value);
    let at: prost_types::Timestamp = value.as_str().unwrap_or_default().parse().unwrap();
    at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000
}

/// Milliseconds since 1970 by now.
#[must_use]
pub fn now_millis() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Fails unless a call is refused with this status and code.
pub async fn is(rest: &Rest, method: &str, path: &str, body: Value, status: u16, code: &str) {
    let refused = rest.refused(method, path, (!body.is_null()).then_some(body)).await;
    assert_eq!(refused, (status, code.to_owned()), "{method} {path}");
}

/// The last event of a group.
pub async fn head(rest: &Rest, group: &str) -> u64 {
    rest.get(&format!("/groups/{group}")).await["head_seq"].as_u64().unwrap()
}

impl Server {
    /// Tokens of many users, in their order, by one run of the binary.
    pub async fn tokens(&self, users: &[String]) -> Vec<String> {
        let mut command = tokio::process::Command::new(binary());
        command.arg("token");
        for user in users {
            command.args(["--user", user]);
        }
        let output = command.arg("--data").arg(&self.data).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tokens: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(tokens.len(), users.len());
        tokens
    }

    /// Sockets of many users, in their order.
    pub async fn clients(&self, users: &[String], query: &str) -> Vec<Client> {
        let mut clients = Vec::with_capacity(users.len());
        for token in self.tokens(users).await {
            clients.push(connect(&self.url, &token, query).await.expect("handshake"));
        }
        clients
    }

    /// A client of a member who takes nothing of what `sender` says in the group, which is far more than their link holds: whoever
    /// waits for it is held up. For a server without rate limit.
    pub async fn stalled(&self, member: &str, sender: &str, group: &str) -> Client {
        let stalled =
            Client::open_narrow(&self.url, &self.token(member).await, 16 * 1024).await.expect("handshake");
        self.quiet_client(sender).await.flood(group, 0..STALLING_TEXTS, 4_000).await;
        stalled
    }
}

impl Client {
    /// The next `count` events of a group.
    pub async fn events(&mut self, group: &str, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event_of(group).await);
        }
        events
    }

    /// The events of a group up to the one with this `seq`.
    pub async fn events_to(&mut self, group: &str, last: u64) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.event_of(group).await;
            let is_last = seq(&event) >= last;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// Subscribes with further fields beside the group; the answer's data.
    pub async fn subscribe(&mut self, group: &str, more: Value) -> Value {
        let mut data = more;
        data["group_id"] = json!(group);
        self.must("subscribe_to_group", data, "subscribed_to_group").await
    }

    /// Acknowledges up to a `seq`; the answer's data.
    pub async fn acknowledge(&mut self, group: &str, seq: u64, status: &str) -> Value {
        let data = json!({"group_id": group, "seq": seq, "status": status});
        self.must("acknowledge_group_message", data, "group_message_acknowledged").await
    }

    /// Sends texts with the ids and texts `first`, `first + 1` …, many at a time, and waits until each is accepted;
    /// `pad` fills each text up to so many bytes. For a client that isn't subscribed.
    pub async fn flood(&mut self, group: &str, numbers: std::ops::Range<usize>, pad: usize) {
        let numbers: Vec<usize> = numbers.collect();
        for some in numbers.chunks(250) {
            for n in some {
                let id = n.to_string();
                self.send("send_group_message", text_data(group, &id, &format!("{id:.<pad$}"))).await;
            }
            for n in some {
                let accepted = self.expect("group_message_accepted").await;
                assert_eq!(accepted["data"]["client_message_id"], n.to_string().as_str());
            }
        }
    }

    /// Asserts that no event of a group comes before the reply to a `ping`.
    pub async fn nothing_of(&mut self, group: &str) {
        self.nothing(|frame| {
            matches!(frame["event"].as_str(), Some("group_message" | "group_event"))
                && frame["data"]["group_id"] == group
        })
        .await;
    }
}

impl Rest {
    /// All messages of a group that the user may see, read forwards in pages.
    pub async fn history(&self, group: &str, limit: usize) -> Vec<Value> {
        let mut messages: Vec<Value> = Vec::new();
        loop {
            let after = messages.last().map_or(0, seq);
            let page = self.get(&format!("/groups/{group}/messages?after_seq={after}&limit={limit}")).await;
            let some = page["messages"].as_array().unwrap();
            assert!(some.len() <= limit, "a page of {}", some.len());
            assert!(some.iter().all(|message| seq(message) > after), "after_seq is exclusive");
            messages.extend(some.iter().cloned());
            if page["has_more"] == false {
                return messages;
            }
            assert_eq!(some.len(), limit, "a page with more behind it is full");
        }
    }

    /// The same, read backwards from the newest.
    pub async fn history_backwards(&self, group: &str, limit: usize) -> Vec<Value> {
        let mut pages: Vec<Vec<Value>> = Vec::new();
        let mut path = format!("/groups/{group}/messages?limit={limit}");
        loop {
            let page = self.get(&path).await;
            let some = page["messages"].as_array().unwrap().clone();
            let before = some.first().map(seq);
            pages.push(some);
            if page["has_more"] == false {
                return pages.into_iter().rev().flatten().collect();
            }
            path = format!("/groups/{group}/messages?before_seq={}&limit={limit}", before.unwrap());
        }
    }

    /// All entries of a paged list, and how many pages it had.
    pub async fn all_pages(&self, path: &str, field: &str, limit: usize) -> (Vec<Value>, usize) {
        let (mut entries, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = self.get(&format!("{path}?limit={limit}{cursor}")).await;
            let some = page[field].as_array().unwrap();
            assert!(some.len() <= limit, "a page of {}", some.len());
            entries.extend(some.iter().cloned());
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else { return (entries, pages) };
            assert_eq!(some.len(), limit, "a page with more behind it is full");
            cursor = format!("&cursor={next}");
        }
    }

    /// A write that must be answered with this status; the body.
    pub async fn must(&self, status: u16, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { None } else { Some(body) };
        let (got, answer) = self.call(method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        answer
    }
}
