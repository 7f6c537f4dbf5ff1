//! Parley, a group chat backend: one binary, many roles. `parley help` lists the commands.

mod admin;
mod bench;
mod cluster;
mod config;
mod data_dir;
mod docs;
mod engines;
mod export;
mod http_client;
mod import;
mod keys;
mod log;
mod media;
mod progress;
mod rebuild;
mod serve;
mod signals;
mod status;
mod telemetry;
mod token;
mod web;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cluster::roster::Role;

/// The system's allocator took a seventh of the time that a message costs (tests/bench/BENCHMARKS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad usage or configuration (sysexits.h, EX_USAGE).
const EXIT_USAGE: u8 = 64;

#[derive(Parser)]
#[command(
    name = "parley",
    version,
    about = "Group chat that loses nothing: a durable, event-sourced backend"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves every role in one process, on engines in the data directory.
    Serve(serve::ServeArgs),
    /// Prints development tokens, one a line.
    Token(token::TokenArgs),
    /// Sends a transcript through the public API as its users would.
    Import(import::ImportArgs),
    /// Reads, checks or gives up parts of the log of a data directory that no server holds.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Builds the read models anew beside the live ones, compares, and switches; on a running server too.
    Rebuild(rebuild::RebuildArgs),
    /// Drives a running server with load, checks every delivery, and says what it costs.
    Bench(bench::BenchArgs),
    /// Exports the log as Parquet, with a manifest; from a running server too. Run again, it adds what came since.
    Export(export::ExportArgs),
    /// Tells what runs: roles, partitions and their owners, how far the read models are, sessions.
    Status(status::StatusArgs),
    /// Rotates the key-encryption key, or destroys a group's data keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Prints the effective configuration, secrets hidden.
    Config(ShowConfigArgs),
    /// Runs a writer: decides and appends for its share of the partitions. Needs `log = kafka://…`, `reads = cassandra://…`.
    Writer(cluster::RoleArgs),
    /// Runs a projector: builds the read models of its share of the partitions. Needs the same.
    Projector(cluster::RoleArgs),
    /// Runs an edge: serves clients. Needs the same, and `media = s3://…`.
    Edge(cluster::RoleArgs),
}

#[derive(Args)]
struct ShowConfigArgs {
    #[command(flatten)]
    config: config::ConfigArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What the user asked for makes no sense; the process ends with exit code 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Writes a line to standard output; ends quietly if nobody reads it any more.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "parley: {error:#}"));
            ExitCode::from(if is_usage(&error) { EXIT_USAGE } else { 1 })
        }
    }
}

/// Whether what was asked for or configured is wrong, rather than something having failed.
fn is_usage(error: &anyhow::Error) -> bool {
    use parley_edge::auth::{AuthSetupError, JwksError};
    let is_down = |error: &JwksError| {
        matches!(
            error,
            JwksError::Client(_) | JwksError::Fetch(_) | JwksError::Status { .. } | JwksError::Timeout
        )
    };
    let is_auth = error
        .downcast_ref::<AuthSetupError>()
        .is_some_and(|error| !matches!(error, AuthSetupError::Jwks { source, .. } if is_down(source)));
    is_auth || error.is::<Usage>() || error.is::<config::ConfigError>()
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Token(args) => token::run(&args).map(done),
        Command::Config(args) => show_config(&args).map(done),
        Command::Log(command) => on_runtime(log::run(&command)),
        Command::Serve(args) => on_runtime(serve::run(args)).map(done),
        Command::Import(args) => on_runtime(import::run(args)).map(done),
        Command::Rebuild(args) => on_runtime(rebuild::run(args)),
        Command::Bench(args) => on_runtime(bench::run(args)),
        Command::Export(args) => on_runtime(export::run(args)).map(done),
        Command::Status(args) => on_runtime(status::run(args)),
        Command::Keys(command) => on_runtime(keys::run(command)).map(done),
        Command::Writer(args) => on_runtime(cluster::run(args, &[Role::Writer])).map(done),
        Command::Projector(args) => on_runtime(cluster::run(args, &[Role::Projector])).map(done),
        Command::Edge(args) => on_runtime(cluster::run(args, &[Role::Edge])).map(done),
    }
}

fn on_runtime<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(future);
    // Whatever mattered was waited for; a read that still runs on a thread must not hold the end up.
    runtime.shutdown_background();
    outcome
}

fn show_config(args: &ShowConfigArgs) -> anyhow::Result<()> {
    let effective = config::load_effective(&args.config, None)?;
    let text = if args.json {
        serde_json::to_string_pretty(&effective.config.redacted())?
    } else {
        effective.to_toml()?
    };
    print_line(text.trim_end())
}
