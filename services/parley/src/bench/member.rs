//! A member: one connection that sends, checks what it gets, and acknowledges.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use parley_wire::frame::{encode_behind, names};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use uuid::Uuid;

use super::ledger::{Faults, Ledger, Place};

/// The library zeroes this much at every read.
const READ_BYTES: usize = 16 * 1024;
/// How long an answer to the handshake and to `resume` may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How long the end of a connection may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Sends that may wait for a connection.
pub(super) const SENDS_QUEUED_MAX: usize = 1_024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delivered<'a> {
    seq: u64,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Accepted<'a> {
    seq: u64,
    #[serde(borrow)]
    client_message_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Welcome {
    epoch: Uuid,
}

/// What all members count together, while the time is measured.
pub(super) struct Counts {
    /// Everything is counted from here on, and times are written relative to it.
    pub(super) begun: Instant,
    pub(super) is_measuring: bool,
    pub(super) deliveries: u64,
    pub(super) accepted: u64,
    pub(super) acknowledged: u64,
    /// Microseconds from the planned send.
    pub(super) delivery_us: Histogram<u64>,
    pub(super) acceptance_us: Histogram<u64>,
    pub(super) faults: Faults,
    /// What the first of the errors was.
    pub(super) first_error: Option<String>,
}

impl Counts {
    fn broke(&mut self, error: &anyhow::Error) {
        self.faults.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }
}

/// A group of the run.
pub(super) struct Group {
    pub(super) id: Uuid,
    pub(super) ledger: Mutex<Ledger>,
    /// A permit for each message that may be in flight.
    pub(super) window: Semaphore,
}

/// A message to send: when that was planned.
pub(super) struct Planned(pub(super) Instant);

/// One connection.
pub(super) struct Member {
    socket: Socket,
    group: Arc<Group>,
    counts: Arc<Mutex<Counts>>,
    place: Place,
    ack_every: Option<Duration>,
    acknowledged: u64,
    text_bytes: usize,
}

/// A frame with its event first, as most clients write it.
fn message(event: &str, id: &str, data: &serde_json::Value) -> anyhow::Result<Message> {
    let mut bytes = Vec::new();
    encode_behind(&mut bytes, event, Some(id), data);
    Ok(Message::text(String::from_utf8(bytes)?))
}

impl Member {
    /// Connects without any replay and resumes behind `after`.
    pub(super) async fn join(
        url: &str,
        token: &str,
        group: &Arc<Group>,
        counts: &Arc<Mutex<Counts>>,
        after: u64,
        (text_bytes, ack_every): (usize, Option<Duration>),
    ) -> anyhow::Result<Self> {
        let mut request =
            format!("{url}/v1/ws?replay=none").replacen("http", "ws", 1).into_client_request()?;
        request.headers_mut().insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse()?);
        let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
        let connecting = connect_async_with_config(request, Some(config), true);
        let (mut socket, _) = tokio::time::timeout(ANSWER_WAIT, connecting).await??;
        let Welcome { epoch } = serde_json::from_str(&wait_for(&mut socket, names::WELCOME).await?)?;
        let after_seq = after;
        let groups = [json!({"group_id": group.id, "epoch": epoch, "after_seq": after_seq})];
        socket.send(message(names::RESUME, "resume", &json!({"groups": groups}))?).await?;
        wait_for(&mut socket, names::RESUMED).await?;
        let (group, counts) = (group.clone(), counts.clone());
        let place = Place::after(after);
        Ok(Self { socket, group, counts, place, ack_every, acknowledged: after, text_bytes })
    }

    /// Takes what comes until it has the event `seq`.
    pub(super) async fn until(&mut self, seq: u64) -> anyhow::Result<()> {
        while self.place.last() < seq {
            let message = tokio::time::timeout(ANSWER_WAIT, self.socket.next()).await?;
            self.take(message.context("the connection was closed")??)?;
        }
        Ok(())
    }

    /// Serves until `stop` is cancelled, or the connection breaks.
    pub(super) async fn run(
        mut self,
        mut planned: mpsc::Receiver<Planned>,
        stop: tokio_util::sync::CancellationToken,
    ) {
        // Around everything: a server that takes nothing more holds a send up for ever.
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = self.serve(&mut planned) => outcome,
        };
        match outcome {
            Ok(()) => drop(tokio::time::timeout(CLOSE_WAIT, self.socket.close(None)).await),
            Err(error) => self.counts.lock().broke(&error),
        }
    }

    async fn serve(&mut self, planned: &mut mpsc::Receiver<Planned>) -> anyhow::Result<()> {
        let mut ack_at: Option<Instant> = None;
        loop {
            let due = ack_at.unwrap_or_else(Instant::now);
            tokio::select! {
                message = self.socket.next() => self.take(message.context("the connection was closed")??)?,
                Some(Planned(at)) = planned.recv() => self.send(at).await?,
                () = tokio::time::sleep_until(due), if ack_at.is_some() => {
                    ack_at = None;
                    self.acknowledge().await?;
                }
            }
            if let Some(every) = self.ack_every
                && ack_at.is_none()
                && self.place.last() > self.acknowledged
            {
                ack_at = Some(Instant::now() + every);
            }
        }
    }

    async fn send(&mut self, planned: Instant) -> anyhow::Result<()> {
        let number = self.group.ledger.lock().send();
        let planned_us = planned.saturating_duration_since(self.counts.lock().begun).as_micros();
        let mut text = String::with_capacity(self.text_bytes);
        write!(text, "{number} {planned_us} ")?;
        text.extend(std::iter::repeat_n('.', self.text_bytes.saturating_sub(text.len())));
        let data = json!({
            "group_id": self.group.id, "client_message_id": format!("{number} {planned_us} {}", Uuid::new_v4().simple()),
            "type": "text", "text": text,
        });
        Ok(self.socket.send(message(names::SEND_GROUP_MESSAGE, "s", &data)?).await?)
    }

    async fn acknowledge(&mut self) -> anyhow::Result<()> {
        self.acknowledged = self.place.last();
        let data = json!({"group_id": self.group.id, "seq": self.acknowledged, "status": "delivered"});
        Ok(self.socket.send(message(names::ACKNOWLEDGE_GROUP_MESSAGE, "a", &data)?).await?)
    }

    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        if let Message::Close(close) = &message {
            bail!("the server closed the connection: {close:?}");
        }
        let Message::Text(text) = message else { return Ok(()) };
        let frame: Frame<'_> = serde_json::from_str(&text)?;
        let data = frame.data.map_or("{}", RawValue::get);
        match &*frame.event {
            names::GROUP_MESSAGE => self.delivered(&serde_json::from_str(data)?),
            names::GROUP_EVENT => {
                let event: Delivered<'_> = serde_json::from_str(data)?;
                let faults = self.place.take(event.seq);
                self.counts.lock().faults += faults;
            }
            names::GROUP_MESSAGE_ACCEPTED => self.accepted(&serde_json::from_str(data)?),
            names::GROUP_MESSAGE_ACKNOWLEDGED => self.counts.lock().acknowledged += 1,
            names::ERROR => bail!("an error came: {data}{}", advice(data)),
            _ => {}
        }
        Ok(())
    }

    fn delivered(&mut self, message: &Delivered<'_>) {
        let faults = self.place.take(message.seq);
        let stamp = message.text.as_deref().and_then(stamp);
        let is_over =
            stamp.is_some_and(|(number, _)| self.group.ledger.lock().delivered(number, message.seq));
        self.over(is_over);
        let mut counts = self.counts.lock();
        counts.faults += faults;
        if counts.is_measuring {
            counts.deliveries += 1;
            let micros = stamp.map_or(0, |(_, planned_us)| since(counts.begun, planned_us));
            counts.delivery_us.saturating_record(micros);
        }
    }

    fn accepted(&mut self, accepted: &Accepted<'_>) {
        let Some((number, planned_us)) = stamp(&accepted.client_message_id) else { return };
        let is_over = self.group.ledger.lock().accepted(number, accepted.seq);
        self.over(is_over);
        let mut counts = self.counts.lock();
        if counts.is_measuring {
            counts.accepted += 1;
            let micros = since(counts.begun, planned_us);
            counts.acceptance_us.saturating_record(micros);
        }
    }

    fn over(&self, is_over: bool) {
        if is_over {
            self.group.window.add_permits(1);
        }
    }
}

/// What to do about an error.
fn advice(data: &str) -> &'static str {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    match serde_json::from_str::<Told<'_>>(data) {
        Ok(told) if told.code == "rate_limited" => "; start the server with --set limits.sends_per_second=0",
        _ => "",
    }
}

/// Number and planned time, as a message says them of itself.
fn stamp(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn since(begun: Instant, planned_us: u64) -> u64 {
    let now = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    now.saturating_sub(planned_us)
}

async fn wait_for(socket: &mut Socket, event: &str) -> anyhow::Result<String> {
    let waiting = async {
        loop {
            let message = socket.next().await.context("the connection was closed")??;
            let Message::Text(text) = message else { continue };
            let frame: Frame<'_> = serde_json::from_str(&text)?;
            let data = frame.data.map_or("{}", RawValue::get);
            if frame.event == event {
                return Ok(data.to_owned());
            }
            if frame.event == names::ERROR {
                bail!("an error came instead of {event}: {data}");
            }
        }
    };
    tokio::time::timeout(ANSWER_WAIT, waiting).await.with_context(|| format!("no {event} came"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_servers_says_how_to_be_rid_of_it() {
        let limited = r#"{"code":"rate_limited","message":"","retryable":true,"retry_after_ms":50}"#;
        assert!(advice(limited).contains("limits.sends_per_second=0"));
        assert_eq!((advice(r#"{"code":"busy"}"#), advice("no JSON")), ("", ""));
    }
}
