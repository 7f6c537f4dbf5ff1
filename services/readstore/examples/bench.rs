//! How fast the embedded read store is: `cargo run --release -p parley-readstore --example bench [MEMBERS]`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool that prints and may die"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_domain::{
    ClientMessageId, CursorAdvance, Epoch, Event, EventId, Fact, GroupId, KeyId, MessageId, MessageKind,
    MessageSent, Position, Row, Timestamp, UserId, project, project_cursor,
};
use parley_readstore::providers::embedded::{EmbeddedReadStore, Options};
use parley_readstore::{ReadModel, ReadStore, Source, Write};

const GROUP: GroupId = GroupId(uuid::Uuid::from_u128(1));
const MESSAGES: u64 = 100_000;
const BATCH: usize = 5_000;

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:08}")).unwrap()
}

fn writes(fact: &Fact) -> Vec<Write> {
    let position = Position { partition: 0, offset: fact.seq };
    let event = || Source { position, tag: 7, value: Bytes::from(vec![7; 299]) };
    let rows = project(fact).into_iter();
    rows.map(|row| Write { event: matches!(row, Row::Timeline { .. }).then(event), row }).collect()
}

fn fact(seq: u64, message_count: u64, event: Event) -> Fact {
    let event_id = EventId(uuid::Uuid::from_u128(seq.into()));
    Fact { group_id: GROUP, seq, event_id, at: Timestamp(1), message_count, event }
}

fn message(seq: u64, nth: u64) -> Event {
    Event::MessageSent(MessageSent {
        message_id: MessageId(uuid::Uuid::from_u128(seq.into())),
        client_message_id: ClientMessageId::parse(&format!("client-message-{seq}")).unwrap(),
        sender: user(usize::try_from(seq % 100).unwrap()),
        sender_nth: nth,
        kind: MessageKind::Text,
        media: None,
        key_id: KeyId(uuid::Uuid::nil()),
        sealed: Bytes::new(),
        mac: [0; 32],
        text_bytes: 0,
    })
}

async fn apply(model: &dyn ReadModel, name: &str, writes: Vec<Write>) {
    let (count, start) = (writes.len(), Instant::now());
    for batch in writes.chunks(BATCH) {
        model.apply(batch.to_vec(), Vec::new()).await.unwrap();
    }
    let took = start.elapsed();
    println!("apply {name}: {count} rows, {took:.2?}, {:.0} rows/s", per_second(count, took));
}

fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

async fn time<T>(name: &str, times: u32, mut ask: impl AsyncFnMut() -> T) -> T {
    let mut answer = ask().await;
    let start = Instant::now();
    for _ in 0..times {
        answer = ask().await;
    }
    println!("{name}: {:.2?}", start.elapsed() / times);
    answer
}

async fn receipts(model: &dyn ReadModel, name: &str, seq: u64) {
    let sender = user(usize::try_from(seq % 100).unwrap());
    let name = format!("receipts {name}");
    let counts = time(&name, 5, async || model.receipts(GROUP, seq, &sender).await.unwrap()).await;
    println!("    {counts:?}");
}

fn cursors(members: usize, seq: u64) -> Vec<Write> {
    let advance = |number| CursorAdvance {
        delivered_before: 0,
        read_before: 0,
        user: user(number),
        delivered: seq,
        read: if number % 2 == 0 { seq } else { 0 },
        at: Timestamp(2),
        notified: None,
    };
    let rows = (0..members).flat_map(|number| project_cursor(GROUP, &advance(number)));
    rows.map(|row| Write { row, event: None }).collect()
}

#[tokio::main]
async fn main() {
    let members: usize = std::env::args().nth(1).map_or(100_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedReadStore::open(dir.path(), Epoch::from_bytes([1; 16]), Options::default()).unwrap();
    let model: Arc<dyn ReadModel> = store.live();

    let created = Event::GroupCreated {
        name: "n".to_owned(),
        description: String::new(),
        creator: user(0),
        members: (0..members).map(user).collect(),
        recipe: [0; 32],
    };
    apply(&*model, "members", writes(&fact(1, 0, created))).await;
    let messages = (2..2 + MESSAGES).flat_map(|seq| writes(&fact(seq, seq - 1, message(seq, seq / 100 + 1))));
    apply(&*model, "messages", messages.collect()).await;
    apply(&*model, "cursors", cursors(members, 1_000)).await;
    receipts(&*model, "one step a member", 900).await;
    for seq in 1..20 {
        apply(&*model, "cursors", cursors(members, 1_000 + seq * 100)).await;
    }
    receipts(&*model, "twenty steps a member, old message", 900).await;
    receipts(&*model, "twenty steps a member, newest message", 2_900).await;

    let head = MESSAGES + 1;
    let (ann, sender) = (user(7), user(8));
    time("user_group with unread", 1_000, async || model.user_group(&ann, GROUP).await.unwrap()).await;
    time("membership", 1_000, async || model.membership(GROUP, &ann).await.unwrap()).await;
    time("newest 50 messages", 200, async || model.messages(GROUP, 0, u64::MAX, true, 50).await.unwrap())
        .await;
    time("500 events", 200, async || model.events(GROUP, head - 5_000, head, 500).await.unwrap()).await;
    time("200 statuses", 200, async || {
        model.statuses(GROUP, 908, &sender, Some(&user(50_000)), 200).await.unwrap()
    })
    .await;
    time("200 members", 200, async || model.members(GROUP, Some(&user(50_000)), 200, true).await.unwrap())
        .await;

    let one = |seq| writes(&fact(seq, seq - 1, message(seq, seq)));
    let start = Instant::now();
    for seq in head + 1..head + 1_001 {
        model.apply(one(seq), Vec::new()).await.unwrap();
    }
    println!("apply, one message a batch: {:.2?} each", start.elapsed() / 1_000);
    time("persist", 20, async || store.persist().await.unwrap()).await;
}
