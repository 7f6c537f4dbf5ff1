//! `parley log`: the log of a data directory, read as a consumer reads it.

mod cat;
mod check;
mod verify;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use parley_eventlog::providers::embedded::{EmbeddedLog, Inspection};

use crate::config::{self, ConfigArgs};
use crate::data_dir::DataDir;
use crate::engines;

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the records, oldest first.
    Cat(cat::CatArgs),
    /// Folds all of it and checks every invariant that the log must hold; exit code 1 if one is broken.
    Verify(verify::VerifyArgs),
}

pub(crate) fn run(command: &LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Cat(args) => cat::run(args).map(|()| ExitCode::SUCCESS),
        LogCommand::Verify(args) => verify::run(args),
    }
}

/// Opens a log for reading only, while no server holds it.
fn inspect(args: &ConfigArgs) -> anyhow::Result<(DataDir, Inspection)> {
    let config = config::load(args, None)?;
    let dir = DataDir::lock_existing(&config.data_dir())
        .context("the log can only be read while no server holds it")?;
    let path = engines::log_dir(&config, &dir);
    let inspection = EmbeddedLog::inspect(&path).context("the log can't be opened")?;
    Ok((dir, inspection))
}
