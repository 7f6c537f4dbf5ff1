//! Real engines under the servers of the tests, if `scripts/test` says that there are some.
//!
//! `TEST_ENGINES` names a file with the lines of `scripts/engines urls`. Every server gets a corner of its own on them:
//! topics with a prefix, a keyspace, a prefix of the bucket; the same one when it is started again on its directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Partitions of each topic: few, since each server has its own topics.
const PARTITIONS: u32 = 4;
/// In the data directory: what this server's corner is called.
const CORNER: &str = "corner";

/// How often clients try what they are told to try again. Real engines on a busy machine may take longer than a server waits
/// for them; embedded ones may not.
pub(crate) fn tries() -> usize {
    if std::env::var_os("TEST_ENGINES").is_some() { 5 } else { 1 }
}

/// Where the engines are.
#[derive(Debug, Clone)]
pub struct Engines {
    urls: HashMap<String, String>,
    /// Where they keep their data, if `scripts/engines` started them: beside the file with their URLs.
    dir: PathBuf,
}

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
        let dir = Path::new(&file).parent().expect("it lies among the engines' data").to_owned();
        Some(Self { urls: urls.collect(), dir })
    }

    /// One of the URLs or credentials.
    ///
    /// # Panics
    /// If it isn't in the file.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.urls.get(name).unwrap_or_else(|| panic!("{name} is not among the engines"))
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

    /// The directory of a server's objects.
    pub(crate) fn objects(&self, data: &Path) -> PathBuf {
        let corner = std::fs::read_to_string(data.join(CORNER)).expect("a server ran there");
        let bucket = self.get("media").trim_start_matches("s3://").split('?').next().unwrap();
        self.dir.join("s3-1/data").join(bucket).join(corner)
    }

    /// The directories in which the log, the read models and the keys lie.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        ["kafka-1/data", "cassandra-1/data"].into_iter().map(|name| self.dir.join(name))
    }

    /// Drops a server's keyspaces, once it has ended: a node that is small enough for a test can't hold hundreds of tables.
    /// Topics and objects cost nothing worth mention.
    pub(crate) fn drop_keyspaces(&self, data: &Path) {
        let Ok(corner) = std::fs::read_to_string(data.join(CORNER)) else { return };
        let node = self.get("reads").trim_start_matches("cassandra://").to_owned();
        let drop_all = async move {
            let session = scylla::client::session_builder::SessionBuilder::new()
                .known_node(node)
                .fetch_schema_metadata(false)
                .build()
                .await?;
            for keyspace in [corner.clone(), format!("{corner}_keys")] {
                session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        // On a thread of its own: whoever drops a server is in a runtime already.
        let dropping = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(drop_all)
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("the keyspaces of {} stay: {error:#}", data.display());
        }
    }

    /// The right to the object store, for a server's environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, self.get(name))).into()
    }
}
