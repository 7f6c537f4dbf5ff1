//! Spans to an OpenTelemetry collector, by OTLP over gRPC. Off unless `telemetry.otlp` says where one is.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use parley_wire::trace::{self, Span, Spans};

use crate::config::Telemetry;

/// Spans that wait to be sent; beyond that they are dropped, and counted by nobody: traces are samples.
const WAITING_SPANS_MAX: usize = 8_192;
/// Spans sent at once.
const BATCH_SPANS_MAX: usize = 512;
/// How often they are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what waits may take to be sent when the process ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Where spans go, until it is ended.
#[derive(Clone)]
pub(crate) struct Traces(Option<Arc<Exporter>>);

struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    share: f64,
}

/// Starts sending spans, if the configuration says where. Needs the runtime that it is called in.
///
/// # Errors
/// A URL that can't be used. A collector that isn't there is no error: spans are dropped until it is.
pub(crate) fn start(telemetry: &Telemetry, instance: &str) -> anyhow::Result<Traces> {
    if telemetry.otlp.is_empty() {
        return Ok(Traces(None));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&telemetry.otlp)
        .with_timeout(SEND_TIMEOUT)
        .build();
    let exporter = exporter.map_err(|error| crate::Usage(format!("telemetry.otlp: {error}")))?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(SEND_EVERY);
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource::builder().with_service_name("parley").with_attributes([
        KeyValue::new("service.version", version),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    processor.set_resource(&resource.build());
    let scope = InstrumentationScope::builder("parley").with_version(version).build();
    let exporter = Arc::new(Exporter { processor, scope, share: telemetry.trace_share });
    trace::install(Box::new(Traces(Some(exporter.clone()))))
        .map_err(|_| anyhow::anyhow!("spans are sent already"))?;
    tracing::info!(otlp = telemetry.otlp, share = telemetry.trace_share, "tracing messages");
    Ok(Traces(Some(exporter)))
}

impl Traces {
    /// Sends what waits, for a little while.
    pub(crate) async fn end(self) {
        let Some(exporter) = self.0 else { return };
        let ending = move || exporter.processor.shutdown_with_timeout(END_TIMEOUT);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(ending).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last spans weren't sent");
        }
    }
}

impl Spans for Traces {
    fn samples(&self) -> bool {
        self.0.as_ref().is_some_and(|exporter| exporter.share > rand::random::<f64>())
    }

    fn take(&self, span: Span) {
        if let Some(exporter) = &self.0 {
            exporter.processor.on_end(data(span, exporter.scope.clone()));
        }
    }
}

fn data(span: Span, instrumentation_scope: InstrumentationScope) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.context.trace_id),
        SpanId::from_bytes(span.context.span_id),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: match span.kind {
            trace::SpanKind::Server => SpanKind::Server,
            trace::SpanKind::Producer => SpanKind::Producer,
            trace::SpanKind::Consumer => SpanKind::Consumer,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope,
    }
}
