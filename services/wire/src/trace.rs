//! Traces: one message followed from the frame in which it came to the sockets to which it is delivered.
//!
//! ```text
//!  edge    send_group_message ├──────────────────────────┤   frame read … reply queued
//!  writer                  append ├──────────────────┤       decided … durable (under the edge's, over gRPC)
//!  edges                                    deliver ├──┤     read from the log … handed to the outboxes (under append)
//! ```
//!
//! The context travels in the request to the writer and in the record's header `ce_traceparent` (CloudEvents' extension for
//! distributed tracing, W3C trace context). As with `metrics`, whoever runs the process says where spans go
//! ([`install`]); without that nothing is traced, and it costs a load of one atomic.

use std::sync::OnceLock;
use std::time::SystemTime;

use uuid::Uuid;

use crate::clock;

/// The header of a record that carries its context.
pub const TRACE_HEADER: &str = "ce_traceparent";

/// Names a span of a trace that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Of the whole trace; not all zero.
    pub trace_id: [u8; 16],
    /// Of the span; not all zero.
    pub span_id: [u8; 8],
}

impl TraceContext {
    /// W3C `traceparent`, version 00, recorded.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        format!("00-{trace:032x}-{span:016x}-01")
    }

    /// From a `traceparent`; `None` if it is none, or says that the trace isn't recorded.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = parts.next().is_none() && version == "00" && is_hex(flags, 2);
        if !(is_whole && is_hex(trace, 32) && is_hex(span, 16))
            || u8::from_str_radix(flags, 16).ok()? & 1 == 0
        {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?.to_be_bytes();
        let span_id = u64::from_str_radix(span, 16).ok()?.to_be_bytes();
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id })
    }
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers somebody outside.
    Server,
    /// Writes to the log.
    Producer,
    /// Reads from the log.
    Consumer,
}

/// A span that is over.
#[derive(Debug, Clone)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// For whom.
    pub kind: SpanKind,
    /// Its own name.
    pub context: TraceContext,
    /// The span under which it lies, if it isn't the first.
    pub parent: Option<[u8; 8]>,
    /// From when.
    pub start: SystemTime,
    /// To when.
    pub end: SystemTime,
    /// Numbers that say more, by their OpenTelemetry names.
    pub attributes: Vec<(&'static str, i64)>,
    /// What went wrong, if something did: an error code of the contract.
    pub error: Option<&'static str>,
}

/// Where spans go.
pub trait Spans: Send + Sync {
    /// Whether a trace that begins now is recorded.
    fn samples(&self) -> bool;

    /// Takes a span. Called on the path of messages: it must not wait.
    fn take(&self, span: Span);
}

static SPANS: OnceLock<Box<dyn Spans>> = OnceLock::new();

/// Says where spans go, once for the process.
///
/// # Errors
/// They go somewhere already; gives back what was to be installed.
pub fn install(spans: Box<dyn Spans>) -> Result<(), Box<dyn Spans>> {
    SPANS.set(spans)
}

/// A span that has begun.
#[derive(Debug)]
pub struct Begun {
    name: &'static str,
    kind: SpanKind,
    /// Its name, for those below it.
    pub context: TraceContext,
    parent: Option<[u8; 8]>,
    start: SystemTime,
}

/// Begins a trace, if this one is recorded.
#[must_use]
pub fn root(name: &'static str, kind: SpanKind) -> Option<Begun> {
    SPANS.get().filter(|spans| spans.samples())?;
    let context = TraceContext { trace_id: Uuid::new_v4().into_bytes(), span_id: span_id() };
    Some(Begun { name, kind, context, parent: None, start: clock::exact() })
}

/// Begins a span below another one, if that is recorded and this process records at all.
#[must_use]
pub fn below(parent: Option<TraceContext>, name: &'static str, kind: SpanKind) -> Option<Begun> {
    let parent = parent?;
    SPANS.get()?;
    let context = TraceContext { trace_id: parent.trace_id, span_id: span_id() };
    Some(Begun { name, kind, context, parent: Some(parent.span_id), start: clock::exact() })
}

impl Begun {
    /// Ends it.
    pub fn end(self, attributes: Vec<(&'static str, i64)>, error: Option<&'static str>) {
        let Self { name, kind, context, parent, start } = self;
        if let Some(spans) = SPANS.get() {
            spans.take(Span { name, kind, context, parent, start, end: clock::exact(), attributes, error });
        }
    }
}

fn span_id() -> [u8; 8] {
    // The first half of a random UUID has its version in it, and so is never zero.
    let [a, b, c, d, e, f, g, h, ..] = Uuid::new_v4().into_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        let context = TraceContext { trace_id: [0xab; 16], span_id: [1; 8] };
        let text = "00-abababababababababababababababab-0101010101010101-01";
        assert_eq!(context.traceparent(), text);
        assert_eq!(TraceContext::parse(text), Some(context));
    }

    #[test]
    fn what_is_no_traceparent_or_is_not_recorded_is_none() {
        let (trace, span) = ("abababababababababababababababab", "0101010101010101");
        for text in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-00"),
            format!("01-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-00"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-+{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn without_a_place_for_spans_nothing_begins() {
        assert!(root("x", SpanKind::Server).is_none());
        let parent = TraceContext { trace_id: [1; 16], span_id: [1; 8] };
        assert!(below(Some(parent), "x", SpanKind::Server).is_none());
    }
}
