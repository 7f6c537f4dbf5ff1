//! An OpenTelemetry collector that keeps what it is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
pub use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(20);

/// Spans with the name of the instance that sent them.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// A running collector; it ends with the test's runtime.
pub struct Collector {
    /// Where spans are sent: `http://ADDR:PORT`.
    pub url: String,
    spans: Spans,
}

struct Service(Spans);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for from in request.into_inner().resource_spans {
            let attributes = from.resource.map(|resource| resource.attributes).unwrap_or_default();
            let instance = attributes.iter().find(|attribute| attribute.key == "service.instance.id");
            let instance = format!("{:?}", instance.and_then(|attribute| attribute.value.as_ref()));
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (instance.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let spans = Spans::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(Service(spans.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { url, spans }
    }

    /// Everything that was sent so far.
    #[must_use]
    pub fn spans(&self) -> Vec<(String, Span)> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for a span; with the name of the instance that sent it.
    ///
    /// # Panics
    /// If it isn't sent in time.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> (String, Span) {
        let begun = std::time::Instant::now();
        loop {
            if let Some(found) = self.spans().into_iter().find(|(_, span)| is_it(span)) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no span {what}: {:?}", self.spans());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the spans of one message: of the edge, of the writer, and of a delivery.
    ///
    /// # Panics
    /// If they aren't sent in time, or don't hang together.
    pub async fn message(&self) -> [(String, Span); 3] {
        let frame = self.span("of a frame", |span| span.name == "send_group_message").await;
        let trace = frame.1.trace_id.clone();
        assert!(frame.1.parent_span_id.is_empty(), "{frame:?}");
        let below = |name: &'static str, parent: Vec<u8>| {
            let trace = trace.clone();
            move |span: &Span| span.name == name && span.parent_span_id == parent && span.trace_id == trace
        };
        let append = self.span("of the append", below("append", frame.1.span_id.clone())).await;
        let deliver = self.span("of a delivery", below("deliver", append.1.span_id.clone())).await;
        let times = [&frame.1, &append.1, &deliver.1]
            .map(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
        assert!(times.iter().all(|(start, end)| start <= end), "{times:?}");
        assert!(times[0].0 <= times[1].0 && times[1].0 <= times[2].0, "{times:?}");
        [frame, append, deliver]
    }
}
