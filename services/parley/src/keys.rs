//! `parley keys`: the second thing to back up, beside the log.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use parley_domain::GroupId;

use crate::admin::{self, Request};
use crate::config::{self, Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::{Usage, cluster, engines, print_line};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Adds a key-encryption key, makes it the active one, and wraps every data key anew under it. The server, or every process of a
    /// cluster, must be stopped.
    Rotate(RotateArgs),
    /// Destroys a group's data keys: nobody can ever read its messages so far again. On a running server or cluster too.
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

async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config, None)?;
    let (active, count) = match config.is_shared() {
        true => cluster::keys::rotate(&config).await?,
        false => rotate_here(&config).await?,
    };
    print_line(&format!("key {active} is active; {count} data keys are wrapped under it"))?;
    if config.is_shared() {
        let ring = cluster::engines::ring_path(&config);
        print_line(&format!("give {} to every machine before anything starts there", ring.display()))?;
    }
    Ok(())
}

async fn rotate_here(config: &Config) -> anyhow::Result<(String, usize)> {
    let dir = DataDir::lock_existing(&config.data_dir())?;
    engines::must_have_keys(&dir)?;
    let path = engines::key_ring(config, &dir);
    // Whether it is this one is asked before anything changes.
    let mut keys =
        engines::of_ring(engines::open_keys(engines::open_ring(config, &dir)?, &dir)?, &path).await?;
    keys.rotate(&path)?;
    let count = keys.rewrap().await.context("run it again: it goes on where it stopped")?;
    Ok((keys.ring().active().to_owned(), count))
}

async fn destroy(args: DestroyArgs) -> anyhow::Result<()> {
    if !args.yes {
        let why = "this can't be undone, not even from a backup of the log: say --yes if you mean it";
        return Err(Usage(why.into()).into());
    }
    let config = config::load(&args.config, None)?;
    if config.is_shared() {
        let (count, told) = cluster::keys::destroy(&config, GroupId(args.group)).await?;
        let those = match told {
            0 => "; no process was found running".to_owned(),
            told => format!(", also in the {told} processes that run"),
        };
        return tell_destroyed(count as u64, args.group, &those);
    }
    let request = Request::DestroyKeys { group: args.group };
    let count = match admin::ask(&config.data_dir(), &request, |_| {}).await? {
        Some(done) => done.get("destroyed").and_then(serde_json::Value::as_u64).unwrap_or(0),
        None => {
            let dir = DataDir::lock_existing(&config.data_dir())?;
            engines::must_have_keys(&dir)?;
            let keys = engines::open_keys(engines::open_ring(&config, &dir)?, &dir)?;
            keys.destroy(GroupId(args.group)).await? as u64
        }
    };
    tell_destroyed(count, args.group, "")
}

/// A mistyped group must not look like one that is erased.
fn tell_destroyed(count: u64, group: uuid::Uuid, those: &str) -> anyhow::Result<()> {
    let doubt = match count {
        0 => ": it has none, never had any or not any more. Is that its id?",
        _ => "",
    };
    print_line(&format!("{count} data keys of group {group} are destroyed{those}{doubt}"))
}
