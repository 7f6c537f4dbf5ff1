//! Logs to standard error, metrics for Prometheus.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_new(&telemetry.filter)
        .map_err(|error| crate::Usage(format!("telemetry.filter: {error}")))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match telemetry.format.as_str() {
        "json" => builder.json().try_init(),
        _ => builder.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging can't start: {error}"))
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
    // Counters exist from the start, so that a dashboard shows 0 and not nothing.
    for name in ["parley_messages_accepted_total", "parley_deliveries_total", "parley_dedupe_hits_total"] {
        metrics::counter!(name).increment(0);
    }
    Ok(handle)
}
