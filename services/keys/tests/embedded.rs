//! The embedded key store against the suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use parley_keys::{EmbeddedKeyStore, conformance};

#[tokio::test]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedKeyStore::open(dir.path()).unwrap();
    conformance::run(&*store).await.unwrap();
}
