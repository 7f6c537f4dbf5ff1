//! The schema: files of CQL, applied in order and recorded in a table.

use std::collections::BTreeMap;

use tracing::info;

use super::cluster::Cluster;
use crate::Error;

/// A file of CQL.
struct Migration {
    number: i32,
    name: &'static str,
    cql: &'static str,
}

/// What the keyspace has once.
const KEYSPACE: &[Migration] = &[Migration {
    number: 1,
    name: "control",
    cql: include_str!("../../../../../schemas/cql/reads/0001_control.cql"),
}];

/// What each version of the read models has.
const MODEL: &[Migration] = &[Migration {
    number: 2,
    name: "read_models",
    cql: include_str!("../../../../../schemas/cql/reads/0002_read_models.cql"),
}];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS {k}.migrations \
     (scope text, number int, name text, PRIMARY KEY (scope, number))";

/// Brings what the keyspace has once up to date.
pub(super) async fn of_keyspace(cluster: &Cluster) -> Result<(), Error> {
    if !cluster.is_there("SELECT scope FROM {k}.migrations LIMIT 1").await? {
        cluster.change_schema(&cluster.named(TABLE, 0)).await?;
    }
    apply(cluster, KEYSPACE, "keyspace", 0).await
}

/// Brings the tables of a version up to date, or makes them.
pub(super) async fn of_version(cluster: &Cluster, version: u64) -> Result<(), Error> {
    apply(cluster, MODEL, &format!("version {version}"), version).await
}

async fn apply(cluster: &Cluster, files: &[Migration], scope: &str, version: u64) -> Result<(), Error> {
    let done = "SELECT number, name FROM {k}.migrations WHERE scope = ?";
    let done: BTreeMap<i32, String> =
        cluster.ask::<(i32, String)>(done, (scope,)).await?.into_iter().collect();
    let newest = files.iter().map(|file| file.number).max();
    if let Some((number, name)) = done.iter().next_back().filter(|(number, _)| Some(**number) > newest) {
        let what = format!("the schema of {scope} has migration {number}, {name}, of a newer program");
        return Err(Error::Unfit(what));
    }
    for file in files.iter().filter(|file| !done.contains_key(&file.number)) {
        info!(scope, migration = file.number, name = file.name, "changing the read store's schema");
        for statement in statements(file.cql) {
            cluster.change_schema(&cluster.named(&statement, version)).await?;
        }
        let record = "INSERT INTO {k}.migrations (scope, number, name) VALUES (?, ?, ?)";
        cluster.write_now(record, (scope, file.number, file.name)).await?;
    }
    Ok(())
}

/// The statements of a file, without comments.
fn statements(cql: &str) -> Vec<String> {
    let uncommented = |line: &str| line.split("--").next().unwrap_or_default().trim_end().to_owned();
    let text: Vec<String> = cql.lines().map(uncommented).collect();
    let text = text.join("\n");
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The names of the keyspace's tables.
pub(super) async fn tables(cluster: &Cluster) -> Result<Vec<String>, Error> {
    let cql = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let names = cluster.ask::<(String,)>(cql, (cluster.keyspace(),)).await?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

/// A table of a version that isn't there although it was made, if there is one.
pub(super) async fn missing(cluster: &Cluster, version: u64) -> Result<Option<String>, Error> {
    let wanted =
        || MODEL.iter().flat_map(|file| tables_of(file.cql)).map(|table| cluster.named(&table, version));
    let there = tables(cluster).await?;
    if wanted().all(|table| there.contains(&table)) {
        return Ok(None);
    }
    // The node that was asked may have been down when they were made.
    cluster.await_agreement().await?;
    let there = tables(cluster).await?;
    Ok(wanted().find(|table| !there.contains(table)))
}

/// The tables that a file makes, the version's number left open.
fn tables_of(cql: &str) -> Vec<String> {
    let made = |statement: String| {
        let rest = statement.strip_prefix("CREATE TABLE IF NOT EXISTS {k}.")?;
        rest.split_once(" (").map(|(name, _)| name.to_owned())
    };
    statements(cql).into_iter().filter_map(made).collect()
}

/// The version that a table belongs to.
fn version_of(table: &str) -> Option<u64> {
    table.rsplit_once('_').and_then(|(_, number)| number.parse().ok())
}

/// Drops the tables of all versions below one but some. Those above it are another process's, which began later and may have
/// made them live meanwhile.
pub(super) async fn drop_below(cluster: &Cluster, below: u64, kept: &[u64]) -> Result<(), Error> {
    for table in tables(cluster).await? {
        let Some(version) = version_of(&table).filter(|version| is_dropped(*version, below, kept)) else {
            continue;
        };
        cluster
            .change_schema(&cluster.named(&format!("DROP TABLE IF EXISTS {{k}}.{table}"), version))
            .await?;
    }
    Ok(())
}

fn is_dropped(version: u64, below: u64, kept: &[u64]) -> bool {
    version < below && !kept.contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_apart() {
        let model: Vec<_> = MODEL.iter().flat_map(|file| statements(file.cql)).collect();
        assert!(model.len() > 10);
        for statement in model {
            assert!(statement.starts_with("CREATE TABLE IF NOT EXISTS {k}."), "{statement}");
            assert!(statement.contains("_{v} ("), "{statement}");
            assert!(statement.ends_with(')'), "{statement}");
        }
    }

    #[test]
    fn numbers_rise() {
        let numbers: Vec<_> = KEYSPACE.iter().chain(MODEL).map(|file| file.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_tables_of_a_file_are_known() {
        let cql = MODEL.iter().map(|file| file.cql).collect::<String>();
        let tables = tables_of(&cql);
        assert_eq!(tables.len(), statements(&cql).len());
        assert!(tables.contains(&"user_groups_{v}".to_owned()), "{tables:?}");
    }

    #[test]
    fn only_older_versions_are_dropped() {
        let dropped =
            |kept: &[u64]| (1..7).filter(|version| is_dropped(*version, 5, kept)).collect::<Vec<_>>();
        assert_eq!(dropped(&[3]), [1, 2, 4], "and none of those who came later");
        assert_eq!(dropped(&[]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_tables_version_is_in_its_name() {
        assert_eq!(version_of("user_groups_12"), Some(12));
        assert_eq!((version_of("control"), version_of("user_groups")), (None, None));
    }
}
