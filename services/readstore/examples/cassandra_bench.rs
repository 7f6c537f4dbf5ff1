//! How fast the Cassandra read store is, next to the bare driver with the same rows in the same run:
//! `cargo run --release -p parley-readstore --example cassandra_bench HOST:PORT [MESSAGES] [GROUPS] [MEMBERS]`.
//!
//! The bare driver is given the same statements, gathered by partition beforehand, 128 on their way at once and without
//! the pauses in which heads and checkpoints wait for rows.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a tool that prints and may die"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{
    ClientMessageId, CursorAdvance, Epoch, Event, EventId, Fact, GroupId, KeyId, MessageId, MessageKind,
    MessageSent, Position, Row, Timestamp, UserId, project, project_cursor,
};
use parley_readstore::providers::cassandra::{CassandraOptions, CassandraReadStore};
use parley_readstore::{Checkpoint, ReadModel, ReadStore, Source, Write};
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use uuid::Uuid;

const BATCH_RECORDS: usize = 1_024;
const IN_FLIGHT: usize = 128;
const SENDERS: u64 = 10;

fn group(number: u64) -> GroupId {
    GroupId(Uuid::from_u128((u128::from(number) << 64) | 0x8000_0000_0000_0001))
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("user-{number:08}")).unwrap()
}

fn writes(fact: &Fact) -> Vec<Write> {
    let position = Position { partition: 0, offset: fact.seq };
    let event = || Source { position, tag: 7, value: Bytes::from(vec![7; 299]) };
    let rows = project(fact).into_iter();
    rows.map(|row| Write { event: matches!(row, Row::Timeline { .. }).then(event), row }).collect()
}

fn fact(group: GroupId, seq: u64, message_count: u64, event: Event) -> Fact {
    let event_id = EventId(Uuid::from_u128(seq.into()));
    Fact { group_id: group, seq, event_id, at: Timestamp(1), message_count, event }
}

fn created(group: GroupId, members: u64) -> Vec<Write> {
    let event = Event::GroupCreated {
        name: "n".to_owned(),
        description: String::new(),
        creator: user(0),
        members: (0..members).map(user).collect(),
        recipe: [0; 32],
    };
    writes(&fact(group, 1, 0, event))
}

/// The `nth` message of a group; its `seq` is one higher, after the creation.
fn message(group: GroupId, nth: u64) -> Vec<Write> {
    let message = Event::MessageSent(MessageSent {
        message_id: MessageId(Uuid::from_u128(group.0.as_u128() ^ u128::from(nth))),
        client_message_id: ClientMessageId::parse(&format!("client-message-{nth}")).unwrap(),
        sender: user(nth % SENDERS),
        sender_nth: nth / SENDERS + 1,
        kind: MessageKind::Text,
        media: None,
        key_id: KeyId(Uuid::nil()),
        sealed: Bytes::new(),
        mac: [0; 32],
        text_bytes: 0,
    });
    writes(&fact(group, nth + 1, nth, message))
}

fn cursors(group: GroupId, members: u64, seq: u64) -> Vec<Write> {
    let advance = |number| CursorAdvance {
        delivered_before: 0,
        read_before: 0,
        user: user(number),
        delivered: seq,
        read: if number % 2 == 0 { seq } else { 0 },
        at: Timestamp(2),
        notified: None,
    };
    let rows = (0..members).flat_map(|number| project_cursor(group, &advance(number)));
    rows.map(|row| Write { row, event: None }).collect()
}

fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

async fn apply(model: &dyn ReadModel, batches: Vec<Vec<Write>>) -> Duration {
    let start = Instant::now();
    for (index, batch) in batches.into_iter().enumerate() {
        let checkpoint = Checkpoint { offset: u64::try_from(index).unwrap(), ..Checkpoint::default() };
        model.apply(batch, vec![((0, 0), checkpoint)]).await.unwrap();
    }
    start.elapsed()
}

/// One statement with its values.
type Statement = (PreparedStatement, Vec<CqlValue>);

/// Makes the bare driver's statements, gathered by partition for each batch of records.
struct Bare {
    session: Session,
    event: PreparedStatement,
    message: PreparedStatement,
    message_id: PreparedStatement,
    sent: PreparedStatement,
    client_id: PreparedStatement,
    head: PreparedStatement,
    last: PreparedStatement,
}

fn big(number: u64) -> CqlValue {
    CqlValue::BigInt(i64::try_from(number).unwrap())
}

impl Bare {
    async fn new(node: &str, keyspace: &str, version: u64) -> Self {
        let session = SessionBuilder::new()
            .known_node(node)
            .pool_size(PoolSize::PerShard(2.try_into().unwrap()))
            .build()
            .await
            .unwrap();
        let prepare = async |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            let cql = format!(
                "INSERT INTO {keyspace}.{table}_{version} ({columns}) VALUES ({marks}) USING TIMESTAMP ?"
            );
            let mut statement = session.prepare(cql).await.unwrap();
            statement.set_is_idempotent(true);
            statement
        };
        Self {
            event: prepare("timeline", "group_id, bucket, seq, partition, offset, message_count, event")
                .await,
            message: prepare("messages", "group_id, bucket, nth, seq").await,
            message_id: prepare("message_ids", "group_id, bucket, message_id, seq").await,
            sent: prepare("sent", "group_id, sender, bucket, seq, nth").await,
            client_id: prepare("client_ids", "group_id, sender, bucket, client_message_id, seq").await,
            head: prepare("groups", "group_id, head, message_count").await,
            last: prepare("groups", "group_id, last_message").await,
            session,
        }
    }

    fn statements(&self, messages: &[(GroupId, u64)]) -> Vec<Vec<Statement>> {
        let mut homes: HashMap<(u8, GroupId, u64), Vec<Statement>> = HashMap::new();
        let mut heads = HashMap::new();
        for &(group, nth) in messages {
            let (seq, sender, sender_nth) = (nth + 1, nth % SENDERS, nth / SENDERS + 1);
            let id = CqlValue::Uuid(group.0);
            let name = CqlValue::Text(user(sender).to_string());
            let mut put = |home, statement: &PreparedStatement, values: Vec<CqlValue>| {
                homes.entry(home).or_default().push((statement.clone(), values));
            };
            let event = CqlValue::Blob(vec![7; 300]);
            let values = vec![
                id.clone(),
                big(seq >> 10),
                big(seq),
                CqlValue::Int(0),
                big(seq),
                big(nth),
                event,
                big(seq),
            ];
            put((0, group, seq >> 10), &self.event, values);
            put((1, group, 0), &self.message, vec![id.clone(), big(0), big(nth), big(seq), big(seq)]);
            let message_id = Uuid::from_u128(group.0.as_u128() ^ u128::from(nth));
            let message_id = CqlValue::Blob(message_id.as_bytes().to_vec());
            put((1, group, 0), &self.message_id, vec![id.clone(), big(0), message_id, big(seq), big(seq)]);
            let values = vec![id.clone(), name.clone(), big(0), big(seq), big(sender_nth), big(seq)];
            put((2, group, sender), &self.sent, values);
            let client = CqlValue::Text(format!("client-message-{nth}"));
            put(
                (2, group, sender),
                &self.client_id,
                vec![id.clone(), name, big(0), client, big(seq), big(seq)],
            );
            heads.insert(
                group,
                vec![
                    (self.head.clone(), vec![id.clone(), big(seq), big(nth), big(seq)]),
                    (self.last.clone(), vec![id, big(seq), big(seq)]),
                ],
            );
        }
        let cut = |all: Vec<Statement>| all.chunks(100).map(<[Statement]>::to_vec).collect::<Vec<_>>();
        homes.into_values().chain(heads.into_values()).flat_map(cut).collect()
    }

    async fn run(&self, batches: Vec<Vec<Statement>>) -> Duration {
        let start = Instant::now();
        let send = |batch: Vec<Statement>| async {
            let (statements, values): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            if let ([statement], [values]) = (statements.as_slice(), values.as_slice()) {
                return self.session.execute_unpaged(statement, values).await.map(drop);
            }
            let statements = statements.into_iter().map(BatchStatement::PreparedStatement).collect();
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
            batch.set_is_idempotent(true);
            self.session.batch(&batch, values).await.map(drop)
        };
        stream::iter(batches).map(send).buffer_unordered(IN_FLIGHT).try_collect::<()>().await.unwrap();
        start.elapsed()
    }
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

/// Compares on the same messages: in rounds, so that each sees the same machine.
async fn compare(store: &CassandraReadStore, bare: &Bare, messages: u64, groups: u64) {
    let log: Vec<(GroupId, u64)> =
        (0..messages).map(|index| (group(100 + index % groups), index / groups + 1)).collect();
    let model = store.live();
    let (mut ours, mut theirs, mut rows) = (Duration::ZERO, Duration::ZERO, 0);
    for chunk in log.chunks(BATCH_RECORDS * 10) {
        let batches = chunk.chunks(BATCH_RECORDS);
        let writes = batches
            .clone()
            .map(|records| records.iter().flat_map(|(group, nth)| message(*group, *nth)).collect());
        ours += apply(&*model, writes.collect()).await;
        let statements: Vec<Vec<Statement>> = batches.flat_map(|records| bare.statements(records)).collect();
        rows += statements.iter().map(Vec::len).sum::<usize>();
        theirs += bare.run(statements).await;
    }
    let (ours, theirs) = (per_second(rows, ours), per_second(rows, theirs));
    let per_message = f64::from(u32::try_from(rows).unwrap()) / f64::from(u32::try_from(messages).unwrap());
    println!(
        "{messages} messages in {groups} groups, {rows} rows ({per_message:.1} a message): apply {ours:.0} rows/s, \
         {:.0} messages/s; bare driver {theirs:.0} rows/s; ratio {:.2}",
        ours / per_message,
        ours / theirs
    );
}

async fn large_group(model: &dyn ReadModel, members: u64) {
    let large = group(1);
    let took = apply(model, vec![created(large, members)]).await;
    println!("{members} members joining: {took:.2?}");
    let messages = (1..=1_000).flat_map(|nth| message(large, nth)).collect();
    apply(model, vec![messages]).await;
    let all = cursors(large, members, 900);
    let rows = all.len() * 2;
    let batches = all.chunks(5_000).map(<[Write]>::to_vec).collect();
    let took = apply(model, batches).await;
    println!("cursors of {members} members: {took:.2?}, {:.0} rows/s", per_second(rows, took));
    let (ann, sender) = (user(7), user(8));
    let counts =
        time("receipts of all", 3, async || model.receipts(large, 800, &sender).await.unwrap()).await;
    println!("    {counts:?}");
    let middle = user(members / 2);
    time("200 statuses", 20, async || model.statuses(large, 808, &sender, Some(&middle), 200).await.unwrap())
        .await;
    time("200 members", 20, async || model.members(large, Some(&middle), 200, true).await.unwrap()).await;
    time("user_group with unread", 200, async || model.user_group(&ann, large).await.unwrap()).await;
    time("membership", 200, async || model.membership(large, &ann).await.unwrap()).await;
    time("group", 200, async || model.group(large).await.unwrap()).await;
    time("newest 50 messages", 100, async || model.messages(large, 0, u64::MAX, true, 50).await.unwrap())
        .await;
    time("100 events", 100, async || model.events(large, 501, 600, 100).await.unwrap()).await;
    time("500 events", 50, async || model.events(large, 101, 600, 500).await.unwrap()).await;
    time("checkpoints", 100, async || model.checkpoints().await.unwrap()).await;
    let start = Instant::now();
    for nth in 1_001..=1_200 {
        let checkpoint = Checkpoint { offset: nth, ..Checkpoint::default() };
        model.apply(message(large, nth), vec![((0, 1), checkpoint)]).await.unwrap();
    }
    println!("apply, one message and its checkpoint: {:.2?} each", start.elapsed() / 200);
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let node = args.next().expect("HOST:PORT of a Cassandra");
    let mut number = |default: u64| args.next().map_or(default, |text| text.parse().unwrap());
    let (messages, groups, members) = (number(100_000), number(1_000), number(100_000));
    let keyspace = format!("b{}", Uuid::now_v7().simple());
    let options = CassandraOptions::new(vec![node.clone()], keyspace.clone());
    let store: Arc<CassandraReadStore> =
        CassandraReadStore::open(options, Epoch(Uuid::from_u128(1))).await.unwrap();
    let bare = Bare::new(&node, &keyspace, store.live_version()).await;
    compare(&store, &bare, messages.min(20_000), groups).await; // Cassandra's compiler warms up
    compare(&store, &bare, messages, groups).await;
    compare(&store, &bare, messages, 10).await;
    large_group(&*store.live(), members).await;
    drop(store);
    bare.session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}
