//! A session's bounded queue of frames, and their way to the socket.
//!
//! Frames are written by the [lane](crate::flusher) that the outbox belongs to; once the socket is full, by the session's own
//! task, which waits for it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use parley_wire::code::Close;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::flusher::Lane;
use crate::ws;

/// Frames given to one system call; several that were queued as one piece count as one, here and below.
const FRAMES_PER_WRITE_MAX: usize = 64;
/// How long a close frame may take on its way out.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long what is queued may take on its way out once the connection is to be closed, however steadily it goes: a planned stop
/// waits for it.
const CLOSING_MAX: Duration = Duration::from_secs(5);

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
    /// What others queue until the first frame is there; `None`: nothing is held back.
    held: Option<Vec<Bytes>>,
    closing: Option<Option<Close>>,
    /// When it was closed.
    closed_at: Option<Instant>,
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

    /// Queues a frame unless that would pass the limit; `false` then, or when closing. While there is
    /// [space](Self::wait_for_space) it is taken however large it is: else whoever waits for space would try for ever.
    pub(crate) fn offer(self: &Arc<Self>, frame: Bytes) -> bool {
        let limit = self.limit_bytes;
        self.push_if(frame, move |bytes, more| bytes <= limit / 2 || bytes + more <= limit)
    }

    /// Queues several frames as one piece, if all of them fit within the limit.
    pub(crate) fn offer_together(self: &Arc<Self>, frames: Bytes) -> bool {
        let limit = self.limit_bytes;
        self.push_if(frames, move |bytes, more| bytes + more <= limit)
    }

    /// Queues a frame that nobody waits for, and that isn't told again: it may take as much again as the limit.
    pub(crate) fn insist(self: &Arc<Self>, frame: Bytes) -> bool {
        let limit = self.limit_bytes.saturating_mul(2);
        self.push_if(frame, move |bytes, more| bytes == 0 || bytes + more <= limit)
    }

    /// Holds back what is queued until there is a [first frame](Self::lift).
    pub(crate) fn hold(&self) {
        self.state.lock().held.get_or_insert_default();
    }

    /// Queues a frame, and what was held back behind it.
    pub(crate) fn lift(self: &Arc<Self>, first: Bytes) {
        let mut state = self.state.lock();
        let held = state.held.take().unwrap_or_default();
        if state.closing.is_some() {
            return;
        }
        // What was held back was counted when it came.
        state.bytes += first.len();
        state.frames.push_back(first);
        state.frames.extend(held);
        self.list(state);
    }

    fn push_if(self: &Arc<Self>, frame: Bytes, may: impl FnOnce(usize, usize) -> bool) -> bool {
        let mut state = self.state.lock();
        if state.closing.is_some() || !may(state.bytes, frame.len()) {
            return false;
        }
        state.bytes += frame.len();
        if let Some(held) = &mut state.held {
            held.push(frame);
            return true;
        }
        state.frames.push_back(frame);
        self.list(state);
        true
    }

    /// Sees to it that the lane writes what is queued, unless it was told or the session's task does.
    fn list(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let lists = !state.is_blocked && !std::mem::replace(&mut state.is_listed, true);
        drop(state);
        if lists {
            self.lane.list(self.clone());
        }
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
        {
            let mut state = self.state.lock();
            state.closing.get_or_insert(close);
            state.closed_at.get_or_insert_with(Instant::now);
        }
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
        let closing = loop {
            let taken = {
                let mut state = self.state.lock();
                match self.write(&mut state) {
                    Wrote::Broken => return Some(Ended::silently()),
                    Wrote::All => {
                        state.drained_at = Some(Instant::now());
                        // Under the same lock: nothing may be queued between this look and the close frame.
                        break state.closing;
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
        };
        let close = closing?;
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
            let closed_at = self.state.lock().closed_at;
            let at_last = closed_at.map(|at| at + CLOSING_MAX).unwrap_or_else(Instant::now);
            tokio::time::sleep_until(at_last.min(Instant::now() + CLOSE_WAIT)).await;
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
mod tests;
