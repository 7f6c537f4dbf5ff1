//! The S3 providers against an S3 of its own, which the caller starts: ignored, not skipped, where there is none.
//!
//! ```text
//! scripts/engines up --only s3
//! PARLEY_TEST_S3=http://KEY:SECRET@127.0.0.1:7070/parley cargo test --release -p parley-media -- --ignored
//! ```

use bytes::Bytes;
use parley_media::conformance;
use parley_media::providers::s3::{S3Blobs, S3Credentials, S3Media, S3Options};
use parley_media::{Blobs as _, Error, MediaStore as _};

use crate::harness::{Reqwest, now};

/// Options for a bucket beside the configured one, or for that one.
#[allow(clippy::disallowed_methods, reason = "the test's own switch, not configuration of the product")]
fn options(bucket: Option<&str>) -> S3Options {
    let url = std::env::var("PARLEY_TEST_S3").expect("PARLEY_TEST_S3");
    let url = reqwest::Url::parse(&url).expect("a URL");
    let endpoint =
        format!("{}://{}:{}", url.scheme(), url.host().unwrap(), url.port_or_known_default().unwrap());
    let bucket = bucket.unwrap_or(url.path().trim_matches('/'));
    let credentials = S3Credentials {
        access_key_id: url.username().to_owned(),
        secret_access_key: url.password().unwrap().to_owned(),
        session_token: None,
    };
    S3Options::parse(&format!("s3://{bucket}/conformance?endpoint={endpoint}"), credentials).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3: scripts/test starts it"]
async fn a_real_s3_conforms() {
    let media = S3Media::new(options(None), now()).unwrap();
    conformance::run(&media, &Reqwest(reqwest::Client::new())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3: scripts/test starts it"]
async fn a_real_s3_keeps_blobs() {
    let blobs = S3Blobs::new(options(None)).unwrap();
    conformance::blobs::run(&blobs).await.unwrap();
}

#[tokio::test]
#[ignore = "needs an S3: scripts/test starts it"]
async fn a_real_s3_says_what_is_wrong() {
    let missing = options(Some("parley-no-such-bucket"));
    let ready = S3Media::new(missing.clone(), now()).unwrap().ready().await;
    assert!(matches!(ready, Err(Error::Refused { status: 404, .. })), "{ready:?}");
    let put = S3Blobs::new(missing).unwrap().put("a", Bytes::new()).await;
    assert!(matches!(put, Err(Error::Refused { status: 404, .. })), "{put:?}");

    let mut wrong = options(None);
    wrong.credentials.secret_access_key.push('x');
    let ready = S3Media::new(wrong.clone(), now()).unwrap().ready().await;
    assert!(matches!(ready, Err(Error::Refused { status: 403, .. })), "{ready:?}");
    let got = S3Blobs::new(wrong).unwrap().get("a").await;
    assert!(matches!(got, Err(Error::Refused { status: 403, .. })), "{got:?}");
}
