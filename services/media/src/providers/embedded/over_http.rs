//! The S3 provider with its own HTTP transport and a signature in the header, against this server, so that what
//! production uses is tried on every machine.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use parley_domain::Timestamp;

use super::{BUCKET, EmbeddedMedia, EmbeddedOptions, REGION, credentials};
use crate::conformance::Case;
use crate::providers::s3::{S3Media, S3Options};
use crate::{Clock, Error, MediaStore};

#[allow(clippy::disallowed_methods, reason = "a test is the rim")]
fn now() -> Clock {
    Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(now.as_millis().try_into().unwrap())
    })
}

#[tokio::test]
async fn the_s3_client_looks_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let embedded = EmbeddedMedia::open(
        dir.path(),
        EmbeddedOptions { public_url: url.clone(), bytes_max: 1000, clock: now() },
    )
    .unwrap();
    let service = embedded.service();
    // Unlike the mounted service, this lets signatures in headers through.
    let app = Router::new().fallback(move |request: Request| {
        let service = service.clone();
        async move { service.answer(request.map(s3s::Body::http_body_unsync)).await }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });

    let credentials = credentials::load_or_create(&dir.path().join("credentials.json")).unwrap();
    let options = S3Options {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        region: REGION.to_owned(),
        endpoint_url: Some(url),
        path_style: true,
        credentials,
    };
    let client = S3Media::new(options.clone(), now()).unwrap();
    client.ready().await.unwrap();
    let case = Case::new("image/png", "some bytes");
    assert_eq!(client.look(case.claims.media_id).await.unwrap(), None);
    let signed = client.presign_upload(&case.claims, Duration::from_secs(60)).await.unwrap();
    let mut put = reqwest::Client::new().put(&signed.url).body(case.bytes.clone());
    for (name, value) in &signed.headers {
        put = put.header(name, value);
    }
    assert_eq!(put.send().await.unwrap().status(), 200);
    let over_http = client.look(case.claims.media_id).await.unwrap();
    assert_eq!(over_http.as_ref().and_then(|object| object.sha256), Some(case.claims.sha256));
    assert_eq!(over_http, embedded.look(case.claims.media_id).await.unwrap());

    let mut wrong = options.clone();
    wrong.credentials.secret_access_key += "x";
    let refused = S3Media::new(wrong, now()).unwrap().look(case.claims.media_id).await;
    assert!(matches!(refused, Err(Error::Refused { status: 403, .. })), "{refused:?}");
    let elsewhere = S3Options { bucket: "other-bucket".to_owned(), ..options };
    let missing = S3Media::new(elsewhere, now()).unwrap().ready().await;
    assert!(matches!(missing, Err(Error::Refused { status: 404, .. })), "{missing:?}");
}
