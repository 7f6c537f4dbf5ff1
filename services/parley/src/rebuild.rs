//! `parley rebuild`: the read models anew, beside the live ones.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use parley_projector::rebuild;
use serde_json::Value;

use crate::admin::{self, Request, comparison_json, step_teller};
use crate::config::{self, ConfigArgs};
use crate::data_dir::DataDir;
use crate::engines::Engines;
use crate::{print_line, telemetry};

#[derive(Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only builds and compares; exit code 1 if the live read models differ from what the log says.
    #[arg(long)]
    verify: bool,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config, None)?;
    telemetry::log(&config::Config { telemetry: quiet(&config), ..config.clone() }.telemetry)?;
    let bar = bar();
    let request = Request::Rebuild { verify: args.verify };
    let outcome = match admin::ask(&config.data_dir(), &request, |step| show(&bar, step)).await? {
        Some(outcome) => outcome,
        None => offline(&config, args.verify, &bar).await?,
    };
    bar.finish_and_clear();
    let number = |name: &str| outcome.get(name).and_then(Value::as_u64).unwrap_or(0);
    let different = number("different");
    if args.json {
        print_line(&outcome.to_string())?;
    } else {
        let unreadable = outcome.get("unreadable").and_then(Value::as_bool).unwrap_or(false);
        let verdict = match (different, args.verify) {
            _ if unreadable => "the old ones couldn't be read, switched".to_owned(),
            (0, true) => "the live read models equal them".to_owned(),
            (0, false) => "equal to the old ones, switched".to_owned(),
            (count, true) => format!("{count} rows of the live read models differ: run `parley rebuild`"),
            (count, false) => format!("{count} rows of the old ones differed, switched"),
        };
        print_line(&format!("{} records, {} rows: {verdict}", number("records"), number("rows")))?;
    }
    Ok(ExitCode::from(u8::from(args.verify && different > 0)))
}

/// Only what goes wrong is logged, so that the outcome stands alone.
fn quiet(config: &config::Config) -> config::Telemetry {
    config::Telemetry { filter: "warn".into(), ..config.telemetry.clone() }
}

async fn offline(config: &config::Config, verify: bool, bar: &ProgressBar) -> anyhow::Result<Value> {
    let engines = Engines::open(config, DataDir::lock_existing(&config.data_dir())?).await?;
    let shown = bar.clone();
    let step = step_teller(move |step| show(&shown, &step));
    let comparison = rebuild(engines.log.clone(), engines.reads.clone(), None, verify, step).await?;
    engines.reads.persist().await?;
    engines.log.close().await;
    Ok(comparison_json(&comparison))
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{msg:10} {bar:40} {human_pos}/{human_len} {per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, step: &Value) {
    let number = |name: &str| step.get(name).and_then(Value::as_u64);
    if let (Some(records), Some(of)) = (number("records"), number("of")) {
        bar.set_message("projecting");
        bar.set_length(of);
        bar.set_position(records);
    } else if let Some(rows) = number("rows") {
        bar.set_message("comparing");
        bar.set_position(rows);
    }
}
