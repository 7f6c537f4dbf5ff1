//! Bodies that no handler reads.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, World, token};

/// Sends all of a request before it reads the answer, as most clients do.
async fn answer(world: &World, head: &str, body_bytes: usize) -> String {
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {body_bytes}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    for chunk in vec![b' '; body_bytes].chunks(64 * 1024) {
        socket.write_all(chunk).await.expect("the server reads on");
    }
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn whoever_sends_a_large_body_reads_why_it_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), true).await;
    let bearer = format!("\r\nAuthorization: Bearer {}", token("ann"));
    for (head, status, code) in [
        ("POST /v1/groups HTTP/1.1".to_owned(), 401, "unauthenticated"),
        (format!("POST /v1/nope HTTP/1.1{bearer}"), 404, "not_found"),
        (format!("PUT /v1/groups HTTP/1.1{bearer}"), 404, "not_found"),
        (format!("POST /v1/groups HTTP/1.1{bearer}"), 413, "too_large"),
    ] {
        for body_bytes in [100_000, 3_000_000] {
            if body_bytes < 1_000_000 && status == 413 {
                continue;
            }
            let answer = answer(&world, &head, body_bytes).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}, {body_bytes}: {answer}");
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        }
    }
    world.stop().await;
}
