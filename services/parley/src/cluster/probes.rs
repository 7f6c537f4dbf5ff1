//! What operators ask a role: whether it lives, whether it is ready, its metrics, and who owns what.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::sync::watch;

use super::roster::Present;

/// What every edge needs alike, and none needs for chat: to send their clients away for that would help nobody.
const BESIDE: &str = "media";

/// What is not ready, by name.
pub(crate) type Faults = Vec<(&'static str, String)>;
/// Asks what is not ready.
pub(crate) type Ready = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Faults> + Send>> + Send + Sync>;

/// `/healthz`, `/readyz`, `/metrics`, `/owners`.
pub(crate) fn router(ready: Ready, metrics: PrometheusHandle, present: watch::Receiver<Present>) -> Router {
    let render = move || async move {
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        (kind, metrics.render()).into_response()
    };
    let owners = move || async move {
        let present = present.borrow().clone();
        let partitions: BTreeMap<String, String> = present
            .owners
            .iter()
            .map(|(partition, owner)| (partition.to_string(), owner.instance.clone()))
            .collect();
        Json(json!({"partitions": partitions, "instances": present.entries}))
    };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"alive": true})) }))
        .route("/readyz", get(move || answer(ready.clone())))
        .route("/metrics", get(render))
        .route("/owners", get(owners))
}

async fn answer(ready: Ready) -> Response {
    let faults = ready().await;
    let is_ready = faults.iter().all(|(name, _)| *name == BESIDE);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let faults: Vec<_> =
        faults.iter().map(|(name, reason)| json!({"name": name, "reason": reason})).collect();
    (status, Json(json!({"ready": is_ready, "not_ready": faults}))).into_response()
}
