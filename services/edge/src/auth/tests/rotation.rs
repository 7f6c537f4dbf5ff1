//! Keys that come and go.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use aws_lc_rs::signature::Ed25519KeyPair;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use super::keys::*;
use super::*;

const NEVER: Duration = Duration::from_secs(3600);

/// A key server whose answer can be changed, and which counts its visitors.
struct Server {
    answer: Arc<Mutex<(StatusCode, Vec<u8>)>>,
    visits: Arc<AtomicUsize>,
    url: String,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(body: String) -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, body.into_bytes())));
        let visits = Arc::new(AtomicUsize::new(0));
        let (shared, counter) = (answer.clone(), visits.clone());
        let keys = get(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::ready(shared.lock().clone().into_response())
        });
        let moved = get(|| std::future::ready((StatusCode::FOUND, [("location", "/keys")])));
        let app = Router::new().route("/keys", keys).route("/moved", moved);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { answer, visits, url, task }
    }

    fn say(&self, status: StatusCode, body: impl Into<Vec<u8>>) {
        *self.answer.lock() = (status, body.into());
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }

    fn options(&self, path: &str) -> AuthOptions {
        let jwks = JwksSource::parse(&format!("{}{path}", self.url));
        AuthOptions { jwks: Some(jwks), ..AuthOptions::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An authenticator whose loop runs.
struct Running(Arc<Authenticator>, CancellationToken, JoinHandle<()>);

impl Running {
    async fn start(options: AuthOptions, every: Duration, gap: Duration) -> Self {
        let pace = Pace { every, gap };
        let authenticator = Arc::new(Authenticator::with_pace(options, Some(pace)).await.unwrap());
        let shutdown = CancellationToken::new();
        let (shared, stop) = (authenticator.clone(), shutdown.clone());
        let task = tokio::spawn(async move { shared.run(stop).await });
        tokio::task::yield_now().await;
        Self(authenticator, shutdown, task)
    }

    async fn knows(&self, token: &str) -> bool {
        match self.0.verify(token, NOW).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, Reason::UnknownKey.into());
                false
            }
        }
    }

    async fn stop(self) {
        self.1.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.2).await.unwrap().unwrap();
    }
}

/// Three keys, and for each the set that holds it alone and a token by it.
fn generations() -> [(String, String); 3] {
    ["k1", "k2", "k3"].map(|kid| {
        let pair = Ed25519KeyPair::generate().unwrap();
        let token = eddsa_by(&pair, &json!({ "alg": "EdDSA", "kid": kid }), &claims());
        (set(&[ed_jwk_of(&pair, kid)]), token)
    })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} didn't come about");
}

#[tokio::test]
async fn the_first_token_of_a_new_key_is_accepted_and_the_old_key_gone() {
    let [(old_set, old), (new_set, new), _] = generations();
    let file = TempFile::new(&old_set);
    let running = Running::start(jwks_only(&file.0), NEVER, NEVER).await;
    assert!(running.knows(&old).await);
    file.replace(&new_set);
    assert!(running.knows(&old).await, "nobody has asked yet");
    assert!(running.knows(&new).await);
    assert!(!running.knows(&old).await);
    running.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_being_asked() {
    let [(old_set, old), (new_set, new), _] = generations();
    let file = TempFile::new(&old_set);
    let running = Running::start(jwks_only(&file.0), Duration::from_millis(30), NEVER).await;
    file.replace(&new_set);
    until("the end of the old key", async || running.0.verify(&old, NOW).await.is_err()).await;
    assert!(running.knows(&new).await);
    running.stop().await;
}

#[tokio::test]
async fn a_url_is_followed_and_asked_at_most_once_in_a_gap() {
    let [(set1, token1), (set2, token2), (set3, token3)] = generations();
    let server = Server::start(set1).await;
    let gap = Duration::from_millis(600);
    let running = Running::start(server.options("/keys"), NEVER, gap).await;
    assert_eq!(server.visits(), 1);
    assert!(running.knows(&token1).await);
    assert_eq!(server.visits(), 1, "a known kid costs nothing");
    server.say(StatusCode::OK, set2);
    assert!(running.knows(&token2).await);
    assert_eq!(server.visits(), 2);
    // Within the gap nobody waits, and all the asking costs one visit once it is over.
    server.say(StatusCode::OK, set3);
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert!(!running.knows(&token1).await);
        assert!(!running.knows(&token3).await);
    }
    assert!(begun.elapsed() < gap, "{:?}", begun.elapsed());
    assert_eq!(server.visits(), 2);
    until("the third set", async || running.knows(&token3).await).await;
    assert_eq!(server.visits(), 3);
    running.stop().await;
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_visit() {
    let [(set1, _), (set2, token2), _] = generations();
    let server = Server::start(set1).await;
    let running = Running::start(server.options("/keys"), NEVER, NEVER).await;
    server.say(StatusCode::OK, set2);
    let all = (0..50).map(|_| {
        let (authenticator, token) = (running.0.clone(), token2.clone());
        tokio::spawn(async move { authenticator.verify(&token, NOW).await.is_ok() })
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.unwrap());
    }
    assert_eq!(server.visits(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_failed_refresh_keeps_the_old_keys() {
    let [(set1, token1), (set2, token2), _] = generations();
    let server = Server::start(set1.clone()).await;
    let gap = Duration::from_millis(1);
    let running = Running::start(server.options("/keys"), NEVER, gap).await;
    let too_large = set2.clone() + &" ".repeat(256 * 1024);
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, set2.as_str()),
        (StatusCode::NOT_FOUND, "gone"),
        (StatusCode::NO_CONTENT, ""),
        (StatusCode::OK, ""),
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, "{\"keys\":[]}"),
        (StatusCode::OK, too_large.as_str()),
    ] {
        server.say(status, body);
        tokio::time::sleep(gap * 5).await;
        let visits = server.visits();
        assert!(!running.knows(&token2).await, "{status}");
        assert!(server.visits() > visits, "{status}");
        assert!(running.knows(&token1).await, "{status}");
    }
    server.say(StatusCode::OK, set2);
    until("recovery", async || running.knows(&token2).await).await;
    server.task.abort();
    tokio::time::sleep(gap * 5).await;
    assert!(!running.knows(&token1).await);
    assert!(running.knows(&token2).await, "also when nobody answers any more");
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_gone_keeps_the_old_keys() {
    let [(set1, token1), (set2, token2), _] = generations();
    let file = TempFile::new(set1);
    let running = Running::start(jwks_only(&file.0), NEVER, Duration::from_millis(1)).await;
    std::fs::remove_file(&file.0).unwrap();
    assert!(!running.knows(&token2).await);
    assert!(running.knows(&token1).await);
    std::fs::write(&file.0, set2).unwrap();
    until("recovery", async || running.knows(&token2).await).await;
    running.stop().await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(one_of_each()).await;
    let error = Authenticator::new(server.options("/moved")).await.unwrap_err();
    let AuthSetupError::Jwks { source: JwksError::Status { status: 302 }, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(server.visits(), 0);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let options = AuthOptions { jwks: Some(JwksSource::Url(url)), ..AuthOptions::default() };
    let opening = Authenticator::new(options);
    let error = tokio::time::timeout(Duration::from_secs(20), opening).await.unwrap().unwrap_err();
    assert!(matches!(error, AuthSetupError::Jwks { source: JwksError::Timeout, .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_loop_that_does_not_run() {
    let [(set1, token1), (_, token2), _] = generations();
    let file = TempFile::new(set1);
    let running = Running::start(jwks_only(&file.0), NEVER, Duration::ZERO).await;
    let authenticator = running.0.clone();
    running.stop().await;
    let begun = std::time::Instant::now();
    assert_eq!(authenticator.verify(&token2, NOW).await, Err(Reason::UnknownKey.into()));
    assert!(authenticator.verify(&token1, NOW).await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn without_a_key_set_the_loop_just_waits_for_its_end() {
    let running = Running::start(secret_only(), Duration::ZERO, Duration::ZERO).await;
    assert!(!running.2.is_finished());
    running.stop().await;
}
