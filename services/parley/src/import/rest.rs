//! The REST calls that an import makes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parley_domain::UserId;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::plan::ARCHIVE;
use crate::token::{Signer, parse_user};

/// How long the tokens of an import live.
pub(super) const TOKEN_TTL: Duration = Duration::from_secs(12 * 3_600);
/// Tries before a call that may be repeated is given up.
const TRIES_MAX: u32 = 20;
/// Messages a page of the history.
const PAGE: usize = 200;

/// REST as any user.
pub(super) struct Rest {
    http: Client,
    url: String,
    signer: Arc<Signer>,
    archive: UserId,
}

impl Rest {
    pub(super) fn new(url: &str, signer: Arc<Signer>) -> anyhow::Result<Self> {
        let http = Client::builder().tcp_nodelay(true).timeout(Duration::from_secs(30)).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), signer, archive: parse_user(ARCHIVE)? })
    }

    /// Calls until the answer is final; every call here may be repeated.
    async fn call(
        &self,
        user: &UserId,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let token = self.signer.token(user, TOKEN_TTL)?;
        for attempt in 1.. {
            let mut request =
                self.http.request(method.clone(), format!("{}/v1{path}", self.url)).bearer_auth(&token);
            if let Some(body) = body {
                request = request.json(body);
            }
            let wait = match request.send().await {
                Ok(response) if !matches!(response.status().as_u16(), 429 | 503 | 504) => {
                    return Ok(response);
                }
                Ok(response) if attempt < TRIES_MAX => {
                    let body: Value = response.json().await.unwrap_or_default();
                    body.pointer("/error/retry_after_ms").and_then(Value::as_u64).unwrap_or(500)
                }
                Ok(response) => return Ok(response),
                Err(error) if attempt < TRIES_MAX && error.is_request() => 250,
                Err(error) => return Err(error).with_context(|| format!("{method} /v1{path}")),
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        anyhow::bail!("not reached")
    }

    /// The response's JSON, if it has one of these statuses.
    async fn expect(
        response: Response,
        what: &str,
        wanted: &[StatusCode],
    ) -> anyhow::Result<(StatusCode, Value)> {
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        if wanted.contains(&status) {
            return Ok((status, body));
        }
        let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
        anyhow::bail!("{what}: {status}: {message}")
    }

    /// Makes a group; `false` if an earlier run did.
    pub(super) async fn create(&self, id: Uuid, name: &str) -> anyhow::Result<bool> {
        let body = json!({"group_id": id, "name": name, "description": "imported", "members": []});
        let response = self.call(&self.archive, Method::POST, "/groups", Some(&body)).await?;
        let wanted = [StatusCode::CREATED, StatusCode::OK];
        Ok(Self::expect(response, "creating a group", &wanted).await?.0 == StatusCode::CREATED)
    }

    /// The client message ids of a group's messages, oldest first, in pages.
    pub(super) async fn message_ids(&self, group: Uuid) -> anyhow::Result<Vec<String>> {
        let (mut ids, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/groups/{group}/messages?after_seq={after}&limit={PAGE}");
            let response = self.call(&self.archive, Method::GET, &path, None).await?;
            let (_, body) = Self::expect(response, "reading the history", &[StatusCode::OK]).await?;
            let messages = body.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
            for message in &messages {
                let id = message.get("client_message_id").and_then(Value::as_str).unwrap_or_default();
                ids.push(id.to_owned());
                after = message.get("seq").and_then(Value::as_u64).unwrap_or(after);
            }
            if messages.is_empty() || body.get("has_more") != Some(&Value::Bool(true)) {
                return Ok(ids);
            }
        }
    }

    /// The ids of a group's members.
    pub(super) async fn members(&self, group: Uuid) -> anyhow::Result<Vec<String>> {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/groups/{group}/members?limit={PAGE}{cursor}");
            let response = self.call(&self.archive, Method::GET, &path, None).await?;
            let (_, body) = Self::expect(response, "reading the members", &[StatusCode::OK]).await?;
            let members = body.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
            ids.extend(
                members.iter().filter_map(|member| member.get("user_id")?.as_str().map(ToOwned::to_owned)),
            );
            match body.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ids),
            }
        }
    }

    /// Adds members; who is in already is skipped.
    pub(super) async fn add(&self, group: Uuid, users: &[UserId]) -> anyhow::Result<()> {
        let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let (path, body) = (format!("/groups/{group}/members"), json!({"user_ids": ids}));
        let response = self.call(&self.archive, Method::POST, &path, Some(&body)).await?;
        Self::expect(response, "adding members", &[StatusCode::OK]).await.map(drop)
    }

    /// Leaves a group; who is no member has left.
    pub(super) async fn leave(&self, group: Uuid, user: &UserId) -> anyhow::Result<()> {
        let mut url = reqwest::Url::parse("http://any/")?;
        url.path_segments_mut().map_err(|()| anyhow::anyhow!("no path"))?.push(user.as_str());
        let path = format!("/groups/{group}/members{}", url.path());
        let response = self.call(user, Method::DELETE, &path, None).await?;
        let wanted = [StatusCode::NO_CONTENT, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        Self::expect(response, "leaving", &wanted).await.map(drop)
    }
}
