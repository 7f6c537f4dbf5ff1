//! `parley log verify`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use parley_domain::Epoch;
use parley_eventlog::providers::embedded::Inspection;
use serde_json::json;

use super::check::Checker;
use super::{configured, inspect};
use crate::config::{Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::{engines, print_line};

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
    let end = match &read {
        Ok(()) => compare(&config, inspection.epoch(), &mut checker).await,
        Err(_) => End::NotReached,
    };
    let told = Told { checker, end, inspection };
    if args.json { told.as_json(read.as_ref().err()) } else { told.as_text(read.is_ok()) }?;
    read?;
    Ok(ExitCode::from(u8::from(told.checker.counts.faults > 0)))
}

/// What is known of the log's end, which by itself tells nothing of what stood behind it.
enum End {
    /// The read models know no more than the log.
    Compared,
    /// There are none that belong to it.
    NoReadModels,
    /// They are there, but can't be opened: why.
    Unknown(String),
    /// The log isn't readable that far.
    NotReached,
}

/// Compares the log's end with what read models were built from. Only those beside it in its data directory: what is named by itself
/// may be a backup, which may be older.
async fn compare(config: &Config, epoch: Epoch, checker: &mut Checker) -> End {
    if config.log != "embedded" {
        return End::NoReadModels;
    }
    let known = async {
        let dir = DataDir::lock_existing(&config.data_dir())?;
        let reads = engines::reads_dir(config, &dir);
        anyhow::Ok(match reads.is_dir() {
            true => Some(engines::try_open_reads(&reads, epoch).await?.1),
            false => None,
        })
    };
    match known.await {
        Ok(Some(known)) => {
            known.into_iter().for_each(|(at, offset)| checker.known(at, offset));
            End::Compared
        }
        Ok(None) => End::NoReadModels,
        Err(error) => End::Unknown(format!("{error:#}")),
    }
}

/// Everything that was found out.
struct Told {
    checker: Checker,
    end: End,
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
            "compared_with_reads": matches!(self.end, End::Compared),
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
        if let End::Unknown(why) = &self.end {
            print_line(&format!(
                "whether the log's end is missing is unknown, as its read models can't be asked: {why}"
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
