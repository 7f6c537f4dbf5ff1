//! Good tokens, the edges of time, issuer and audience, the header, and tokens that we make.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::keys::hs256;
use super::*;

fn at(exp: Value) -> Value {
    json!({ "sub": "alice", "exp": exp })
}

#[tokio::test]
async fn the_edges_of_exp() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let ok = |millis: i64| Ok(Timestamp(millis));
    let ms = NOW_S * 1000;
    let table = [
        (json!(NOW_S + 1), ok(ms + 1000)),
        (json!(NOW_S), ok(ms)),
        (json!(NOW_S - 4), ok(ms - 4000)),
        (json!(NOW_S as f64 - 4.999), ok(ms - 4999)),
        (json!(NOW_S - 5), Err(AuthError::Expired)),
        (json!(NOW_S - 6), Err(AuthError::Expired)),
        (json!(0), Err(AuthError::Expired)),
        (json!(NOW_S as f64 + 0.5), ok(ms + 500)),
        (json!((NOW_S + 60) as f64), ok(ms + 60_000)),
        (json!(9_999_999_999_i64), ok(9_999_999_999_000)),
        (json!(253_402_300_799_i64), ok(253_402_300_799_000)),
        (json!(253_402_300_800_i64), Err(Reason::Expiry.into())),
    ];
    for (exp, expected) in table {
        let outcome = authenticator.verify(&hs256(&at(exp.clone())), NOW).await;
        assert_eq!(outcome.map(|identity| identity.expires_at), expected, "{exp}");
    }
}

#[tokio::test]
async fn the_clock_is_the_one_given() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let token = hs256(&json!({ "sub": "alice", "nbf": 1000, "exp": 2000 }));
    let table = [
        (994_999, Err(Reason::NotBefore.into())),
        (995_000, Ok(())),
        (2_004_999, Ok(())),
        (2_005_000, Err(AuthError::Expired)),
        (i64::MAX, Err(AuthError::Expired)),
        (i64::MIN, Err(Reason::NotBefore.into())),
    ];
    for (now_ms, expected) in table {
        let outcome = authenticator.verify(&token, Timestamp(now_ms)).await;
        assert_eq!(outcome.map(|_| ()), expected, "{now_ms}");
    }
    let exact = Authenticator::new(AuthOptions { leeway_s: 0, ..secret_only() }).await.unwrap();
    assert_eq!(exact.verify(&token, Timestamp(999_999)).await, Err(Reason::NotBefore.into()));
    assert!(exact.verify(&token, Timestamp(1_000_000)).await.is_ok());
    assert!(exact.verify(&token, Timestamp(1_999_999)).await.is_ok());
    assert_eq!(exact.verify(&token, Timestamp(2_000_000)).await, Err(AuthError::Expired));
}

#[tokio::test]
async fn what_is_no_reason_to_refuse() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = at(json!(NOW_S + 60));
        claims[name] = value;
        claims
    };
    for claims in [
        with("iat", json!(NOW_S + 1_000_000)),
        with("iat", json!("yesterday")),
        with("nbf", json!(NOW_S + 5)),
        with("nbf", json!(NOW_S as f64 + 4.999)),
        with("nbf", json!(0)),
        with("nbf", json!(-1.5)),
        with("nbf", json!(i64::MIN)),
        with("iss", json!("anybody")),
        with("iss", json!(7)),
        with("aud", json!("anything")),
        with("jti", json!({ "nested": { "exp": 1, "sub": 2 } })),
        with("sub", json!("a".repeat(128))),
        with("sub", json!("José 🦀 of 東京")),
        with("sub", json!("auth0|5f7c8ec7c33c6c004bbafe82")),
    ] {
        let identity = authenticator.verify(&hs256(&claims), NOW).await.unwrap();
        assert_eq!(identity.user_id.as_str(), claims["sub"].as_str().unwrap());
    }
}

#[tokio::test]
async fn issuer_and_audience_where_configured() {
    let options = AuthOptions {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("parley".to_owned()),
        ..secret_only()
    };
    let authenticator = Authenticator::new(options).await.unwrap();
    let (good_iss, good_aud) = (json!("https://id.example"), json!("parley"));
    let ask = async |iss: &Value, aud: &Value, exp: i64| {
        let mut claims = at(json!(exp));
        for (name, value) in [("iss", iss), ("aud", aud)] {
            if *value != json!({ "left": "out" }) {
                claims[name] = value.clone();
            }
        }
        authenticator.verify(&hs256(&claims), NOW).await.map(|_| ())
    };
    let left_out = json!({ "left": "out" });
    let later = NOW_S + 60;
    for aud in [json!("parley"), json!(["parley"]), json!(["other", "parley"])] {
        assert_eq!(ask(&good_iss, &aud, later).await, Ok(()), "{aud}");
        assert_eq!(ask(&good_iss, &aud, NOW_S - 60).await, Err(AuthError::Expired), "{aud}");
    }
    for iss in [
        left_out.clone(),
        json!(null),
        json!(""),
        json!("https://id.example/"),
        json!("HTTPS://id.example"),
        json!("https://id.example.evil"),
        json!(["https://id.example"]),
        json!({ "url": "https://id.example" }),
        json!(1),
    ] {
        assert_eq!(ask(&iss, &good_aud, later).await, Err(Reason::Issuer.into()), "{iss}");
        assert_eq!(ask(&iss, &good_aud, NOW_S - 60).await, Err(Reason::Issuer.into()), "{iss}, old");
    }
    for aud in [
        left_out,
        json!(null),
        json!(""),
        json!("Parley"),
        json!("parley "),
        json!("parley other"),
        json!([]),
        json!(["other"]),
        json!([["parley"]]),
        json!(["parley", 1]),
        json!({ "parley": true }),
        json!(true),
    ] {
        assert_eq!(ask(&good_iss, &aud, later).await, Err(Reason::Audience.into()), "{aud}");
    }
}

#[tokio::test]
async fn the_greatest_length() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let sized = |filler: usize| hs256(&json!({ "sub": "a", "exp": NOW_S + 60, "x": "x".repeat(filler) }));
    let filler = (0..8192).rev().find(|filler| sized(*filler).len() <= TOKEN_BYTES_MAX).unwrap();
    assert!(authenticator.verify(&sized(filler), NOW).await.is_ok());
    assert_eq!(authenticator.verify(&sized(filler + 1), NOW).await, Err(Reason::TooLong.into()));
}

#[tokio::test]
async fn tokens_that_we_make() {
    let options =
        AuthOptions { issuer: Some("i".to_owned()), audience: Some("a".to_owned()), ..secret_only() };
    let strict = Authenticator::new(options).await.unwrap();
    let secret = Secret::new(SECRET);
    let now = Timestamp(NOW_S * 1000 + 1);
    let hour = Duration::from_secs(3600);
    let token = sign_hs256(&secret, &alice(), now, hour, Some("i"), Some("a")).unwrap();
    let expected = Identity { user_id: alice(), expires_at: Timestamp((NOW_S + 3600) * 1000) };
    assert_eq!(strict.verify(&token, now).await, Ok(expected));
    let bare = sign_hs256(&secret, &alice(), now, Duration::from_nanos(1), None, None).unwrap();
    assert_eq!(strict.verify(&bare, now).await, Err(Reason::Issuer.into()));
    let loose = Authenticator::new(secret_only()).await.unwrap();
    let expires_at = loose.verify(&bare, now).await.unwrap().expires_at;
    assert_eq!(expires_at, Timestamp((NOW_S + 1) * 1000));
    for ttl in [Duration::ZERO, Duration::MAX, Duration::from_secs(253_402_300_799)] {
        assert!(matches!(sign_hs256(&secret, &alice(), now, ttl, None, None), Err(SignError::Ttl)));
    }
    let short = Secret::new(&SECRET[..31]);
    assert!(matches!(sign_hs256(&short, &alice(), now, hour, None, None), Err(SignError::ShortSecret)));
    let long = "i".repeat(8192);
    assert!(matches!(sign_hs256(&secret, &alice(), now, hour, Some(&long), None), Err(SignError::TooLong)));
}

#[test]
fn the_authorization_header() {
    type Row = (&'static [&'static [u8]], Result<Option<&'static str>, AuthError>);
    let bad = Err(AuthError::Invalid(Reason::Authorization));
    let table: &[Row] = &[
        (&[], Ok(None)),
        (&[b"Bearer a.b.c"], Ok(Some("a.b.c"))),
        (&[b"bearer a.b.c"], Ok(Some("a.b.c"))),
        (&[b"BEARER a.b.c"], Ok(Some("a.b.c"))),
        (&[b"Bearer   a.b.c "], Ok(Some("a.b.c"))),
        (&[b""], bad),
        (&[b"Bearer"], bad),
        (&[b"Bearer "], bad),
        (&[b"Bearer\ta.b.c"], bad),
        (&[b"Bearera.b.c"], bad),
        (&[b"Bearer: a.b.c x"], bad),
        (&[b" Bearer a.b.c"], bad),
        (&[b"a.b.c"], bad),
        (&[b"Basic YTpi"], bad),
        (&[b"Token a.b.c"], bad),
        (&[b"Bearer \xc3\xa9"], bad),
        (&[b"Bearer a.b.c", b"Bearer a.b.c"], bad),
        (&[b"Bearer a.b.c", b"Basic YTpi"], bad),
        (&[b"", b"Bearer a.b.c"], bad),
    ];
    for (values, expected) in table {
        let mut headers = HeaderMap::new();
        for value in *values {
            headers.append(http::header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(bearer(&headers), *expected, "{values:?}");
    }
}
