//! What a store of versions owes.

use super::world::{World, script};
use super::{apply, check, dump};
use crate::{Error, ReadStore};

/// Builds a next version beside the live one, throws it away, builds another, switches, and
/// switches back. The store must be empty.
///
/// # Errors
/// The provider's.
///
/// # Panics
/// If an answer is wrong.
pub async fn versions(store: &dyn ReadStore) -> Result<(), Error> {
    let old = World::play(&script(11, 60));
    let new = World::play(&script(12, 60));
    let first = store.live_version();
    apply(&*store.live(), &old.log, 10).await?;
    store.persist().await?;

    let refused = store.switch().await;
    assert!(refused.is_err(), "there is nothing to switch to");
    assert!(store.switch_back().await.is_err(), "nor back to");
    assert!(store.former().await.is_err(), "nor to bring up to date");

    let abandoned = store.create_next().await?;
    apply(&*abandoned, &old.log, 10).await?;
    drop(abandoned);
    let next = store.create_next().await?;
    assert!(dump(&*next, 10).await?.values().all(Vec::is_empty), "what was left of an earlier try is gone");
    assert_eq!(next.checkpoints().await?, []);
    apply(&*next, &new.log, 10).await?;
    store.persist().await?;
    assert_eq!(store.live_version(), first);
    check(&*store.live(), &old).await?;
    check(&*next, &new).await?;

    let held = store.live();
    store.switch().await?;
    assert!(store.live_version() > first);
    let live = store.live_version();
    store.refresh().await?;
    assert_eq!(
        (store.live_version(), store.trouble()),
        (live, None),
        "nobody else switched, and nothing is wrong"
    );
    check(&*store.live(), &new).await?;
    check(&*held, &old).await?; // who still holds the old one may finish
    drop((held, next));
    assert!(store.switch().await.is_err(), "the next version is used up");

    let second = store.live_version();
    store.switch_back().await?;
    assert_eq!(store.live_version(), first);
    check(&*store.live(), &old).await?;
    let former = store.former().await?;
    check(&*former, &new).await?;
    let more = World::play(&script(12, 80));
    apply(&*former, more.log.get(new.log.len()..).unwrap_or_default(), 10).await?;
    check(&*store.live(), &old).await?;
    drop(former);
    store.switch_back().await?;
    assert_eq!(store.live_version(), second, "a switch back can be undone");
    check(&*store.live(), &more).await?;

    let third = store.create_next().await?;
    assert!(store.switch_back().await.is_err(), "the next version took the place of the old one");
    assert!(dump(&*third, 10).await?.values().all(Vec::is_empty));
    check(&*store.live(), &more).await
}
