//! `parley log verify`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::check::Checker;
use super::inspect;
use crate::config::ConfigArgs;
use crate::print_line;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let mut inspection = inspect(&args.config)?;
    let mut checker = Checker::new(inspection.partitions());
    for stored in inspection.by_ref() {
        checker.record(&stored?);
    }
    let cut = inspection.report().and_then(|report| report.cut.as_ref());
    let torn = cut
        .map(|cut| format!("{} at {}: {} bytes, {}", cut.file.display(), cut.at, cut.bytes_lost, cut.reason));
    let counts = checker.counts;
    if args.json {
        let outcome = json!({
            "ok": counts.faults == 0,
            "records": counts.records,
            "claims": counts.claims,
            "void": counts.void,
            "groups": checker.groups(),
            "messages": counts.messages,
            "faults": counts.faults,
            "first_faults": checker.faults,
            "torn_tail": torn,
        });
        print_line(&outcome.to_string())?;
    } else {
        for fault in &checker.faults {
            print_line(fault)?;
        }
        if let Some(torn) = torn {
            print_line(&format!("the tail is torn, the next start will cut it back: {torn}"))?;
        }
        let verdict =
            if counts.faults == 0 { "clean".to_owned() } else { format!("{} faults", counts.faults) };
        let (records, claims, void, messages) = (counts.records, counts.claims, counts.void, counts.messages);
        let groups = checker.groups();
        print_line(&format!(
            "{verdict}: {records} records ({claims} claims, {void} void), {groups} groups, {messages} messages"
        ))?;
    }
    Ok(ExitCode::from(u8::from(counts.faults > 0)))
}
