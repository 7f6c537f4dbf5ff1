//! Read models in a keyspace of Apache Cassandra or ScyllaDB.
//!
//! `schemas/cql/reads` holds the tables and says what is in them. A version of the read models is a set of tables with
//! the version's number in their names; one row, `control`, says which version is live, and changes by lightweight
//! transactions only.
//!
//! - Writing is idempotent without reading anything: each cell is written `USING TIMESTAMP` of a number that says which
//!   of two writes is the later one. A batch isn't atomic. So the rows come first, then the groups' heads, then the
//!   checkpoints, each once the former are acknowledged, and nothing beyond a group's head is shown.
//! - What grows with a group's events lies in buckets of its dense numbers, so a query knows from the head where to look.
//! - `LOCAL_QUORUM` for reads and writes: what was acknowledged is seen.

mod apply;
mod canonical;
mod cluster;
mod control;
mod directory;
mod members;
mod migrations;
mod model;
mod options;
mod plan;
mod receipts;
mod statements;
mod steps;
mod store;
mod timeline;
mod unread;
mod value;

pub use options::{CassandraOptions, Credentials, Replication};
pub use store::CassandraReadStore;
