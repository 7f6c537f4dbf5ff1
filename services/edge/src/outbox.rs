//! A session's bounded queue of frames, and the task that writes it to the socket.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use parley_wire::code::Close;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::ws;

/// Frames given to one system call.
const FRAMES_PER_WRITE_MAX: usize = 64;
/// How long a close frame may take on its way out.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// Of the frames queued and of those being written.
    bytes: usize,
    closing: Option<Option<Close>>,
}

/// Frames on their way to one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    limit_bytes: usize,
    ready: Notify,
    space: Notify,
}

impl Outbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { state: Mutex::new(State::default()), limit_bytes, ready: Notify::new(), space: Notify::new() }
    }

    /// Queues a frame whatever the limit. For replies, which are bounded by the reader waiting for space first.
    pub(crate) fn push(&self, frame: Bytes) {
        self.push_if(frame, |_, _| true);
    }

    /// Queues a frame unless that would pass the limit; `false` then, or when closing.
    pub(crate) fn offer(&self, frame: Bytes) -> bool {
        let limit = self.limit_bytes;
        self.push_if(frame, move |bytes, more| bytes == 0 || bytes + more <= limit)
    }

    fn push_if(&self, frame: Bytes, may: impl FnOnce(usize, usize) -> bool) -> bool {
        let wake = {
            let mut state = self.state.lock();
            if state.closing.is_some() || !may(state.bytes, frame.len()) {
                return false;
            }
            state.bytes += frame.len();
            state.frames.push_back(frame);
            state.frames.len() == 1
        };
        if wake {
            self.ready.notify_one();
        }
        true
    }

    /// Sends what is queued, then closes. Only the first reason counts; `None` closes without a close frame.
    pub(crate) fn close(&self, close: Option<Close>) {
        self.state.lock().closing.get_or_insert(close);
        self.ready.notify_one();
        self.space.notify_waiters();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing.is_some()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Waits until less than half of the limit is taken; `false` when closing.
    pub(crate) async fn wait_for_space(&self) -> bool {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            {
                let state = self.state.lock();
                if state.closing.is_some() {
                    return false;
                }
                if state.bytes <= self.limit_bytes / 2 {
                    return true;
                }
            }
            space.await;
        }
    }

    fn take(&self) -> (VecDeque<Bytes>, Option<Option<Close>>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.frames), state.closing)
    }

    fn written(&self, bytes: usize) {
        self.state.lock().bytes -= bytes;
        self.space.notify_waiters();
    }

    /// Writes the queue to a socket until the outbox is closed; gives the reason. Fails if the socket takes no byte for
    /// `stall_wait` ([`Close::TooSlow`]) or breaks (`None`).
    pub(crate) async fn write_all(
        &self,
        socket: &mut (dyn AsyncWrite + Send + Unpin),
        stall_wait: Duration,
    ) -> Option<Close> {
        loop {
            let (mut frames, closing) = self.take();
            if frames.is_empty() {
                let Some(close) = closing else {
                    self.ready.notified().await;
                    continue;
                };
                self.say_goodbye(socket, close).await;
                return close;
            }
            let wait = if closing.is_some() { CLOSE_WAIT } else { stall_wait };
            if let Err(close) = self.write(&mut frames, socket, wait).await {
                self.close(close);
                return close;
            }
        }
    }

    async fn write(
        &self,
        frames: &mut VecDeque<Bytes>,
        socket: &mut (dyn AsyncWrite + Send + Unpin),
        stall_wait: Duration,
    ) -> Result<(), Option<Close>> {
        while !frames.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
                let mut count = 0;
                for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
                    *slice = IoSlice::new(frame);
                    count += 1;
                }
                let some = slices.get(..count).unwrap_or_default();
                match tokio::time::timeout(stall_wait, socket.write_vectored(some)).await {
                    Err(_) => return Err(Some(Close::TooSlow)),
                    Ok(Err(_) | Ok(0)) => return Err(None),
                    Ok(Ok(written)) => written,
                }
            };
            advance(frames, written);
            self.written(written);
        }
        Ok(())
    }

    async fn say_goodbye(&self, socket: &mut (dyn AsyncWrite + Send + Unpin), close: Option<Close>) {
        let goodbye = async {
            if let Some(close) = close {
                socket.write_all(&ws::close_frame(close)).await?;
            }
            socket.shutdown().await
        };
        drop(tokio::time::timeout(CLOSE_WAIT, goodbye).await);
    }
}

fn advance(frames: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(frame) = frames.front_mut() {
        if frame.len() > written {
            frame.advance(written);
            return;
        }
        written -= frame.len();
        frames.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limit_holds_for_offers_and_frees_with_what_is_written() {
        let outbox = Outbox::new(10);
        assert!(outbox.offer(Bytes::from_static(b"123456")));
        assert!(!outbox.offer(Bytes::from_static(b"78901")), "would pass the limit");
        outbox.push(Bytes::from_static(b"reply"));
        assert_eq!(outbox.bytes(), 11);
        outbox.close(Some(Close::GoingAway));
        let mut socket = Vec::new();
        assert_eq!(outbox.write_all(&mut socket, Duration::from_secs(1)).await, Some(Close::GoingAway));
        assert!(socket.starts_with(b"123456reply\x88"));
        assert_eq!(outbox.bytes(), 0);
        assert!(!outbox.offer(Bytes::from_static(b"late")));
    }

    #[test]
    fn partial_writes_keep_the_rest() {
        let mut frames = VecDeque::from([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
        advance(&mut frames, 4);
        assert_eq!(frames, [Bytes::from_static(b"efg")]);
    }
}
