//! Commands on a running server, through a socket in the data directory that only its owner can open.
//!
//! One JSON object a line: the client sends one [`Request`], the server answers with any number of
//! `{"progress": …}` and at the end `{"done": …}` or `{"error": "…", "usage": true if what was asked for makes no sense}`.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parley_domain::GroupId;
use parley_edge::Hub;
use parley_eventlog::EventLog;
use parley_keys::Keys;
use parley_projector::Handle;
use parley_readstore::ReadStore;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::export::{Source, export};
use crate::rebuild::{Outcome, Wish, perform};
use crate::{Usage, progress, status};

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 4_096;
/// How long a connection, and a request on it, may take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// How long the answer to a request that is quickly done may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a socket's path beyond which we don't count on the kernel: 104 on some systems, 108 on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Commands at once.
const COMMANDS_MAX: usize = 4;
/// Progress lines that may wait for a slow reader; beyond that some are left out.
const PROGRESS_MAX: usize = 16;
/// How long to wait after a connection couldn't be taken, most likely because there are no files left.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Build the read models anew.
    Rebuild {
        /// Only build and compare.
        verify: bool,
    },
    /// Make the read models before the last rebuild live again.
    SwitchBack {},
    /// Export the log as Parquet.
    Export {
        /// The directory, absolute.
        to: PathBuf,
        /// Also the text of messages.
        with_content: bool,
    },
    /// Tell what runs.
    Status {},
    /// Destroy a group's data keys.
    DestroyKeys {
        /// The group's id.
        group: uuid::Uuid,
    },
}

impl Request {
    /// How long to wait for the answer; none where the work may take any time, and progress is told.
    fn answer_wait(&self) -> Option<Duration> {
        match self {
            Self::Status {} => Some(ANSWER_WAIT),
            // What can't be undone isn't given up half-way: it might be done long after nobody wants it any more.
            Self::Rebuild { .. } | Self::SwitchBack {} | Self::Export { .. } | Self::DestroyKeys { .. } => {
                None
            }
        }
    }
}

fn unanswered(wait: Duration) -> String {
    format!(
        "the server gave no answer in {} s: it stands still, or is busy with {COMMANDS_MAX} other commands",
        wait.as_secs()
    )
}

fn socket_path(dir: &Path) -> PathBuf {
    dir.join("admin.sock")
}

/// Removes the socket, which nobody serves any more.
pub(crate) fn remove_socket(dir: &Path) {
    drop(std::fs::remove_file(socket_path(dir)));
}

/// A path to the socket that the kernel takes, while this is held.
struct Reached {
    path: PathBuf,
    _dir: Option<File>,
}

/// Addresses of sockets are short. A directory whose name is too long is reached through an open handle on it.
fn reach(dir: &Path) -> std::io::Result<Reached> {
    let path = socket_path(dir);
    if path.as_os_str().len() < SOCKET_PATH_BYTES_MAX {
        return Ok(Reached { path, _dir: None });
    }
    let dir = File::open(dir)?;
    let path = socket_path(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())));
    Ok(Reached { path, _dir: Some(dir) })
}

/// Answers commands while a server runs.
pub(crate) struct Server {
    listener: UnixListener,
    context: Arc<Context>,
}

struct Context {
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    keys: Arc<Keys>,
    live: Handle,
    hub: Arc<Hub>,
    rebuilding: tokio::sync::Mutex<()>,
}

impl Server {
    /// Makes the socket; one that a killed server left is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn bind(engines: &Engines, live: Handle, hub: Arc<Hub>) -> anyhow::Result<Self> {
        let path = socket_path(engines.dir.path());
        remove_socket(engines.dir.path());
        let cannot = || format!("{} can't be made", path.display());
        let listener = reach(engines.dir.path())
            .and_then(|reached| UnixListener::bind(&reached.path))
            .with_context(cannot)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
        let (log, reads, keys) = (engines.log.clone(), engines.reads.clone(), engines.keys.clone());
        let context =
            Arc::new(Context { log, reads, keys, live, hub, rebuilding: tokio::sync::Mutex::new(()) });
        Ok(Self { listener, context })
    }

    /// Answers until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut commands = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = commands.join_next(), if !commands.is_empty() => {}
                accepted = self.listener.accept(), if commands.len() < COMMANDS_MAX => {
                    match accepted {
                        Ok((socket, _)) => drop(commands.spawn(answer(socket, self.context.clone()))),
                        Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
                    }
                }
            }
        }
        commands.shutdown().await;
    }
}

async fn answer(socket: UnixStream, context: Arc<Context>) {
    let (read, mut write) = socket.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    // Whoever says nothing must not keep the others out.
    if !matches!(tokio::time::timeout(REQUEST_WAIT, read.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    let (tx, mut progress) = mpsc::channel(PROGRESS_MAX);
    let work = async {
        let outcome = match serde_json::from_str(&line) {
            Ok(Request::Rebuild { verify }) => context.rebuild(verify, tx).await,
            Ok(Request::SwitchBack {}) => {
                drop(tx);
                context.switch_back().await
            }
            Ok(Request::Export { to, with_content }) => context.export(&to, with_content, tx).await,
            Ok(Request::Status {}) => {
                drop(tx);
                context.status().await
            }
            Ok(Request::DestroyKeys { group }) => {
                drop(tx);
                context.destroy(GroupId(group)).await
            }
            Err(error) => Err(anyhow::anyhow!("unknown command: {error}")),
        };
        match outcome {
            Ok(done) => json!({"done": done}),
            Err(error) => json!({"error": format!("{error:#}"), "usage": error.is::<Usage>()}),
        }
    };
    let told = async {
        while let Some(step) = progress.recv().await {
            if tell(&mut write, &json!({"progress": step})).await.is_err() {
                // Whoever works for nobody is told so by the closed channel.
                progress.close();
                break;
            }
        }
    };
    let (last, ()) = tokio::join!(work, told);
    drop(tell(&mut write, &last).await);
}

async fn tell(write: &mut (impl tokio::io::AsyncWrite + Unpin), line: &Value) -> std::io::Result<()> {
    write.write_all(format!("{line}\n").as_bytes()).await
}

impl Context {
    async fn rebuild(&self, verify: bool, progress: mpsc::Sender<Value>) -> anyhow::Result<Value> {
        let _alone = self.rebuilding.try_lock().ok().context("a rebuild is under way already")?;
        let rebuilt = self.perform(Wish::Build { verify }, move |step| drop(progress.try_send(step))).await?;
        tracing::info!(?rebuilt, verify, "read models rebuilt");
        Ok(rebuilt.json())
    }

    async fn perform(&self, wish: Wish, tell: impl Fn(Value) + Send) -> anyhow::Result<Outcome> {
        perform(self.log.clone(), self.reads.clone(), Some(&self.live), wish, tell).await
    }

    async fn switch_back(&self) -> anyhow::Result<Value> {
        let _alone = self.rebuilding.try_lock().ok().context("a rebuild is under way")?;
        let switched = self.perform(Wish::Back, drop).await?;
        tracing::warn!(?switched, "switched back to earlier read models");
        Ok(switched.json())
    }

    async fn export(
        &self,
        to: &Path,
        with_content: bool,
        progress: mpsc::Sender<Value>,
    ) -> anyhow::Result<Value> {
        let keys = with_content.then(|| self.keys.clone());
        let source = Source { log: self.log.clone(), keys };
        let step = move |done, total| {
            let told = progress.try_send(progress::exported(done, total));
            !matches!(told, Err(mpsc::error::TrySendError::Closed(_)))
        };
        let exported = export(&source, to, step).await?;
        tracing::info!(%exported, with_content, "log exported");
        Ok(exported)
    }

    async fn status(&self) -> anyhow::Result<Value> {
        let status = status::of_server(self.log.as_ref(), self.reads.as_ref(), &self.hub).await?;
        Ok(serde_json::to_value(status)?)
    }

    async fn destroy(&self, group: GroupId) -> anyhow::Result<Value> {
        let destroyed = self.keys.destroy(group).await?;
        tracing::warn!(%group, destroyed, "data keys destroyed");
        Ok(json!({"destroyed": destroyed}))
    }
}

/// Sends a command to the server that holds a data directory. `None`: none does.
///
/// # Errors
/// What the server says, or that it went away, or gave no answer in time.
pub(crate) async fn ask(
    dir: &Path,
    request: &Request,
    progress: impl FnMut(&Value),
) -> anyhow::Result<Option<Value>> {
    ask_within(dir, request, progress, request.answer_wait()).await
}

async fn ask_within(
    dir: &Path,
    request: &Request,
    progress: impl FnMut(&Value),
    wait: Option<Duration>,
) -> anyhow::Result<Option<Value>> {
    let Ok(reached) = reach(dir) else { return Ok(None) };
    let connected = tokio::time::timeout(REQUEST_WAIT, UnixStream::connect(&reached.path)).await;
    let Ok(Ok(socket)) = connected else { return Ok(None) };
    let answering = answer_of(socket, request, progress);
    let answer = match wait {
        Some(wait) => {
            let answer = tokio::time::timeout(wait, answering).await;
            answer.with_context(|| unanswered(wait))??
        }
        None => answering.await?,
    };
    Ok(Some(answer))
}

async fn answer_of(
    socket: UnixStream,
    request: &Request,
    mut progress: impl FnMut(&Value),
) -> anyhow::Result<Value> {
    let (read, mut write) = socket.into_split();
    tell(&mut write, &serde_json::to_value(request)?).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer: Value = serde_json::from_str(&line)?;
        if let Some(step) = answer.get("progress") {
            progress(step);
        } else if let Some(done) = answer.get("done") {
            return Ok(done.clone());
        } else {
            let why = answer.get("error").and_then(Value::as_str).unwrap_or("no reason given");
            if answer.get("usage").and_then(Value::as_bool) == Some(true) {
                return Err(Usage(why.to_owned()).into());
            }
            anyhow::bail!("the server refused: {why}");
        }
    }
    anyhow::bail!("the server went away before it was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is stopped takes connections all the same: the kernel does.
    #[tokio::test]
    async fn who_gets_no_answer_gives_up_where_one_must_come_soon() {
        let dir = tempfile::tempdir().unwrap();
        let status = Request::Status {};
        assert!(ask(dir.path(), &status, |_| {}).await.unwrap().is_none(), "no server");
        let _silent = UnixListener::bind(socket_path(dir.path())).unwrap();
        assert!(status.answer_wait().is_some());
        let wait = Some(Duration::from_millis(20));
        let error = ask_within(dir.path(), &status, |_| {}, wait).await.unwrap_err().to_string();
        assert!(error.contains("no answer"), "{error}");
        let destroy = Request::DestroyKeys { group: uuid::Uuid::nil() };
        for request in [destroy, Request::Rebuild { verify: false }] {
            assert_eq!(request.answer_wait(), None, "it may be under way for long");
        }
    }
}
