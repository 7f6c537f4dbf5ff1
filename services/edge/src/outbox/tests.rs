use tokio::io::AsyncReadExt as _;

use super::*;
use crate::testing::outbox;

/// More than the buffers of both ends of a connection hold.
const STALLING_BYTES: usize = 16 * 1024 * 1024;

#[tokio::test]
async fn limit_holds_for_offers_and_frees_with_what_is_written() {
    let (mut client, outbox) = outbox(10).await;
    assert!(outbox.offer(Bytes::from_static(b"123456")));
    assert!(!outbox.offer(Bytes::from_static(b"78901")), "would pass the limit");
    outbox.push(Bytes::from_static(b"reply"));
    assert_eq!(outbox.bytes(), 11);
    outbox.flush();
    assert_eq!(outbox.bytes(), 0);
    assert!(outbox.offer(Bytes::from_static(b"12345")));
    outbox.wait_for_space().await;
    assert!(outbox.offer(Bytes::from_static(b"678901")), "who has waited for space is never refused");
    outbox.flush();
    assert_eq!(outbox.held_up_until(), None);
    outbox.push(Bytes::from_static(b"last"));
    outbox.close(Some(Close::GoingAway));
    let ended = outbox.write_all(Duration::from_secs(1)).await;
    assert!(ended.close == Some(Close::GoingAway) && ended.cut.is_empty());
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got.starts_with(b"123456reply12345678901last\x88"));
    assert!(!outbox.offer(Bytes::from_static(b"late")));
}

#[tokio::test]
async fn what_is_held_back_follows_the_first_frame() {
    let (mut client, outbox) = outbox(10).await;
    outbox.push(Bytes::from_static(b"authenticated "));
    outbox.hold();
    outbox.push(Bytes::from_static(b"status "));
    assert!(!outbox.offer(Bytes::from_static(b"more")), "it counts");
    assert!(!outbox.insist(Bytes::from_static(b"more")), "this, too");
    outbox.lift(Bytes::from_static(b"welcome "));
    outbox.push(Bytes::from_static(b"reply"));
    outbox.close(None);
    drop(outbox.write_all(Duration::from_secs(1)).await);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "authenticated welcome status reply");
    assert_eq!(outbox.bytes(), 0);
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_no_closing_connection_for_long() {
    tokio::time::pause();
    let (mut client, outbox) = outbox(usize::MAX).await;
    outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
    outbox.flush();
    outbox.close(Some(Close::GoingAway));
    let reading = async {
        let mut some = vec![0; 64 * 1024];
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if client.read(&mut some).await.unwrap() == 0 {
                return;
            }
        }
    };
    let begun = Instant::now();
    tokio::select! {
        _ = outbox.write_all(Duration::from_secs(30)) => {}
        () = reading => panic!("the client reads for longer"),
    }
    assert!(begun.elapsed() < CLOSING_MAX + CLOSE_WAIT);
    assert!(outbox.bytes() > 0, "the rest isn't sent");
}

#[test]
fn partial_writes_keep_the_rest() {
    let mut frames = VecDeque::from([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
    assert!(advance(&mut frames, 4), "the second was cut");
    assert_eq!(frames, [Bytes::from_static(b"efg")]);
    assert!(!advance(&mut frames, 3));
}

#[tokio::test]
async fn what_the_lane_can_not_write_is_written_once_the_client_reads() {
    let (mut client, outbox) = outbox(usize::MAX).await;
    outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
    outbox.flush();
    assert!(outbox.bytes() > 0, "the socket can't take all of that");
    let asked = Instant::now();
    assert!(outbox.held_up_until().is_some_and(|until| until >= asked), "still");
    outbox.push(Bytes::from_static(b"end"));
    outbox.close(None);
    let reading = async {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        got
    };
    let (ended, got) = tokio::join!(outbox.write_all(Duration::from_secs(30)), reading);
    assert!(ended.close.is_none());
    let asked = Instant::now();
    assert!(outbox.held_up_until().is_some_and(|until| until < asked), "no more");
    assert_eq!(got.len(), STALLING_BYTES + 3);
    assert!(got.ends_with(b"xend"));
}

/// A client that takes nothing for too long, and then reads on, gets the rest of the frame and the reason.
#[tokio::test]
async fn who_is_too_slow_can_still_learn_it() {
    let (mut client, outbox) = outbox(usize::MAX).await;
    outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
    outbox.push(Bytes::from_static(b"never sent"));
    outbox.flush();
    let ended = outbox.write_all(Duration::from_millis(20)).await;
    assert_eq!(ended.close, Some(Close::TooSlow));
    assert!(!ended.cut.is_empty());
    let goodbye = outbox.say_goodbye(ended, Duration::from_secs(30));
    let mut got = Vec::new();
    let ((), read) = tokio::join!(goodbye, client.read_to_end(&mut got));
    read.unwrap();
    assert_eq!(got[STALLING_BYTES - 1..=STALLING_BYTES], *b"x\x88");
    assert_eq!(got[STALLING_BYTES + 2..STALLING_BYTES + 4], 3008_u16.to_be_bytes());
}

/// A client that takes what it asked for steadily isn't too slow, however much it goes on asking for.
#[tokio::test]
async fn who_reads_as_fast_as_it_asks_is_not_too_slow() {
    const STALL_WAIT: Duration = Duration::from_secs(2);
    let (mut client, outbox) = outbox(usize::MAX).await;
    outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
    outbox.flush();
    let reading = async {
        let mut some = vec![0; 512 * 1024];
        let begun = Instant::now();
        while begun.elapsed() < 2 * STALL_WAIT {
            client.read_exact(&mut some).await.unwrap();
            outbox.push(Bytes::from(some.clone()));
            tokio::time::sleep(STALL_WAIT / 20).await;
        }
    };
    tokio::select! {
        ended = outbox.write_all(STALL_WAIT) => panic!("closed: {:?}", ended.close),
        () = reading => {}
    }
}

#[tokio::test]
async fn a_stalled_socket_holds_no_close_up() {
    let (_client, outbox) = outbox(usize::MAX).await;
    outbox.push(Bytes::from(vec![b'x'; STALLING_BYTES]));
    outbox.flush();
    let writing = outbox.write_all(Duration::from_secs(100_000));
    let closing = async {
        tokio::task::yield_now().await;
        outbox.close(Some(Close::GoingAway));
    };
    let (ended, ()) = tokio::join!(writing, closing);
    assert_eq!(ended.close, Some(Close::GoingAway));
    assert!(!ended.cut.is_empty());
}
