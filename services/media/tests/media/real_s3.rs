//! The S3 provider against an S3 of its own, which the caller starts: ignored, not skipped, where there is none.
//!
//! ```text
//! go install github.com/versity/versitygw/cmd/versitygw@latest
//! mkdir -p /tmp/s3/parley /tmp/s3-meta
//! ROOT_ACCESS_KEY=user ROOT_SECRET_KEY=password versitygw --port 127.0.0.1:7070 posix --sidecar /tmp/s3-meta /tmp/s3
//! PARLEY_TEST_S3=http://user:password@127.0.0.1:7070/parley cargo test -p parley-media -- --ignored
//! ```

use parley_media::conformance;
use parley_media::providers::s3::{S3Credentials, S3Media, S3Options};

use crate::harness::{Reqwest, now};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3: PARLEY_TEST_S3=http://KEY:SECRET@HOST:PORT/BUCKET"]
#[allow(clippy::disallowed_methods, reason = "the test's own switch, not configuration of the product")]
async fn a_real_s3_conforms() {
    let url = std::env::var("PARLEY_TEST_S3").expect("PARLEY_TEST_S3");
    let url = reqwest::Url::parse(&url).expect("a URL");
    let options = S3Options {
        bucket: url.path().trim_matches('/').to_owned(),
        prefix: "conformance/".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint_url: Some(format!(
            "{}://{}:{}",
            url.scheme(),
            url.host().unwrap(),
            url.port_or_known_default().unwrap()
        )),
        path_style: true,
        credentials: S3Credentials {
            access_key_id: url.username().to_owned(),
            secret_access_key: url.password().unwrap().to_owned(),
            session_token: None,
        },
    };
    let media = S3Media::new(options, now()).unwrap();
    conformance::run(&media, &Reqwest(reqwest::Client::new())).await.unwrap();
}
