//! What the tests of this crate share: a real connection, and a session at its end.

use std::sync::Arc;

use parley_domain::UserId;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::outbox::Outbox;
use crate::session::Session;

/// A client, and what a server writes to it with.
async fn connection() -> (TcpStream, OwnedWriteHalf) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(connecting, listener.accept());
    (client.unwrap(), server.unwrap().0.into_split().1)
}

/// A client, and an outbox to it that takes so many bytes.
pub(crate) async fn outbox(limit_bytes: usize) -> (TcpStream, Arc<Outbox>) {
    let (client, server) = connection().await;
    (client, Outbox::new(server, Arc::default(), limit_bytes))
}

/// A client, and its user's session.
pub(crate) async fn session(user: &str, limit_bytes: usize) -> (TcpStream, Arc<Session>) {
    let (client, outbox) = outbox(limit_bytes).await;
    let user = UserId::parse(user).unwrap();
    (client, Arc::new(Session::new(user, outbox, Arc::default())))
}
