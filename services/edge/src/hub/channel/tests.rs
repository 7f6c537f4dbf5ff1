use parley_domain::{ClientMessageId, EventId, MessageKind, MessageSent, RollbackReason, Timestamp};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::testing;

const GROUP: GroupId = GroupId(Uuid::from_u128(7));

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A subscriber whose outbox takes so many bytes, and what it gets.
struct Subscriber {
    session: Arc<Session>,
    id: SubscriptionId,
    client: TcpStream,
}

impl Subscriber {
    async fn of(channel: &Channel, name: &str, limit_bytes: usize, next: Seq, is_live: bool) -> Self {
        let (client, session) = testing::session(name, limit_bytes).await;
        let id = SubscriptionId(next);
        channel.subscribe(id, &session, next);
        if is_live {
            assert!(matches!(channel.catch_up(&session, id), Step::Live), "nothing came yet");
        }
        Self { session, id, client }
    }

    /// All that was queued since the last time.
    async fn got(&mut self) -> String {
        let bytes = self.session.outbox.bytes();
        self.session.outbox.flush();
        let mut got = vec![0; bytes];
        self.client.read_exact(&mut got).await.unwrap();
        String::from_utf8(got).unwrap()
    }

    fn next(&self, channel: &Channel) -> Option<Seq> {
        channel.next_of(&self.session, self.id)
    }
}

fn fact(seq: Seq, event: Event) -> (Arc<Fact>, Bytes) {
    let event_id = EventId(Uuid::from_u128(seq.into()));
    let fact = Fact { group_id: GROUP, seq, event_id, at: Timestamp(0), message_count: seq, event };
    (Arc::new(fact), Bytes::from(format!("<{seq}>")))
}

fn message(seq: Seq) -> (Arc<Fact>, Bytes) {
    let message = MessageSent {
        message_id: MessageId(Uuid::from_u128(seq.into())),
        client_message_id: ClientMessageId::parse("c").unwrap(),
        sender: user("ann"),
        sender_nth: seq,
        kind: MessageKind::Text,
        media: None,
        key_id: KeyId(Uuid::nil()),
        sealed: Bytes::new(),
        mac: [0; 32],
        text_bytes: 0,
    };
    fact(seq, Event::MessageSent(message))
}

fn messages(seqs: std::ops::RangeInclusive<Seq>) -> Vec<(Arc<Fact>, Bytes)> {
    seqs.map(message).collect()
}

#[tokio::test]
async fn a_lot_reaches_everybody_whole_and_once() {
    let channel = Channel::new(GROUP);
    let mut ann = Subscriber::of(&channel, "ann", 1_000, 5, true).await;
    let mut behind = Subscriber::of(&channel, "bob", 1_000, 3, false).await;
    let delivered = channel.deliver(&messages(5..=8));
    assert_eq!((delivered.count, delivered.behind.len(), delivered.ended.len()), (4, 0, 0));
    assert_eq!(ann.got().await, "<5><6><7><8>");
    assert_eq!(channel.deliver(&messages(9..=9)).count, 1);
    assert_eq!(ann.got().await, "<9>");
    assert_eq!(behind.got().await, "", "replay is at it");
    assert_eq!(behind.next(&channel), Some(3));
    assert!(matches!(channel.catch_up(&behind.session, behind.id), Step::Read(3)));
}

#[tokio::test]
async fn who_stands_elsewhere_is_behind_and_the_tail_brings_the_rest() {
    let channel = Channel::new(GROUP);
    // It read 5 and 6 elsewhere, before delivery brought them; and it lacks 3 and 4.
    let mut ahead = Subscriber::of(&channel, "ann", 1_000, 7, true).await;
    let lacking = Subscriber::of(&channel, "bob", 1_000, 3, true).await;
    let delivered = channel.deliver(&messages(5..=8));
    assert_eq!((delivered.count, delivered.behind.len()), (0, 2));
    assert!(matches!(channel.catch_up(&ahead.session, ahead.id), Step::Live));
    assert_eq!(ahead.got().await, "<7><8>");
    assert!(matches!(channel.catch_up(&lacking.session, lacking.id), Step::Read(3)));
}

#[tokio::test]
async fn what_doesnt_fit_as_one_piece_goes_singly_until_it_is_full() {
    let channel = Channel::new(GROUP);
    let mut ann = Subscriber::of(&channel, "ann", 7, 1, true).await;
    let delivered = channel.deliver(&messages(1..=4));
    assert_eq!((delivered.count, delivered.behind.len()), (2, 1), "3 bytes each, of 7");
    assert_eq!(ann.got().await, "<1><2>");
    assert_eq!(ann.next(&channel), Some(3));
    assert!(matches!(channel.catch_up(&ann.session, ann.id), Step::Live));
    assert_eq!(ann.got().await, "<3><4>");
    // An outbox that is smaller than anything takes one frame at a time, not one piece.
    let mut bob = Subscriber::of(&channel, "bob", 1, 5, false).await;
    assert!(matches!(channel.catch_up(&bob.session, bob.id), Step::Live));
    assert_eq!(channel.deliver(&messages(5..=6)).count, 3);
    assert_eq!((bob.got().await.as_str(), ann.got().await.as_str()), ("<5>", "<5><6>"));
}

#[tokio::test]
async fn nobody_gets_what_came_after_its_removal() {
    let channel = Channel::new(GROUP);
    let mut ann = Subscriber::of(&channel, "ann", 1_000, 1, true).await;
    let mut bob = Subscriber::of(&channel, "bob", 1_000, 1, true).await;
    let removed = Event::MembersRemoved { actor: user("ann"), users: vec![user("bob")], member_count: 1 };
    let delivered = channel.deliver(&[message(1), fact(2, removed), message(3)]);
    assert_eq!((delivered.count, delivered.ended.len()), (5, 1));
    assert_eq!(delivered.ended[0].1, bob.id);
    assert_eq!((ann.got().await.as_str(), bob.got().await.as_str()), ("<1><2><3>", "<1><2>"));
}

#[tokio::test]
async fn what_was_rolled_back_in_the_same_lot_isnt_replayed_from_memory() {
    let channel = Channel::new(GROUP);
    let mut ann = Subscriber::of(&channel, "ann", 1_000, 1, true).await;
    let (message_id, sender, reason) =
        (MessageId(Uuid::from_u128(1)), user("ann"), RollbackReason::MediaMissing);
    let rolled_back = Event::MessageRolledBack { message_id, message_seq: 1, sender, reason };
    channel.deliver(&[message(1), fact(2, rolled_back), message(3)]);
    assert_eq!(ann.got().await, "<1><2><3>");
    let bob = Subscriber::of(&channel, "bob", 1_000, 1, false).await;
    assert!(matches!(channel.catch_up(&bob.session, bob.id), Step::Read(1)), "its content is withheld");
}

#[tokio::test]
async fn an_acknowledgement_covers_what_lies_between() {
    let channel = Channel::new(GROUP);
    let seqs = |(messages, is_all): (Vec<Crossed>, bool)| {
        (messages.iter().map(|message| message.seq).collect::<Vec<_>>(), is_all)
    };
    assert_eq!(seqs(channel.crossed(0, 9)), (vec![], false), "it remembers nothing");
    let renamed = Event::GroupUpdated { actor: user("ann"), name: "n".into(), description: String::new() };
    channel.deliver(&[message(4), message(5), fact(6, renamed), message(7)]);
    // All of them are by the same sender, who is told of the newest.
    for (before, after, newest, is_all) in [
        (3, 9, Some(7), true),
        (3, 7, Some(7), true),
        (3, 6, Some(5), true),
        (5, 6, None, true),
        (2, 4, Some(4), false),
        (2, 3, None, false),
        (7, 9, None, true),
        (9, 3, None, true),
    ] {
        assert_eq!(
            seqs(channel.crossed(before, after)),
            (newest.into_iter().collect(), is_all),
            "{before} to {after}"
        );
    }
    // Delivery began again further back: an edge that followed the partition anew.
    channel.deliver(&[message(5), fact(6, Event::GroupDissolved { actor: user("ann") })]);
    assert_eq!(seqs(channel.crossed(4, 9)), (vec![5], true));
}

#[test]
fn of_each_sender_the_newest_is_told_of_however_many_there_are() {
    let crossed = |seq, sender: u64| Crossed {
        seq,
        message_id: MessageId(Uuid::from_u128(seq.into())),
        sender: user(&format!("u{sender}")),
    };
    for senders in [1, 15, 16, 17, 40] {
        let all = (1..=120).rev().map(|seq| crossed(seq, seq % senders));
        let newest: Vec<Seq> = newest_of_each(all).into_iter().map(|message| message.seq).collect();
        let expected: Vec<Seq> = (121 - senders..=120).rev().collect();
        assert_eq!(newest, expected, "{senders}");
    }
}
