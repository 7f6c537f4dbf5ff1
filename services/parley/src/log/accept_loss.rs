//! `parley log accept-loss`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use parley_domain::Epoch;
use parley_eventlog::TopicPartition;
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

pub(crate) async fn run(args: &AcceptLossArgs) -> anyhow::Result<()> {
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
    let mut ends = HashMap::new();
    let mut inspection = EmbeddedLog::inspect(&log).context("the log can't be opened")?;
    for stored in inspection.by_ref() {
        let stored = stored.context("the log can't be read to its end, so its loss can't be accepted")?;
        ends.insert(stored.at, stored.offset + 1);
    }
    let (reads, epoch) = (engines::reads_dir(&config, &dir), inspection.epoch());
    drop(inspection); // it holds the log
    if is_whole(&reads, epoch, &ends).await {
        let why = format!(
            "nothing is lost: the log reaches as far as its read models have come. A new epoch would make every client fetch \
             everything anew, for nothing. If clients know more than the log, remove {} and run this again",
            reads.display()
        );
        return Err(Usage(why).into());
    }
    let (former, epoch) = EmbeddedLog::begin_epoch(&log).context("no new epoch can be begun")?;
    // In this order: read models of the former epoch are refused, so that after a crash in between it is this command again that
    // is asked for.
    EmbeddedReadStore::discard(&reads).context("the read models can't be thrown away")?;
    print_line(&format!("epoch {epoch} begins, after {former}; the next start builds the read models anew"))
}

/// Whether read models of this log know nothing that it hasn't; `false` where they can't be asked.
async fn is_whole(reads: &Path, epoch: Epoch, ends: &HashMap<TopicPartition, u64>) -> bool {
    if !EmbeddedReadStore::is_there(reads) {
        return false;
    }
    let Ok((_reads, known)) = engines::try_open_reads(reads, epoch).await else { return false };
    let reaches = |(at, offset): &(TopicPartition, u64)| ends.get(at).is_some_and(|end| end >= offset);
    !known.is_empty() && known.iter().all(reaches)
}
