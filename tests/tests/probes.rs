//! Liveness, readiness and metrics as operators ask for them: what isn't ready is named, and they can be had apart.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use parley_tests::{Server, ServerOptions, Value};

async fn status(url: &str, path: &str) -> u16 {
    reqwest::get(format!("{url}{path}")).await.unwrap().status().as_u16()
}

/// The status of `/readyz`, and the names of what isn't ready.
async fn ready(url: &str) -> (u16, Vec<String>) {
    let answer = reqwest::get(format!("{url}/readyz")).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["ready"], status == 200, "{body}");
    let faults = body["not_ready"].as_array().unwrap();
    (status, faults.iter().map(|fault| fault["name"].as_str().unwrap().to_owned()).collect())
}

/// Where operators find a server that has them apart, on a port that it picked: it logs it.
fn operators(server: &Server) -> String {
    let log = server.log();
    let line = log.lines().find(|line| line.contains("probes and metrics are apart"));
    let (_, address) = line.and_then(|line| line.split_once("address=")).unwrap_or_else(|| panic!("{log}"));
    format!("http://{}", address.trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_is_gone_is_named_until_it_is_back() {
    let server = Server::start().await;
    assert_eq!(ready(&server.url).await, (200, vec![]));
    let (objects, aside) = (server.objects(), server.data.join("aside"));
    std::fs::rename(&objects, &aside).unwrap();
    assert_eq!(ready(&server.url).await, (503, vec!["media".to_owned()]));
    assert_eq!(status(&server.url, "/healthz").await, 200, "it lives all the same");
    std::fs::rename(&aside, &objects).unwrap();
    assert_eq!(ready(&server.url).await, (200, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_that_are_apart_are_nowhere_else() {
    let server = Server::start_with(ServerOptions::set(&["http.admin_listen=127.0.0.1:0"])).await;
    let operators = operators(&server);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&operators, path).await, 200, "{path}");
        assert_eq!(status(&server.url, path).await, 404, "{path} where clients come");
    }
    assert_eq!(status(&operators, "/v1/groups").await, 404, "no client comes there");
    assert_eq!(status(&server.url, "/v1/groups").await, 401);
    let metrics = reqwest::get(format!("{operators}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("# TYPE parley_"), "{metrics}");
}

/// A client that takes nothing holds the stop up for seconds, in which operators can ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopping_is_not_ready_and_says_why() {
    let set = ["http.admin_listen=127.0.0.1:0", "limits.sends_per_second=0"];
    let mut server = Server::start_with(ServerOptions::set(&set)).await;
    let operators = operators(&server);
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let stalled = server.stalled("bob", "ann", &group).await;
    let mut ann = server.quiet_client("ann").await;
    assert_eq!(ready(&operators).await, (200, vec![]));
    server.ask_to_stop();
    ann.expect("go_away").await;
    assert_eq!(ready(&operators).await, (503, vec!["edge".to_owned()]));
    assert_eq!(status(&operators, "/healthz").await, 200, "it lives until it has ended");
    assert_eq!(server.ended().await, Some(0));
    drop(stalled);
}
