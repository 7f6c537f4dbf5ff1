//! The web client: its files, which are part of the binary, and on this machine tokens for whoever wants to try it.
//!
//! Invariant: tokens are given only by a server that listens on loopback alone and trusts nothing but its data
//! directory's own key, and only to pages that it served itself.

mod files;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use parley_domain::{Code, Rejection, UserId};
use parley_edge::is_own_page;
use parley_wire::code::http_status;
use parley_wire::rest::ErrorEnvelope;
use parley_wire::{clock, time};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::token::Signer;

/// How long a token for trying lives.
const TOKEN_TTL: Duration = Duration::from_secs(3_600);

/// What is served beside the API.
pub(crate) struct Web {
    signer: Option<Arc<Signer>>,
    port: u16,
    media: String,
}

#[derive(Deserialize)]
struct TokenRequest {
    user_id: String,
}

#[derive(Serialize)]
struct TokenAnswer {
    token: String,
    expires_at: String,
}

impl Web {
    /// For a server at this address, whose pages take pictures from `media`, an origin or URL, and bring them there.
    ///
    /// # Errors
    /// If the data directory's own key can't be read.
    pub(crate) fn new(config: &Config, address: SocketAddr, media: &str) -> anyhow::Result<Self> {
        let is_development = config.is_development() && address.ip().is_loopback();
        let signer = is_development.then(|| Signer::open(config.clone())).transpose()?.map(Arc::new);
        Ok(Self { signer, port: address.port(), media: media.to_owned() })
    }

    /// Whether anybody on this machine may try it as any user.
    pub(crate) fn is_development(&self) -> bool {
        self.signer.is_some()
    }

    /// The configured origins. In development also the two names under which this machine's browsers know this server,
    /// since a page from one of them uploads to the other.
    pub(crate) fn origins(&self, configured: &[String]) -> Vec<String> {
        let own = ["127.0.0.1", "localhost"].map(|name| format!("http://{name}:{}", self.port));
        let own = own.into_iter().filter(|_| self.is_development());
        configured.iter().cloned().chain(own).collect()
    }

    /// The files, and `/dev/token` in development.
    pub(crate) fn router(&self) -> Router {
        let files = files::router(&self.media);
        let Some(signer) = self.signer.clone() else { return files };
        let tokens = get(is_offered).post(token);
        files.merge(Router::new().route("/dev/token", tokens).with_state(signer))
    }
}

/// `GET /dev/token`: it is there.
async fn is_offered(headers: HeaderMap) -> Response {
    if !is_own_page(&headers) {
        return refused(&not_ours());
    }
    let body = serde_json::json!({ "available": true });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// `POST /dev/token`: `{user_id}` to `{token, expires_at}`.
async fn token(
    State(signer): State<Arc<Signer>>,
    headers: HeaderMap,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Response {
    match signed(&signer, &headers, body.ok()) {
        Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(rejection) => refused(&rejection),
    }
}

fn signed(
    signer: &Signer,
    headers: &HeaderMap,
    body: Option<Json<TokenRequest>>,
) -> Result<TokenAnswer, Rejection> {
    if !is_own_page(headers) {
        return Err(not_ours());
    }
    let Some(Json(TokenRequest { user_id })) = body else {
        return Err(Rejection::bad_request("the body must be JSON: {\"user_id\"}"));
    };
    let user =
        UserId::parse(&user_id).map_err(|error| Rejection::bad_request(format!("user_id: {error}")))?;
    let expires_at = clock::now().plus_millis(i64::try_from(TOKEN_TTL.as_millis()).unwrap_or(0));
    let token = signer.token(&user, TOKEN_TTL).map_err(|error| {
        tracing::error!(error = AsRef::<dyn std::error::Error>::as_ref(&error), "a token can't be signed");
        Rejection::new(Code::Internal, "the token can't be signed")
    })?;
    Ok(TokenAnswer { token, expires_at: time::format(expires_at) })
}

fn not_ours() -> Rejection {
    Rejection::new(Code::Forbidden, "tokens for trying are only for this server's own page on this machine")
}

fn refused(rejection: &Rejection) -> Response {
    let status =
        StatusCode::from_u16(http_status(rejection.code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(ErrorEnvelope::new(rejection))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(listen: &str, secret: &str) -> (tempfile::TempDir, Web) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data: dir.path().display().to_string(), ..Config::default() };
        config.auth.hs256_secret = secret.to_owned();
        let web = Web::new(&config, listen.parse().unwrap(), "http://127.0.0.1:8080").unwrap();
        (dir, web)
    }

    #[test]
    fn tokens_are_for_this_machine_and_its_own_key_only() {
        assert!(web("127.0.0.1:8080", "").1.is_development());
        assert!(web("[::1]:8080", "").1.is_development());
        assert!(!web("0.0.0.0:8080", "").1.is_development());
        assert!(!web("192.168.1.7:8080", "").1.is_development());
        assert!(!web("127.0.0.1:8080", &"s".repeat(32)).1.is_development());
    }

    #[test]
    fn origins_are_added_in_development_only() {
        let listed = ["https://a".to_owned()];
        let own = ["https://a", "http://127.0.0.1:8080", "http://localhost:8080"];
        assert_eq!(web("127.0.0.1:8080", "").1.origins(&listed), own);
        assert_eq!(web("0.0.0.0:8080", "").1.origins(&listed), listed);
    }

    #[test]
    fn pages_from_elsewhere_get_no_token() {
        let (_dir, web) = web("127.0.0.1:8080", "");
        let signer = web.signer.unwrap();
        let ask = |host: &str, origin: &str, user: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            let body = Json(TokenRequest { user_id: user.to_owned() });
            signed(&signer, &headers, Some(body)).map(|answer| answer.token.split('.').count())
        };
        let code = |result: Result<usize, Rejection>| result.unwrap_err().code;
        assert_eq!(ask("127.0.0.1:8080", "http://127.0.0.1:8080", "ann").unwrap(), 3);
        assert_eq!(code(ask("evil.example", "http://evil.example", "ann")), Code::Forbidden);
        assert_eq!(code(ask("127.0.0.1:8080", "http://evil.example", "ann")), Code::Forbidden);
        assert_eq!(code(ask("127.0.0.1:8080", "http://127.0.0.1:8080", "")), Code::BadRequest);
    }
}
