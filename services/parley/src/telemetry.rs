//! Logs to standard error, metrics for Prometheus, traces for OpenTelemetry.

mod described;
pub(crate) mod traces;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parley_wire::code::Close;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Telemetry;

/// Upper bounds of latency histograms, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Upper bounds of batch sizes.
const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 1_000.0];

/// Starts logging.
///
/// # Errors
/// A filter that can't be understood.
pub(crate) fn log(telemetry: &Telemetry) -> anyhow::Result<()> {
    let filter =
        filter(&telemetry.filter).map_err(|error| crate::Usage(format!("telemetry.filter: {error}")))?;
    let (registry, lines) = (tracing_subscriber::registry().with(filter), tracing_subscriber::fmt::layer());
    let lines = lines.with_writer(std::io::stderr).with_ansi(false);
    let started = match telemetry.format.as_str() {
        "json" => registry.with(lines.json()).try_init(),
        _ => registry.with(lines).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging can't start: {error}"))
}

/// Which lines are logged: levels, by target (`info,fjall=warn`). What no part of it names is logged if it is an error.
pub(crate) fn filter(text: &str) -> Result<Targets, ParseError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let targets: Targets = if parts.is_empty() { Targets::new() } else { parts.join(",").parse()? };
    let default = targets.default_level().unwrap_or(LevelFilter::ERROR);
    Ok(targets.with_default(default))
}

/// Where a panic ends one request, one session or one call that answers with an error. The names are those of a
/// backtrace.
const CONTAINED: [&str; 6] = [
    "hyper::proto",
    "parley_edge::session",
    "parley_edge::ws",
    "parley_media",
    "parley_readstore",
    "parley_keys",
];

/// Lets the process die of a panic, unless it is one client's alone. A shard, the projector or the delivery that is
/// gone would be missed by everybody, and nothing would start it again; a restart folds the log, and is sound.
pub(crate) fn die_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        if is_contained(&trace) {
            tracing::error!(%panic, backtrace = trace, "panicked; only who asked for it is affected");
        } else {
            tracing::error!(%panic, backtrace = trace, "panicked: the process ends, to be started again");
            std::process::exit(1);
        }
    }));
}

/// What everybody would miss, whatever of the above it has called.
const MISSED: [&str; 6] = [
    "parley_writer::shard",
    "parley_projector",
    "parley_edge::delivery",
    "parley_edge::flusher",
    "parley_edge::acks::Gather",
    "parley_edge::status::Count",
];

/// Where panics are caught, whoever called: a library panics at what a stranger wrote to the log.
const CAUGHT: [&str; 2] = ["kafka::codec::Decoder::look", "kafka::codec::Decoder>::look"];

fn is_contained(trace: &str) -> bool {
    let names = |places: &[&str]| places.iter().any(|place| trace.contains(place));
    names(&CAUGHT) || (names(&CONTAINED) && !names(&MISSED))
}

/// Starts counting; the handle renders what was counted.
///
/// # Errors
/// If something counts already.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_requests".into()), &SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_records".into()), &SIZES)?
        .install_recorder()?;
    described::describe();
    for close in Close::ALL {
        metrics::counter!("parley_disconnects_total", "code" => close.code().to_string()).increment(0);
    }
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_logged_whatever_the_filter_names() {
        let logs = |text: &str, target: &str, level| filter(text).unwrap().would_enable(target, &level);
        assert!(logs("parley_edge=debug", "parley_edge::ws", tracing::Level::DEBUG));
        assert!(logs("parley_edge=debug", "parley_writer", tracing::Level::ERROR));
        assert!(!logs("parley_edge=debug", "parley_writer", tracing::Level::WARN));
        assert!(logs("", "parley_writer", tracing::Level::ERROR) && !logs("off", "x", tracing::Level::ERROR));
        assert!(logs("info, fjall=warn,", "fjall", tracing::Level::WARN));
        assert!(!logs("info,fjall=warn", "fjall::journal", tracing::Level::INFO));
        filter("a=b=c").unwrap_err();
    }

    #[test]
    fn only_what_serves_one_client_may_panic_and_go_on() {
        let session = "  12: parley_edge::session::Session::run::{{closure}}\n  13: tokio::runtime";
        let shard = "  12: parley_writer::shard::Shard::run::{{closure}}\n  13: tokio::runtime";
        assert!(is_contained(session) && !is_contained(shard) && !is_contained(""));
        let seal = "  11: parley_keys::data_key::DataKey::seal";
        assert!(is_contained(seal) && !is_contained(&format!("{seal}\n{shard}")), "the shard would be gone");
        let header = "parley_eventlog::providers::kafka::codec::Decoder::look";
        assert!(is_contained(&format!("{header}\n{shard}")), "it is caught there");
        assert!(
            !is_contained(&format!("{session}\n{shard}")),
            "an answer's callback runs on the shard's task"
        );
    }
}
