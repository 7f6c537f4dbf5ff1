//! Reading messages: whole, bounded, masked, valid.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, after_handshake_split};
use parley_wire::code::Close;
use tokio::io::AsyncRead;

/// The greatest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

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
    /// The client closes, with this code if it gave one; answer with the same.
    Closed(Option<u16>),
}

struct Partial {
    is_text: bool,
    bytes: BytesMut,
    fragments: usize,
}

/// Reads messages from the client's half of a connection.
pub struct Reader<R> {
    frames: WebSocketRead<R>,
    message_bytes_max: usize,
    fragments_max: usize,
    partial: Option<Partial>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader that takes messages up to so many bytes.
    pub fn new(stream: R, message_bytes_max: usize) -> Self {
        let (mut frames, _) = after_handshake_split(stream, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        frames.set_max_message_size(message_bytes_max.saturating_add(1).max(CONTROL_BYTES_MAX + 1));
        let fragments_max = 128 + message_bytes_max / 32;
        Self { frames, message_bytes_max, fragments_max, partial: None }
    }

    /// The next message or control frame.
    ///
    /// Not cancel-safe: a future that was polled must be polled to its end.
    ///
    /// # Errors
    /// With what code to close; `None` if the connection is gone.
    pub async fn next(&mut self) -> Result<Inbound, Option<Close>> {
        loop {
            let mut no_duties = |_: Frame<'_>| async { Ok::<(), std::io::Error>(()) };
            let mut frame =
                self.frames.read_frame(&mut no_duties).await.map_err(|error| close_code(&error))?;
            if !is_masked(&mut frame) {
                return Err(Some(Close::Protocol));
            }
            let (fin, opcode) = (frame.fin, frame.opcode);
            let payload = if let Payload::Bytes(bytes) = frame.payload {
                bytes.freeze()
            } else {
                Vec::from(frame.payload).into()
            };
            if let Some(inbound) = self.take(fin, opcode, payload).map_err(Some)? {
                return Ok(inbound);
            }
        }
    }

    fn take(&mut self, fin: bool, opcode: OpCode, payload: Bytes) -> Result<Option<Inbound>, Close> {
        match opcode {
            OpCode::Close | OpCode::Ping | OpCode::Pong if payload.len() > CONTROL_BYTES_MAX => {
                Err(Close::Protocol)
            }
            OpCode::Ping => Ok(Some(Inbound::Ping(payload))),
            OpCode::Pong => Ok(Some(Inbound::Pong)),
            OpCode::Close => closed(&payload).map(Some),
            OpCode::Text | OpCode::Binary => {
                if self.partial.is_some() {
                    return Err(Close::Protocol);
                }
                let is_text = matches!(opcode, OpCode::Text);
                if fin {
                    return whole(is_text, payload).map(Some);
                }
                self.partial = Some(Partial { is_text, bytes: BytesMut::from(&*payload), fragments: 1 });
                Ok(None)
            }
            OpCode::Continuation => {
                let Some(partial) = &mut self.partial else { return Err(Close::Protocol) };
                partial.fragments += 1;
                if partial.bytes.len() + payload.len() > self.message_bytes_max
                    || partial.fragments > self.fragments_max
                {
                    return Err(Close::TooLarge);
                }
                partial.bytes.extend_from_slice(&payload);
                if !fin {
                    return Ok(None);
                }
                let Some(partial) = self.partial.take() else { return Ok(None) };
                whole(partial.is_text, partial.bytes.freeze()).map(Some)
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

/// The library hides the mask, but its header tells.
fn is_masked(frame: &mut Frame<'_>) -> bool {
    let mut head = [0; 16];
    frame.fmt_head(&mut head);
    head.get(1).is_some_and(|byte| byte & 0x80 != 0)
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

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "all other faults of the library are breaches of the protocol"
)]
fn close_code(error: &WebSocketError) -> Option<Close> {
    match error {
        WebSocketError::FrameTooLarge => Some(Close::TooLarge),
        WebSocketError::InvalidUTF8 => Some(Close::InvalidText),
        WebSocketError::UnexpectedEOF
        | WebSocketError::ConnectionClosed
        | WebSocketError::IoError(_)
        | WebSocketError::SendError(_) => None,
        _ => Some(Close::Protocol),
    }
}
