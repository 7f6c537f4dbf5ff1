//! The roles of a process, started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use parley_edge::auth::Authenticator;
use parley_edge::{Edge, Hub, RemoteOwners};
use parley_eventlog::EventLog;
use parley_eventlog::providers::kafka::{AssignmentOptions, Assignments};
use parley_media::providers::embedded::ROUTE;
use parley_projector::{Follower, Projector, Reached};
use parley_wire::rpc::{self, Tls};
use parley_writer::{AssignedWriter, Owned};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Process;
use super::keys::AtHand;
use super::peers::{AllEdges, OtherEdges};
use super::probes::{self, Faults, Ready};
use super::roster::{Present, Role};
use super::{engines, gauges};
use crate::config::Config;
use crate::media::{self, Media};
use crate::web::Web;
use crate::{data_dir, docs};

/// The groups by which partitions are shared out.
const WRITERS: &str = "parley.writers";
const PROJECTORS: &str = "parley.projectors";
/// What is followed of the owners by the edges' routing task.
type OwnersWatch = watch::Receiver<Arc<parley_edge::Owners>>;

/// Where clients come, if there is an edge, and operators, if not there.
pub(super) struct Listeners {
    clients: Option<TcpListener>,
    operators: Option<TcpListener>,
}

impl Listeners {
    pub(super) async fn bind(config: &Config, roles: &[Role]) -> anyhow::Result<Self> {
        let clients = match roles.contains(&Role::Edge) {
            true => Some(super::bind(&config.listen).await?),
            false => None,
        };
        let operators = match config.http.admin_listen.as_str() {
            "" if clients.is_some() => None,
            // A role that no client calls is asked on a port of its own choice.
            "" => Some(super::bind("127.0.0.1:0").await?),
            apart => Some(super::bind(apart).await?),
        };
        Ok(Self { clients, operators })
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        let listener = self.clients.as_ref().or(self.operators.as_ref()).context("nothing to listen on")?;
        Ok(listener.local_addr()?)
    }
}

/// What is to be stopped.
#[derive(Default)]
pub(super) struct Roles {
    writer: Option<(Arc<Assignments>, AssignedWriter)>,
    projector: Option<(Arc<Assignments>, Projector)>,
    edge: Option<Arc<Edge>>,
}

impl Roles {
    pub(super) async fn start(
        process: &mut Process,
        listeners: Listeners,
        rpc_listener: TcpListener,
        tls: Option<Tls>,
    ) -> anyhow::Result<(SocketAddr, Self)> {
        let wanted = process.entry.borrow().roles.clone();
        let (mut roles, mut served) = (Self::default(), rpc::Roles::default());
        served.keys = Some(Arc::new(AtHand(process.engines.keys.clone())));
        let log: Arc<dyn EventLog> = process.engines.log.clone();
        let (reached, follower) = Follower::new(log, process.engines.reads.clone());
        process.tasks.spawn(follower.run(process.stop.clone()));
        let mut readies: Vec<Ready> = Vec::new();
        if wanted.contains(&Role::Projector) {
            let (assignments, handle, projector) = start_projector(process)?;
            readies.push(projector_ready(process, handle.reached()));
            process.tasks.spawn(gauges::of_projector(handle.reached(), process.stop.clone()));
            served.projector = Some(Arc::new(handle));
            roles.projector = Some((assignments, projector));
        }
        if wanted.contains(&Role::Writer) {
            let (assignments, owned, writer) = start_writer(process, reached.clone())?;
            readies.push(writer_ready(process));
            served.owner = Some(owned);
            roles.writer = Some((assignments, writer));
        }
        let address = listeners.address()?;
        let mut app = None;
        if wanted.contains(&Role::Edge) {
            let log = process.engines.log.clone();
            let hub = Hub::among_several(log.epoch(), log.partitions());
            served.notices = Some((hub.clone(), hub.clone()));
            let telling = gauges::of_edge(hub.clone(), process.entry.clone(), process.stop.clone());
            process.tasks.spawn(telling);
            let (edge, routes, origins) = start_edge(process, address, hub, reached).await?;
            readies.push(edge_ready(process, edge.clone()));
            roles.edge = Some(edge);
            app = Some((routes, parley_edge::cors(&origins)));
        }
        let serving = {
            let stop = process.stop.clone();
            async move {
                if let Err(error) = rpc::serve(rpc_listener, tls.as_ref(), served, stop).await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "other processes can't be served"
                    );
                }
            }
        };
        process.tasks.spawn(serving);
        let probes = probes::router(all_ready(readies), process.metrics.clone(), process.present.clone());
        let stop = || process.stop.clone();
        match (listeners.operators, app.take()) {
            (Some(operators), routes) => {
                process.tasks.spawn(parley_edge::serve(operators, probes, stop()));
                app = routes;
            }
            (None, Some((routes, cors))) => app = Some((routes.merge(probes), cors)),
            (None, None) => {}
        }
        if let (Some(clients), Some((routes, cors))) = (listeners.clients, app) {
            let routes = routes.layer(cors);
            process.tasks.spawn(parley_edge::serve(clients, routes, stop()));
        }
        Ok((address, roles))
    }

    /// In the order of the flow.
    pub(super) async fn shut_down(self) {
        if let Some(edge) = &self.edge {
            edge.drain().await;
        }
        if let Some((assignments, writer)) = self.writer {
            assignments.leave().await;
            writer.shut_down().await;
        }
        if let Some(edge) = &self.edge {
            edge.shut_down().await;
        }
        if let Some((assignments, projector)) = self.projector {
            assignments.leave().await;
            projector.shut_down().await;
        }
    }
}

fn join(process: &Process, group: &str) -> anyhow::Result<Arc<Assignments>> {
    let options = AssignmentOptions {
        session_timeout: process.config.session_timeout(),
        ..AssignmentOptions::new(group)
    };
    Ok(Arc::new(Assignments::join(&process.engines.kafka, options)?))
}

fn start_writer(
    process: &mut Process,
    reached: Arc<Reached>,
) -> anyhow::Result<(Arc<Assignments>, Arc<Owned>, AssignedWriter)> {
    let assignments = join(process, WRITERS)?;
    let engines = parley_writer::Engines {
        log: process.engines.log.clone(),
        keys: process.engines.keys.clone().context("a writer has data keys")?,
        reads: process.engines.reads.clone(),
        notices: Arc::new(AllEdges { channels: process.channels.clone(), present: process.present.clone() }),
        progress: reached,
        snapshots: Some(engines::snapshots(&process.config)?),
    };
    let options = process.config.assigned_writer_options(&process.instance);
    let release: parley_writer::Release = {
        let assignments = assignments.clone();
        Arc::new(move |generation| assignments.release(generation))
    };
    let (owned, writer) = AssignedWriter::start(options, engines, assignments.watch(), release);
    let (mut terms, entry, stop) = (owned.watch(), process.entry.clone(), process.stop.clone());
    process.tasks.spawn(async move {
        loop {
            let now = terms.borrow_and_update().clone();
            entry.send_if_modified(|entry| {
                let changed = entry.terms != now;
                entry.terms = now;
                changed
            });
            tokio::select! {
                () = stop.cancelled() => return,
                changed = terms.changed() => if changed.is_err() { return },
            }
        }
    });
    Ok((assignments, owned, writer))
}

fn start_projector(
    process: &Process,
) -> anyhow::Result<(Arc<Assignments>, parley_projector::Handle, Projector)> {
    let assignments = join(process, PROJECTORS)?;
    let release: parley_projector::Release = {
        let assignments = assignments.clone();
        Arc::new(move |generation| assignments.release(generation))
    };
    let (log, reads) = (process.engines.log.clone(), process.engines.reads.clone());
    let (handle, projector) = Projector::start_assigned(log, reads, assignments.watch(), release);
    Ok((assignments, handle, projector))
}

async fn start_edge(
    process: &mut Process,
    address: SocketAddr,
    hub: Arc<Hub>,
    reached: Arc<Reached>,
) -> anyhow::Result<(Arc<Edge>, axum::Router, Vec<String>)> {
    let config = &process.config;
    let auth = config.auth_options(|| data_dir::development_secret(&config.data_dir()))?;
    let auth = Authenticator::new(auth).await.context("tokens can't be verified")?;
    if config.is_development() && !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine with the development key: configure auth.jwks or auth.hs256_secret");
    }
    let Media { store: media, own, origin } = media::open(config, address, config.data_dir().join("media"))?;
    let web = Web::new(config, address, &origin)?;
    let owners = owners_of(process);
    let partitions = process.engines.log.partitions();
    let (commands, routing) =
        RemoteOwners::start(owners, process.channels.clone(), partitions, process.stop.clone());
    process.tasks.spawn(async move { drop(routing.await) });
    let (peers, passing) = OtherEdges::new(
        process.channels.clone(),
        process.present.clone(),
        process.instance.clone(),
        process.stop.clone(),
    );
    process.tasks.spawn(passing);
    let engines = parley_edge::Engines {
        log: process.engines.log.clone(),
        reads: process.engines.reads.clone(),
        keys: process.engines.keys.clone().context("an edge has data keys")?,
        commands: Arc::new(commands),
        progress: reached,
        media,
        peers: Arc::new(peers),
        auth: Arc::new(auth),
    };
    let options = parley_edge::Options { own_page: web.is_development(), ..process.config.edge_options() };
    let edge = Arc::new(Edge::start(options, engines, hub).await?);
    let mut routes = edge.router().merge(docs::router()).merge(web.router());
    if let Some(media) = own {
        routes = routes.route_service(ROUTE, media.service());
    }
    Ok((edge, routes, web.origins(&process.config.http.origins)))
}

/// An edge that hears of everything late, as behind a bad network. That is no fault: others' faults show by it.
#[cfg(feature = "planted")]
pub(super) mod late {
    use std::time::Duration;

    use parley_wire::rpc::Channels;

    const LATE: Duration = Duration::from_secs(25);

    #[allow(clippy::disallowed_methods, reason = "no configuration: only binaries for tests look at it")]
    fn is_planted() -> bool {
        std::env::var("PARLEY_PLANT").is_ok_and(|plant| plant == "late_edge")
    }

    pub(super) async fn believe_in_the_past() {
        if is_planted() {
            tokio::time::sleep(LATE).await;
        }
    }

    /// Connections to those who stand still are kept: what was asked waits for them.
    pub(in crate::cluster) fn patient(channels: Channels) -> Channels {
        if is_planted() { channels.with_keepalive_wait(LATE) } else { channels }
    }
}

/// Who owns what, as it changes.
fn owners_of(process: &mut Process) -> OwnersWatch {
    let (mut present, stop) = (process.present.clone(), process.stop.clone());
    let (tx, rx) = watch::channel(present.borrow_and_update().owners.clone());
    let channels = process.channels.clone();
    #[cfg(feature = "planted")]
    let partitions = process.engines.log.partitions().get();
    process.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = present.changed() => if changed.is_err() { return },
            }
            #[cfg(feature = "planted")]
            if (0..partitions).all(|partition| tx.borrow().owner(partition).is_some()) {
                late::believe_in_the_past().await;
            }
            let now: Present = present.borrow_and_update().clone();
            channels.retain(|address| now.entries.values().any(|entry| entry.rpc == address));
            tx.send_if_modified(|owners| {
                let changed = *owners != now.owners;
                *owners = now.owners;
                changed
            });
        }
    });
    rx
}

fn all_ready(readies: Vec<Ready>) -> Ready {
    let readies: Arc<[Ready]> = readies.into();
    Arc::new(move || {
        let readies = readies.clone();
        Box::pin(async move {
            let mut faults = Faults::new();
            for ready in readies.iter() {
                faults.extend(ready().await);
            }
            faults
        })
    })
}

fn log_faults(log: &dyn EventLog) -> Faults {
    log.trouble().into_iter().map(|trouble| ("log", trouble.to_string())).collect()
}

fn writer_ready(process: &Process) -> Ready {
    let (log, entry, present) =
        (process.engines.log.clone(), process.entry.subscribe(), process.present.clone());
    Arc::new(move || {
        let mut faults = log_faults(log.as_ref());
        let nobody_owns = present.borrow().owners.iter().next().is_none();
        // One too many among writers owns nothing, and is well.
        if nobody_owns && entry.borrow().terms.is_empty() {
            faults.push(("writer", "no partition has an owner, and none was assigned to it".to_owned()));
        }
        Box::pin(async move { faults })
    })
}

fn projector_ready(process: &Process, reached: Arc<Reached>) -> Ready {
    let log = process.engines.log.clone();
    Arc::new(move || {
        let (log, reached) = (log.clone(), reached.clone());
        Box::pin(async move {
            let mut faults = log_faults(log.as_ref());
            if let Err(error) = reached.lag().await {
                faults.push(("projector", error.to_string()));
            }
            faults
        })
    })
}

fn edge_ready(process: &Process, edge: Arc<Edge>) -> Ready {
    let (present, partitions) = (process.present.clone(), process.engines.log.partitions());
    Arc::new(move || {
        let (edge, present) = (edge.clone(), present.clone());
        Box::pin(async move {
            let owners = present.borrow().owners.clone();
            let mut faults = edge.readiness().await;
            let missing = owners.missing(partitions);
            if missing > 0 {
                let all = partitions.get();
                faults.push(("writers", format!("{missing} of {all} partitions have no owner")));
            }
            faults
        })
    })
}
