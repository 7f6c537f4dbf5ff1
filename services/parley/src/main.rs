//! Parley: one binary, many roles.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use clap::Parser;
use parley_domain::{PartitionCount, UserId};
use parley_wire::clock;
use std::io::Write as _;
use axum::serve::ListenerExt as _;

#[derive(Parser)]
enum Cli {
    Serve { #[arg(long, default_value="parley-data")] data: PathBuf, #[arg(long, default_value="127.0.0.1:8080")] listen: String, #[arg(long)] set: Vec<String> },
    Token { #[arg(long)] user: Vec<String>, #[arg(long, default_value="1h")] ttl: String, #[arg(long, default_value="parley-data")] data: PathBuf },
}
fn secret(dir: &std::path::Path) -> anyhow::Result<parley_edge::auth::Secret> {
    std::fs::create_dir_all(dir)?;
    let p = dir.join("auth.key");
    if !p.exists() { let mut b=[0u8;32]; rand::Rng::fill_bytes(&mut rand::rng(), &mut b); std::fs::write(&p, b.iter().map(|x| format!("{x:02x}")).collect::<String>())?; }
    Ok(parley_edge::auth::Secret::new(std::fs::read(p)?))
}
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::Token{user, ttl: _, data} => {
            let s = secret(&data)?;
            for u in user { let t = parley_edge::auth::sign_hs256(&s, &UserId::parse(&u)?, clock::now(), Duration::from_secs(43200), None, None)?; writeln!(std::io::stdout(), "{t}")?; }
            Ok(())
        }
        Cli::Serve{data, listen, set} => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            let s = secret(&data)?;
            let mut limits = parley_edge::Limits::default();
            for kv in set { if let Some(("limits.sends_per_second", v)) = kv.split_once('=') { limits.sends_per_second = v.parse()?; } }
            let (log, report) = parley_eventlog::providers::embedded::EmbeddedLog::open(parley_eventlog::providers::embedded::Options::new(data.join("log"), PartitionCount::DEFAULT))?;
            tracing::info!(?report, "log");
            let log: Arc<dyn parley_eventlog::EventLog> = log;
            let ring = parley_keys::KeyRing::open_or_create(&data.join("keys/ring.json"))?;
            let keys = Arc::new(parley_keys::Keys::new(ring, parley_keys::EmbeddedKeyStore::open(&data.join("keys/store"))?));
            let reads: Arc<dyn parley_readstore::ReadStore> = parley_readstore::providers::embedded::EmbeddedReadStore::open(&data.join("reads"), log.epoch(), Default::default())?;
            let hub = parley_edge::Hub::new(log.epoch());
            let (ph, projector) = parley_projector::Projector::start(log.clone(), reads.clone()).await?;
            let (handle, writer) = parley_writer::Writer::start(Default::default(), parley_writer::Engines{log: log.clone(), keys: keys.clone(), reads: reads.clone(), notices: hub.clone(), progress: ph.reached()}).await?;
            let listener = tokio::net::TcpListener::bind(&listen).await?;
            let addr = listener.local_addr()?;
            let media = Arc::new(parley_media::providers::embedded::EmbeddedMedia::open(&data.join("media"), parley_media::providers::embedded::EmbeddedOptions{public_url: format!("http://{addr}"), bytes_max: limits.media_bytes, clock: Arc::new(clock::now)})?);
            let service = media.service();
            let auth = Arc::new(parley_edge::auth::Authenticator::new(parley_edge::auth::AuthOptions{hs256_secret: Some(s), ..Default::default()}).await?);
            let options = parley_edge::Options{limits, ..Default::default()};
            let edge = parley_edge::Edge::start(options, parley_edge::Engines{log: log.clone(), reads: reads.clone(), keys, commands: Arc::new(handle), progress: ph.reached(), media, auth}, hub).await?;
            let app = edge.router().route_service(parley_media::providers::embedded::ROUTE, service);
            writeln!(std::io::stdout(), "listening on http://{addr}")?;
            std::io::stdout().flush()?;
            let stop = tokio_util::sync::CancellationToken::new();
            let s2 = stop.clone();
            let server = tokio::spawn(async move { axum::serve(listener.tap_io(|io| drop(io.set_nodelay(true))), app).with_graceful_shutdown(s2.cancelled_owned()).await });
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            term.recv().await;
            edge.drain().await;
            stop.cancel();
            drop(tokio::time::timeout(Duration::from_secs(3), server).await);
            writer.shut_down().await;
            edge.shut_down().await;
            projector.shut_down().await;
            reads.persist().await?;
            log.close().await;
            Ok(())
        }
    }
}
