//! Rows only overwrite: whatever is applied again, in other batches, or in another order between topics, the rows are
//! the same in the end.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::world::{Entry, World};
use super::{apply, check};
use crate::{Error, Page, ReadModel};

/// All rows of a read model, by table.
pub type Dump = BTreeMap<&'static str, Vec<(Vec<u8>, Vec<u8>)>>;

/// Reads all canonical rows, page by page.
///
/// # Errors
/// The provider's.
///
/// # Panics
/// If the pages aren't in order.
pub async fn dump(model: &dyn ReadModel, page_len: usize) -> Result<Dump, Error> {
    let (mut dump, mut page) = (Dump::new(), Page::default());
    for table in model.tables() {
        let rows = dump.entry(*table).or_default();
        loop {
            let after = rows.last().map(|(key, _)| key.clone());
            page = model.canonical(table, after.as_deref(), page_len, page).await?;
            assert!(page.len() <= page_len);
            if page.is_empty() {
                break;
            }
            rows.extend(page.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        }
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{table}");
    }
    Ok(dump)
}

pub(super) async fn any_order<F, Fut>(make: &F, world: &World) -> Result<(), Error>
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = Arc<dyn ReadModel>> + Send,
{
    let log = &world.log;
    let reference = make().await;
    apply(&*reference, log, log.len().max(1)).await?;
    let expected = dump(&*reference, 10_000).await?;
    assert_eq!(dump(&*reference, 3).await?, expected, "small pages");
    assert!(expected.values().any(|rows| !rows.is_empty()));

    let events = |entry: &&Entry| matches!(entry, Entry::Event(..));
    let (events, others): (Vec<_>, Vec<_>) = log.iter().partition(events);
    let join = |first: &[&Entry], second: &[&Entry]| -> Vec<Entry> {
        first.iter().chain(second).map(|entry| (*entry).clone()).collect()
    };
    let half = log.len() / 2;
    let orders = [
        ("one by one", log.clone(), 1),
        ("twice", [log.as_slice(), log].concat(), 5),
        ("twice in one batch", [log.as_slice(), log].concat(), usize::MAX),
        ("the second half again", [log.as_slice(), &log[half..]].concat(), 4),
        ("a part of the past again, and on", [&log[..half], &log[half / 2..]].concat(), 3),
        ("acknowledgements before events", join(&others, &events), 6),
        ("events before acknowledgements", join(&events, &others), 6),
    ];
    for (name, entries, batch) in orders {
        let model = make().await;
        apply(&*model, &entries, batch).await?;
        assert!(dump(&*model, 1_000).await? == expected, "{name}");
        check(&*model, world).await?;
    }
    Ok(())
}
