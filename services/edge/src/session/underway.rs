//! Requests of a session that are answered later, and how much of them there may be.

use std::ops::Deref;
use std::sync::Arc;

use super::Session;

/// What all requests of a session that are under way may take, in bytes. They wait in queues that all sessions share, and while the log
/// stands still no answer fills the session's outbox, so nothing else would stop a client that goes on sending.
pub(super) const UNDERWAY_BYTES_MAX: usize = 1 << 20;
/// What a request takes beside its content: ids, the callback, its places in queues.
const REQUEST_BYTES: usize = 512;

/// A request that is under way; it counts until this is dropped, which is once it was answered.
pub(crate) struct Underway {
    session: Arc<Session>,
    bytes: usize,
}

impl Underway {
    /// Waits until there is room for a request with so many bytes of content. The session's later frames wait behind it.
    pub(super) async fn begin(session: &Arc<Session>, content_bytes: usize) -> Self {
        let bytes = (REQUEST_BYTES + content_bytes).min(UNDERWAY_BYTES_MAX);
        // A session asks for a MiB at most; and it is never closed, else the request counts for nothing.
        let room = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = match session.room.acquire_many(room).await {
            Ok(room) => {
                room.forget();
                bytes
            }
            Err(_) => 0,
        };
        Self { session: session.clone(), bytes }
    }
}

impl Deref for Underway {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.session.room.add_permits(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn requests_wait_for_those_before_them() {
        let (_client, session) = testing::session("ann", 1).await;
        // One that is larger than all may be together is let through, and alone.
        let large = Underway::begin(&session, 2 * UNDERWAY_BYTES_MAX).await;
        let mut next = std::pin::pin!(Underway::begin(&session, 0));
        assert!(futures::poll!(&mut next).is_pending());
        drop(large);
        let mut small = vec![next.await];
        let another = || tokio::task::unconstrained(Underway::begin(&session, 488));
        while let std::task::Poll::Ready(one) = futures::poll!(std::pin::pin!(another())) {
            small.push(one);
        }
        assert_eq!(small.len(), 1 + (UNDERWAY_BYTES_MAX - 512) / 1_000);
        small.clear();
        assert_eq!(session.room.available_permits(), UNDERWAY_BYTES_MAX, "nothing is lost");
    }
}
