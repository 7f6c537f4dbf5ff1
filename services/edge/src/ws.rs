//! The WebSocket: the handshake, by `fastwebsockets`; frames in, which no idle connection holds a buffer for; frames out,
//! encoded once for any number of connections.
//!
//! What is bounded: a whole message, the number of its fragments, control frames. Every fault has its close frame.

mod handshake;
mod reader;

use std::cell::RefCell;

use bytes::{BufMut as _, Bytes, BytesMut};
use parley_wire::code::Close;
use parley_wire::frame::{Quick, encode_behind, encode_quickly_behind};
use serde::Serialize;

pub(crate) use handshake::{Halves, ReadHalf, handshake};
pub use reader::{Inbound, Reader};

/// The longest header of a frame that a server sends.
const HEADER_BYTES_MAX: usize = 10;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Writes a header into the end of `space` and returns how long it is.
fn header(space: &mut [u8; HEADER_BYTES_MAX], opcode: u8, payload_bytes: usize) -> usize {
    let mut header = [0; HEADER_BYTES_MAX];
    let mut writer = header.as_mut_slice();
    writer.put_u8(0x80 | opcode);
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length), _) if length < 126 => writer.put_u8(length),
        (_, Ok(length)) => {
            writer.put_u8(126);
            writer.put_u16(length);
        }
        _ => {
            writer.put_u8(127);
            writer.put_u64(payload_bytes as u64);
        }
    }
    let length = HEADER_BYTES_MAX - writer.len();
    let start = HEADER_BYTES_MAX - length;
    for (to, from) in space.iter_mut().skip(start).zip(header) {
        *to = from;
    }
    length
}

/// Space that a thread's frames are encoded in, if they fit; more isn't kept.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// The length of a frame is known once it is encoded: so it is encoded here, where nothing has to grow, and takes as much
    /// memory as it needs, for as long as a channel's tail keeps it.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A whole text frame with `{"event","id"?,"data"}`: encoded once, header included, so that the very same bytes can go to
/// any number of sockets.
#[must_use]
pub fn text<T: Serialize>(event: &str, id: Option<&str>, data: &T) -> Bytes {
    encoded(|bytes| encode_behind(bytes, event, id, data))
}

/// [`text`] of a body that writes itself.
#[must_use]
pub(crate) fn quick_text<T: Quick>(event: &str, id: Option<&str>, data: &T) -> Bytes {
    encoded(|bytes| encode_quickly_behind(bytes, event, id, data))
}

/// A text frame of what is encoded behind the bytes that are there.
fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(HEADER_BYTES_MAX, 0);
        encode(scratch);
        let mut space = [0; HEADER_BYTES_MAX];
        let start = HEADER_BYTES_MAX - header(&mut space, TEXT, scratch.len() - HEADER_BYTES_MAX);
        for (to, from) in scratch.iter_mut().zip(space) {
            *to = from;
        }
        let frame = Bytes::copy_from_slice(scratch.get(start..).unwrap_or_default());
        scratch.clear();
        scratch.shrink_to(SCRATCH_BYTES_MAX);
        frame
    })
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut space = [0; HEADER_BYTES_MAX];
    let length = header(&mut space, opcode, payload.len());
    let mut bytes = BytesMut::with_capacity(length + payload.len());
    bytes.extend(space.iter().skip(HEADER_BYTES_MAX - length));
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

/// A text frame with this payload, as it is.
#[must_use]
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// A binary frame.
#[must_use]
pub fn binary_frame(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// A ping.
#[must_use]
pub fn ping_frame() -> Bytes {
    frame(PING, b"")
}

/// A pong with the ping's payload.
#[must_use]
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// A close frame with its reason.
#[must_use]
pub fn close_frame(close: Close) -> Bytes {
    raw_close_frame(close.code(), close.reason())
}

/// A close frame with any code.
#[must_use]
pub fn raw_close_frame(code: u16, reason: &str) -> Bytes {
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.put_u16(code);
    payload.extend_from_slice(reason.as_bytes());
    frame(CLOSE, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_at_the_edges_of_their_lengths() {
        for (length, expected) in [
            (0usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text_frame(&vec![b'x'; length]);
            assert_eq!(frame.len(), expected.len() + length);
            assert!(frame.starts_with(&expected), "{length}");
        }
        let frame = text("pong", Some("1"), &serde_json::json!({}));
        assert_eq!(&frame[2..], br#"{"event":"pong","id":"1","data":{}}"#);
    }
}
