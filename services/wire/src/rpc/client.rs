//! Calls to other processes, by their address.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::{GroupId, KeyId, ProfileChanged, Rejection, UserId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::proto::commands_client::CommandsClient;
use super::proto::data_keys_client::DataKeysClient;
use super::proto::notices_client::NoticesClient;
use super::proto::projectors_client::ProjectorsClient;
use super::proto::put_profile_reply::Refused;
use super::requests::{self, user};
use super::tls::{Tls, TlsError};
use super::{BadMessage, MESSAGE_BYTES_MAX, OPEN_REQUESTS_MAX, proto, replies};
use crate::service::{Notice, Reply, Request};

/// How long a connection may take to stand.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it is there, and how long it may take to say so: a process that froze is known
/// by its silence.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(3);
/// How long a notice may take. Who isn't told now is told at the next connect.
const NOTIFY_WAIT: Duration = Duration::from_secs(2);
/// How long a projector may take to stand still: the write that is under way.
const PAUSE_WAIT: Duration = Duration::from_secs(10);
/// How long a process may take to forget data keys.
const FORGET_WAIT: Duration = Duration::from_secs(5);
/// How long a profile may take to become durable.
const PROFILE_WAIT: Duration = Duration::from_secs(5);
/// Users that one call names.
const USERS_PER_NOTICE_MAX: usize = 10_000;
/// Connections kept; those of processes that are gone are forgotten first.
const CHANNELS_MAX: usize = 1_024;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The address is none.
    #[error("{0:?} is no address of a service")]
    Address(String),
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The other process can't be reached, or said no.
    #[error("the call failed")]
    Failed(#[source] Box<Status>),
    /// It took too long.
    #[error("the call took too long")]
    Late,
    /// The answer can't be understood.
    #[error("the answer can't be understood")]
    Answer(#[from] BadMessage),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Failed(Box::new(status))
    }
}

impl CallError {
    /// Whether the other process certainly never got it.
    #[must_use]
    pub fn is_before(&self) -> bool {
        match self {
            Self::Address(_) | Self::Tls(_) => true,
            Self::Failed(status) => status.code() == Code::Unimplemented,
            Self::Late | Self::Answer(_) => false,
        }
    }
}

/// Connections to other processes, made when they are needed.
#[derive(Debug)]
pub struct Channels {
    tls: Option<Tls>,
    keepalive_wait: Duration,
    known: Mutex<HashMap<String, Channel>>,
}

/// What came of a request of a [`Link`].
pub type Replied = (u64, Result<Reply, Rejection>);

/// A stream of requests to one writer.
pub struct Link {
    requests: mpsc::Sender<proto::Request>,
}

/// The answers of a [`Link`].
pub struct Answers(Streaming<proto::Reply>);

impl Link {
    /// Sends a request under a number and a term; `false` if the stream has ended or is full.
    #[must_use]
    pub fn send(&self, number: u64, term: u64, request: &Request) -> bool {
        self.requests.try_send(requests::to(number, term, request)).is_ok()
    }
}

impl Answers {
    /// The next answer; `None`: the stream has ended, and what was asked and not answered is unknown.
    pub async fn next(&mut self) -> Option<Replied> {
        match self.0.message().await {
            Ok(Some(reply)) => replies::from(reply).ok(),
            Ok(None) | Err(_) => None,
        }
    }
}

impl Channels {
    /// With or without TLS.
    #[must_use]
    pub fn new(tls: Option<Tls>) -> Self {
        Self { tls, keepalive_wait: KEEPALIVE_WAIT, known: Mutex::default() }
    }

    /// As they are, but a connection whose other end says nothing is kept for so long.
    #[must_use]
    pub fn with_keepalive_wait(self, keepalive_wait: Duration) -> Self {
        Self { keepalive_wait, ..self }
    }

    fn to(&self, address: &str) -> Result<Channel, CallError> {
        let mut known = self.known.lock();
        if let Some(channel) = known.get(address) {
            return Ok(channel.clone());
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| CallError::Address(address.to_owned()))?
            .connect_timeout(CONNECT_WAIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(self.keepalive_wait)
            .keep_alive_while_idle(true);
        let endpoint = match &self.tls {
            Some(tls) => endpoint.tls_config(tls.client()).map_err(TlsError)?,
            None => endpoint,
        };
        let channel = endpoint.connect_lazy();
        if known.len() >= CHANNELS_MAX {
            known.clear();
        }
        known.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Forgets the connections to processes that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.known.lock().retain(|address, _| is_there(address));
    }

    /// Opens a stream of requests to a writer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn link(&self, address: &str) -> Result<(Link, Answers), CallError> {
        let mut client = CommandsClient::new(self.to(address)?).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (tx, rx) = mpsc::channel(OPEN_REQUESTS_MAX);
        let opening = client.submit(ReceiverStream::new(rx));
        let answers = tokio::time::timeout(CONNECT_WAIT, opening).await.map_err(|_| CallError::Late)??;
        Ok((Link { requests: tx }, Answers(answers.into_inner())))
    }

    /// Stores a profile, by the owner of its partition.
    ///
    /// # Errors
    /// [`CallError`]; then it may have been stored.
    pub async fn put_profile(
        &self,
        address: &str,
        term: u64,
        profile: &ProfileChanged,
    ) -> Result<Result<Reply, Rejection>, CallError> {
        let mut client = CommandsClient::new(self.to(address)?);
        let calling = client.put_profile(requests::profile_to(term, profile));
        let reply = tokio::time::timeout(PROFILE_WAIT, calling).await.map_err(|_| CallError::Late)??;
        Ok(match reply.into_inner().refused {
            None => Ok(Reply::Done),
            Some(Refused::NotOwner(_)) => Ok(Reply::NotOwner),
            Some(Refused::Rejection(rejection)) => Err(replies::rejection_from(rejection)?),
        })
    }

    /// Gives a notice to an edge; who of the users was online there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn notify(&self, address: &str, notice: &Notice) -> Result<Vec<UserId>, CallError> {
        let mut client = NoticesClient::new(self.to(address)?).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut online = Vec::new();
        for some in notice.users.chunks(USERS_PER_NOTICE_MAX) {
            let calling = client.notify(replies::notice_to(notice, some));
            let reply = tokio::time::timeout(NOTIFY_WAIT, calling).await.map_err(|_| CallError::Late)??;
            for text in reply.into_inner().online {
                online.push(user(&text)?);
            }
        }
        Ok(online)
    }

    /// Tells an edge that somebody types.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pass_typing(&self, address: &str, group: GroupId, user: &UserId) -> Result<(), CallError> {
        let mut client = NoticesClient::new(self.to(address)?);
        let typing = proto::Typing { group_id: group.as_bytes().to_vec(), user: user.as_str().to_owned() };
        tokio::time::timeout(NOTIFY_WAIT, client.pass_typing(typing))
            .await
            .map_err(|_| CallError::Late)??;
        Ok(())
    }

    /// Makes a projector stand still until the returned value is dropped.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pause(&self, address: &str) -> Result<super::Paused, CallError> {
        let mut client = ProjectorsClient::new(self.to(address)?);
        let pausing = async {
            let mut stream = client.pause(proto::PauseRequest {}).await?.into_inner();
            stream.message().await?;
            Ok::<_, Status>(stream)
        };
        let stream = tokio::time::timeout(PAUSE_WAIT, pausing).await.map_err(|_| CallError::Late)??;
        Ok(super::Paused::new(stream))
    }

    /// Tells a process that data keys are destroyed.
    ///
    /// # Errors
    /// [`CallError`]; then it may have them at hand, and must be told again.
    pub async fn forget_keys(&self, address: &str, keys: &[KeyId]) -> Result<(), CallError> {
        let mut client = DataKeysClient::new(self.to(address)?);
        let key_ids = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let calling = client.forget(proto::ForgetKeysRequest { key_ids });
        tokio::time::timeout(FORGET_WAIT, calling).await.map_err(|_| CallError::Late)??;
        Ok(())
    }
}
