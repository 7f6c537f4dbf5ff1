//! What an edge is started with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parley_eventlog::EventLog;
use parley_keys::Keys;
use parley_media::MediaStore;
use parley_readstore::ReadStore;
use parley_wire::service::{Commands, Peers, Progress};

use crate::auth::Authenticator;

/// The limits of the contract, as configured. 0 means none for the rates only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the contract names them; the unit is in the name")]
pub struct Limits {
    /// Sends of one user in a second; 0: no limit.
    pub sends_per_second: u32,
    /// Sends that a user may save up; 0: as many as the rate.
    pub send_burst: u32,
    pub text_bytes: usize,
    /// One message of a WebSocket client, all its fragments together.
    pub frame_bytes: usize,
    pub group_members: u32,
    pub user_groups: usize,
    pub media_bytes: u64,
    pub outbox_bytes: usize,
    pub user_sockets: usize,
    /// Sockets of this edge; beyond that handshakes are answered 503.
    pub sockets: usize,
    pub upload_url_seconds: u64,
    pub download_url_seconds: u64,
    pub ping_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sends_per_second: 20,
            send_burst: 60,
            text_bytes: 16 * 1024,
            frame_bytes: 64 * 1024,
            group_members: 100_000,
            user_groups: 2_000,
            media_bytes: 100 * 1024 * 1024,
            outbox_bytes: 1024 * 1024,
            user_sockets: 20,
            sockets: 100_000,
            upload_url_seconds: 600,
            download_url_seconds: 3_600,
            ping_seconds: 25,
        }
    }
}

impl Limits {
    /// By the names of the contract, as `welcome.limits` gives them.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let size = |value: usize| value as u64;
        BTreeMap::from([
            ("sends_per_second", u64::from(self.sends_per_second)),
            ("send_burst", u64::from(self.send_burst)),
            ("text_bytes", size(self.text_bytes)),
            ("frame_bytes", size(self.frame_bytes)),
            ("group_members", u64::from(self.group_members)),
            ("user_groups", size(self.user_groups)),
            ("media_bytes", self.media_bytes),
            ("outbox_bytes", size(self.outbox_bytes)),
            ("user_sockets", size(self.user_sockets)),
        ])
    }
}

/// How an edge behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The contract's limits.
    pub limits: Limits,
    /// Origins that browsers may come from (exact, as `https://chat.example.com`); for CORS too.
    pub origins: Vec<String>,
    /// Whether a page that this server itself served on this machine may open a socket too.
    pub own_page: bool,
    /// How long a browser may take to authenticate in its first frame.
    pub first_frame_wait: Duration,
    /// How long a client may take to answer a ping.
    pub pong_wait: Duration,
    /// After how long without a byte taken a socket is too slow.
    pub stall_wait: Duration,
    /// How long a read waits for the read models to catch up.
    pub read_wait: Duration,
    /// How long a REST write waits for its outcome.
    pub write_wait: Duration,
    /// How long acknowledgements are gathered before they are sent on together.
    pub ack_gather: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            origins: Vec::new(),
            own_page: false,
            first_frame_wait: Duration::from_secs(10),
            pong_wait: Duration::from_secs(10),
            stall_wait: Duration::from_secs(30),
            read_wait: Duration::from_secs(5),
            write_wait: Duration::from_secs(10),
            ack_gather: Duration::from_millis(20),
        }
    }
}

/// What an edge works with.
#[derive(Clone)]
pub struct Engines {
    /// The log, to deliver from.
    pub log: Arc<dyn EventLog>,
    /// The read models, for history and replay.
    pub reads: Arc<dyn ReadStore>,
    /// Data keys, to open messages.
    pub keys: Arc<Keys>,
    /// The owners of the partitions.
    pub commands: Arc<dyn Commands>,
    /// The projectors.
    pub progress: Arc<dyn Progress>,
    /// The object store.
    pub media: Arc<dyn MediaStore>,
    /// The other edges.
    pub peers: Arc<dyn Peers>,
    /// Verifies tokens.
    pub auth: Arc<Authenticator>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `schemas/docs/client.md` promises to clients.
    #[test]
    fn defaults_are_what_clients_are_promised() {
        let Options { first_frame_wait, pong_wait, stall_wait, read_wait, limits, .. } = Options::default();
        let seconds = [first_frame_wait, pong_wait, stall_wait, read_wait].map(|wait| wait.as_secs());
        assert_eq!(seconds, [10, 10, 30, 5]);
        assert_eq!(
            (limits.ping_seconds, limits.upload_url_seconds, limits.download_url_seconds),
            (25, 600, 3_600)
        );
        assert_eq!((limits.sends_per_second, limits.send_burst, limits.user_sockets), (20, 60, 20));
    }
}
