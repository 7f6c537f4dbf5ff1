//! Wrapped keys in a keyspace of Apache Cassandra or ScyllaDB, of their own, beside the read models': these can be
//! thrown away, keys can't. `schemas/cql/keys` holds the tables.
//!
//! A key's row by id is written first, then the row that leads to it; a crash in between leaves a key that nothing was
//! sealed under. Key ids are never used again, so a destruction is final: it is written with a time ahead of all clocks, and what
//! was under way meanwhile comes too late, a key that is wrapped anew among it. Reads and writes are `LOCAL_QUORUM`: what was put is found, and lies on most of its replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{GroupId, KeyId, Timestamp};
use parley_wire::clock;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{DefaultPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use tokio::time::Instant;
use uuid::Uuid;

use crate::port::{KeyStore, StoreError, WrappedKey};

/// Requests on their way at once.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Rows that are read at once.
const PAGE_ROWS: i32 = 1_000;
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(60);
const KEYSPACE_BYTES_MAX: usize = 48;
/// How far ahead of the clock a destruction is dated: farther than clocks are apart and writes take, but less than the 3 days
/// beyond which ScyllaDB refuses a time.
const DESTROYED_AHEAD_MS: i64 = 24 * 60 * 60 * 1_000;

/// The schema: number, name and text of each file, in the order in which they are applied.
const MIGRATIONS: &[(i32, &str, &str)] =
    &[(1, "data_keys", include_str!("../../../../schemas/cql/keys/0001_data_keys.cql"))];

/// Where the cluster is and how to use it.
#[derive(Clone)]
pub struct CassandraKeyOptions {
    /// Some of its nodes, as `host:port`.
    pub nodes: Vec<String>,
    /// The keyspace; made if it is missing, unless it must exist. Lower-case letters, digits and `_`, a letter first.
    pub keyspace: String,
    /// The keyspace is there already: one that isn't is an error.
    pub must_exist: bool,
    /// How the keyspace is replicated, if it has to be made: data centers and copies in each, or with none of them one
    /// number of copies anywhere.
    pub data_centers: Vec<(String, u8)>,
    /// Copies, where no data centers are named.
    pub copies: u8,
    /// The data center whose nodes are asked; `None`: any.
    pub local_data_center: Option<String>,
    /// A role's name and password, if the cluster asks for them.
    pub credentials: Option<(String, String)>,
    /// How long to try to reach a cluster that isn't there yet.
    pub connect_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
}

impl std::fmt::Debug for CassandraKeyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nodes, keyspace, .. } = self;
        f.debug_struct("CassandraKeyOptions")
            .field("nodes", nodes)
            .field("keyspace", keyspace)
            .finish_non_exhaustive()
    }
}

impl CassandraKeyOptions {
    /// The defaults: one copy, no credentials.
    #[must_use]
    pub fn new(nodes: Vec<String>, keyspace: String) -> Self {
        Self {
            nodes,
            keyspace,
            must_exist: false,
            data_centers: Vec::new(),
            copies: 1,
            local_data_center: None,
            credentials: None,
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_millis(2_500),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = &self.keyspace;
        let fits = name.len() <= KEYSPACE_BYTES_MAX
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(plain);
        if fits {
            Ok(())
        } else {
            Err(StoreError::Unfit(format!("{name:?} can't be the name of a keyspace")))
        }
    }

    fn replication(&self) -> String {
        if self.data_centers.is_empty() {
            return format!("{{'class': 'SimpleStrategy', 'replication_factor': {}}}", self.copies);
        }
        let quoted = |(name, copies): &(String, u8)| format!(", '{}': {copies}", name.replace('\'', "''"));
        let centers: String = self.data_centers.iter().map(quoted).collect();
        format!("{{'class': 'NetworkTopologyStrategy'{centers}}}")
    }

    fn builder(&self) -> SessionBuilder {
        let mut policy = DefaultPolicy::builder().token_aware(true);
        if let Some(name) = &self.local_data_center {
            policy = policy.prefer_datacenter(name.clone());
        }
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .request_timeout(Some(self.request_timeout))
            .load_balancing_policy(policy.build())
            .build();
        let builder = SessionBuilder::new()
            .known_nodes(&self.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .connection_timeout(CONNECT_TIMEOUT)
            .keyspaces_to_fetch([&self.keyspace])
            .fetch_full_schema_metadata(false)
            .refresh_metadata_on_auto_schema_agreement(false)
            .schema_agreement_interval(Duration::from_millis(20))
            .schema_agreement_timeout(SCHEMA_TIMEOUT);
        match &self.credentials {
            Some((user, password)) => builder.user(user, password),
            None => builder,
        }
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        self.check()?;
        let deadline = Instant::now() + self.connect_timeout;
        loop {
            match self.builder().build().await {
                Ok(session) => return Ok(session),
                Err(error) if Instant::now() + CONNECT_PAUSE >= deadline => return Err(engine(error)),
                Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
            }
        }
    }
}

fn engine(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Engine(Box::new(error))
}

/// Whether a node says that what was asked for isn't there. The node is to be asked for that, not `system_schema`, which
/// tells of a table before the node knows it.
fn is_missing(error: &StoreError) -> bool {
    let StoreError::Engine(error) = error else { return false };
    matches!(
        error.downcast_ref(),
        Some(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, _)))
    )
}

/// The key store in a keyspace.
pub struct CassandraKeyStore {
    session: Session,
    put_key: PreparedStatement,
    put_of_group: PreparedStatement,
    find: PreparedStatement,
    of_period: PreparedStatement,
    of_group: PreparedStatement,
    page: PreparedStatement,
    first_page: PreparedStatement,
    remove_key: PreparedStatement,
    remove_of_group: PreparedStatement,
}

type Row = (Uuid, Option<Uuid>, Option<i32>, Option<String>, Option<Vec<u8>>);

fn key((key_id, group_id, period, ring_key, wrapped): Row) -> Result<WrappedKey, StoreError> {
    let parts = || {
        Some(WrappedKey {
            key_id: KeyId(key_id),
            group_id: GroupId(group_id?),
            period: u32::try_from(period?).ok()?,
            ring_key: ring_key?,
            wrapped: wrapped?,
        })
    };
    parts().ok_or(StoreError::Damaged)
}

/// The time of a destruction, in microseconds since 1970, as cells have it.
fn destroyed_at(now: Timestamp) -> i64 {
    now.as_millis().saturating_add(DESTROYED_AHEAD_MS).saturating_mul(1_000)
}

fn period_of(period: u32) -> i32 {
    i32::try_from(period).unwrap_or(i32::MAX)
}

impl CassandraKeyStore {
    /// Connects, and makes keyspace and tables if they are missing. Any number of processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the cluster can't be reached in time or doesn't do what it is asked;
    /// [`StoreError::Unfit`] if the schema is of a newer program.
    pub async fn open(options: &CassandraKeyOptions) -> Result<Arc<Self>, StoreError> {
        let session = options.connect().await?;
        Schema::of(&session, options)?.update().await?;
        session.refresh_metadata().await.map_err(engine)?;
        let (columns, keyspace) = ("key_id, group_id, period, ring_key, wrapped", &options.keyspace);
        let prepare = async |cql: String| {
            let mut statement = session.prepare(cql).await.map_err(engine)?;
            statement.set_is_idempotent(true);
            Ok::<_, StoreError>(statement)
        };
        let keys = format!("{keyspace}.data_keys");
        let by_group = format!("{keyspace}.data_keys_by_group");
        Ok(Arc::new(Self {
            put_key: prepare(format!("INSERT INTO {keys} ({columns}) VALUES (?, ?, ?, ?, ?)")).await?,
            put_of_group: prepare(format!(
                "INSERT INTO {by_group} (group_id, period, key_id) VALUES (?, ?, ?)"
            ))
            .await?,
            find: prepare(format!("SELECT {columns} FROM {keys} WHERE key_id = ?")).await?,
            of_period: prepare(format!("SELECT key_id FROM {by_group} WHERE group_id = ? AND period = ?"))
                .await?,
            of_group: prepare(format!("SELECT period, key_id FROM {by_group} WHERE group_id = ?")).await?,
            page: prepare(format!("SELECT {columns} FROM {keys} WHERE token(key_id) > token(?) LIMIT ?"))
                .await?,
            first_page: prepare(format!("SELECT {columns} FROM {keys} LIMIT ?")).await?,
            remove_key: prepare(format!("DELETE FROM {keys} USING TIMESTAMP ? WHERE key_id = ?")).await?,
            remove_of_group: prepare(format!(
                "DELETE FROM {by_group} USING TIMESTAMP ? WHERE group_id = ? AND period = ? AND key_id = ?"
            ))
            .await?,
            session,
        }))
    }

    async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'row> scylla::deserialize::row::DeserializeRow<'row, 'row>,
    {
        let result = self.session.execute_unpaged(statement, values).await.map_err(engine)?;
        let result = result.into_rows_result().map_err(engine)?;
        result.rows::<R>().map_err(engine)?.collect::<Result<_, _>>().map_err(engine)
    }

    async fn run(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<(), StoreError> {
        self.session.execute_unpaged(statement, values).await.map(drop).map_err(engine)
    }
}

#[async_trait]
impl KeyStore for CassandraKeyStore {
    async fn find(&self, id: KeyId) -> Result<Option<WrappedKey>, StoreError> {
        self.rows::<Row>(&self.find, (id.0,)).await?.pop().map(key).transpose()
    }

    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError> {
        // Of a group's period there is one, or a few if several writers made one at once.
        for (id,) in self.rows::<(Uuid,)>(&self.of_period, (group.0, period_of(period))).await? {
            // A row that leads nowhere was left by a destruction that didn't come to its end.
            if let Some(found) = self.find(KeyId(id)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError> {
        stream::iter(keys)
            .map(|key| async move {
                let WrappedKey { key_id, group_id, period, ring_key, wrapped } = &key;
                let period = period_of(*period);
                let row = (key_id.0, group_id.0, period, ring_key.as_str(), wrapped.as_slice());
                self.run(&self.put_key, row).await?;
                self.run(&self.put_of_group, (group_id.0, period, key_id.0)).await
            })
            .buffer_unordered(REQUESTS_IN_FLIGHT_MAX)
            .try_collect()
            .await
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let rows = match after {
            Some(after) => self.rows::<Row>(&self.page, (after.0, limit)).await?,
            None => self.rows::<Row>(&self.first_page, (limit,)).await?,
        };
        rows.into_iter().map(key).collect()
    }

    async fn of_group(&self, group: GroupId) -> Result<Vec<(u32, KeyId)>, StoreError> {
        let found = self.rows::<(i32, Uuid)>(&self.of_group, (group.0,)).await?;
        found
            .into_iter()
            .map(|(period, id)| Ok((u32::try_from(period).map_err(|_| StoreError::Damaged)?, KeyId(id))))
            .collect()
    }

    async fn destroy(&self, group: GroupId, keys: &[(u32, KeyId)]) -> Result<(), StoreError> {
        let at = destroyed_at(clock::now());
        stream::iter(keys.to_vec())
            .map(|(period, key)| async move {
                // The key first: whoever is interrupted here finds it again. And its own row that leads there, no other's.
                self.run(&self.remove_key, (at, key.0)).await?;
                self.run(&self.remove_of_group, (at, group.0, period_of(period), key.0)).await
            })
            .buffer_unordered(REQUESTS_IN_FLIGHT_MAX)
            .try_collect()
            .await
    }
}

/// Brings the schema up to date.
struct Schema<'a> {
    session: &'a Session,
    options: &'a CassandraKeyOptions,
    /// All changes go to one and the same node of those that are up, whoever makes them, so that two processes that start at once can't make
    /// a table twice.
    profile: ExecutionProfileHandle,
}

impl<'a> Schema<'a> {
    fn of(session: &'a Session, options: &'a CassandraKeyOptions) -> Result<Self, StoreError> {
        let state = session.get_cluster_state();
        let up = state.get_nodes_info().iter().filter(|node| node.is_connected());
        let first = up.min_by_key(|node| node.host_id);
        let first =
            first.ok_or_else(|| StoreError::Engine("no node of the cluster can be reached".into()))?;
        let policy = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(first.host_id), None);
        let profile = ExecutionProfile::builder()
            .load_balancing_policy(policy)
            .request_timeout(Some(SCHEMA_TIMEOUT))
            .build()
            .into_handle();
        Ok(Self { session, options, profile })
    }

    async fn change(&self, cql: String) -> Result<(), StoreError> {
        let mut statement = Statement::new(cql);
        statement.set_is_idempotent(true);
        statement.set_execution_profile_handle(Some(self.profile.clone()));
        self.session.query_unpaged(statement, ()).await.map_err(engine)?;
        // The driver waits for agreement only after a change of its own, and this one may have been another process's.
        self.session.await_schema_agreement().await.map(drop).map_err(engine)
    }

    async fn ask<R>(&self, cql: String, of: &str) -> Result<Vec<R>, StoreError>
    where
        R: for<'row> scylla::deserialize::row::DeserializeRow<'row, 'row>,
    {
        let result = self.session.query_unpaged(cql, (of,)).await.map_err(engine)?;
        let result = result.into_rows_result().map_err(engine)?;
        result.rows::<R>().map_err(engine)?.collect::<Result<_, _>>().map_err(engine)
    }

    /// The migrations that were applied: their names by number.
    async fn done(&self) -> Result<BTreeMap<i32, String>, StoreError> {
        let done = format!("SELECT number, name FROM {}.migrations WHERE scope = ?", self.options.keyspace);
        Ok(self.ask::<(i32, String)>(done, "keys").await?.into_iter().collect())
    }

    async fn update(&self) -> Result<(), StoreError> {
        let keyspace = &self.options.keyspace;
        let known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        if self.ask::<(String,)>(known.to_owned(), keyspace).await?.is_empty() {
            if self.options.must_exist {
                return Err(StoreError::Unfit(format!(
                    "there is no keyspace {keyspace}: is it the one that the writers use?"
                )));
            }
            let replication = self.options.replication();
            self.change(format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}"))
                .await?;
        }
        let done = match self.done().await {
            Err(error) if is_missing(&error) => {
                let columns = "(scope text, number int, name text, PRIMARY KEY (scope, number))";
                self.change(format!("CREATE TABLE IF NOT EXISTS {keyspace}.migrations {columns}")).await?;
                self.done().await?
            }
            done => done?,
        };
        let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max();
        if let Some((number, name)) = done.iter().next_back().filter(|(number, _)| Some(**number) > newest) {
            return Err(StoreError::Unfit(format!(
                "the schema of the keys has migration {number}, {name}, of a newer program"
            )));
        }
        for (number, name, cql) in MIGRATIONS.iter().filter(|(number, ..)| !done.contains_key(number)) {
            for statement in statements(cql) {
                self.change(statement.replace("{k}", keyspace)).await?;
            }
            let record =
                format!("INSERT INTO {keyspace}.migrations (scope, number, name) VALUES ('keys', ?, ?)");
            let mut record = Statement::new(record);
            record.set_is_idempotent(true);
            self.session.query_unpaged(record, (number, name)).await.map_err(engine)?;
        }
        Ok(())
    }
}

/// The statements of a file, without comments.
fn statements(cql: &str) -> Vec<String> {
    let uncommented = |line: &str| line.split("--").next().unwrap_or_default().trim_end().to_owned();
    let lines: Vec<String> = cql.lines().map(uncommented).collect();
    let text = lines.join("\n");
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destruction_is_later_than_what_any_clock_says() {
        let (hour_us, now) = (3_600_000_000, Timestamp(1_800_000_000_000));
        let ahead = destroyed_at(now) - now.as_millis() * 1_000;
        assert!(ahead >= 12 * hour_us, "clocks aren't that far apart, and no write takes that long");
        assert!(ahead <= 48 * hour_us, "ScyllaDB refuses what lies 3 days ahead of its own clock");
    }
}
