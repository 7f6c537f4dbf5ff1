//! Real engines under the servers of the tests, if `scripts/test` says that there are some.
//!
//! `TEST_ENGINES` names a file with the lines of `scripts/engines urls`. Every server gets a corner of its own on them:
//! topics with a prefix, a keyspace, a prefix of the bucket; the same one when it is started again on its directory.

use std::collections::HashMap;
use std::path::Path;

/// Partitions of each topic: few, since each server has its own topics.
const PARTITIONS: u32 = 4;
/// In the data directory: what this server's corner is called.
const CORNER: &str = "corner";

/// Where the engines are.
#[derive(Debug, Clone)]
pub struct Engines(HashMap<String, String>);

impl Engines {
    /// The engines that were named, if any were.
    ///
    /// # Panics
    /// If the file can't be read: a test that needs engines fails without them.
    #[must_use]
    pub fn named() -> Option<Self> {
        let file = std::env::var_os("TEST_ENGINES")?;
        let text = std::fs::read_to_string(&file).expect("TEST_ENGINES names a file with their URLs");
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let urls =
            lines.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches('\'').to_owned()));
        Some(Self(urls.collect()))
    }

    /// One of the URLs or credentials.
    ///
    /// # Panics
    /// If it isn't in the file.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("{name} is not among the engines"))
    }

    /// `--set` flags for a server on a directory.
    ///
    /// # Panics
    /// If the directory can't be written.
    #[must_use]
    pub fn settings(&self, data: &Path) -> Vec<String> {
        let file = data.join(CORNER);
        let corner = std::fs::read_to_string(&file).unwrap_or_else(|_| {
            let fresh = format!("t{}", uuid::Uuid::now_v7().simple());
            std::fs::write(&file, &fresh).unwrap();
            fresh
        });
        let (place, query) = self.get("media").split_once('?').unwrap_or((self.get("media"), ""));
        vec![
            format!("log={}/{corner}", self.get("log")),
            format!("reads={}/{corner}", self.get("reads")),
            format!("media={place}/{corner}?{query}"),
            "kafka.allow_single=true".into(),
            format!("partitions={PARTITIONS}"),
        ]
    }

    /// The right to the object store, for a server's environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, self.get(name))).into()
    }
}
