//! An edge that can't read data keys for a while: what it couldn't open live its clients get all the same.
//!
//! In one process, since the edge needs a key store of its own, as in a cluster, that fails when it is told to.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use parley_domain::{PartitionCount, UserId};
use parley_edge::auth::{AuthOptions, Authenticator, Secret, sign_hs256};
use parley_edge::{Edge, Hub};
use parley_eventlog::EventLog;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use parley_keys::faults::Switched;
use parley_keys::{EmbeddedKeyStore, KeyRing, Keys};
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions};
use parley_projector::Projector;
use parley_readstore::ReadStore;
use parley_readstore::providers::embedded::EmbeddedReadStore;
use parley_wire::clock;
use parley_wire::service::NoPeers;
use parley_writer::Writer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

const SECRET: &[u8] = b"a secret of thirty-two bytes....";
const PATIENCE: Duration = Duration::from_secs(30);

/// A writer and a projector, and an edge whose keys can be taken away.
struct Chat {
    address: String,
    keys: Arc<Switched>,
    edge: Edge,
    writer: Writer,
    projector: Projector,
    stop: CancellationToken,
}

impl Chat {
    async fn start(dir: &Path) -> Self {
        let options = LogOptions::new(dir.join("log"), PartitionCount::new(1).unwrap());
        let log: Arc<dyn EventLog> = EmbeddedLog::open(options).unwrap().0;
        let reads: Arc<dyn ReadStore> =
            EmbeddedReadStore::open(&dir.join("reads"), log.epoch(), Default::default()).unwrap();
        let ring = || KeyRing::open_or_create(&dir.join("ring.json")).unwrap();
        let store = EmbeddedKeyStore::open(&dir.join("keys")).unwrap();
        let keys = Switched::new(store.clone());
        let hub = Hub::new(log.epoch());
        let (live, projector) = Projector::start(log.clone(), reads.clone()).await.unwrap();
        let engines = parley_writer::Engines {
            log: log.clone(),
            keys: Arc::new(Keys::new(ring(), store)),
            reads: reads.clone(),
            notices: hub.clone(),
            progress: live.reached(),
            snapshots: None,
        };
        let (commands, writer) = Writer::start(Default::default(), engines).await.unwrap();
        let media = EmbeddedOptions {
            public_url: "http://localhost".into(),
            bytes_max: 1,
            clock: Arc::new(clock::now),
        };
        let auth = AuthOptions { hs256_secret: Some(Secret::new(SECRET)), ..AuthOptions::default() };
        let engines = parley_edge::Engines {
            log,
            reads,
            keys: Arc::new(Keys::new(ring(), keys.clone())),
            commands: Arc::new(commands),
            progress: live.reached(),
            media: Arc::new(EmbeddedMedia::open(&dir.join("media"), media).unwrap()),
            peers: Arc::new(NoPeers),
            auth: Arc::new(Authenticator::new(auth).await.unwrap()),
        };
        let edge = Edge::start(parley_edge::Options::default(), engines, hub).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        tokio::spawn(parley_edge::serve(listener, edge.router(), stop.clone()));
        Self { address, keys, edge, writer, projector, stop }
    }

    async fn group(&self, owner: &str, members: &[&str]) -> Value {
        let group = json!({"name": "Tea", "members": members});
        let request = reqwest::Client::new().post(format!("http://{}/v1/groups", self.address));
        let response =
            request.header("authorization", authorization(owner)).json(&group).send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.json::<Value>().await.unwrap()["group_id"].clone()
    }

    async fn client(&self, user: &str) -> Client {
        let mut request = format!("ws://{}/v1/ws?replay=none", self.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", authorization(user).parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut client = Client(socket);
        client.expect("welcome").await;
        client
    }

    async fn stop(self) {
        self.edge.drain().await;
        self.stop.cancel();
        self.writer.shut_down().await;
        self.edge.shut_down().await;
        self.projector.shut_down().await;
    }
}

fn authorization(user: &str) -> String {
    let (user, hour) = (UserId::parse(user).unwrap(), Duration::from_secs(3_600));
    format!("Bearer {}", sign_hs256(&Secret::new(SECRET), &user, clock::now(), hour, None, None).unwrap())
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, event: &str, data: Value) {
        let frame = json!({"event": event, "id": "1", "data": data});
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The data of the next frame of that name.
    async fn expect(&mut self, event: &str) -> Value {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let frame = tokio::time::timeout_at(until, self.0.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no {event} in {PATIENCE:?}")).unwrap().unwrap();
            let Ok(text) = frame.into_text() else { continue };
            let Ok(mut frame) = serde_json::from_str::<Value>(&text) else { continue };
            if frame.get("event").is_some_and(|name| *name == event) {
                return frame.get_mut("data").map(Value::take).unwrap_or_default();
            }
        }
    }

    async fn say(&mut self, group: &Value, text: &str) {
        let id = uuid::Uuid::now_v7().to_string();
        let wish = json!({"group_id": group, "client_message_id": id, "type": "text", "text": text});
        self.send("send_group_message", wish).await;
        self.expect("group_message_accepted").await;
    }
}

/// The last event of a group, so that nothing after it shows anybody that it is missing.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_opened_live_comes_once_the_keys_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let chat = Chat::start(dir.path()).await;
    let (mut ann, mut bob) = (chat.client("ann").await, chat.client("bob").await);
    let group = chat.group("ann", &["bob"]).await;
    bob.send("subscribe_to_group", json!({"group_id": group})).await;
    bob.expect("subscribed_to_group").await;

    chat.keys.take_away(true);
    ann.say(&group, "Shall we?").await;
    // Delivery has tried.
    tokio::time::timeout(PATIENCE, chat.keys.refused()).await.unwrap();
    chat.keys.take_away(false);
    assert_eq!(bob.expect("group_message").await["text"], "Shall we?");
    // And from there on it is live again.
    ann.say(&group, "At five.").await;
    assert_eq!(bob.expect("group_message").await["text"], "At five.");
    chat.stop().await;
}

/// Who needs nothing of the store gets what is said meanwhile, though its delivery is that of those who do.
#[tokio::test(flavor = "multi_thread")]
async fn groups_whose_keys_are_at_hand_stay_live_while_the_store_is_silent() {
    const SAID: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let chat = Chat::start(dir.path()).await;
    let (mut ann, mut bob) = (chat.client("ann").await, chat.client("bob").await);
    let (known, fresh) = (chat.group("ann", &["bob"]).await, chat.group("ann", &["bob"]).await);
    for group in [&known, &fresh] {
        bob.send("subscribe_to_group", json!({"group_id": group})).await;
        bob.expect("subscribed_to_group").await;
    }
    ann.say(&known, "now").await;
    assert_eq!(bob.expect("group_message").await["text"], "now");

    chat.keys.hold_back(true); // it is silent: who waits for it waits for ever
    for number in 1..=SAID {
        ann.say(&fresh, &format!("later {number}")).await;
        ann.say(&known, &format!("now {number}")).await;
        assert_eq!(bob.expect("group_message").await["text"], format!("now {number}"));
    }
    chat.keys.hold_back(false);
    for number in 1..=SAID {
        assert_eq!(bob.expect("group_message").await["text"], format!("later {number}"));
    }
    chat.stop().await;
}
