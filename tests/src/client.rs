//! Clients that know nothing but the contract.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::engines::tries;

/// How long a client waits for a frame before the test fails.
pub(crate) const FRAME_WAIT: Duration = Duration::from_secs(20);

/// A WebSocket client. Frames that a test doesn't wait for are kept for later.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    kept: VecDeque<Value>,
    next_id: u64,
    /// The `welcome`, once [`connect`] has read it.
    pub welcome: Value,
}

/// Connects with a token in the handshake's header and reads the `welcome`.
///
/// # Errors
/// What the handshake gave.
pub async fn connect(url: &str, token: &str, query: &str) -> Result<Client, Box<Error>> {
    let mut client = Client::open(url, Some(token), query, &[]).await?;
    let welcome = client.read_until(|frame| frame["event"] == "welcome").await;
    client.welcome = welcome.map_err(|_| Box::new(Error::ConnectionClosed))?["data"].clone();
    Ok(client)
}

/// The HTTP status of a handshake with these headers; 101 if it was taken.
pub async fn handshake_status(url: &str, token: Option<&str>, headers: &[(&str, &str)]) -> u16 {
    match Client::open(url, token, "", headers).await {
        Ok(_) => 101,
        Err(error) => match *error {
            Error::Http(response) => response.status().as_u16(),
            other => panic!("handshake: {other}"),
        },
    }
}

fn handshake(url: &str, token: Option<&str>, query: &str) -> Result<Request, Box<Error>> {
    let mut request = format!("{}/v1/ws{query}", url.replace("http://", "ws://")).into_client_request()?;
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    Ok(request)
}

impl Client {
    /// Only the handshake.
    ///
    /// # Errors
    /// What the handshake gave.
    pub async fn open(
        url: &str,
        token: Option<&str>,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Box<Error>> {
        let mut request = handshake(url, token, query)?;
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (socket, _) = connect_async(request).await?;
        Ok(Self { socket, kept: VecDeque::new(), next_id: 0, welcome: Value::Null })
    }

    /// The same on a link that holds little: what isn't read soon keeps the server waiting.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_narrow(url: &str, token: &str, buffer_bytes: u32) -> Result<Self, Box<Error>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(buffer_bytes).unwrap();
        let address = url.trim_start_matches("http://").parse().unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.map_err(Error::Io)?);
        let (socket, _) = client_async(handshake(url, Some(token), "")?, stream).await?;
        Ok(Self { socket, kept: VecDeque::new(), next_id: 0, welcome: Value::Null })
    }

    /// Sends any message.
    pub async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends a text if the connection still stands.
    ///
    /// # Errors
    /// It doesn't.
    pub async fn try_raw(&mut self, text: String) -> Result<(), Box<Error>> {
        self.try_message(Message::text(text)).await
    }

    /// Sends a message if the connection still stands.
    ///
    /// # Errors
    /// It doesn't.
    pub async fn try_message(&mut self, message: Message) -> Result<(), Box<Error>> {
        self.socket.send(message).await.map_err(Box::new)
    }

    /// Reads, dropping what doesn't fit, until a frame fits or the connection ends.
    ///
    /// # Errors
    /// The close code.
    pub async fn read_until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value, u16> {
        loop {
            let frame = self.read().await?;
            if fits(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Sends a frame without waiting; gives its id.
    pub async fn send(&mut self, event: &str, data: Value) -> String {
        self.next_id += 1;
        let id = format!("c{}", self.next_id);
        self.raw(Message::text(json!({"event": event, "id": id, "data": data}).to_string())).await;
        id
    }

    /// Sends a frame and waits for its one reply, an `error` too.
    pub async fn ask(&mut self, event: &str, data: Value) -> Value {
        let id = self.send(event, data).await;
        self.wait(|frame| frame["id"] == id.as_str()).await
    }

    /// Sends a frame and gives its reply's data; fails if it is another event.
    pub async fn must(&mut self, event: &str, data: Value, reply: &str) -> Value {
        let frame = self.ask(event, data).await;
        assert_eq!(frame["event"], reply, "{frame}");
        frame["data"].clone()
    }

    /// Sends a frame that must be refused; gives the error's code.
    pub async fn refused(&mut self, event: &str, data: Value) -> String {
        let frame = self.ask(event, data).await;
        assert_eq!(frame["event"], "error", "{frame}");
        frame["data"]["code"].as_str().unwrap().to_owned()
    }

    /// Sends a text and waits until it is accepted; gives the reply's data.
    pub async fn text(&mut self, group: &str, text: &str) -> Value {
        let data =
            json!({"group_id": group, "client_message_id": crate::fresh_id(), "type": "text", "text": text});
        self.must("send_group_message", data, "group_message_accepted").await
    }

    /// The next frame of an event, kept or new; others are kept.
    pub async fn expect(&mut self, event: &str) -> Value {
        self.wait(|frame| frame["event"] == event).await
    }

    /// The next frame that fits; others are kept.
    pub async fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.kept.iter().position(&fits) {
            return self.kept.remove(index).unwrap();
        }
        loop {
            let frame = self
                .read()
                .await
                .unwrap_or_else(|close| panic!("closed with {close:?}; kept: {:?}", self.kept));
            if fits(&frame) {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// The next `group_message` or `group_event` of a group: its data, with the event's name as `event`.
    pub async fn event_of(&mut self, group: &str) -> Value {
        let fits = |frame: &Value| {
            matches!(frame["event"].as_str(), Some("group_message" | "group_event"))
                && frame["data"]["group_id"] == group
        };
        let frame = self.wait(fits).await;
        let mut data = frame["data"].clone();
        data["event"] = frame["event"].clone();
        data
    }

    /// The next frame from the socket; the close code if it was closed.
    ///
    /// # Errors
    /// The close code, 1006 for none.
    pub async fn read(&mut self) -> Result<Value, u16> {
        loop {
            let next = tokio::time::timeout(FRAME_WAIT, self.socket.next());
            match next.await.unwrap_or_else(|_| panic!("nothing came; kept: {:?}", self.kept)) {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Reads to the end and gives the close code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.read().await {
                Ok(frame) => self.kept.push_back(frame),
                Err(code) => return code,
            }
        }
    }

    /// Asserts that nothing that fits comes, by a `ping` whose reply comes first. Only what the server queues before it
    /// answers the ping is seen.
    pub async fn nothing(&mut self, fits: impl Fn(&Value) -> bool) {
        let pong = self.ask("ping", json!({})).await;
        assert_eq!(pong["event"], "pong");
        if let Some(frame) = self.kept.iter().find(|frame| fits(frame)) {
            panic!("unexpected: {frame}");
        }
    }

    /// The same for what the server gathers for a while before it tells: waits so long first.
    pub async fn silent_for(&mut self, wait: Duration, fits: impl Fn(&Value) -> bool) {
        tokio::time::sleep(wait).await;
        self.nothing(fits).await;
    }

    /// Closes without waiting.
    pub async fn close(mut self) {
        drop(self.socket.close(None).await);
    }
}

/// REST as one user.
#[derive(Clone)]
pub struct Rest {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Rest {
    /// With a token.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned(), token: token.to_owned() }
    }

    /// A request to a path under `/v1`: status and JSON (null for an empty body).
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_with(method, path, body, &[]).await
    }

    /// The same with further headers.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("{}/v1{path}", self.url))
            .bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        (status, body)
    }

    /// `GET` that must be 200.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// A request that must be refused: status and code.
    pub async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, body) = self.call(method, path, body).await;
        assert!(status >= 400, "{method} {path} was taken: {body}");
        (status, body["error"]["code"].as_str().expect("an error body").to_owned())
    }

    /// Makes a group and gives its id.
    pub async fn group(&self, name: &str, members: &[&str]) -> String {
        self.group_in(tries(), name, members).await
    }

    /// The same in so many tries at most, as clients are told to: so many at once may be more than engines on a small machine
    /// answer in time.
    pub async fn group_in(&self, tries: usize, name: &str, members: &[&str]) -> String {
        let wish = json!({"group_id": uuid::Uuid::now_v7(), "name": name, "members": members});
        let (mut status, mut body) = self.call("POST", "/groups", Some(wish.clone())).await;
        let mut done = 201;
        for _ in 1..tries {
            let error = &body["error"];
            let (true, Some(wait)) = (error["retryable"] == true, error["retry_after_ms"].as_u64()) else {
                break;
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            (status, body) = self.call("POST", "/groups", Some(wish.clone())).await;
            done = 200; // it may find what an earlier try, whose outcome wasn't known, has made
        }
        assert!(status == 201 || status == done, "{status}: {body}");
        body["group_id"].as_str().unwrap().to_owned()
    }
}
