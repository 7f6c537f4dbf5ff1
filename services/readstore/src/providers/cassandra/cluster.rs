//! The session with the cluster, and the few things that all else is made of.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{
    DefaultPolicy, LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::time::Instant;
use tracing::{info, warn};

use super::CassandraOptions;
use crate::Error;

/// Changing a schema takes much longer than reading or writing rows.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(60);
const AGREEMENT_INTERVAL: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// A connection carries thousands of requests at once, but a node serves each from one thread of its event loop.
const CONNECTIONS_PER_NODE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// The port's error for any of the driver's.
pub(super) fn engine(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Engine(Box::new(error))
}

/// A session, for one keyspace.
pub(super) struct Cluster {
    session: Session,
    keyspace: String,
}

impl Cluster {
    /// Connects, and makes the keyspace if it is missing and needn't exist.
    pub(super) async fn connect(options: &CassandraOptions) -> Result<Self, Error> {
        options.check()?;
        let session = connect_in_time(options).await?;
        let cluster = Self { session, keyspace: options.keyspace.clone() };
        let known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        if cluster.ask::<(String,)>(known, (&cluster.keyspace,)).await?.is_empty() {
            if options.must_exist {
                let keyspace = &cluster.keyspace;
                return Err(Error::Unfit(format!(
                    "there is no keyspace {keyspace}: is it the one that the projectors write?"
                )));
            }
            info!(keyspace = cluster.keyspace, "making the keyspace");
            let replication = options.replication.cql();
            cluster
                .change_schema(&format!(
                    "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {replication}",
                    cluster.keyspace
                ))
                .await?;
        }
        cluster.refresh_metadata().await?;
        cluster.warn_of_data_centers(options);
        Ok(cluster)
    }

    /// Without a data center of one's own `LOCAL_QUORUM` is that of whichever node is asked, so that two processes may read and
    /// write in different ones: what one wrote the other then doesn't see.
    fn warn_of_data_centers(&self, options: &CassandraOptions) {
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter().map(|node| node.datacenter.as_deref());
        let centers = data_centers(nodes);
        if centers.len() > 1 && options.local_data_center.is_none() {
            warn!(
                ?centers,
                "the read store's nodes are in several data centers, and none is named: name the one of this deployment in \
                 cassandra.data_center, the same one for all roles"
            );
        }
    }

    /// The keyspace.
    pub(super) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The driver's session.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Puts the names of keyspace and version into a statement.
    pub(super) fn named(&self, cql: &str, version: u64) -> String {
        cql.replace("{k}", &self.keyspace).replace("{v}", &version.to_string())
    }

    /// Prepares a statement. All of ours may be repeated.
    pub(super) async fn prepare(&self, cql: &str, version: u64) -> Result<PreparedStatement, Error> {
        let mut statement = self.session.prepare(self.named(cql, version)).await.map_err(engine)?;
        statement.set_is_idempotent(true);
        Ok(statement)
    }

    /// Changes the schema, and returns once all nodes that are up agree on it.
    pub(super) async fn change_schema(&self, cql: &str) -> Result<(), Error> {
        let mut statement = Statement::new(cql);
        statement.set_is_idempotent(true);
        statement.set_execution_profile_handle(Some(self.schema_profile()?));
        self.session.query_unpaged(statement, ()).await.map_err(engine)?;
        // The driver waits for agreement only after a change of its own, and this one may have been another process's.
        self.await_agreement().await
    }

    /// Waits until all nodes that are up agree on the schema.
    pub(super) async fn await_agreement(&self) -> Result<(), Error> {
        self.session.await_schema_agreement().await.map(drop).map_err(engine)
    }

    /// Whether the table of a query is there. The node is to be asked for that, not `system_schema`, which tells of a
    /// table before the node knows it.
    pub(super) async fn is_there(&self, cql: &str) -> Result<bool, Error> {
        match self.session.query_unpaged(self.named(cql, 0), ()).await {
            Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, _))) => {
                Ok(false)
            }
            answer => answer.map(|_| true).map_err(engine),
        }
    }

    /// For changes of the schema: they all go to one and the same node of those that are up, whoever makes them, so that
    /// two processes that start at once can't make a table twice.
    fn schema_profile(&self) -> Result<ExecutionProfileHandle, Error> {
        let state = self.session.get_cluster_state();
        let up = state.get_nodes_info().iter().filter(|node| node.is_connected());
        let first = up.min_by_key(|node| node.host_id);
        let first = first.ok_or_else(|| Error::Engine("no node of the cluster can be reached".into()))?;
        let first = NodeIdentifier::HostId(first.host_id);
        let profile = ExecutionProfile::builder()
            .load_balancing_policy(SingleTargetLoadBalancingPolicy::new(first, None))
            .request_timeout(Some(SCHEMA_TIMEOUT));
        Ok(profile.build().into_handle())
    }

    /// Learns of tables that were made, which is what requests are routed by. Once after many changes, since it is slow.
    pub(super) async fn refresh_metadata(&self) -> Result<(), Error> {
        self.session.refresh_metadata().await.map_err(engine)
    }

    /// The rows of a query that is seldom asked.
    pub(super) async fn ask<R>(&self, cql: &str, values: impl SerializeRow) -> Result<Vec<R>, Error>
    where
        R: for<'row> DeserializeRow<'row, 'row>,
    {
        let mut statement = Statement::new(self.named(cql, 0));
        statement.set_is_idempotent(true);
        rows(self.session.query_unpaged(statement, values).await.map_err(engine)?)
    }

    /// The same, also if the rows' last lightweight transaction is still under way: that one comes to its end first.
    pub(super) async fn ask_serially<R>(&self, cql: &str, values: impl SerializeRow) -> Result<Vec<R>, Error>
    where
        R: for<'row> DeserializeRow<'row, 'row>,
    {
        let mut statement = Statement::new(self.named(cql, 0));
        statement.set_is_idempotent(true);
        statement.set_consistency(Consistency::LocalSerial);
        rows(self.session.query_unpaged(statement, values).await.map_err(engine)?)
    }

    /// A write that is seldom made.
    pub(super) async fn write_now(&self, cql: &str, values: impl SerializeRow) -> Result<(), Error> {
        let mut statement = Statement::new(self.named(cql, 0));
        statement.set_is_idempotent(true);
        self.session.query_unpaged(statement, values).await.map_err(engine)?;
        Ok(())
    }

    /// A lightweight transaction; tells whether it was applied. Never repeated by the driver: its outcome may be unknown.
    pub(super) async fn transact(&self, cql: &str, values: impl SerializeRow) -> Result<bool, Error> {
        let statement = Statement::new(self.named(cql, 0));
        let result = self.session.query_unpaged(statement, values).await.map_err(engine)?;
        let result = result.into_rows_result().map_err(engine)?;
        let row = result.first_row::<scylla::value::Row>().map_err(engine)?;
        let applied = row.columns.first().and_then(Option::as_ref);
        applied
            .and_then(scylla::value::CqlValue::as_boolean)
            .ok_or(Error::Damaged("the answer to a lightweight transaction"))
    }

    /// The rows of a prepared query.
    pub(super) async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, Error>
    where
        R: for<'row> DeserializeRow<'row, 'row>,
    {
        rows(self.session.execute_unpaged(statement, values).await.map_err(engine)?)
    }

    /// The first row of a prepared query.
    pub(super) async fn first<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<R>, Error>
    where
        R: for<'row> DeserializeRow<'row, 'row>,
    {
        Ok(self.rows(statement, values).await?.into_iter().next())
    }
}

fn data_centers<'a>(nodes: impl Iterator<Item = Option<&'a str>>) -> BTreeSet<&'a str> {
    nodes.flatten().collect()
}

fn rows<R>(result: QueryResult) -> Result<Vec<R>, Error>
where
    R: for<'row> DeserializeRow<'row, 'row>,
{
    let result = result.into_rows_result().map_err(engine)?;
    let rows = result.rows::<R>().map_err(engine)?;
    rows.collect::<Result<Vec<R>, _>>().map_err(engine)
}

async fn connect_in_time(options: &CassandraOptions) -> Result<Session, Error> {
    let deadline = Instant::now() + options.connect_timeout;
    loop {
        match builder(options).build().await {
            Ok(session) => return Ok(session),
            Err(error) if Instant::now() + CONNECT_PAUSE >= deadline => return Err(engine(error)),
            Err(error) => {
                info!(error = &error as &dyn std::error::Error, "waiting for the read store's cluster");
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
        }
    }
}

fn builder(options: &CassandraOptions) -> SessionBuilder {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(name) = &options.local_data_center {
        policy = policy.prefer_datacenter(name.clone());
    }
    let policy: std::sync::Arc<dyn LoadBalancingPolicy> = policy.build();
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(options.request_timeout))
        .load_balancing_policy(policy)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT_TIMEOUT)
        .pool_size(PoolSize::PerShard(CONNECTIONS_PER_NODE))
        .keyspaces_to_fetch([&options.keyspace])
        .fetch_full_schema_metadata(false)
        .refresh_metadata_on_auto_schema_agreement(false)
        .schema_agreement_interval(AGREEMENT_INTERVAL)
        .schema_agreement_timeout(SCHEMA_TIMEOUT);
    if let Some(credentials) = &options.credentials {
        builder = builder.user(&credentials.user, &credentials.password);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_centers_are_told_apart() {
        let count = |nodes: &[Option<&'static str>]| data_centers(nodes.iter().copied()).len();
        assert_eq!(count(&[Some("eu"), Some("eu"), None]), 1);
        assert_eq!(count(&[Some("eu"), Some("us"), Some("eu")]), 2);
    }
}
