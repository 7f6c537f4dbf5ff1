//! `parley serve`: every role in one process.

mod probes;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use parley_edge::auth::Authenticator;
use parley_edge::{Edge, Hub};
use parley_media::providers::embedded::ROUTE;
use parley_projector::Projector;
use parley_wire::service::NoPeers;
use parley_writer::Writer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::roster::Role;
use crate::config::{self, Config, ConfigArgs};
use crate::data_dir::DataDir;
use crate::engines::Engines;
use crate::media::{self, Media};
use crate::signals::Signals;
use crate::web::Web;
use crate::{admin, cluster, data_dir, docs, telemetry};
pub(crate) use probes::as_float;

/// How long requests over HTTP get to end.
const HTTP_STOP_WAIT: Duration = Duration::from_secs(2);
/// How often gauges are set.
const GAUGES_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to listen [default: 127.0.0.1:8080]; port 0 picks one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

/// The roles of this process.
struct Roles {
    engines: Engines,
    edge: Arc<Edge>,
    writer: Writer,
    projector: Projector,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config, args.listen.as_deref())?;
    telemetry::log(&config.telemetry)?;
    let metrics = telemetry::metrics()?;
    telemetry::die_of_panics();
    if config.is_shared() {
        return cluster::serve(config, metrics, &[Role::Writer, Role::Projector, Role::Edge]).await;
    }
    settle_in();
    let mut signals = Signals::new()?;
    let traces = telemetry::traces::start(&config.telemetry, &format!("parley-{}", std::process::id()))?;
    // A task of its own, since recovering a large log takes its thread for long.
    let starting = tokio::spawn(start_all(config, metrics));
    let (address, mut roles) = tokio::select! {
        started = starting => started.context("the start panicked")??,
        () = signals.next() => {
            tracing::info!("stopped while starting");
            return Ok(());
        }
    };
    announce(address);
    let failed = signals.until_told(&mut roles.tasks).await;
    signals.stop(roles.shut_down(), traces, failed).await
}

/// Everything that can be refused is looked at before the log is opened and before anything is written to it.
async fn start_all(config: Config, metrics: PrometheusHandle) -> anyhow::Result<(SocketAddr, Roles)> {
    let dir = DataDir::lock(&config.data_dir())?;
    let auth = config.auth_options(|| data_dir::development_secret(dir.path()))?;
    let auth = Authenticator::new(auth).await.context("tokens can't be verified")?;
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr()?;
    let apart = match config.http.admin_listen.as_str() {
        "" => None,
        apart => {
            let listener = bind(apart).await?;
            tracing::info!(address = %listener.local_addr()?, "probes and metrics are apart");
            Some(listener)
        }
    };
    if config.is_development() && !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine with the development key: configure auth.jwks or auth.hs256_secret");
    }
    let engines = Engines::open(&config, dir).await?;
    let listeners = Listeners { listener, address, apart };
    Ok((address, start(&config, engines, listeners, auth, metrics).await?))
}

/// Where clients come, and operators if not there.
struct Listeners {
    listener: TcpListener,
    address: SocketAddr,
    apart: Option<TcpListener>,
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))
}

async fn start(
    config: &Config,
    engines: Engines,
    Listeners { listener, address, apart }: Listeners,
    auth: Authenticator,
    metrics: PrometheusHandle,
) -> anyhow::Result<Roles> {
    let Media { store: media, own, origin } = media::open(config, address, engines.dir.media())?;
    let web = Web::new(config, address, &origin)?;
    let hub = Hub::new(engines.log.epoch());
    let (live, projector) = Projector::start(engines.log.clone(), engines.reads.clone()).await?;
    let writer_engines = parley_writer::Engines {
        log: engines.log.clone(),
        keys: engines.keys.clone(),
        reads: engines.reads.clone(),
        notices: hub.clone(),
        progress: live.reached(),
        snapshots: None,
    };
    let (commands, writer) = Writer::start(config.writer_options(), writer_engines).await?;
    let edge_engines = parley_edge::Engines {
        log: engines.log.clone(),
        reads: engines.reads.clone(),
        keys: engines.keys.clone(),
        commands: Arc::new(commands),
        progress: live.reached(),
        media,
        peers: Arc::new(NoPeers),
        auth: Arc::new(auth),
    };
    let options = parley_edge::Options { own_page: web.is_development(), ..config.edge_options() };
    let edge = Arc::new(Edge::start(options, edge_engines, hub.clone()).await?);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let origins = web.origins(&config.http.origins);
    let mut app = edge.router().merge(docs::router()).merge(web.router());
    if let Some(own) = own {
        app = app.route_service(ROUTE, own.service());
    }
    let probes = probes::router(edge.clone(), metrics.clone());
    match apart {
        None => app = app.merge(probes),
        Some(apart) => drop(tasks.spawn(parley_edge::serve(apart, probes, stop.clone()))),
    }
    let app = app.layer(parley_edge::cors(&origins));
    tasks.spawn(parley_edge::serve(listener, app, stop.clone()));
    tasks.spawn(probes::gauges(live.reached(), hub.clone(), metrics, GAUGES_EVERY, stop.clone()));
    let admin = admin::Server::bind(&engines, live, hub)?;
    tasks.spawn(admin.run(stop.clone()));
    Ok(Roles { engines, edge, writer, projector, tasks, stop })
}

impl Roles {
    /// In the order of the flow: first nobody new, then everybody away, then what is on its way, then the engines.
    async fn shut_down(mut self) {
        self.edge.drain().await;
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(HTTP_STOP_WAIT, ended).await);
        self.tasks.shutdown().await;
        self.writer.shut_down().await;
        self.edge.shut_down().await;
        self.projector.shut_down().await;
        if let Err(error) = self.engines.reads.persist().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the read models will be brought up from the log"
            );
        }
        self.engines.log.close().await;
        admin::remove_socket(self.engines.dir.path());
        tracing::info!("stopped");
    }
}

/// Says on standard output that it is ready. Whoever started it may have closed that: no reason not to serve.
pub(crate) fn announce(address: SocketAddr) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = announce_on(&mut out, address) {
        tracing::warn!(%error, %address, "standard output takes nothing; listening all the same");
    }
}

fn announce_on(out: &mut impl Write, address: SocketAddr) -> std::io::Result<()> {
    writeln!(out, "listening on http://{address}").and_then(|()| out.flush())
}

/// What a server asks of the machine.
pub(crate) fn settle_in() {
    raise_file_limit();
    without_huge_pages();
}

/// Without huge pages where the machine gives them unasked: the allocator takes and gives back pages of 64 KiB all the time,
/// and for each first touch the kernel would clear 2 MiB. That was a tenth of the CPU.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages can't be declined");
    }
}

/// As many sockets as the machine allows.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader of this pipe is gone, as of a standard output that was closed: an error, not an end.
    #[test]
    fn an_output_that_is_closed_is_an_error_that_can_be_borne() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        let error = announce_on(&mut writer, "127.0.0.1:1".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}
