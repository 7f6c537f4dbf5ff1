//! What a handler left of a request's body: it is read and thrown away before the answer goes out. To close a connection in the
//! middle of a body would reset it, and the client would never read why.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

/// How much is thrown away, and for how long.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;
const DISCARD_WAIT: Duration = Duration::from_secs(5);

/// What was left.
type Left = Arc<Mutex<Option<Body>>>;

/// A body that is kept when its reader drops it before its end.
struct Kept {
    body: Option<Body>,
    /// Whether the client has begun to send it, or was asked to.
    is_begun: bool,
    left: Left,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_begun {
            *self.left.lock() = self.body.take();
        }
    }
}

/// Answers once the body was read, by the handler or by nobody.
pub(super) async fn discard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING) {
        return next.run(request).await;
    }
    // Who waits to be asked for the body reads the answer instead.
    let is_begun = !headers.contains_key(header::EXPECT);
    let left = Left::default();
    let kept = |body| Body::new(Kept { body: Some(body), is_begun, left: left.clone() });
    let answer = next.run(request.map(kept)).await;
    let unread = left.lock().take();
    if let Some(body) = unread {
        // Whether that succeeds is the client's affair.
        let _ = tokio::time::timeout(DISCARD_WAIT, read_on(body)).await;
    }
    answer
}

async fn read_on(body: Body) {
    let (mut stream, mut discarded) = (body.into_data_stream(), 0);
    while let Some(Ok(chunk)) = stream.next().await {
        discarded += chunk.len();
        if discarded > DISCARD_BYTES_MAX {
            return;
        }
    }
}
