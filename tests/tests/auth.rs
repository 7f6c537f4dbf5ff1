//! Who is let in, from where, and for how long.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parley_tests::bad_tokens::{bad_tokens, good_token};
use parley_tests::{Client, Rest, Server, ServerOptions, Value, handshake_status, json, token};

fn now_s() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// The answer to a handshake that is refused, as HTTP.
async fn refused_handshake(url: &str, token: &str) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(format!("{url}/v1/ws"));
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.header("Authorization", format!("Bearer {token}")).send().await.unwrap()
}

/// What a handshake is refused with.
async fn handshake(url: &str, token: &str) -> (u16, String) {
    let answer = refused_handshake(url, token).await;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_refused_on_rest_handshake_and_first_frame() {
    let secret = "0123456789abcdef0123456789abcdef";
    let server = Server::start_with(ServerOptions::set(&[
        &format!("auth.hs256_secret={secret}"),
        "telemetry.filter=debug",
    ]))
    .await;
    let good = good_token(secret.as_bytes(), "ann", now_s());
    Rest::new(&server.url, &good).get("/groups").await;
    let bad = bad_tokens(secret.as_bytes(), "ann", now_s());
    assert!(bad.len() >= 40);
    for (name, token) in &bad {
        let code = if name.starts_with("expired") { "token_expired" } else { "unauthenticated" };
        let refused = Rest::new(&server.url, token).refused("GET", "/groups", None).await;
        assert_eq!(refused, (401, code.to_owned()), "{name} over REST");
        assert_eq!(handshake(&server.url, token).await, (401, code.to_owned()), "{name} at the handshake");
        let mut browser = Client::open(&server.url, None, "", &[]).await.unwrap();
        assert_eq!(
            browser.refused("authenticate", json!({"token": token})).await,
            "unauthenticated",
            "{name} as first frame"
        );
        assert_eq!(browser.closed().await, 3500, "{name} as first frame");
    }
    let log = std::fs::read_to_string(server.data.join("server.stderr")).unwrap();
    let told: Vec<&str> = bad
        .iter()
        .filter(|(_, token)| token.len() > 20 && log.contains(token))
        .map(|(name, _)| *name)
        .collect();
    assert!(told.is_empty(), "tokens in the logs: {told:?}");
    let signature = good.rsplit('.').next().unwrap();
    assert!(!log.contains(signature) && !log.contains(secret), "no secret in the logs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_authenticates_in_its_first_frame() {
    let server = Server::start().await;
    let mut browser = Client::open(&server.url, None, "", &[]).await.unwrap();
    let authenticated =
        browser.must("authenticate", json!({"token": server.token("ann").await}), "authenticated").await;
    assert!(authenticated["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(browser.expect("welcome").await["data"]["user_id"], "ann");
    let mut rude = Client::open(&server.url, None, "", &[]).await.unwrap();
    assert_eq!(rude.refused("ping", json!({})).await, "unauthenticated");
    assert_eq!(rude.closed().await, 3500);
    let mut silent = Client::open(&server.url, None, "", &[]).await.unwrap();
    assert_eq!(silent.closed().await, 3005, "10 s without authenticate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_lives_no_longer_than_its_token() {
    let server = Server::start().await;
    let short = token(&server.data, "ann", "2s").await;
    let mut ann = parley_tests::connect(&server.url, &short, "").await.unwrap();
    let mut renewed = parley_tests::connect(&server.url, &short, "").await.unwrap();
    renewed.must("authenticate", json!({"token": server.token("ann").await}), "authenticated").await;
    let mut shortened = server.client("ann").await;
    let shorter = json!({"token": token(&server.data, "ann", "2s").await});
    shortened.must("authenticate", shorter, "authenticated").await;
    assert_eq!(ann.closed().await, 3005);
    assert_eq!(shortened.closed().await, 3005, "a shorter token counts at once");
    assert_eq!(renewed.ask("ping", json!({})).await["event"], "pong");
    let others = json!({"token": server.token("bob").await});
    assert_eq!(renewed.refused("authenticate", others).await, "unauthenticated");
    assert_eq!(renewed.closed().await, 3500);
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_and_urls_are_checked_and_the_oldest_socket_goes() {
    let server = Server::start_with(ServerOptions::set(&["http.origins=https://chat.example.com"])).await;
    let token = server.token("ann").await;
    for (origin, status) in
        [("https://evil.example.com", 403), ("https://chat.example.com", 101), ("null", 403)]
    {
        assert_eq!(
            handshake_status(&server.url, Some(&token), &[("origin", origin)]).await,
            status,
            "{origin}"
        );
    }
    let mut by_url =
        Client::open(&server.url, None, &format!("?token={token}&access_token={token}"), &[]).await.unwrap();
    assert_eq!(by_url.refused("ping", json!({})).await, "unauthenticated", "never in a URL");
    // CORS is for the same list.
    let preflight = async |origin: &str| {
        let response = reqwest::Client::new()
            .request(reqwest::Method::OPTIONS, format!("{}/v1/groups", server.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,idempotency-key")
            .send()
            .await
            .unwrap();
        response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(preflight("https://chat.example.com").await.as_deref(), Some("https://chat.example.com"));
    assert_eq!(preflight("https://evil.example.com").await, None);
    let url = format!("{}/v1/groups?token={token}&access_token={token}", server.url);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 401, "never in a URL");
    let mut sockets = Vec::new();
    for _ in 0..21 {
        sockets.push(server.client("bob").await);
    }
    assert_eq!(sockets[0].closed().await, 3504);
    assert_eq!(sockets[1].ask("ping", json!({})).await["event"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_key_set_are_taken_by_kid_and_a_new_key_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (first, second) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let jwk = |kid: &str, pair: &Ed25519KeyPair| {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x})
    };
    let sign = |kid: &str, pair: &Ed25519KeyPair| {
        let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
        let claims = json!({"sub": "ann", "exp": now_s() + 600, "iss": "https://idp.example", "aud": "chat"});
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
    };
    std::fs::write(&path, json!({"keys": [jwk("one", &first)]}).to_string()).unwrap();
    let jwks = format!("auth.jwks={}", path.display());
    let set = [jwks.as_str(), "auth.issuer=https://idp.example", "auth.audience=chat"];
    let server = Server::start_with(ServerOptions::set(&set)).await;
    let status = async |token: &str| handshake_status(&server.url, Some(token), &[]).await;
    assert_eq!(status(&sign("one", &first)).await, 101);
    assert_eq!(status(&sign("one", &second)).await, 401, "another's signature");
    assert_eq!(status(&sign("two", &second)).await, 401, "a key that isn't in the set yet");
    let hmac = good_token(b"0123456789abcdef0123456789abcdef", "ann", now_s());
    assert_eq!(status(&hmac).await, 401, "no secret is configured");
    std::fs::write(&path, json!({"keys": [jwk("one", &first), jwk("two", &second)]}).to_string()).unwrap();
    // A set is looked at again after a while at the latest.
    for _ in 0..600 {
        if status(&sign("two", &second)).await == 101 {
            assert_eq!(status(&sign("one", &first)).await, 101, "the old one still counts");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the new key was not found within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_for_a_socket_is_told_when_to_come_again() {
    let server = Server::start_with(ServerOptions::set(&["limits.sockets=1"])).await;
    let first = server.client("ann").await;
    let token = server.token("bob").await;
    let answer = refused_handshake(&server.url, &token).await;
    assert_eq!(answer.status(), 503);
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1, "{seconds}");
    let body: Value = answer.json().await.unwrap();
    let (code, retryable) = (&body["error"]["code"], &body["error"]["retryable"]);
    assert_eq!((code, retryable), (&json!("unavailable"), &json!(true)), "{body}");
    assert_eq!(server.rest("bob").await.get("/groups").await["groups"], json!([]), "REST takes no place");
    first.close().await;
    // It leaves in its own time.
    for _ in 0..600 {
        if handshake_status(&server.url, Some(&token), &[]).await == 101 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the place that was left was never given to the next");
}
