//! `parley log`: the log of a data directory, read as a consumer reads it.

mod accept_loss;
mod cat;
mod check;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use parley_eventlog::providers::embedded::{EmbeddedLog, Inspection, OpenError};

use crate::config::{self, ConfigArgs};
use crate::{data_dir, engines};

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the records, oldest first.
    Cat(cat::CatArgs),
    /// Folds all of it and checks every invariant that the log must hold; exit code 1 if one is broken.
    Verify(verify::VerifyArgs),
    /// Makes what is left of a log that lost records the truth, in a new epoch: clients are told at their next resume.
    AcceptLoss(accept_loss::AcceptLossArgs),
}

pub(crate) fn run(command: &LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Cat(args) => cat::run(args).map(|()| ExitCode::SUCCESS),
        LogCommand::Verify(args) => verify::run(args),
        LogCommand::AcceptLoss(args) => accept_loss::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// Opens a log for reading only, while no server holds it. Nothing is written, so that a backup may be mounted read-only.
fn inspect(args: &ConfigArgs) -> anyhow::Result<Inspection> {
    let config = config::load(args, None)?;
    let data = config.data_dir();
    data_dir::must_exist(&data)?;
    EmbeddedLog::inspect(engines::log_place(&config, &data)).map_err(|error| {
        let is_held = matches!(error, OpenError::InUse { .. });
        let why = if is_held {
            "the log can only be read while no server holds it"
        } else {
            "the log can't be opened"
        };
        anyhow::Error::new(error).context(why)
    })
}
