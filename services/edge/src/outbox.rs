//! A session's bounded queue of frames, and the task that writes it to the socket.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use parley_wire::code::Close;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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

/// How writing ended.
pub(crate) struct Ended {
    /// What was said, or is yet to be said if the socket took nothing; `None`: nothing can be said.
    pub(crate) close: Option<Close>,
    /// The rest of a frame that the socket took a part of; without it nothing more can be said.
    pub(crate) cut: Bytes,
}

impl Ended {
    /// The connection is gone.
    pub(crate) fn silently() -> Self {
        Self { close: None, cut: Bytes::new() }
    }
}

/// Frames on their way to one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    limit_bytes: usize,
    ready: Notify,
    space: Notify,
    closed: CancellationToken,
}

impl Outbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            limit_bytes,
            ready: Notify::new(),
            space: Notify::new(),
            closed: CancellationToken::new(),
        }
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
        self.closed.cancel();
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

    /// Writes the queue to a socket until the outbox is closed, and says so. Ends early if the socket takes no byte for
    /// `stall_wait` ([`Close::TooSlow`]), or breaks.
    pub(crate) async fn write_all(
        &self,
        socket: &mut (dyn AsyncWrite + Send + Unpin),
        stall_wait: Duration,
    ) -> Ended {
        loop {
            let (mut frames, closing) = self.take();
            if frames.is_empty() {
                let Some(close) = closing else {
                    self.ready.notified().await;
                    continue;
                };
                say_goodbye(socket, close, Bytes::new(), CLOSE_WAIT).await;
                return Ended { close, cut: Bytes::new() };
            }
            if let Err(ended) = self.write(&mut frames, socket, stall_wait).await {
                self.close(ended.close);
                return ended;
            }
        }
    }

    async fn write(
        &self,
        frames: &mut VecDeque<Bytes>,
        socket: &mut (dyn AsyncWrite + Send + Unpin),
        stall_wait: Duration,
    ) -> Result<(), Ended> {
        let mut cut = false;
        while !frames.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
                let mut count = 0;
                for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
                    *slice = IoSlice::new(frame);
                    count += 1;
                }
                let some = slices.get(..count).unwrap_or_default();
                tokio::select! {
                    biased;
                    written = socket.write_vectored(some) => match written {
                        Err(_) | Ok(0) => return Err(Ended::silently()),
                        Ok(written) => written,
                    },
                    close = self.give_up(stall_wait) => {
                        let cut = frames.pop_front().filter(|_| cut).unwrap_or_default();
                        return Err(Ended { close, cut });
                    }
                }
            };
            cut = advance(frames, written);
            self.written(written);
        }
        Ok(())
    }

    /// When a socket has taken nothing for too long: that is sooner once the connection is to be closed.
    async fn give_up(&self, stall_wait: Duration) -> Option<Close> {
        let closing = async {
            self.closed.cancelled().await;
            tokio::time::sleep(CLOSE_WAIT).await;
        };
        tokio::select! {
            () = closing => {}
            () = tokio::time::sleep(stall_wait) => {}
        }
        self.state.lock().closing.unwrap_or(Some(Close::TooSlow))
    }
}

/// Ends a frame that was cut, says why the connection ends, and ends it; all that within `wait`.
pub(crate) async fn say_goodbye(
    socket: &mut (dyn AsyncWrite + Send + Unpin),
    close: Option<Close>,
    cut: Bytes,
    wait: Duration,
) {
    let goodbye = async {
        socket.write_all(&cut).await?;
        if let Some(close) = close {
            socket.write_all(&ws::close_frame(close)).await?;
        }
        socket.shutdown().await
    };
    drop(tokio::time::timeout(wait, goodbye).await);
}

/// Takes away what was written; whether the first of what is left has lost its beginning.
fn advance(frames: &mut VecDeque<Bytes>, mut written: usize) -> bool {
    while let Some(frame) = frames.front_mut() {
        if frame.len() > written {
            frame.advance(written);
            return written > 0;
        }
        written -= frame.len();
        frames.pop_front();
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

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
        let ended = outbox.write_all(&mut socket, Duration::from_secs(1)).await;
        assert!(ended.close == Some(Close::GoingAway) && ended.cut.is_empty());
        assert!(socket.starts_with(b"123456reply\x88"));
        assert_eq!(outbox.bytes(), 0);
        assert!(!outbox.offer(Bytes::from_static(b"late")));
    }

    #[test]
    fn partial_writes_keep_the_rest() {
        let mut frames = VecDeque::from([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
        assert!(advance(&mut frames, 4), "the second was cut");
        assert_eq!(frames, [Bytes::from_static(b"efg")]);
        assert!(!advance(&mut frames, 3));
    }

    /// A client that takes nothing for too long, and then reads on, gets the rest of the frame and the reason.
    #[tokio::test]
    async fn who_is_too_slow_can_still_learn_it() {
        let (mut client, mut server) = tokio::io::duplex(8);
        let outbox = Outbox::new(1_000);
        for frame in [&b"01234"[..], b"56789", b"never sent"] {
            outbox.push(Bytes::from_static(frame));
        }
        let ended = outbox.write_all(&mut server, Duration::from_millis(20)).await;
        assert_eq!((ended.close, ended.cut.as_ref()), (Some(Close::TooSlow), &b"89"[..]));
        let goodbye = say_goodbye(&mut server, ended.close, ended.cut, Duration::from_secs(30));
        let mut got = Vec::new();
        let reading = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.read_to_end(&mut got).await
        };
        let ((), read) = tokio::join!(goodbye, reading);
        read.unwrap();
        assert!(got.starts_with(b"0123456789\x88"), "{got:?}");
        assert_eq!(got[12..14], 3008_u16.to_be_bytes());
    }

    #[tokio::test]
    async fn a_stalled_socket_holds_no_close_up() {
        let (_client, mut server) = tokio::io::duplex(1);
        let outbox = Outbox::new(1_000);
        outbox.push(Bytes::from_static(b"01234"));
        let writing = outbox.write_all(&mut server, Duration::from_secs(100_000));
        let closing = async {
            tokio::task::yield_now().await;
            outbox.close(Some(Close::GoingAway));
        };
        let (ended, ()) = tokio::join!(writing, closing);
        assert_eq!((ended.close, ended.cut.as_ref()), (Some(Close::GoingAway), &b"1234"[..]));
    }
}
