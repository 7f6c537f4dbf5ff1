//! Where the cluster is and how to use it.

use std::time::Duration;

use crate::Error;

/// How a keyspace that has to be made is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// This many copies anywhere: for a single data center, or a single node.
    Simple(u8),
    /// This many copies in each named data center.
    DataCenters(Vec<(String, u8)>),
}

impl Replication {
    /// The CQL map. Names of data centers are quoted.
    pub(super) fn cql(&self) -> String {
        match self {
            Self::Simple(factor) => {
                format!("{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
            }
            Self::DataCenters(factors) => {
                let factors: String = factors
                    .iter()
                    .map(|(name, factor)| format!(", '{}': {factor}", name.replace('\'', "''")))
                    .collect();
                format!("{{'class': 'NetworkTopologyStrategy'{factors}}}")
            }
        }
    }
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where the cluster is and how to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraOptions {
    /// Some of its nodes, as `host:port`.
    pub nodes: Vec<String>,
    /// The keyspace; made if it is missing, unless it must exist. 1 to 40 of `a-z`, `0-9` and `_`, a letter first.
    pub keyspace: String,
    /// The keyspace is there already: one that isn't is an error.
    pub must_exist: bool,
    /// How the keyspace is replicated, if it has to be made. One that is there stays as it is.
    pub replication: Replication,
    /// The data center whose nodes are asked; `None`: any.
    pub local_data_center: Option<String>,
    /// If the cluster asks for them.
    pub credentials: Option<Credentials>,
    /// How long to try to reach a cluster that isn't there yet.
    pub connect_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Requests on their way at once, for each batch of rows and each query.
    pub requests_in_flight_max: usize,
    /// How often to look which version is live.
    pub refresh_interval: Duration,
}

impl CassandraOptions {
    /// The defaults: one copy, no credentials.
    #[must_use]
    pub fn new(nodes: Vec<String>, keyspace: String) -> Self {
        Self {
            nodes,
            keyspace,
            must_exist: false,
            replication: Replication::Simple(1),
            local_data_center: None,
            credentials: None,
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_millis(2_500),
            requests_in_flight_max: 128,
            refresh_interval: Duration::from_millis(300),
        }
    }

    /// Whether they can be meant, as far as that shows without a node.
    ///
    /// # Errors
    /// [`Error::Unfit`].
    pub fn check(&self) -> Result<(), Error> {
        const KEYSPACE_BYTES_MAX: usize = 40;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = &self.keyspace;
        let fits = name.len() <= KEYSPACE_BYTES_MAX
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(plain);
        if !fits {
            return Err(Error::Unfit(format!("{name:?} can't be the name of a keyspace")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_is_quoted() {
        let two = Replication::DataCenters(vec![("eu".into(), 3), ("it's".into(), 2)]);
        assert_eq!(two.cql(), "{'class': 'NetworkTopologyStrategy', 'eu': 3, 'it''s': 2}");
        assert_eq!(Replication::Simple(3).cql(), "{'class': 'SimpleStrategy', 'replication_factor': 3}");
    }

    #[test]
    fn a_keyspace_has_a_plain_name() {
        let check = |name: &str| CassandraOptions::new(Vec::new(), name.to_owned()).check();
        assert!(check("parley_2").is_ok());
        for name in ["", "2", "Parley", "a-b", "a;b", &"a".repeat(41)] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: "ann".into(), password: "s3cret".into() };
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
