//! `parley export`: the log as Parquet, for those who analyse it.
//!
//! ```text
//!  DIR/manifest.json                                  what counts, and where the next run goes on
//!  DIR/events/date=2026-11-24/part-000000.parquet     one row an event of parley.events
//!  DIR/acks/date=2026-11-24/part-000000.parquet       one row an entry of parley.acks: a member's cursors after it
//! ```
//!
//! A file gets its name once it is whole and durable, and counts once the manifest lists it.

mod files;
mod manifest;
mod plan;
mod rows;
mod run;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;
use parley_eventlog::EventLog as _;
use parley_eventlog::providers::embedded::{EmbeddedLog, Options as LogOptions};
use serde_json::Value;

use crate::admin::{self, Request};
use crate::cluster::engines::Missing;
use crate::config::{self, Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::{cluster, data_dir, engines, print_line, progress, telemetry};

pub(crate) use run::{Source, export};

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The directory to export to; run it again to add what came since.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Also the text of messages, which the log holds sealed: needs the keys.
    #[arg(long)]
    with_content: bool,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config, None)?;
    telemetry::log(&config.quiet().telemetry)?;
    let bar = progress::bar();
    let outcome = if config.is_shared() {
        on_kafka(&config, &args, &bar).await?
    } else {
        data_dir::must_exist(&config.data_dir())?;
        // A server has another working directory.
        let to = made(&args.to)?;
        let request = Request::Export { to: to.clone(), with_content: args.with_content };
        match admin::ask(&config.data_dir(), &request, |step| progress::show(&bar, step)).await? {
            Some(outcome) => outcome,
            None => offline(&config, &to, args.with_content, &bar).await?,
        }
    };
    bar.finish_and_clear();
    let number = |name: &str| outcome.get(name).and_then(Value::as_u64).unwrap_or(0);
    if args.json {
        return print_line(&outcome.to_string());
    }
    print_line(&format!(
        "{} records as {} rows in {} new files; {} void",
        number("records"),
        number("rows"),
        number("files"),
        number("void")
    ))?;
    match number("unknown") {
        0 => Ok(()),
        unknown => print_line(&format!("{unknown} records are of types that this version doesn't know")),
    }
}

fn made(dir: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("{} can't be made", dir.display());
    std::fs::create_dir_all(dir).with_context(cannot)?;
    std::fs::canonicalize(dir).with_context(cannot)
}

fn shown(bar: &ProgressBar) -> impl FnMut(u64, u64) -> bool {
    let bar = bar.clone();
    move |done, total| {
        progress::show(&bar, &progress::exported(done, total));
        true
    }
}

/// In this process, on a data directory that no server holds.
async fn offline(config: &Config, to: &Path, with_content: bool, bar: &ProgressBar) -> anyhow::Result<Value> {
    let dir = DataDir::lock_existing(&config.data_dir())?;
    let path = engines::log_dir(config, &dir);
    let partitions = EmbeddedLog::inspect(&path).context("the log can't be opened")?.partitions();
    let (log, report) =
        EmbeddedLog::open(LogOptions::new(path, partitions)).context("the log can't be opened")?;
    let keys = match with_content {
        true => Some(Arc::new(engines::keys_of(config, &dir, report.records).await?)),
        false => None,
    };
    let source = Source { log: log.clone(), keys };
    let outcome = export(&source, to, shown(bar)).await;
    log.close().await;
    outcome
}

/// From Kafka, as any other reader of it.
async fn on_kafka(config: &Config, args: &ExportArgs, bar: &ProgressBar) -> anyhow::Result<Value> {
    let log = cluster::engines::open_log(config, Missing::Refuse).await?;
    let keys = match args.with_content {
        true => Some(Arc::new(cluster::engines::open_keys_to_read(config).await?)),
        false => None,
    };
    let source = Source { log: log.clone(), keys };
    let outcome = export(&source, &args.to, shown(bar)).await;
    log.close().await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::keys_of;

    #[tokio::test]
    async fn no_keys_are_made_for_a_log_that_has_records() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temporary.path()).unwrap();
        let config = Config::default();
        let error = keys_of(&config, &dir, 1).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("restore them from a backup"), "{error}");
        assert!(
            !dir.key_store().exists() && !dir.key_ring().exists(),
            "or the next start would begin with them"
        );
        keys_of(&config, &dir, 0).await.map(drop).unwrap();
        keys_of(&config, &dir, 1).await.map(drop).unwrap();
    }
}
