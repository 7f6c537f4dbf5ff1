//! The embedded provider on a real socket behind axum: what every provider must do, what its server must refuse
//! even to a correct signature, and what a broken connection or a crash may leave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod crash;
mod harness;
mod hostile;
mod real_s3;

use harness::Harness;
use http::Request;
use parley_media::conformance::{self, Case, Http as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_provider_conforms() {
    let harness = Harness::start().await;
    conformance::run(&harness.media, &harness.http).await.unwrap();
}

#[tokio::test]
async fn the_server_s_other_routes_stay_themselves() {
    let harness = Harness::start().await;
    let url = format!("http://{}/healthz", harness.address);
    let answer = harness.http.send(Request::get(url).body(Default::default()).unwrap()).await.unwrap();
    assert_eq!(&answer.body()[..], b"ok");
}

#[tokio::test]
async fn a_browser_gets_no_page_from_a_download() {
    let harness = Harness::start().await;
    let case = Case::new("text/html", "<script>alert(1)</script>");
    case.upload(&harness.media, &harness.http).await.unwrap();
    let answer = harness.http.send(case.get(&harness.media).await.unwrap()).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(header("content-disposition"), "attachment");
    assert_eq!(header("cache-control"), "private, max-age=3600");
}

#[tokio::test]
async fn look_works_without_a_listener() {
    let dir = tempfile::tempdir().unwrap();
    let media = harness::open(dir.path(), "127.0.0.1:1".parse().unwrap(), harness::now());
    use parley_media::MediaStore as _;
    media.ready().await.unwrap();
    assert_eq!(media.look(Case::new("image/png", "").claims.media_id).await.unwrap(), None);
}
