//! The embedded provider against the suite, and the suite against random logs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests; the helpers outside of test functions, too"
)]

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use parley_domain::Epoch;
use parley_readstore::conformance::{self, Entry, World, apply, check, dump};
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options};
use parley_readstore::{ReadModel, ReadStore};
use proptest::prelude::*;
use tempfile::TempDir;

fn open(dir: &Path) -> Arc<EmbeddedReadStore> {
    EmbeddedReadStore::open(dir, Epoch::from_bytes([7; 16]), Options::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let dirs = Mutex::new(Vec::new());
    let make = || {
        let dir = TempDir::new().unwrap();
        let model = open(dir.path()).live();
        dirs.lock().push(dir);
        async move { model }
    };
    conformance::run(make, 6).await.unwrap();
}

#[tokio::test]
async fn keeps_the_contract_of_versions() {
    let dir = TempDir::new().unwrap();
    conformance::versions(&*open(dir.path())).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Any log: every answer is the one that brute force over the log gives, and the order between topics and the
    /// size of batches make no difference.
    #[test]
    fn answers_as_brute_force_does(
        script in prop::collection::vec(any::<(u8, u8, u8, u8, u8)>(), 1..120),
        batch in 1usize..20,
    ) {
        let world = World::play(&script);
        let (events, others): (Vec<Entry>, Vec<Entry>) =
            world.log.iter().cloned().partition(|entry| matches!(entry, Entry::Event(..)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (dir, other_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let model: Arc<dyn ReadModel> = open(dir.path()).live();
            apply(&*model, &world.log, batch).await.unwrap();
            check(&*model, &world).await.unwrap();
            let other = open(other_dir.path()).live();
            apply(&*other, &others, 3).await.unwrap();
            apply(&*other, &events, batch).await.unwrap();
            assert_eq!(dump(&*other, 50).await.unwrap(), dump(&*model, 50).await.unwrap());
        });
    }
}
