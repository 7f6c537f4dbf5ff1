//! An edge in front of read models and owners that do as a test wants.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use jsonwebtoken::{EncodingKey, Header};
use parking_lot::Mutex;
use parley_domain::{GroupId, PartitionCount, ProfileChanged, Rejection};
use parley_edge::auth::{AuthOptions, Authenticator, Secret};
use parley_edge::{Edge, Engines, Hub, Options};
use parley_eventlog::EventLog as _;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions};
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::service::{Commands, NoPeers, Progress, ReplyTo, Request};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of thirty-two bytes or so";
const SOON: Duration = Duration::from_millis(200);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Projectors that have caught up, or never do.
pub(crate) struct Projectors(pub(crate) AtomicBool);

#[async_trait]
impl Progress for Projectors {
    async fn caught_up(&self, _: Option<GroupId>, wait: Duration) -> bool {
        let has_caught_up = self.0.load(Ordering::Relaxed);
        if !has_caught_up {
            tokio::time::sleep(wait).await;
        }
        has_caught_up
    }

    fn projected(&self, _: u32) -> u64 {
        0
    }
}

/// Owners who take every request and never answer.
#[derive(Default)]
pub(crate) struct Silent(pub(crate) Mutex<Vec<(Request, ReplyTo)>>);

#[async_trait]
impl Commands for Silent {
    fn submit(&self, request: Request, reply_to: ReplyTo) {
        self.0.lock().push((request, reply_to));
    }

    async fn put_profile(&self, _: ProfileChanged) -> Result<(), Rejection> {
        std::future::pending().await
    }
}

pub(crate) struct World {
    edge: Edge,
    pub(crate) hub: Arc<Hub>,
    pub(crate) address: SocketAddr,
    pub(crate) projectors: Arc<Projectors>,
    pub(crate) owners: Arc<Silent>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl World {
    pub(crate) async fn start(dir: &Path, has_caught_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let partitions = PartitionCount::new(1).unwrap();
        let (log, _) = EmbeddedLog::open(LogOptions::new(dir.join("log"), partitions)).unwrap();
        let (epoch, ring) = (log.epoch(), KeyRing::open_or_create(&dir.join("ring.json")).unwrap());
        let media = EmbeddedOptions {
            public_url: format!("http://{address}"),
            bytes_max: 1_000,
            clock: Arc::new(parley_wire::clock::now),
        };
        let auth = AuthOptions { hs256_secret: Some(Secret::new(SECRET)), ..AuthOptions::default() };
        let (owners, hub) = (Arc::new(Silent::default()), Hub::new(epoch));
        let projectors = Arc::new(Projectors(AtomicBool::new(has_caught_up)));
        let engines = Engines {
            log,
            reads: EmbeddedReadStore::open(&dir.join("reads"), epoch, Default::default()).unwrap(),
            keys: Arc::new(Keys::new(ring, EmbeddedKeyStore::open(&dir.join("keys")).unwrap())),
            commands: owners.clone(),
            progress: projectors.clone(),
            media: Arc::new(EmbeddedMedia::open(&dir.join("media"), media).unwrap()),
            peers: Arc::new(NoPeers),
            auth: Arc::new(Authenticator::new(auth).await.unwrap()),
        };
        let options = Options { read_wait: SOON, write_wait: SOON, ..Options::default() };
        let edge = Edge::start(options, engines, hub.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(parley_edge::serve(listener, edge.router(), stop.clone()));
        Self { edge, hub, address, projectors, owners, stop, serving }
    }

    /// Sends a request of ann's; the answer's status, `Retry-After` and body.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Option<String>, Value) {
        let url = format!("http://{}/v1/{path}", self.address);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url).bearer_auth(token("ann"));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry_after, answer.json().await.unwrap())
    }

    /// All that a connection of bob's is told, to its close.
    pub(crate) async fn frames(&self, query: &str, frames_max: usize) -> (Vec<Value>, Option<CloseFrame>) {
        let mut request = format!("ws://{}/v1/ws{query}", self.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", token("bob")).parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let (mut frames, mut closed) = (Vec::new(), None);
        while frames.len() < frames_max
            && let Some(message) = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap()
        {
            match message.unwrap() {
                Message::Text(text) => frames.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => closed = frame,
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        (frames, closed)
    }

    pub(crate) async fn stop(self) {
        self.edge.drain().await;
        self.edge.shut_down().await;
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

pub(crate) fn token(user: &str) -> String {
    let expires_at_s = parley_wire::clock::now().as_millis() / 1_000 + 600;
    let claims = json!({"sub": user, "exp": expires_at_s});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}
