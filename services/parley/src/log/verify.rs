//! `parley log verify`.

use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use parley_domain::Epoch;
use parley_eventlog::providers::embedded::Inspection;
use parley_readstore::providers::embedded::EmbeddedReadStore;
use serde_json::json;

use super::check::Checker;
use super::{configured, inspect};
use crate::config::{Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::engines::{self, Known};
use crate::print_line;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let config = configured(&args.config)?;
    let mut inspection = inspect(&config)?;
    let mut checker = Checker::new(inspection.partitions());
    let read = inspection.by_ref().try_for_each(|stored| stored.map(|stored| checker.record(&stored)));
    let read = read.context("the log can't be read to its end");
    let known = match &read {
        Ok(()) => known(&config, inspection.epoch()).await,
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    let compared = known.map(|known| known.into_iter().for_each(|(at, offset)| checker.known(at, offset)));
    let told = Told { checker, compared, inspection };
    if args.json { told.as_json(read.as_ref().err()) } else { told.as_text(read.is_ok()) }?;
    read?;
    Ok(ExitCode::from(u8::from(told.checker.counts.faults > 0)))
}

/// How far the read models of a data directory have come, with which its log's end is compared: by itself that tells nothing of what
/// stood behind it. A log elsewhere may be a backup, which may be older.
///
/// # Errors
/// There are none, or not of this log, or they can't be opened.
async fn known(config: &Config, epoch: Epoch) -> anyhow::Result<Known> {
    anyhow::ensure!(config.log == "embedded", "the log isn't in the data directory");
    let data = config.data_dir();
    let owner = std::fs::metadata(&data).context("the data directory can't be read")?.uid();
    // What is opened is written to: another user's files would keep the server out.
    anyhow::ensure!(owner == rustix::process::geteuid().as_raw(), "the data directory is another user's");
    let dir = DataDir::lock_existing(&data)?;
    let reads = engines::reads_dir(config, &dir);
    anyhow::ensure!(EmbeddedReadStore::is_there(&reads), "there are none yet");
    let (_reads, known) = engines::try_open_reads(&reads, epoch).await?;
    anyhow::ensure!(!known.is_empty(), "they are empty");
    Ok(known)
}

/// Everything that was found out.
struct Told {
    checker: Checker,
    /// Or why the log's end wasn't compared with read models.
    compared: anyhow::Result<()>,
    inspection: Inspection,
}

impl Told {
    /// The end that the next start will cut back.
    fn torn_tail(&self) -> Option<String> {
        let cut = self.inspection.report()?.cut.as_ref()?;
        Some(format!("{} at {}: {} bytes, {}", cut.file.display(), cut.at, cut.bytes_lost, cut.reason))
    }

    fn as_json(&self, error: Option<&anyhow::Error>) -> anyhow::Result<()> {
        let (counts, kept) = (self.checker.counts, self.inspection.kept_tails());
        let outcome = json!({
            "ok": counts.faults == 0 && error.is_none(),
            "error": error.map(|error| format!("{error:#}")),
            "records": counts.records,
            "claims": counts.claims,
            "void": counts.void,
            "groups": self.checker.groups(),
            "messages": counts.messages,
            "faults": counts.faults,
            "first_faults": self.checker.faults,
            "torn_tail": self.torn_tail(),
            "kept_tails": kept.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "compared_with_reads": self.compared.is_ok(),
            "not_compared": self.compared.as_ref().err().map(|why| format!("{why:#}")),
        });
        print_line(&outcome.to_string())
    }

    fn as_text(&self, is_whole: bool) -> anyhow::Result<()> {
        for fault in &self.checker.faults {
            print_line(fault)?;
        }
        if let Some(torn) = self.torn_tail() {
            print_line(&format!("the tail is torn, the next start will cut it back: {torn}"))?;
        }
        for file in self.inspection.kept_tails() {
            print_line(&format!("an earlier start cut a torn tail back and kept it: {}", file.display()))?;
        }
        if let Err(why) = &self.compared {
            print_line(&format!(
                "whether the log's end is missing is unknown, as its read models can't be asked: {why:#}"
            ))?;
        }
        let counts = self.checker.counts;
        let verdict = match (counts.faults, is_whole) {
            (0, true) => "clean".to_owned(),
            (0, false) => "clean as far as it can be read".to_owned(),
            (faults, _) => format!("{faults} faults"),
        };
        print_line(&format!(
            "{verdict}: {} records ({} claims, {} void), {} groups, {} messages",
            counts.records,
            counts.claims,
            counts.void,
            self.checker.groups(),
            counts.messages
        ))
    }
}
