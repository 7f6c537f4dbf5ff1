//! The REST calls that an import makes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use parley_domain::UserId;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::patience::{Patience, Trouble};
use super::plan::ARCHIVE;
use crate::http_client;
use crate::token::{Signer, parse_user};

/// How long the tokens of an import live. One is made for each call and each connection, so that an import may last longer.
pub(super) const TOKEN_TTL: Duration = Duration::from_secs(12 * 3_600);
/// How long a call may take.
const CALL_WAIT: Duration = Duration::from_secs(30);
/// Rows a page.
const PAGE: usize = 200;

#[derive(Deserialize, Default)]
struct ErrorEnvelope {
    error: ErrorBody,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    code: String,
    message: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

/// An answer that won't change by asking again.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn error(&self) -> ErrorBody {
        serde_json::from_slice::<ErrorEnvelope>(&self.body).unwrap_or_default().error
    }

    /// Whether to ask again, and after how many milliseconds, if the server says so.
    fn retry(&self) -> Option<Option<u64>> {
        if self.status.is_success() {
            return None;
        }
        let error = self.error();
        // A proxy's 502, say, has no body of ours.
        let by_class = error.code.is_empty() && self.status.is_server_error();
        (error.retryable || by_class).then_some(error.retry_after_ms)
    }

    /// What to bail with.
    fn refusal(&self, what: &str) -> anyhow::Error {
        let ErrorBody { code, message, .. } = self.error();
        anyhow::anyhow!("{what} was refused: {} {code}: {message}", self.status)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, what: &str) -> anyhow::Result<T> {
        if self.status != StatusCode::OK {
            return Err(self.refusal(what));
        }
        // Half an answer must not pass for a short one.
        serde_json::from_slice(&self.body).with_context(|| format!("{what}: the answer can't be understood"))
    }
}

/// A message of the history, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) sender: String,
    pub(super) client_message_id: String,
}

/// A page of the history, in rising `seq`.
#[derive(Deserialize)]
pub(super) struct History {
    pub(super) messages: Vec<Message>,
    pub(super) has_more: bool,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<Member>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Member {
    user_id: String,
}

/// REST as any user.
pub(super) struct Rest {
    http: Client,
    url: String,
    signer: Arc<Signer>,
    archive: UserId,
    trouble: Arc<Trouble>,
}

impl Rest {
    pub(super) fn new(url: &str, signer: Arc<Signer>, trouble: Arc<Trouble>) -> anyhow::Result<Self> {
        let http = http_client::builder_for(url).tcp_nodelay(true).timeout(CALL_WAIT).build()?;
        Ok(Self { http, url: url.to_owned(), signer, archive: parse_user(ARCHIVE)?, trouble })
    }

    async fn once(
        &self,
        token: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let url = format!("{}/v1{path}", self.url);
        let mut request = self.http.request(method.clone(), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        Ok(Answer { status: response.status(), body: response.bytes().await? })
    }

    /// Calls until the answer is final; every call here may be repeated.
    async fn call(
        &self,
        user: &UserId,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let token = self.signer.token(user, TOKEN_TTL)?;
        let mut patience = Patience::default();
        loop {
            let (told, why) = match self.once(&token, &method, path, body).await {
                Ok(answer) => match answer.retry() {
                    None => return Ok(answer),
                    Some(told) => (told, answer.refusal(method.as_str())),
                },
                Err(error) => (None, error.into()),
            };
            self.trouble.note(&why);
            let Some(wait) = patience.next(told) else {
                return Err(why.context("the server is away, or busy, for too long"));
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A first call, not repeated, so that a wrong URL or key is told at once.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let token = self.signer.token(&self.archive, TOKEN_TTL)?;
        let answer = self.once(&token, &Method::GET, "/groups?limit=1", None).await;
        let answer = answer.with_context(|| format!("{} can't be reached", self.url))?;
        if answer.status.is_client_error() {
            return Err(answer.refusal("the token of `archive` (made with --data's key)"));
        }
        Ok(())
    }

    /// Makes a group; `false` if an earlier run did.
    pub(super) async fn create(&self, id: Uuid, name: &str) -> anyhow::Result<bool> {
        let body = json!({"group_id": id, "name": name, "description": "imported", "members": []});
        let answer = self.call(&self.archive, Method::POST, "/groups", Some(&body)).await?;
        match answer.status {
            StatusCode::CREATED => Ok(true),
            StatusCode::OK => Ok(false),
            _ => Err(answer.refusal("creating it")),
        }
    }

    /// The newest messages of a group before an event.
    pub(super) async fn history(&self, group: Uuid, before: Option<u64>) -> anyhow::Result<History> {
        let before = before.map(|seq| format!("&before_seq={seq}")).unwrap_or_default();
        let path = format!("/groups/{group}/messages?limit={PAGE}{before}");
        self.call(&self.archive, Method::GET, &path, None).await?.read("reading the history")
    }

    /// A group's members.
    pub(super) async fn members(&self, group: Uuid) -> anyhow::Result<HashSet<UserId>> {
        let (mut all, mut cursor) = (HashSet::new(), String::new());
        loop {
            let path = format!("/groups/{group}/members?limit={PAGE}{cursor}");
            let answer = self.call(&self.archive, Method::GET, &path, None).await?;
            let page: Members = answer.read("reading the members")?;
            for member in page.members {
                all.insert(parse_user(&member.user_id)?);
            }
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Adds members; who is in already is skipped.
    pub(super) async fn add(&self, group: Uuid, users: &[UserId]) -> anyhow::Result<()> {
        let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let (path, body) = (format!("/groups/{group}/members"), json!({"user_ids": ids}));
        let answer = self.call(&self.archive, Method::POST, &path, Some(&body)).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.refusal("adding members")) }
    }

    /// Leaves a group; who is no member any more has left.
    pub(super) async fn leave(&self, group: Uuid, user: &UserId) -> anyhow::Result<()> {
        let mut url = reqwest::Url::parse("http://any/")?;
        url.path_segments_mut().map_err(|()| anyhow::anyhow!("no path"))?.push(user.as_str());
        let path = format!("/groups/{group}/members{}", url.path());
        let answer = self.call(user, Method::DELETE, &path, None).await?;
        if answer.status == StatusCode::NO_CONTENT
            || matches!(answer.error().code.as_str(), "not_a_member" | "member_not_found")
        {
            return Ok(());
        }
        Err(answer.refusal("leaving"))
    }
}
