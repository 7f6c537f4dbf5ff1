//! `parley rebuild`: the read models anew, beside the live ones.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use parley_eventlog::EventLog;
use parley_projector::{Comparison, RebuildStep, rebuild, switch_back};
use parley_readstore::ReadStore;
use parley_wire::rpc::Pausable;
use serde_json::{Value, json};

use crate::admin::{self, Request};
use crate::config::{self, ConfigArgs};
use crate::data_dir::DataDir;
use crate::engines::Engines;
use crate::{cluster, print_line, progress, telemetry};

/// Progress is told for every so many records.
const PROGRESS_EVERY: u64 = 10_000;

#[derive(Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only builds and compares; exit code 1 if the live read models differ from what the log says, or can't be read. The read models
    /// before the last rebuild are given up for that, so that `--back` has nothing to go back to afterwards; what was built lies beside
    /// the live ones, unused, until the next rebuild. The same goes for a rebuild that fails.
    #[arg(long)]
    verify: bool,
    /// Goes back to the read models before the last rebuild, which are kept until the next one, also one that only verifies or fails;
    /// builds nothing.
    #[arg(long, conflicts_with = "verify")]
    back: bool,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config, None)?;
    telemetry::log(&config.quiet().telemetry)?;
    let bar = progress::bar();
    let wish = if args.back { Wish::Back } else { Wish::Build { verify: args.verify } };
    let outcome = if config.is_shared() {
        cluster::rebuild::run(&config, wish, &bar).await?
    } else {
        let request = match wish {
            Wish::Back => Request::SwitchBack {},
            Wish::Build { verify } => Request::Rebuild { verify },
        };
        match admin::ask(&config.data_dir(), &request, |step| progress::show(&bar, step)).await? {
            Some(outcome) => outcome,
            None => offline(&config, wish, &bar).await?,
        }
    };
    if args.back {
        bar.finish_and_clear();
        let version = outcome.get("version").and_then(Value::as_u64).unwrap_or(0);
        let text = format!("version {version} of the read models is live again");
        return print_line(&if args.json { outcome.to_string() } else { text }).map(|()| ExitCode::SUCCESS);
    }
    bar.finish_and_clear();
    let number = |name: &str| outcome.get(name).and_then(Value::as_u64).unwrap_or(0);
    let different = number("different");
    let unreadable = outcome.get("unreadable").and_then(Value::as_bool).unwrap_or(false);
    if args.json {
        print_line(&outcome.to_string())?;
    } else {
        let verdict = match (different, args.verify) {
            _ if unreadable && args.verify => {
                "the live read models couldn't be read, and are built anew".to_owned()
            }
            _ if unreadable => "the old ones couldn't be read, switched".to_owned(),
            (0, true) => "the live read models equal them".to_owned(),
            (0, false) => "equal to the old ones, switched".to_owned(),
            (count, true) => format!("{count} rows of the live read models differ: run `parley rebuild`"),
            (count, false) => format!("{count} rows of the old ones differed, switched"),
        };
        print_line(&format!("{} records, {} rows: {verdict}", number("records"), number("rows")))?;
    }
    Ok(ExitCode::from(u8::from(args.verify && (different > 0 || unreadable))))
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    /// Build, compare, and switch unless only `verify`.
    Build {
        /// Only build and compare.
        verify: bool,
    },
    /// Switch back.
    Back,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// They were built, and compared with the live ones.
    Compared(Comparison),
    /// This version is live again.
    Back(u64),
}

impl Outcome {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Compared(comparison) => json!({
                "records": comparison.records,
                "rows": comparison.rows,
                "different": comparison.different,
                "equal": comparison.different == 0 && !comparison.unreadable,
                "unreadable": comparison.unreadable,
            }),
            Self::Back(version) => json!({"version": version}),
        }
    }
}

/// Does it, in this process; `tell` is told of some steps.
///
/// # Errors
/// As [`rebuild`] and [`switch_back`].
pub(crate) async fn perform(
    log: Arc<dyn EventLog>,
    reads: Arc<dyn ReadStore>,
    live: Option<&dyn Pausable>,
    wish: Wish,
    tell: impl Fn(Value) + Send,
) -> anyhow::Result<Outcome> {
    match wish {
        Wish::Build { verify } => {
            Ok(Outcome::Compared(rebuild(log, reads, live, verify, step_teller(tell)).await?))
        }
        Wish::Back => {
            switch_back(log.as_ref(), reads.as_ref(), live).await?;
            Ok(Outcome::Back(reads.live_version()))
        }
    }
}

/// Passes on some of a rebuild's steps, as `{"records", "of"}` and `{"rows"}`.
fn step_teller(tell: impl Fn(Value) + Send) -> impl FnMut(RebuildStep) + Send {
    let mut told = 0;
    move |step| match step {
        RebuildStep::Projected(done, total) if done >= told + PROGRESS_EVERY || done == total => {
            told = done;
            tell(json!({"records": done, "of": total}));
        }
        RebuildStep::Compared(rows) => tell(json!({"rows": rows})),
        RebuildStep::Projected(..) => {}
    }
}

async fn offline(config: &config::Config, wish: Wish, bar: &ProgressBar) -> anyhow::Result<Value> {
    let engines = Engines::open(config, DataDir::lock_existing(&config.data_dir())?).await?;
    let tell = |step| progress::show(bar, &step);
    let mut outcome = perform(engines.log.clone(), engines.reads.clone(), None, wish, tell).await?;
    if let Outcome::Compared(comparison) = &mut outcome {
        // What was compared is then what took their place: of them nothing is known but that.
        comparison.unreadable |= engines.reads_were_unfit;
    }
    engines.reads.persist().await?;
    engines.log.close().await;
    Ok(outcome.json())
}
