//! Reading messages: whole, bounded, masked, valid (RFC 6455, section 5).
//!
//! Our own, since a connection that is idle shall hold no buffer: what comes is read into one that all connections of a
//! thread share, and only what is there is copied out of it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use parley_wire::code::Close;
use tokio::io::{AsyncRead, ReadBuf};

use super::{BINARY, CLOSE, PING, PONG, TEXT};

/// The greatest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// What a thread reads in one go.
const READ_BYTES: usize = 16 * 1024;

const CONTINUATION: u8 = 0x0;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// What came.
#[derive(Debug)]
pub enum Inbound {
    /// A whole text.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping; answer with a pong of the same payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The client closes, with this code if it gave one.
    Closed(Option<u16>),
}

struct Partial {
    is_text: bool,
    bytes: BytesMut,
    fragments: usize,
}

/// The header of a frame.
///
/// ```text
///  byte 0               1                    2
///       ┌───┬───┬──────┬──────┬─────────────┬───────────────────────┬──────────────┐
///       │FIN│RSV│opcode│MASK=1│ length 7    │ length 16 if it is 126│ mask, 4 bytes│
///       │ 1 │ 3 │  4   │  1   │             │ length 64 if it is 127│              │
///       └───┴───┴──────┴──────┴─────────────┴───────────────────────┴──────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    header_bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// From the first bytes of a frame; `None` if there aren't enough of them.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Close> {
        let Some(([first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let is_control = opcode & 0x8 != 0;
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        // Extensions were not agreed on, and a client's frames are masked.
        if first & 0x70 != 0 || !is_known || second & 0x80 == 0 {
            return Err(Close::Protocol);
        }
        let length = second & 0x7f;
        if is_control && (!fin || usize::from(length) > CONTROL_BYTES_MAX) {
            return Err(Close::Protocol);
        }
        let (payload_bytes, rest) = match length {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        if payload_bytes >> 63 != 0 {
            return Err(Close::Protocol);
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| Close::TooLarge)?;
        Ok(Some(Self { fin, opcode, mask: *mask, header_bytes: bytes.len() - rest.len(), payload_bytes }))
    }
}

/// Takes the mask off.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Reads messages from the client's half of a connection.
pub struct Reader<R> {
    stream: R,
    /// What was read and not yet taken; without memory of its own while it is empty.
    buffer: BytesMut,
    message_bytes_max: usize,
    fragments_max: usize,
    partial: Option<Partial>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader that takes messages up to so many bytes.
    pub fn new(stream: R, message_bytes_max: usize) -> Self {
        let fragments_max = 128 + message_bytes_max / 32;
        Self { stream, buffer: BytesMut::new(), message_bytes_max, fragments_max, partial: None }
    }

    /// The next message or control frame. Cancel-safe.
    ///
    /// # Errors
    /// With what code to close; `None` if the connection is gone.
    pub async fn next(&mut self) -> Result<Inbound, Option<Close>> {
        loop {
            while let Some((header, payload)) = self.frame().map_err(Some)? {
                if let Some(inbound) = self.take(header, payload).map_err(Some)? {
                    return Ok(inbound);
                }
            }
            match self.read().await {
                Ok(0) | Err(_) => return Err(None),
                Ok(_) => {}
            }
        }
    }

    /// The next frame, its mask taken off, if it is here as a whole. One that is too long is refused by its header.
    fn frame(&mut self) -> Result<Option<(Header, Bytes)>, Close> {
        let Some(header) = Header::parse(&self.buffer)? else { return Ok(None) };
        let before = self.partial.as_ref().map_or(0, |partial| partial.bytes.len());
        let is_control = header.opcode & 0x8 != 0;
        if !is_control && header.payload_bytes > self.message_bytes_max.saturating_sub(before) {
            return Err(Close::TooLarge);
        }
        if self.buffer.len() < header.header_bytes + header.payload_bytes {
            return Ok(None);
        }
        self.buffer.advance(header.header_bytes);
        let mut payload = if self.buffer.len() == header.payload_bytes {
            std::mem::take(&mut self.buffer)
        } else {
            self.buffer.split_to(header.payload_bytes)
        };
        unmask(&mut payload, header.mask);
        Ok(Some((header, payload.freeze())))
    }

    /// Reads what is there; how much. 0 is the end.
    async fn read(&mut self) -> io::Result<usize> {
        let Self { stream, buffer, .. } = self;
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut space = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
                buffer.extend_from_slice(space.filled());
                Poll::Ready(Ok(space.filled().len()))
            })
        })
        .await
    }

    fn take(&mut self, header: Header, payload: Bytes) -> Result<Option<Inbound>, Close> {
        match header.opcode {
            PING => Ok(Some(Inbound::Ping(payload))),
            PONG => Ok(Some(Inbound::Pong)),
            CLOSE => closed(&payload).map(Some),
            CONTINUATION => {
                let Some(partial) = &mut self.partial else { return Err(Close::Protocol) };
                partial.fragments += 1;
                if partial.fragments > self.fragments_max {
                    return Err(Close::TooLarge);
                }
                partial.bytes.extend_from_slice(&payload);
                if !header.fin {
                    return Ok(None);
                }
                let Some(partial) = self.partial.take() else { return Ok(None) };
                whole(partial.is_text, partial.bytes.freeze()).map(Some)
            }
            opcode => {
                if self.partial.is_some() {
                    return Err(Close::Protocol);
                }
                let is_text = opcode == TEXT;
                if header.fin {
                    return whole(is_text, payload).map(Some);
                }
                self.partial = Some(Partial { is_text, bytes: BytesMut::from(&*payload), fragments: 1 });
                Ok(None)
            }
        }
    }
}

fn whole(is_text: bool, payload: Bytes) -> Result<Inbound, Close> {
    if !is_text {
        return Ok(Inbound::Binary(payload));
    }
    if std::str::from_utf8(&payload).is_err() {
        return Err(Close::InvalidText);
    }
    Ok(Inbound::Text(payload))
}

fn closed(payload: &[u8]) -> Result<Inbound, Close> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Inbound::Closed(None)) } else { Err(Close::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Close::Protocol);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Close::InvalidText);
    }
    Ok(Inbound::Closed(Some(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Everything that some bytes hold, given `step` bytes at a time, and how it ends.
    async fn all(bytes: &[u8], step: usize, message_bytes_max: usize) -> (Vec<String>, Option<Close>) {
        let mut pieces = tokio_test_stream(bytes, step);
        let mut reader = Reader::new(&mut pieces, message_bytes_max);
        let mut found = Vec::new();
        loop {
            match reader.next().await {
                Ok(Inbound::Text(text)) => found.push(format!("text {}", String::from_utf8_lossy(&text))),
                Ok(Inbound::Binary(bytes)) => found.push(format!("binary {}", bytes.len())),
                Ok(Inbound::Ping(bytes)) => found.push(format!("ping {}", bytes.len())),
                Ok(Inbound::Pong) => found.push("pong".to_owned()),
                Ok(Inbound::Closed(code)) => found.push(format!("closed {code:?}")),
                Err(close) => return (found, close),
            }
        }
    }

    /// A stream that gives its bytes in pieces, with a wait before each.
    struct Pieces {
        pieces: std::collections::VecDeque<Vec<u8>>,
        waited: bool,
    }

    fn tokio_test_stream(bytes: &[u8], step: usize) -> Pieces {
        Pieces { pieces: bytes.chunks(step).map(<[u8]>::to_vec).collect(), waited: false }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            space: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.waited = !self.waited;
            if self.waited {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(piece) = self.pieces.pop_front() {
                space.put_slice(&piece);
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn messages_are_the_same_however_their_bytes_come() {
        let long = "é".repeat(40_000);
        let mut bytes = masked(0x81, b"one");
        bytes.extend(masked(0x89, b"are you there"));
        bytes.extend(masked(0x01, b"be"));
        bytes.extend(masked(0x8a, b""));
        bytes.extend(masked(0x00, b"gin"));
        bytes.extend(masked(0x80, "ning ü".as_bytes()));
        bytes.extend(masked(0x82, &[0; 300]));
        bytes.extend(masked(0x81, long.as_bytes()));
        bytes.extend(masked(0x88, &1000u16.to_be_bytes()));
        let expected = [
            "text one",
            "ping 13",
            "pong",
            "text beginning ü",
            "binary 300",
            &format!("text {long}"),
            "closed Some(1000)",
        ];
        for step in [1, 2, 3, 7, 1_000, 16_384] {
            assert_eq!(
                all(&bytes, step, 100_000).await,
                (expected.map(str::to_owned).to_vec(), None),
                "{step}"
            );
        }
    }

    #[tokio::test]
    async fn breaches_are_closed_as_the_protocol_says() {
        let unmasked = vec![0x81, 1, b'x'];
        let huge = vec![0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0];
        let mut late = masked(0x01, b"x");
        late.extend(masked(0x81, b"another before the end"));
        let cases = [
            (unmasked, Close::Protocol),
            (huge, Close::Protocol),
            (late, Close::Protocol),
            (masked(0xc1, b"rsv"), Close::Protocol),
            (masked(0x83, b"reserved"), Close::Protocol),
            (masked(0x09, b"a fragmented ping"), Close::Protocol),
            (masked(0x89, &[0; 126]), Close::Protocol),
            (masked(0x80, b"continues nothing"), Close::Protocol),
            (masked(0x88, b"x"), Close::Protocol),
            (masked(0x88, &1005u16.to_be_bytes()), Close::Protocol),
            (masked(0x81, &[0xff]), Close::InvalidText),
            (masked(0x81, &[b'x'; 1_001]), Close::TooLarge),
            // By its header alone.
            (vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4], Close::TooLarge),
        ];
        for (bytes, close) in cases {
            assert_eq!(all(&bytes, 3, 1_000).await, (Vec::new(), Some(close)), "{bytes:02x?}");
        }
    }

    #[tokio::test]
    async fn fragments_are_bounded_in_bytes_and_number() {
        let mut bytes = masked(0x01, &[b'x'; 600]);
        bytes.extend(masked(0x00, &[b'x'; 400]));
        assert_eq!(all(&bytes, 100, 1_000).await.1, None, "as much as may be");
        bytes.extend(masked(0x00, b"x"));
        assert_eq!(all(&bytes, 100, 1_000).await.1, Some(Close::TooLarge));
        let mut many = masked(0x01, b"");
        many.extend((0..200).flat_map(|_| masked(0x00, b"")));
        assert_eq!(all(&many, 100, 1_000).await.1, Some(Close::TooLarge));
        let mut small = masked(0x89, &[b'x'; 125]);
        small.extend(masked(0x81, &[b'x'; 101]));
        let got = all(&small, 100, 100).await;
        assert_eq!(
            got,
            (vec!["ping 125".to_owned()], Some(Close::TooLarge)),
            "less than a control frame may have"
        );
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let mut pieces = tokio_test_stream(&masked(0x81, b"hello"), 100);
        let mut reader = Reader::new(&mut pieces, 1_000);
        assert!(matches!(reader.next().await, Ok(Inbound::Text(_))));
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
