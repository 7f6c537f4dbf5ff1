//! Echoes messages through the edge's own WebSocket guard, for Autobahn. Prints the port that it listens on.

use std::io::Write as _;

use parley_edge::ws::{Inbound, Reader, binary_frame, close_frame, pong_frame, raw_close_frame, text_frame};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Cases of section 9 go up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move { drop(echo(socket).await) });
    }
}

async fn echo(socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    let mut key = String::new();
    loop {
        let mut line = String::new();
        read.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("sec-websocket-key")
        {
            value.trim().clone_into(&mut key);
        }
    }
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    write.write_all(response.as_bytes()).await?;
    let mut reader = Reader::new(&mut read, MESSAGE_BYTES_MAX);
    loop {
        let frame = match reader.next().await {
            Ok(Inbound::Text(text)) => text_frame(&text),
            Ok(Inbound::Binary(bytes)) => binary_frame(&bytes),
            Ok(Inbound::Ping(payload)) => pong_frame(&payload),
            Ok(Inbound::Pong) => continue,
            Ok(Inbound::Closed(code)) => {
                write.write_all(&raw_close_frame(code.unwrap_or(1000), "")).await?;
                break;
            }
            Err(close) => {
                if let Some(close) = close {
                    write.write_all(&close_frame(close)).await?;
                }
                break;
            }
        };
        write.write_all(&frame).await?;
    }
    write.shutdown().await
}
