//! `parley import`: a transcript, sent through the public API as its users would send it.
//!
//! The lines of a group go strictly in order: the next one only once the one before is accepted. Groups go side by side.
//! Ids of groups and messages are derived from the transcript, so that a second run finds what the first one did.

mod group;
mod patience;
mod plan;
mod rest;
mod resume;
mod sockets;
mod transcript;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::config::{self, ConfigArgs};
use crate::token::Signer;
use crate::{Usage, print_line};

/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Files that may be open besides sockets.
const OTHER_FILES: u64 = 256;

#[derive(Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The transcript: a JSON object a line with group, at, kind (message, join, leave), user, text. May be gzipped.
    file: PathBuf,
    /// The server, e.g. http://127.0.0.1:8080.
    #[arg(long)]
    url: String,
    /// Sockets that are open at once, if the system allows as many files; those that are idle for longest are closed.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Groups that are sent side by side.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    groups: u32,
    /// Prints the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was done so far.
#[derive(Default)]
pub(crate) struct Tally {
    accepted: AtomicU64,
    already_there: AtomicU64,
    joins: AtomicU64,
    leaves: AtomicU64,
    waits: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn done(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed) + self.already_there.load(Ordering::Relaxed)
    }
}

/// What every group needs.
pub(crate) struct Importer {
    rest: rest::Rest,
    sockets: sockets::Sockets,
    tally: Tally,
    trouble: Arc<patience::Trouble>,
}

pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config, None)?;
    crate::serve::raise_file_limit();
    let (http, ws) = urls(&args.url)?;
    let plan = transcript::read(&args.file)?;
    let signer = Arc::new(Signer::of_server(config)?);
    let trouble = Arc::<patience::Trouble>::default();
    let importer = Arc::new(Importer {
        rest: rest::Rest::new(&http, signer.clone(), trouble.clone())?,
        sockets: sockets::Sockets::new(&ws, signer, sockets_max(args.connections)),
        tally: Tally::default(),
        trouble,
    });
    importer.rest.check().await?;
    let begun = Instant::now();
    let told = tokio::spawn(tell_progress(importer.clone(), plan.messages));
    let (groups, users, messages) = (plan.groups.len(), plan.users, plan.messages);
    let outcome = async {
        let mut work = futures::stream::iter(plan.groups)
            .map(|group| {
                let importer = importer.clone();
                // A task of its own for each group, so that both cores are used.
                tokio::spawn(async move { group::import(&importer, group).await })
            })
            .buffer_unordered(args.groups as usize);
        while let Some(done) = work.next().await {
            done.context("a group's task panicked")??;
        }
        anyhow::Ok(())
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted: run it again to go on where it stopped")),
    };
    told.abort();
    drop(told.await);
    outcome?;
    summary(&args, &importer.tally, (groups, users, messages), begun.elapsed())
}

/// The server's URL for REST, and for WebSockets.
fn urls(url: &str) -> Result<(String, String), Usage> {
    let url = url.trim_end_matches('/');
    // The WebSocket client is built without TLS; better said here than after half of the groups were made.
    let why = "must be http://HOST[:PORT] (TLS is not in this version)";
    let parsed =
        reqwest::Url::parse(url).map_err(|error| Usage(format!("--url {url}: {error}; it {why}")))?;
    match url.strip_prefix("http://") {
        Some(rest) if parsed.query().is_none() && parsed.fragment().is_none() => {
            Ok((url.to_owned(), format!("ws://{rest}")))
        }
        _ => Err(Usage(format!("--url {url}: it {why}"))),
    }
}

/// As many sockets as are asked for and the limit of open files allows.
fn sockets_max(asked: u32) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let allowed = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(1));
    usize::try_from(allowed.min(asked.into())).unwrap_or(usize::MAX)
}

fn summary(
    args: &ImportArgs,
    tally: &Tally,
    (groups, users, messages): (usize, usize, u64),
    took: Duration,
) -> anyhow::Result<()> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (accepted, already_there) = (count(&tally.accepted), count(&tally.already_there));
    let seconds = took.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate, for people")]
    let per_second = (accepted as f64 / seconds).round();
    let body = json!({
        "groups": groups,
        "users": users,
        "messages": messages,
        "accepted": accepted,
        "already_there": already_there,
        "joins": count(&tally.joins),
        "leaves": count(&tally.leaves),
        "waits": count(&tally.waits),
        "seconds": (seconds * 1_000.0).round() / 1_000.0,
        "accepted_per_second": per_second,
    });
    if args.json {
        return print_line(&body.to_string());
    }
    print_line(&format!(
        "{groups} groups, {users} users: {accepted} messages accepted, {already_there} were there already, {} joins, {} leaves, \
         {} waits, in {seconds:.1} s ({per_second} accepted/s)",
        count(&tally.joins),
        count(&tally.leaves),
        count(&tally.waits),
    ))
}

async fn tell_progress(importer: Arc<Importer>, messages: u64) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(messages) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} messages {per_sec} {eta} {msg}")
    {
        bar.set_style(style);
    }
    let (mut last, mut told) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let done = importer.tally.done();
        bar.set_position(done);
        if last.elapsed() < TELL_EVERY {
            continue;
        }
        // Only where nothing moves: a wait now and then is as it should be.
        let trouble = importer.trouble.take().filter(|_| done == told);
        let trouble = trouble.map(|why| format!("trying again: {why}")).unwrap_or_default();
        (last, told) = (Instant::now(), done);
        bar.set_message(trouble.clone());
        if !terminal {
            drop(std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!(
                    "import: {done} of {messages} messages{}{trouble}\n",
                    if trouble.is_empty() { "" } else { "; " }
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_for_rest_and_one_for_sockets() {
        let (http, ws) = urls("http://127.0.0.1:8080/").unwrap();
        assert_eq!((http.as_str(), ws.as_str()), ("http://127.0.0.1:8080", "ws://127.0.0.1:8080"));
        for bad in ["", "127.0.0.1:8080", "https://chat.example", "http://", "http://h?x=1", "ftp://h"] {
            assert!(urls(bad).is_err(), "{bad}");
        }
    }
}
