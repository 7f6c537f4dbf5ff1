//! Two writers, two projectors and two edges as processes of their own, on real engines.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, Rest, connect};
use crate::engines::Engines;
use crate::server::{START_WAIT, binary, token};

/// One role in one process.
pub struct Process {
    child: Child,
    /// Where operators ask it, and clients if it is an edge: `http://ADDR:PORT`.
    pub url: String,
    args: Vec<String>,
}

/// A cluster in a corner of the engines of its own. Dropping it kills its processes.
pub struct Cluster {
    dir: tempfile::TempDir,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    /// By name: `writer-1` and so on.
    processes: Vec<(String, Process)>,
}

impl Cluster {
    /// Starts all six, with these settings, and waits until the edges are ready.
    ///
    /// # Panics
    /// If there are no engines, or a process doesn't start.
    pub async fn start(settings: &[&str]) -> Self {
        let engines = Engines::named().expect("TEST_ENGINES: scripts/test starts the engines and names them");
        let dir = tempfile::tempdir().unwrap();
        let mut all = engines.settings(dir.path());
        all.push("limits.sends_per_second=0".into());
        all.extend(settings.iter().map(ToString::to_string));
        let environment =
            engines.environment().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut cluster = Self { dir, settings: all, environment, processes: Vec::new() };
        for role in ["writer", "projector", "edge"] {
            for number in [1, 2] {
                let name = format!("{role}-{number}");
                let process = cluster.spawn(&[role.to_owned()]).await;
                cluster.processes.push((name, process));
            }
        }
        for edge in ["edge-1", "edge-2"] {
            cluster.until_ready(edge).await;
        }
        cluster
    }

    async fn spawn(&self, args: &[String]) -> Process {
        let mut command = Command::new(binary());
        command.args(args).arg("--data").arg(self.dir.path());
        if args.first().is_some_and(|role| role == "edge") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for set in &self.settings {
            command.args(["--set", set]);
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{}.stderr", args[0])))
            .unwrap();
        command
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(START_WAIT, lines.next_line()).await.expect("in time").unwrap();
        let Some(url) = line.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
            panic!("{args:?} did not start: {line:?}\n{}", self.logs());
        };
        Process { child, url: url.to_owned(), args: args.to_vec() }
    }

    fn logs(&self) -> String {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
        let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "stderr"));
        logs.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    async fn until_ready(&self, name: &str) {
        let until = tokio::time::Instant::now() + START_WAIT;
        loop {
            let answer = reqwest::get(format!("{}/readyz", self.url(name))).await;
            let body = match answer {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            assert!(tokio::time::Instant::now() < until, "{name} isn't ready: {body}\n{}", self.logs());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// The data directory that all share: key ring and development key.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    fn process(&self, name: &str) -> &Process {
        &self.processes.iter().find(|(known, _)| known == name).expect("its name").1
    }

    /// `http://ADDR:PORT` of a process.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        self.process(name).url.clone()
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self, name: &str) {
        let (_, process) = self.processes.iter_mut().find(|(known, _)| known == name).expect("its name");
        process.child.kill().await.unwrap();
    }

    /// Starts a process again that was killed.
    pub async fn restart(&mut self, name: &str) {
        let args = self.process(name).args.clone();
        let fresh = self.spawn(&args).await;
        let (_, process) = self.processes.iter_mut().find(|(known, _)| known == name).expect("its name");
        *process = fresh;
    }

    /// REST as a user, through an edge.
    pub async fn rest(&self, edge: &str, user: &str) -> Rest {
        Rest::new(&self.url(edge), &token(self.data(), user, "1h").await)
    }

    /// A WebSocket of a user, through an edge; `query` as in the URL.
    pub async fn client(&self, edge: &str, user: &str, query: &str) -> Client {
        let token = token(self.data(), user, "1h").await;
        connect(&self.url(edge), &token, query).await.expect("handshake")
    }

    /// Runs a command of the binary with this cluster's configuration: exit code, standard output, standard error.
    pub async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(binary());
        command.args(args).arg("--data").arg(self.dir.path());
        for set in &self.settings {
            command.args(["--set", set]);
        }
        let output = command.envs(self.environment.iter().cloned()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// A number of `/metrics` of a process, all labels together; 0 if it isn't there yet.
    pub async fn metric(&self, name: &str, metric: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url(name))).await.unwrap().text().await.unwrap();
        let is_it = |line: &&str| line.starts_with(metric) && !line.starts_with('#');
        text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Who owns what, as a process has heard.
    pub async fn owners(&self, name: &str) -> Value {
        reqwest::get(format!("{}/owners", self.url(name))).await.unwrap().json().await.unwrap()
    }
}
