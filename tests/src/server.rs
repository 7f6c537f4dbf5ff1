//! The real binary as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::tungstenite::Error;

use crate::client::{Client, Rest, connect};
use crate::engines::{Engines, tries};

/// How long a server may take to start, also after a crash and on a busy machine.
pub(crate) const START_WAIT: Duration = Duration::from_secs(60);

/// Within so long of being told to stop it ends, as the contract promises.
const STOP_PROMISED: Duration = Duration::from_secs(10);
/// How long one with real engines is waited for, which may hold it up on a busy machine.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Where it logs, in its data directory.
const LOG: &str = "server.stderr";
/// So much of it is shown when a test fails.
const LAST_WORDS_LINES: usize = 60;

/// The binary that was built beside the tests.
#[must_use]
pub fn binary() -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let binary = dir.join("parley");
    assert!(binary.exists(), "{} is missing: run `cargo build` of the same profile first", binary.display());
    binary
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// `--set` flags.
    pub set: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// A command line to start it under, as `["prlimit", "--fsize=…"]`.
    pub under: Vec<String>,
    /// `--listen`; port 0 without.
    pub listen: Option<String>,
}

impl ServerOptions {
    /// With some `--set KEY=VALUE`.
    #[must_use]
    pub fn set(some: &[&str]) -> Self {
        Self { set: some.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

/// What a server prints on standard output.
type Printed = Lines<BufReader<ChildStdout>>;

/// A running server.
pub struct Server {
    child: Child,
    /// What it prints behind its first line: nothing.
    printed: Printed,
    /// Its data directory.
    pub data: PathBuf,
    /// `http://ADDR:PORT`.
    pub url: String,
    options: ServerOptions,
    _own: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Gone with the directory else, and what failed may be on its side.
            eprintln!("{}", last_words(&self.data));
        }
        if let (Some(_), Some(engines)) = (&self._own, Engines::named()) {
            drop(self.child.start_kill());
            engines.drop_keyspaces(&self.data);
        }
    }
}

impl Server {
    /// On a fresh directory, without rate limit.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::set(&["limits.sends_per_second=0"])).await
    }

    /// On a fresh directory.
    pub async fn start_with(options: ServerOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::start_on(dir.path(), options).await;
        server._own = Some(dir);
        server
    }

    /// On a given directory.
    pub async fn start_on(data: &Path, options: ServerOptions) -> Self {
        let (child, printed, url) = spawn(data, &options).await;
        Self { child, printed, data: data.to_owned(), url, options, _own: None }
    }

    /// Where its objects lie as files.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        Engines::named().map_or_else(|| self.data.join("media"), |engines| engines.objects(&self.data))
    }

    /// All directories in which anything of it is kept, its own first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let engines = Engines::named();
        let theirs = engines.iter().flat_map(|engines| engines.files());
        std::iter::once(self.data.clone()).chain(theirs).collect()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn ask_to_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGINT, as Ctrl-C sends it, without waiting for what comes of it.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.child.wait().await.unwrap();
    }

    /// `SIGTERM`; the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.ended().await
    }

    /// The exit code of one that was just told to stop. Fails if it takes longer than is promised, or has printed more than its
    /// one line.
    pub async fn ended(&mut self) -> Option<i32> {
        let told = Instant::now();
        let exit = tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await;
        let code = exit.expect("it must end once it is told to").unwrap().code();
        let took = told.elapsed();
        assert!(took < STOP_PROMISED || Engines::named().is_some(), "it took {took:?} to stop");
        let more = tokio::time::timeout(STOP_PATIENCE, self.printed.next_line()).await;
        assert_eq!(more.expect("nobody else has its output").unwrap(), None, "a second line was printed");
        code
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join(LOG)).unwrap()
    }

    /// Starts it again on the same directory, after [`Server::kill`] or [`Server::terminate`]. The port may be another.
    pub async fn restart(&mut self) {
        (self.child, self.printed, self.url) = spawn(&self.data, &self.options).await;
    }

    /// A token of a user.
    pub async fn token(&self, user: &str) -> String {
        token(&self.data, user, "1h").await
    }

    /// REST as a user.
    pub async fn rest(&self, user: &str) -> Rest {
        Rest::new(&self.url, &self.token(user).await)
    }

    /// A WebSocket of a user, subscribed to everything.
    pub async fn client(&self, user: &str) -> Client {
        self.connect(user, "").await
    }

    /// A WebSocket of a user that gets nothing until it asks.
    pub async fn quiet_client(&self, user: &str) -> Client {
        self.connect(user, "?replay=none").await
    }

    async fn connect(&self, user: &str, query: &str) -> Client {
        let token = self.token(user).await;
        for _ in 1..tries() {
            match connect(&self.url, &token, query).await.map_err(|error| *error) {
                Ok(client) => return client,
                // Before the welcome: the read models aren't there yet.
                Err(Error::ConnectionClosed) => {}
                Err(Error::Http(answer)) if answer.status() == 503 => {}
                Err(error) => panic!("handshake: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        connect(&self.url, &token, query).await.expect("handshake")
    }

    /// Runs another command of the binary on the same data directory: exit code, standard output, standard error.
    pub async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(binary()).args(args).arg("--data").arg(&self.data).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

/// A token made by the binary.
pub async fn token(data: &Path, user: &str, ttl: &str) -> String {
    let output = Command::new(binary())
        .args(["token", "--user", user, "--ttl", ttl, "--data"])
        .arg(data)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn spawn(data: &Path, options: &ServerOptions) -> (Child, Printed, String) {
    let binary = binary();
    let mut command = match options.under.split_first() {
        Some((program, args)) => {
            let mut command = Command::new(program);
            command.args(args).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
    command.arg("serve").arg("--data").arg(data).args(["--listen", listen]);
    if let Some(engines) = Engines::named() {
        std::fs::create_dir_all(data).unwrap();
        for set in engines.settings(data) {
            command.args(["--set", &set]);
        }
        command.envs(engines.environment());
    }
    for set in &options.set {
        command.args(["--set", set]);
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join(LOG));
    command
        .envs(options.env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.map_or_else(|_| Stdio::inherit(), Stdio::from))
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(START_WAIT, lines.next_line()).await;
    let line = line.map_or(Some("nothing in time".to_owned()), |line| line.unwrap());
    let Some(url) = line.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
        panic!("the server did not start: {line:?}\n{}", last_words(data));
    };
    (child, lines, url.to_owned())
}

/// The end of what a server on a directory has logged.
fn last_words(data: &Path) -> String {
    let log = std::fs::read_to_string(data.join(LOG)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LAST_WORDS_LINES)..).unwrap_or_default();
    format!("the last that the server on {} has logged:\n{}", data.display(), last.join("\n"))
}
