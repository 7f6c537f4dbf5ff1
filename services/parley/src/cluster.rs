//! Roles that share the work with other processes, on engines that these share too: Kafka, Cassandra, S3.
//!
//! ```text
//!  parley edge ──▶ gRPC ──▶ parley writer ──▶ Kafka ──▶ parley projector ──▶ Cassandra
//!       ▲                        │ notices                                      │
//!       └────────────────────────┘         roster: who is there, who owns what ─┘ (a topic)
//! ```
//!
//! One process may play any of them, or all (`parley serve` with `log = kafka://…`).

pub(crate) mod engines;
mod gauges;
pub(crate) mod keys;
pub(crate) mod peers;
mod probes;
pub(crate) mod rebuild;
mod roles;
pub(crate) mod roster;
pub(crate) mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use parley_domain::PartitionCount;
use parley_eventlog::EventLog as _;
use parley_wire::rpc::Channels;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, ConfigArgs};
use crate::signals::Signals;
use crate::{Usage, telemetry};
use engines::{Engines, Missing};
use roles::Roles;
use roster::{Entry, Present, Role};

/// All that there are.
const ROLES: usize = 3;
/// How long a start waits until every partition has an owner. To take one over takes a second; a member of the group that went without
/// a word is waited for by the brokers, for 6 s.
const OWNED_WAIT: Duration = Duration::from_secs(40);
/// How often gauges are set.
const METRICS_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to listen for clients (edge only) [default: 127.0.0.1:8080]; port 0 picks one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

/// What all roles of a process have in common.
pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) instance: String,
    pub(crate) engines: Engines,
    pub(crate) channels: Arc<Channels>,
    pub(crate) present: watch::Receiver<Present>,
    pub(crate) entry: watch::Sender<Entry>,
    pub(crate) metrics: PrometheusHandle,
    /// Ended by `stop`, in any order.
    pub(crate) tasks: JoinSet<()>,
    pub(crate) stop: CancellationToken,
}

/// Plays roles until told to stop.
pub(crate) async fn run(args: RoleArgs, roles: &[Role]) -> anyhow::Result<()> {
    let config = config::load(&args.config, args.listen.as_deref())?;
    telemetry::log(&config.telemetry)?;
    let metrics = telemetry::metrics()?;
    telemetry::die_of_panics();
    serve(config, metrics, roles).await
}

/// The same with what is set up already.
pub(crate) async fn serve(config: Config, metrics: PrometheusHandle, roles: &[Role]) -> anyhow::Result<()> {
    crate::serve::settle_in();
    let mut signals = Signals::new()?;
    let instance = instance(&config, roles);
    let traces = telemetry::traces::start(&config.telemetry, &instance)?;
    let (address, mut process, roles) = tokio::select! {
        started = start(config, instance, metrics, roles.to_vec()) => started?,
        () = signals.next() => {
            tracing::info!("stopped while starting");
            return Ok(());
        }
    };
    let (alone, partitions) = (process.entry.borrow().roles.len() == ROLES, process.engines.log.partitions());
    let owned = until_owned(process.present.clone(), partitions, alone);
    tokio::select! {
        () = owned => {}
        () = signals.next() => return signals.stop(stop(process, roles), traces, false).await,
        ended = process.tasks.join_next() => {
            tracing::error!(?ended, "a part of the server ended by itself");
            return signals.stop(stop(process, roles), traces, true).await;
        }
    }
    crate::serve::announce(address);
    let failed = signals.until_told(&mut process.tasks).await;
    signals.stop(stop(process, roles), traces, failed).await
}

/// Returns once every partition has an owner, if this process plays every part (is `alone`): then it is ready, and whoever waited for
/// its line may write. Not for ever, since whoever reads needs no owner.
async fn until_owned(mut present: watch::Receiver<Present>, partitions: PartitionCount, alone: bool) {
    if !alone {
        return;
    }
    let owned = present.wait_for(|present| present.owners.missing(partitions) == 0);
    if tokio::time::timeout(OWNED_WAIT, owned).await.is_err() {
        let missing = present.borrow().owners.missing(partitions);
        let waited_s = OWNED_WAIT.as_secs();
        tracing::error!(missing, waited_s, "partitions have no owner yet: nothing can be written to them");
    }
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))
}

/// What others know this process by.
fn instance(config: &Config, roles: &[Role]) -> String {
    if !config.cluster.instance.is_empty() {
        return config.cluster.instance.clone();
    }
    let role = match roles {
        [Role::Writer] => "writer",
        [Role::Projector] => "projector",
        [Role::Edge] => "edge",
        _ => "parley",
    };
    format!("{role}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

async fn start(
    config: Config,
    instance: String,
    metrics: PrometheusHandle,
    roles: Vec<Role>,
) -> anyhow::Result<(SocketAddr, Process, Roles)> {
    // What can be refused is looked at before engines are opened.
    let tls = config.tls()?;
    let has_shared_media = config.s3_options()?.is_some();
    if roles.contains(&Role::Edge) && roles.len() < ROLES && !has_shared_media {
        let why = "an edge as a process of its own needs an object store that edges can share: set media to s3://BUCKET";
        return Err(Usage(why.into()).into());
    }
    let rpc = bind(&config.rpc.listen).await?;
    let listeners = roles::Listeners::bind(&config, &roles).await?;
    let advertised = match config.rpc.advertise.as_str() {
        "" => rpc.local_addr()?.to_string(),
        address => address.to_owned(),
    };
    if tls.is_none() && !rpc.local_addr()?.ip().is_loopback() {
        tracing::warn!(address = %rpc.local_addr()?, "other processes are called without TLS: set rpc.tls_ca and its companions");
    }
    let alone = roles.len() == ROLES;
    let opens = roles.iter().any(|role| matches!(role, Role::Writer | Role::Edge));
    let engines = Engines::open(&config, alone, opens, Missing::Make).await?;
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let channels = Channels::new(tls.clone());
    #[cfg(feature = "planted")]
    let channels = roles::late::patient(channels);
    let channels = Arc::new(channels);
    let (seen, present) = watch::channel(Present::default());
    let entry =
        watch::Sender::new(Entry { rpc: advertised, roles, terms: Default::default(), sockets: None });
    let own = Some((instance.clone(), entry.subscribe()));
    tasks.spawn(roster::follow(engines.log.roster(), own, seen, stop.clone()));
    tasks.spawn(roster::say(engines.log.roster(), instance.clone(), entry.subscribe(), stop.clone()));
    tasks.spawn(upkeep(metrics.clone(), stop.clone()));
    tracing::info!(instance, "engines opened");
    let mut process = Process { config, instance, engines, channels, present, entry, metrics, tasks, stop };
    let (address, roles) = Roles::start(&mut process, listeners, rpc, tls).await?;
    Ok((address, process, roles))
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    loop {
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(METRICS_EVERY) => {}
        }
    }
}

/// In the order of the flow: first nobody new and everybody away, then what is on its way, then the engines.
async fn stop(mut process: Process, roles: Roles) {
    roles.shut_down().await;
    process.stop.cancel();
    while process.tasks.join_next().await.is_some() {}
    if let Err(error) = process.engines.reads.persist().await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the read models will be brought up from the log");
    }
    process.engines.log.close().await;
    tracing::info!("stopped");
}
