//! A WebSocket frame by frame, for what a proper client does by itself: it answers pings.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::FRAME_WAIT;

/// The opcode of a text.
pub const TEXT: u8 = 1;
/// The opcode of a close.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of a pong.
pub const PONG: u8 = 10;

/// The handshake's answer and the frames that may wait to be looked at; more is no frame of these tests.
const UNREAD_BYTES_MAX: usize = 1024 * 1024;

/// A WebSocket client that does nothing unasked.
pub struct RawClient {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl RawClient {
    /// Connects with a token in the handshake's header; the connection is subscribed to nothing.
    pub async fn open(url: &str, token: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.unwrap();
        let handshake = format!(
            "GET /v1/ws?replay=none HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        socket.write_all(handshake.as_bytes()).await.unwrap();
        let mut client = Self { socket, unread: Vec::new() };
        let end = loop {
            match client.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => client.read_more().await,
            }
        };
        let head: Vec<u8> = client.unread.drain(..end).collect();
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        client
    }

    /// Sends a frame of at most 125 bytes; the mask is zeros, which changes nothing.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126, "it would need a longer head");
        let frame = [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat();
        self.socket.write_all(&frame).await.unwrap();
    }

    /// The next frame, of any kind: its opcode and payload. Nothing is lost of one that wasn't waited for to its end.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some((length, opcode, payload)) = first_frame(&self.unread) {
                self.unread.drain(..length);
                return (opcode, payload);
            }
            self.read_more().await;
        }
    }

    async fn read_more(&mut self) {
        assert!(self.unread.len() < UNREAD_BYTES_MAX, "{} bytes and no end", self.unread.len());
        let read = tokio::time::timeout(FRAME_WAIT, self.socket.read_buf(&mut self.unread)).await;
        assert!(read.expect("nothing came").unwrap() > 0, "the connection ended without a close frame");
    }
}

/// The length, opcode and payload of the frame that some bytes begin with, if it is whole.
fn first_frame(bytes: &[u8]) -> Option<(usize, u8, Vec<u8>)> {
    // A server doesn't mask.
    let (head, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())).unwrap()),
        length => (2, usize::from(length)),
    };
    let payload = bytes.get(head..head + length)?;
    Some((head + length, bytes[0] & 0x0f, payload.to_vec()))
}
