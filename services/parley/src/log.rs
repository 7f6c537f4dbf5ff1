//! `parley log`: the log of a data directory, read as a consumer reads it.

mod accept_loss;
mod cat;
mod check;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use parley_eventlog::providers::embedded::{EmbeddedLog, Inspection, OpenError};

use crate::config::{self, Config, ConfigArgs};
use crate::{Usage, data_dir, engines};

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the records, oldest first.
    Cat(cat::CatArgs),
    /// Folds all of it and checks every invariant that the log must hold; exit code 1 if one is broken. Compares its end with the read
    /// models beside it in the data directory, which are opened for that as a start would.
    Verify(verify::VerifyArgs),
    /// Makes what is left of a log that lost records the truth, in a new epoch: clients are told at their next resume.
    AcceptLoss(accept_loss::AcceptLossArgs),
}

pub(crate) async fn run(command: &LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Cat(args) => cat::run(args).map(|()| ExitCode::SUCCESS),
        LogCommand::Verify(args) => verify::run(args).await,
        LogCommand::AcceptLoss(args) => accept_loss::run(args).await.map(|()| ExitCode::SUCCESS),
    }
}

/// Whether the log is one that these commands are for.
///
/// # Errors
/// [`Usage`]: it is on Kafka.
fn must_be_embedded(config: &Config) -> Result<(), Usage> {
    if config.is_shared() {
        let why = "`parley log` is for embedded logs, and this one is on Kafka (log): name another with --set log=embedded:DIR, \
                   or read the topics with any client of Kafka, or with `parley export`";
        return Err(Usage(why.to_owned()));
    }
    Ok(())
}

/// The configuration of a command that reads the log of a data directory.
fn configured(args: &ConfigArgs) -> anyhow::Result<Config> {
    let config = config::load(args, None)?;
    must_be_embedded(&config)?;
    data_dir::must_exist(&config.data_dir())?;
    Ok(config)
}

/// Opens a log for reading only, while no server holds it. Nothing is written, so that a backup may be mounted read-only.
fn inspect(config: &Config) -> anyhow::Result<Inspection> {
    EmbeddedLog::inspect(engines::log_place(config, &config.data_dir())).map_err(|error| {
        let is_held = matches!(error, OpenError::InUse { .. });
        let why = if is_held {
            "the log can only be read while no server holds it"
        } else {
            "the log can't be opened"
        };
        anyhow::Error::new(error).context(why)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: LogCommand,
    }

    #[tokio::test]
    async fn a_log_on_kafka_is_bad_usage_whichever_command_it_is() {
        for command in [&["cat"][..], &["verify"], &["accept-loss", "--yes"]] {
            let place = ["--set", "log=kafka://127.0.0.1:9"].as_slice();
            let cli = Cli::try_parse_from([&["log"], command, place].concat())
                .unwrap_or_else(|error| panic!("{error}"));
            let error = run(&cli.command).await.unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains("on Kafka"), "{error}");
        }
    }
}
