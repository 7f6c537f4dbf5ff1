//! Liveness, readiness, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use parley_edge::{Edge, Hub};
use parley_projector::Reached;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// `/healthz`, `/readyz`, `/metrics`.
pub(super) fn router(edge: Arc<Edge>, metrics: PrometheusHandle) -> Router {
    let render = move || async move {
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        (kind, metrics.render()).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"alive": true})) }))
        .route("/readyz", get(ready))
        .with_state(edge)
        .route("/metrics", get(render))
}

async fn ready(State(edge): State<Arc<Edge>>) -> Response {
    let faults = edge.readiness().await;
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let faults: Vec<_> =
        faults.iter().map(|(name, reason)| json!({"name": name, "reason": reason})).collect();
    (status, Json(json!({"ready": faults.is_empty(), "not_ready": faults}))).into_response()
}

/// Sets what is a state rather than a count.
pub(super) async fn gauges(
    reached: Arc<Reached>,
    hub: Arc<Hub>,
    metrics: PrometheusHandle,
    every: Duration,
    stop: CancellationToken,
) {
    loop {
        if let Ok(lag) = reached.lag().await {
            metrics::gauge!("parley_projector_lag_records").set(as_float(lag));
        }
        metrics::gauge!("parley_sockets").set(as_float(hub.sockets() as u64));
        metrics::gauge!("parley_outbox_bytes").set(as_float(hub.outbox_bytes() as u64));
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// For a gauge.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; exact up to 2^53")]
pub(crate) fn as_float(number: u64) -> f64 {
    number as f64
}
