//! One WebSocket a user, opened when it first speaks, kept while there is room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use parley_domain::UserId;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::rest::TOKEN_TTL;
use crate::token::Signer;

/// How long an answer may take before the connection counts as lost.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The part of a frame that an import looks at.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) event: String,
    id: Option<String>,
    #[serde(default)]
    pub(super) data: AnswerData,
}

/// Fields of the replies to `send_group_message`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerData {
    pub(super) duplicate: bool,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retryable: bool,
    pub(super) retry_after_ms: Option<u64>,
}

struct Ask {
    id: String,
    frame: String,
    answer: oneshot::Sender<Answer>,
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
    pub(super) fn new(url: &str, signer: Arc<Signer>, open_max: usize) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        let url = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => format!("ws://{rest}/v1/ws?replay=none"),
            (_, Some(rest)) => format!("wss://{rest}/v1/ws?replay=none"),
            _ => return Err(crate::Usage(format!("--url {url}: must begin with http:// or https://")).into()),
        };
        Ok(Self { url, signer, open_max, open: Mutex::new(HashMap::new()) })
    }

    fn line(&self, user: &UserId) -> Arc<OnceCell<Line>> {
        let mut open = self.open.lock();
        let used = Instant::now();
        if let Some(entry) = open.get_mut(user) {
            entry.used = used;
            return entry.line.clone();
        }
        if open.len() >= self.open_max {
            // Whoever holds a line has an answer to come; the one that nobody has used for longest goes.
            let idle = open.iter().filter(|(_, entry)| Arc::strong_count(&entry.line) == 1);
            if let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(user, _)| user.clone()) {
                open.remove(&oldest);
            }
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

    /// Sends a frame as a user and waits for its answer; `None` if the connection was lost before it came.
    pub(super) async fn ask(&self, user: &UserId, id: &str, frame: String) -> anyhow::Result<Option<Answer>> {
        let line = self.line(user);
        let sender = match line.get_or_try_init(|| self.connect(user)).await {
            Ok(sender) => sender,
            Err(error) => {
                self.forget(user, &line);
                return Err(error);
            }
        };
        let (tx, rx) = oneshot::channel();
        let asked = sender.send(Ask { id: id.to_owned(), frame, answer: tx }).await.is_ok();
        if asked && let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_WAIT, rx).await {
            return Ok(Some(answer));
        }
        self.forget(user, &line);
        Ok(None)
    }

    async fn connect(&self, user: &UserId) -> anyhow::Result<Line> {
        let mut request = self.url.as_str().into_client_request()?;
        let bearer = format!("Bearer {}", self.signer.token(user, TOKEN_TTL)?);
        request.headers_mut().insert("authorization", bearer.parse()?);
        let (socket, _) =
            connect_async_with_config(request, None, true).await.context("the server can't be reached")?;
        let (tx, rx) = mpsc::channel(16);
        tokio::spawn(serve(socket, rx));
        Ok(tx)
    }
}

/// Carries one user's frames until its line is dropped or the connection ends.
async fn serve(mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>, mut asks: mpsc::Receiver<Ask>) {
    let mut waiting: HashMap<String, oneshot::Sender<Answer>> = HashMap::new();
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some(Ask { id, frame, answer }) = ask else {
                    drop(socket.close(None).await);
                    return;
                };
                waiting.insert(id, answer);
                if socket.send(Message::text(frame)).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let Ok(answer) = serde_json::from_str::<Answer>(&text) else { continue };
                    let asked = answer.id.as_ref().and_then(|id| waiting.remove(id));
                    if let Some(asked) = asked {
                        drop(asked.send(answer));
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}
