//! `parley log accept-loss`.

use anyhow::Context as _;
use clap::Args;
use parley_eventlog::providers::embedded::EmbeddedLog;
use parley_readstore::providers::embedded::EmbeddedReadStore;

use super::must_be_embedded;
use crate::config::{self, ConfigArgs};
use crate::data_dir::DataDir;
use crate::{Usage, engines, print_line};

#[derive(Args)]
pub(crate) struct AcceptLossArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Really.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &AcceptLossArgs) -> anyhow::Result<()> {
    if !args.yes {
        let why =
            "this gives up what the log lost, for good: restore a backup if there is one, else say --yes";
        return Err(Usage(why.into()).into());
    }
    let config = config::load(&args.config, None)?;
    must_be_embedded(&config)?;
    let dir = DataDir::lock_existing(&config.data_dir())?;
    let log = engines::log_dir(&config, &dir);
    // Before anything is changed: what is damaged in its midst isn't made whole by a new epoch.
    for stored in EmbeddedLog::inspect(&log).context("the log can't be opened")? {
        stored.context("the log can't be read to its end, so its loss can't be accepted")?;
    }
    let (former, epoch) = EmbeddedLog::begin_epoch(&log).context("no new epoch can be begun")?;
    // In this order: read models of the former epoch are refused, so that after a crash in between it is this command again that
    // is asked for.
    EmbeddedReadStore::discard(&engines::reads_dir(&config, &dir))
        .context("the read models can't be thrown away")?;
    print_line(&format!("epoch {epoch} begins, after {former}; the next start builds the read models anew"))
}
