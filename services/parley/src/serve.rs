//! `parley serve`: every role in one process.

mod probes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use parley_edge::auth::Authenticator;
use parley_edge::{Edge, Hub};
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions, ROUTE};
use parley_projector::Projector;
use parley_wire::clock;
use parley_writer::Writer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, ConfigArgs};
use crate::engines::Engines;
use crate::{admin, data_dir, engines, print_line, telemetry};

/// How long an orderly stop may take; then the process ends anyway. What was acknowledged is durable already.
const STOP_WAIT: Duration = Duration::from_secs(9);
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
    raise_file_limit();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let engines = Engines::open(&config)?;
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr()?;
    if config.is_development() && !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine with the development key: configure auth.jwks or auth.hs256_secret");
    }
    let roles = start(&config, engines, listener, address, metrics).await?;
    print_line(&format!("listening on http://{address}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let hurried = tokio::select! {
        stopped = tokio::time::timeout(STOP_WAIT, roles.shut_down()) => stopped.is_err(),
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
    };
    if hurried {
        tracing::warn!("not everything ended in time; what was acknowledged is durable");
        std::process::exit(0);
    }
    Ok(())
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))
}

async fn start(
    config: &Config,
    engines: Engines,
    listener: TcpListener,
    address: SocketAddr,
    metrics: PrometheusHandle,
) -> anyhow::Result<Roles> {
    let auth = config.auth_options(|| data_dir::development_secret(&config.data_dir()))?;
    let auth = Arc::new(Authenticator::new(auth).await.context("tokens can't be verified")?);
    let public_url = if config.http.public_url.is_empty() {
        format!("http://{address}")
    } else {
        config.http.public_url.clone()
    };
    let media_options =
        EmbeddedOptions { public_url, bytes_max: config.limits.media_bytes, clock: Arc::new(clock::now) };
    let media = Arc::new(EmbeddedMedia::open(&engines::media_dir(config, &engines.dir), media_options)?);
    let media_service = media.service();
    let hub = Hub::new(engines.log.epoch());
    let (live, projector) = Projector::start(engines.log.clone(), engines.reads.clone()).await?;
    let writer_engines = parley_writer::Engines {
        log: engines.log.clone(),
        keys: engines.keys.clone(),
        reads: engines.reads.clone(),
        notices: hub.clone(),
        progress: live.reached(),
    };
    let (commands, writer) = Writer::start(config.writer_options(), writer_engines).await?;
    let edge_engines = parley_edge::Engines {
        log: engines.log.clone(),
        reads: engines.reads.clone(),
        keys: engines.keys.clone(),
        commands: Arc::new(commands),
        progress: live.reached(),
        media,
        auth,
    };
    let edge = Arc::new(Edge::start(config.edge_options(), edge_engines, hub.clone()).await?);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut app = edge.router().route_service(ROUTE, media_service);
    let probes = probes::router(edge.clone(), metrics.clone());
    if config.http.admin_listen.is_empty() {
        app = app.merge(probes);
    } else {
        let apart = bind(&config.http.admin_listen).await?;
        tasks.spawn(serve(apart, probes, stop.clone()));
    }
    let app = app.layer(parley_edge::cors(&config.http.origins));
    tasks.spawn(serve(listener, app, stop.clone()));
    tasks.spawn(probes::gauges(live.reached(), hub, metrics, GAUGES_EVERY, stop.clone()));
    let admin = admin::Server::bind(&engines, live)?;
    tasks.spawn(admin.run(stop.clone()));
    Ok(Roles { engines, edge, writer, projector, tasks, stop })
}

async fn serve(listener: TcpListener, app: Router, stop: CancellationToken) {
    // Frames are written whole, so that waiting to fill packets only delays them.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(error = &error as &dyn std::error::Error, "HTTP can't be served any more");
    }
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
        drop(std::fs::remove_file(self.engines.dir.admin_socket()));
        tracing::info!("stopped");
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
