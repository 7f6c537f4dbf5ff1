//! `parley keys`: the second thing to back up, beside the log.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::admin::{self, Request};
use crate::config::{self, Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::{Usage, engines, print_line};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Adds a key-encryption key, makes it the active one, and wraps every data key anew under it. The server must be stopped.
    Rotate(RotateArgs),
    /// Destroys a group's data keys: nobody can ever read its messages so far again. On a running server too.
    Destroy(DestroyArgs),
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The group.
    #[arg(long, value_name = "ID")]
    group: uuid::Uuid,
    /// Really.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Rotate(args) => rotate(args).await,
        KeysCommand::Destroy(args) => destroy(args).await,
    }
}

/// Refuses where the data keys aren't in this data directory: "0 keys destroyed" would be a lie.
fn must_be_here(config: &Config) -> anyhow::Result<()> {
    if config.is_shared() {
        let why = "the data keys of a cluster lie in Cassandra, which this command doesn't reach yet: nothing was changed";
        return Err(Usage(why.into()).into());
    }
    Ok(())
}

async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config, None)?;
    must_be_here(&config)?;
    let dir = DataDir::lock_existing(&config.data_dir())?;
    let mut ring = engines::open_ring(&config, &dir)?;
    ring.rotate(&engines::key_ring(&config, &dir))?;
    let keys = engines::open_keys(ring, &dir)?;
    let count = keys.rewrap().await.context("run it again: it goes on where it stopped")?;
    let active = keys.ring().active();
    print_line(&format!("key {active} is active; {count} data keys are wrapped under it"))
}

async fn destroy(args: DestroyArgs) -> anyhow::Result<()> {
    if !args.yes {
        let why = "this can't be undone, not even from a backup of the log: say --yes if you mean it";
        return Err(Usage(why.into()).into());
    }
    let config = config::load(&args.config, None)?;
    must_be_here(&config)?;
    let request = Request::DestroyKeys { group: args.group };
    let count = match admin::ask(&config.data_dir(), &request, |_| {}).await? {
        Some(done) => done.get("destroyed").and_then(serde_json::Value::as_u64).unwrap_or(0),
        None => {
            let dir = DataDir::lock_existing(&config.data_dir())?;
            let keys = engines::open_keys(engines::open_ring(&config, &dir)?, &dir)?;
            keys.destroy(parley_domain::GroupId(args.group)).await? as u64
        }
    };
    print_line(&format!("{count} data keys of group {} are destroyed", args.group))
}
