//! A session's bounded queue of frames, and their way to the socket.
//!
//! Frames are written by the [lane](crate::flusher) that the outbox belongs to; once the socket is full, by the session's own
//! task, which waits for it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use parley_wire::code::Close;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::flusher::Lane;
use crate::ws;

/// Frames given to one system call.
const FRAMES_PER_WRITE_MAX: usize = 64;
/// How long a close frame may take on its way out.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// Of the frames queued.
    bytes: usize,
    /// That the socket has taken since the beginning, wrapping around: whether it takes any isn't seen by what is queued, to
    /// which more is added meanwhile.
    taken: usize,
    /// The socket took the beginning of the first frame.
    is_cut: bool,
    /// The lane will write.
    is_listed: bool,
    /// The socket was full: the session's task will write.
    is_blocked: bool,
    /// When the socket, having been full, had last taken everything.
    drained_at: Option<Instant>,
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

/// What an attempt to write came to.
enum Wrote {
    /// Everything.
    All,
    /// As much as the socket takes now.
    Some,
    /// The connection is gone.
    Broken,
}

/// Frames on their way to one client.
pub(crate) struct Outbox {
    socket: OwnedWriteHalf,
    lane: Arc<Lane>,
    state: Mutex<State>,
    limit_bytes: usize,
    /// For the session's task: the socket was full, or the outbox was closed.
    attention: Notify,
    space: Notify,
    closed: CancellationToken,
}

impl Outbox {
    pub(crate) fn new(socket: OwnedWriteHalf, lane: Arc<Lane>, limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            socket,
            lane,
            state: Mutex::new(State::default()),
            limit_bytes,
            attention: Notify::new(),
            space: Notify::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Queues a frame whatever the limit. For replies, which are bounded by the reader waiting for space first.
    pub(crate) fn push(self: &Arc<Self>, frame: Bytes) {
        self.push_if(frame, |_, _| true);
    }

    /// Queues a frame unless that would pass the limit; `false` then, or when closing.
    pub(crate) fn offer(self: &Arc<Self>, frame: Bytes) -> bool {
        let limit = self.limit_bytes;
        self.push_if(frame, move |bytes, more| bytes == 0 || bytes + more <= limit)
    }

    fn push_if(self: &Arc<Self>, frame: Bytes, may: impl FnOnce(usize, usize) -> bool) -> bool {
        let lists = {
            let mut state = self.state.lock();
            if state.closing.is_some() || !may(state.bytes, frame.len()) {
                return false;
            }
            state.bytes += frame.len();
            state.frames.push_back(frame);
            !state.is_blocked && !std::mem::replace(&mut state.is_listed, true)
        };
        if lists {
            self.lane.list(self.clone());
        }
        true
    }

    /// Writes what the socket takes. For the lane.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        state.is_listed = false;
        if state.is_blocked {
            return;
        }
        match self.write(&mut state) {
            Wrote::All => {}
            Wrote::Some => self.attention.notify_one(),
            Wrote::Broken => {
                drop(state);
                self.close(None);
            }
        }
    }

    /// Sends what is queued, then closes. Only the first reason counts; `None` closes without a close frame.
    pub(crate) fn close(&self, close: Option<Close>) {
        self.state.lock().closing.get_or_insert(close);
        self.closed.cancel();
        self.attention.notify_one();
        self.space.notify_waiters();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing.is_some()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Until when what was queued had to wait for the client to take what came before it: now, if it still has to; `None`: it
    /// never had to. Whether a client takes anything at all is looked at by [`Outbox::write_all`].
    pub(crate) fn held_up_until(&self) -> Option<Instant> {
        let state = self.state.lock();
        if state.is_blocked { Some(Instant::now()) } else { state.drained_at }
    }

    /// Waits until less than half of the limit is taken; `false` when closing.
    pub(crate) async fn wait_for_space(&self) -> bool {
        loop {
            {
                let state = self.state.lock();
                if state.closing.is_some() {
                    return false;
                }
                if self.has_space(&state) {
                    return true;
                }
            }
            let space = self.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            // Between the look and the wait it may have come.
            let waits = {
                let state = self.state.lock();
                state.closing.is_none() && !self.has_space(&state)
            };
            if waits {
                space.await;
            }
        }
    }

    fn has_space(&self, state: &State) -> bool {
        state.bytes <= self.limit_bytes / 2
    }

    /// Writes until nothing is left or the socket is full. The lock is held meanwhile, so that nobody else writes.
    fn write(&self, state: &mut State) -> Wrote {
        state.is_blocked = false;
        let had_space = self.has_space(state);
        let wrote = loop {
            let written = match state.frames.len() {
                0 => break Wrote::All,
                1 => self.socket.try_write(state.frames.front().map_or(&[], |frame| frame)),
                count => {
                    let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
                    for (slice, frame) in slices.iter_mut().zip(&state.frames) {
                        *slice = IoSlice::new(frame);
                    }
                    let some = slices.get(..count).unwrap_or(&slices);
                    self.socket.try_write_vectored(some)
                }
            };
            match written {
                Ok(0) => break Wrote::Broken,
                Ok(written) => {
                    state.bytes -= written;
                    state.taken = state.taken.wrapping_add(written);
                    state.is_cut = advance(&mut state.frames, written);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    state.is_blocked = true;
                    break Wrote::Some;
                }
                Err(_) => break Wrote::Broken,
            }
        };
        if !had_space && self.has_space(state) {
            self.space.notify_waiters();
        }
        wrote
    }

    /// Sees to it that the socket gets what the lane couldn't write, until the outbox is closed, and says so. Ends early if
    /// the socket takes no byte for `stall_wait` ([`Close::TooSlow`]), or breaks.
    pub(crate) async fn write_all(&self, stall_wait: Duration) -> Ended {
        loop {
            self.attention.notified().await;
            if let Some(ended) = self.write_rest(stall_wait).await {
                self.close(ended.close);
                return ended;
            }
        }
    }

    /// Writes until nothing is left; how the connection ended, if it did.
    async fn write_rest(&self, stall_wait: Duration) -> Option<Ended> {
        loop {
            let taken = {
                let mut state = self.state.lock();
                match self.write(&mut state) {
                    Wrote::Broken => return Some(Ended::silently()),
                    Wrote::All => {
                        state.drained_at = Some(Instant::now());
                        break;
                    }
                    Wrote::Some => state.taken,
                }
            };
            let give_up = self.give_up(stall_wait);
            tokio::pin!(give_up);
            // Until it takes a byte.
            loop {
                tokio::select! {
                    biased;
                    writable = self.socket.writable() => if writable.is_err() {
                        return Some(Ended::silently());
                    },
                    close = &mut give_up => {
                        let mut state = self.state.lock();
                        let is_cut = state.is_cut;
                        let cut = state.frames.pop_front().filter(|_| is_cut).unwrap_or_default();
                        return Some(Ended { close, cut });
                    }
                }
                let mut state = self.state.lock();
                match self.write(&mut state) {
                    Wrote::Broken => return Some(Ended::silently()),
                    Wrote::Some if state.taken == taken => {}
                    Wrote::All | Wrote::Some => break,
                }
            }
        }
        let close = self.state.lock().closing?;
        say_goodbye(&self.socket, close, Bytes::new(), CLOSE_WAIT).await;
        Some(Ended { close, cut: Bytes::new() })
    }

    /// Ends the frame that was cut, says why the connection ends, and ends it; all that within `wait`.
    pub(crate) async fn say_goodbye(&self, ended: Ended, wait: Duration) {
        say_goodbye(&self.socket, ended.close, ended.cut, wait).await;
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

async fn say_goodbye(socket: &OwnedWriteHalf, close: Option<Close>, cut: Bytes, wait: Duration) {
    let goodbye = async {
        write_whole(socket, cut).await?;
        if let Some(close) = close {
            write_whole(socket, ws::close_frame(close)).await?;
        }
        rustix::net::shutdown(socket.as_ref(), rustix::net::Shutdown::Write).map_err(Into::into)
    };
    let _: Result<std::io::Result<()>, _> = tokio::time::timeout(wait, goodbye).await;
}

async fn write_whole(socket: &OwnedWriteHalf, mut bytes: Bytes) -> std::io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(&bytes) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// More than the buffers of both ends of a connection hold.
    const STALLING_BYTES: usize = 16 * 1024 * 1024;

    async fn connection() -> (TcpStream, OwnedWriteHalf) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0.into_split().1)
    }

    async fn outbox(limit_bytes: usize) -> (TcpStream, Arc<Outbox>) {
        let (client, server) = connection().await;
        (client, Outbox::new(server, Arc::default(), limit_bytes))
    }

    #[tokio::test]
    async fn limit_holds_for_offers_and_frees_with_what_is_written() {
        let (mut client, outbox) = outbox(10).await;
        assert!(outbox.offer(Bytes::from_static(b"123456")));
        assert!(!outbox.offer(Bytes::from_static(b"78901")), "would pass the limit");
        outbox.push(Bytes::from_static(b"reply"));
        assert_eq!(outbox.bytes(), 11);
        outbox.flush();
        assert_eq!(outbox.bytes(), 0);
        assert_eq!(outbox.held_up_until(), None);
        outbox.push(Bytes::from_static(b"last"));
        outbox.close(Some(Close::GoingAway));
        let ended = outbox.write_all(Duration::from_secs(1)).await;
        assert!(ended.close == Some(Close::GoingAway) && ended.cut.is_empty());
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got.starts_with(b"123456replylast\x88"));
        assert!(!outbox.offer(Bytes::from_static(b"late")));
    }

    #[test]
    fn partial_writes_keep_the_rest() {
        let mut frames = VecDeque::from([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
        assert!(advance(&mut frames, 4), "the second was cut");
        assert_eq!(frames, [Bytes::from_static(b"efg")]);
        assert!(!advance(&mut frames, 3));
    }

    #[tokio::test]
    async fn what_the_lane_can_not_write_is_written_once_the_client_reads() {
        let (mut client, outbox) = outbox(usize::MAX).await;
        outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
        outbox.flush();
        assert!(outbox.bytes() > 0, "the socket can't take all of that");
        let asked = Instant::now();
        assert!(outbox.held_up_until().is_some_and(|until| until >= asked), "still");
        outbox.push(Bytes::from_static(b"end"));
        outbox.close(None);
        let reading = async {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        };
        let (ended, got) = tokio::join!(outbox.write_all(Duration::from_secs(30)), reading);
        assert!(ended.close.is_none());
        let asked = Instant::now();
        assert!(outbox.held_up_until().is_some_and(|until| until < asked), "no more");
        assert_eq!(got.len(), STALLING_BYTES + 3);
        assert!(got.ends_with(b"xend"));
    }

    /// A client that takes nothing for too long, and then reads on, gets the rest of the frame and the reason.
    #[tokio::test]
    async fn who_is_too_slow_can_still_learn_it() {
        let (mut client, outbox) = outbox(usize::MAX).await;
        outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
        outbox.push(Bytes::from_static(b"never sent"));
        outbox.flush();
        let ended = outbox.write_all(Duration::from_millis(20)).await;
        assert_eq!(ended.close, Some(Close::TooSlow));
        assert!(!ended.cut.is_empty());
        let goodbye = outbox.say_goodbye(ended, Duration::from_secs(30));
        let mut got = Vec::new();
        let ((), read) = tokio::join!(goodbye, client.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got[STALLING_BYTES - 1..=STALLING_BYTES], *b"x\x88");
        assert_eq!(got[STALLING_BYTES + 2..STALLING_BYTES + 4], 3008_u16.to_be_bytes());
    }

    /// A client that takes what it asked for steadily isn't too slow, however much it goes on asking for.
    #[tokio::test]
    async fn who_reads_as_fast_as_it_asks_is_not_too_slow() {
        const STALL_WAIT: Duration = Duration::from_secs(2);
        let (mut client, outbox) = outbox(usize::MAX).await;
        outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
        outbox.flush();
        let reading = async {
            let mut some = vec![0; 512 * 1024];
            let begun = Instant::now();
            while begun.elapsed() < 2 * STALL_WAIT {
                client.read_exact(&mut some).await.unwrap();
                outbox.push(Bytes::from(some.clone()));
                tokio::time::sleep(STALL_WAIT / 20).await;
            }
        };
        tokio::select! {
            ended = outbox.write_all(STALL_WAIT) => panic!("closed: {:?}", ended.close),
            () = reading => {}
        }
    }

    #[tokio::test]
    async fn a_stalled_socket_holds_no_close_up() {
        let (_client, outbox) = outbox(usize::MAX).await;
        outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
        outbox.flush();
        let writing = outbox.write_all(Duration::from_secs(100_000));
        let closing = async {
            tokio::task::yield_now().await;
            outbox.close(Some(Close::GoingAway));
        };
        let (ended, ()) = tokio::join!(writing, closing);
        assert_eq!(ended.close, Some(Close::GoingAway));
        assert!(!ended.cut.is_empty());
    }
}
