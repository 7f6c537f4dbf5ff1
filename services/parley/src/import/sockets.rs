//! One WebSocket a user, opened when it first speaks, kept while there is room.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use parley_domain::UserId;
use parley_wire::frame::names;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::rest::TOKEN_TTL;
use crate::token::Signer;

/// How long an answer may take before the connection counts as lost.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The library zeroes this much at every read (128 KiB unless told otherwise), for answers of some 400 bytes.
const READ_BYTES: usize = 4 * 1024;
/// Close codes from here on say: don't come back.
const CLOSED_FOR_GOOD: u16 = 3500;
/// Sent too much at once: it would be too much again.
const CLOSED_TOO_LARGE: u16 = 1009;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A reply to `send_group_message`.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is durable.
    Accepted(Accepted),
    /// It is not, or nobody knows.
    Refused(Refused),
}

/// Fields of `group_message_accepted`.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    pub(super) duplicate: bool,
}

/// Fields of `error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retryable: bool,
    pub(super) retry_after_ms: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Try again, with the same id.
    #[error("the connection was lost or can't be made: {why}")]
    Lost { why: String, retry_after_ms: Option<u64> },
    /// It would be the same again.
    #[error("the server ended the connection for good: {0}")]
    ForGood(String),
}

impl NoAnswer {
    fn lost(why: impl Into<String>) -> Self {
        Self::Lost { why: why.into(), retry_after_ms: None }
    }
}

type Reply = Result<Answer, NoAnswer>;

struct Ask {
    id: String,
    frame: Utf8Bytes,
    reply: oneshot::Sender<Reply>,
}

/// A way to one user's socket.
type Line = mpsc::Sender<Ask>;

struct Entry {
    line: Arc<OnceCell<Line>>,
    used: Instant,
}

/// The open sockets.
pub(super) struct Sockets {
    url: String,
    signer: Arc<Signer>,
    open_max: usize,
    open: Mutex<HashMap<UserId, Entry>>,
}

impl Sockets {
    /// `url` is the server's, with `ws` for `http`.
    pub(super) fn new(url: &str, signer: Arc<Signer>, open_max: usize) -> Self {
        let url = format!("{url}/v1/ws?replay=none");
        Self { url, signer, open_max, open: Mutex::new(HashMap::new()) }
    }

    fn line(&self, user: &UserId) -> Arc<OnceCell<Line>> {
        let mut open = self.open.lock();
        let used = Instant::now();
        if let Some(entry) = open.get_mut(user) {
            entry.used = used;
            return entry.line.clone();
        }
        if open.len() >= self.open_max {
            make_room(&mut open);
        }
        let line = Arc::new(OnceCell::new());
        open.insert(user.clone(), Entry { line: line.clone(), used });
        line
    }

    fn forget(&self, user: &UserId, lost: &Arc<OnceCell<Line>>) {
        let mut open = self.open.lock();
        if open.get(user).is_some_and(|entry| Arc::ptr_eq(&entry.line, lost)) {
            open.remove(user);
        }
    }

    /// Sends a frame as a user and waits for its answer.
    pub(super) async fn ask(&self, user: &UserId, id: &str, frame: Utf8Bytes) -> Reply {
        let line = self.line(user);
        let reply = self.ask_on(&line, user, id, frame).await;
        if reply.is_err() {
            self.forget(user, &line);
        }
        reply
    }

    async fn ask_on(&self, line: &OnceCell<Line>, user: &UserId, id: &str, frame: Utf8Bytes) -> Reply {
        let sender = line.get_or_try_init(|| self.connect(user)).await?;
        let (reply, replied) = oneshot::channel();
        let ask = Ask { id: id.to_owned(), frame, reply };
        sender.send(ask).await.map_err(|_| NoAnswer::lost("it was closed"))?;
        match tokio::time::timeout(ANSWER_WAIT, replied).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(NoAnswer::lost("it was closed before the answer came")),
            Err(_) => Err(NoAnswer::lost("no answer came in time")),
        }
    }

    async fn connect(&self, user: &UserId) -> Result<Line, NoAnswer> {
        let for_good = |error: &dyn std::fmt::Display| NoAnswer::ForGood(error.to_string());
        let mut request = self.url.as_str().into_client_request().map_err(|error| for_good(&error))?;
        let token = self.signer.token(user, TOKEN_TTL).map_err(|error| for_good(&error))?;
        let bearer = format!("Bearer {token}").parse().map_err(|error| for_good(&error))?;
        request.headers_mut().insert(http::header::AUTHORIZATION, bearer);
        let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
        let connecting = connect_async_with_config(request, Some(config), true);
        let (socket, _) = match tokio::time::timeout(ANSWER_WAIT, connecting).await {
            Ok(connected) => connected.map_err(not_connected)?,
            Err(_) => return Err(NoAnswer::lost("the handshake took too long")),
        };
        let (tx, rx) = mpsc::channel(16);
        tokio::spawn(carry(socket, rx));
        Ok(tx)
    }
}

/// Closes a sixteenth of the sockets, those that are idle for longest: looking for them costs a pass over all.
fn make_room(open: &mut HashMap<UserId, Entry>) {
    // Whoever holds a line waits for an answer.
    let idle = open.iter().filter(|(_, entry)| Arc::strong_count(&entry.line) == 1);
    let mut idle: Vec<(Instant, UserId)> = idle.map(|(user, entry)| (entry.used, user.clone())).collect();
    idle.sort_unstable();
    for (_, user) in idle.into_iter().take(open.len().div_ceil(16)) {
        open.remove(&user);
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "whatever else the library finds, it would find again")]
fn not_connected(error: Error) -> NoAnswer {
    match error {
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => NoAnswer::lost(error.to_string()),
        Error::Http(response) if response.status().is_server_error() || response.status() == 429 => {
            let after = response.headers().get(http::header::RETRY_AFTER);
            let seconds = after.and_then(|after| after.to_str().ok()?.parse::<u64>().ok());
            let why = format!("the handshake was answered {}", response.status());
            NoAnswer::Lost { why, retry_after_ms: seconds.map(|seconds| seconds.saturating_mul(1_000)) }
        }
        other => NoAnswer::ForGood(other.to_string()),
    }
}

/// Those who wait for answers; one or two, so a list is the quickest map.
type Waiting = Vec<(String, oneshot::Sender<Reply>)>;

/// Carries one user's frames until its line is dropped or the connection ends.
async fn carry(mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>, mut asks: mpsc::Receiver<Ask>) {
    let mut waiting = Waiting::new();
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some(Ask { id, frame, reply }) = ask else {
                    drop(socket.close(None).await);
                    return;
                };
                waiting.push((id, reply));
                if socket.send(Message::Text(frame)).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => answer(&text, &mut waiting),
                Some(Ok(Message::Close(close))) => return closed(close, waiting),
                Some(Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Hands a reply to who waits for it. What has no `id` of ours is none: welcome, notifications, whatever may come.
fn answer(text: &str, waiting: &mut Waiting) {
    let Ok(Frame { event, id: Some(id), data: Some(data) }) = serde_json::from_str(text) else { return };
    let Some(at) = waiting.iter().position(|(asked, _)| *asked == id) else { return };
    let read = match &*event {
        names::GROUP_MESSAGE_ACCEPTED => serde_json::from_str(data.get()).map(Answer::Accepted),
        "error" => serde_json::from_str(data.get()).map(Answer::Refused),
        _ => return,
    };
    let reply = read.map_err(|error| NoAnswer::ForGood(format!("{event} can't be understood: {error}")));
    drop(waiting.swap_remove(at).1.send(reply));
}

fn closed(close: Option<CloseFrame>, waiting: Waiting) {
    let Some(close) = close else { return };
    let code = u16::from(close.code);
    // Of 4000 and up nothing is agreed; they are "don't come back" as all from 3500 on.
    if code >= CLOSED_FOR_GOOD || code == CLOSED_TOO_LARGE {
        for (_, reply) in waiting {
            drop(reply.send(Err(NoAnswer::ForGood(format!("close code {code}: {}", close.reason)))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(id: &str, data: &serde_json::Value) -> String {
        serde_json::json!({"event": names::GROUP_MESSAGE_ACCEPTED, "id": id, "data": data}).to_string()
    }

    fn wait(id: &str) -> (Waiting, oneshot::Receiver<Reply>) {
        let (tx, rx) = oneshot::channel();
        (vec![(id.to_owned(), tx)], rx)
    }

    #[test]
    fn a_reply_finds_who_asked_and_nothing_else_does() {
        let (mut waiting, mut replied) = wait("1");
        for other in [
            r#"{"event":"welcome","data":{"groups":[]}}"#,
            r#"{"event":"error","data":{"code":"bad_request"}}"#,
            &accepted("2", &serde_json::json!({"duplicate": true})),
            "no JSON",
        ] {
            answer(other, &mut waiting);
            assert!(replied.try_recv().is_err(), "{other}");
        }
        answer(&accepted("1", &serde_json::json!({"duplicate": true, "seq": 9})), &mut waiting);
        assert!(matches!(replied.try_recv(), Ok(Ok(Answer::Accepted(Accepted { duplicate: true })))));
        let (mut waiting, mut replied) = wait("1");
        answer(
            r#"{"data":{"retry_after_ms":5,"retryable":true,"code":"busy","message":""},"id":"1","event":"error"}"#,
            &mut waiting,
        );
        let Ok(Ok(Answer::Refused(refused))) = replied.try_recv() else { panic!() };
        assert!(refused.retryable && refused.retry_after_ms == Some(5) && refused.code == "busy");
    }

    #[test]
    fn from_3500_on_a_close_is_for_good() {
        for (code, for_good) in
            [(1000, false), (1009, true), (3001, false), (3012, false), (3500, true), (3504, true)]
        {
            let (waiting, mut replied) = wait("1");
            closed(Some(CloseFrame { code: code.into(), reason: "".into() }), waiting);
            assert_eq!(matches!(replied.try_recv(), Ok(Err(NoAnswer::ForGood(_)))), for_good, "{code}");
        }
    }

    #[test]
    fn room_is_made_by_closing_idle_ones_only() {
        let begun = Instant::now();
        let entry = |n: u64| Entry { line: Arc::default(), used: begun + Duration::from_millis(n) };
        let mut open: HashMap<UserId, Entry> =
            (0..32).map(|n| (UserId::parse(&format!("u{n}")).unwrap(), entry(n))).collect();
        let busy = open[&UserId::parse("u0").unwrap()].line.clone();
        make_room(&mut open);
        let is_open = |n: u64| open.contains_key(&UserId::parse(&format!("u{n}")).unwrap());
        assert!(is_open(0) && !is_open(1) && !is_open(2) && is_open(3));
        assert_eq!((open.len(), Arc::strong_count(&busy)), (30, 2));
    }
}
