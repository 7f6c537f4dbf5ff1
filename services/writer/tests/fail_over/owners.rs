//! Who may answer, and what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parley_domain::{Code, CursorWish, Rejection, Role};
use parley_eventlog::{Assignment, Topic, TopicPartition};
use parley_keys::EmbeddedKeyStore;
use parley_keys::faults::Switched;
use parley_wire::event;
use parley_wire::service::{Reply, Request, Wish, call};
use parley_writer::{AssignedWriter, Engines, Options};

use crate::doubles::{CountingLog, PassedOn};
use crate::support::{PATIENCE, Writer, create, engines, engines_with, group, place, send, seq_of, user};

/// Nothing that a client could take for the truth.
fn is_no_answer(reply: &Result<Reply, Rejection>) -> bool {
    match reply {
        Ok(Reply::NotOwner) => true,
        Err(rejection) => rejection.code == Code::OutcomeUnknown,
        Ok(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_writer_answers_nothing_from_its_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let (old, new) = (Writer::start("old", &engines, 1_000), Writer::start("new", &engines, 1_000));
    let before = old.assign_all(1).await;
    for number in 1..=20 {
        old.ask(&before, create(group(number))).await.unwrap();
        assert_eq!(seq_of(old.ask(&before, send(group(number), "ann", "one")).await), (2, false));
    }
    // The old one isn't told: it is frozen, or the news is late.
    let after = new.assign_all(2).await;
    for number in 1..=20 {
        // Everything that appends nothing must not be answered from what was true before.
        let repeat = old.ask(&before, send(group(number), "ann", "one")).await;
        let stranger = old.ask(&before, send(group(number), "eve", "two")).await;
        let fresh = old.ask(&before, send(group(number), "ann", "three")).await;
        for answer in [&repeat, &stranger, &fresh] {
            assert!(is_no_answer(answer), "group {number}: {answer:?}");
        }
        assert_eq!(seq_of(new.ask(&after, send(group(number), "ann", "one")).await), (2, true));
        assert_eq!(seq_of(new.ask(&after, send(group(number), "ann", "three")).await), (3, false));
        let stranger = new.ask(&after, send(group(number), "eve", "two")).await;
        assert_eq!(stranger.unwrap_err().code, Code::NotAMember);
    }
    assert_eq!(new.owned.watch().borrow().clone(), after, "the old one doesn't claim back what is newer");
    old.task.shut_down().await;
    new.task.shut_down().await;
}

/// What delivery and projector take without decoding it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_beside_a_record_is_what_its_bytes_say() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start("w", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    let one = group(1);
    let of = |wish| Request { group_id: one, actor: user("ann"), wish };
    let wish = |user, read| CursorWish { user, delivered: 0, read, notified: false };
    for request in [
        create(one),
        of(Wish::AddMembers(vec![user("zoë"), user("carl")])),
        send(one, "ann", "Grüße \u{1F600} \"x\""),
        of(Wish::AdvanceCursors(vec![wish(user("zoë"), 3), wish(user("carl"), 2)])),
        of(Wish::SetRole(user("carl"), Role::Admin)),
        of(Wish::Update { name: Some("n".into()), description: None }),
        of(Wish::RemoveMember(user("carl"))),
        of(Wish::TransferOwnership(user("zoë"))),
    ] {
        writer.ask(&terms, request).await.unwrap();
    }
    let (mut facts, mut cursors) = (0, 0);
    for topic in [Topic::Events, Topic::Acks] {
        let at = TopicPartition { topic, partition: place(one) };
        let records = engines.log.read(at, 0, 100).await.unwrap().into_iter().map(|stored| stored.record);
        for record in records.filter(|record| record.kind != event::CLAIM_TYPE) {
            if topic == Topic::Events {
                let (kept, again) = (record.fact().unwrap(), record.fact().unwrap());
                assert!(Arc::ptr_eq(&kept, &again), "it isn't decoded");
                assert_eq!(*kept, event::decode_fact(&record.kind, record.value).unwrap());
                facts += 1;
            } else {
                let (kept, again) = (record.cursors().unwrap(), record.cursors().unwrap());
                assert!(Arc::ptr_eq(&kept, &again), "it isn't decoded");
                assert_eq!(*kept, event::decode_cursors(record.value).unwrap());
                cursors += 1;
            }
        }
    }
    assert_eq!((facts, cursors), (7, 1));
    writer.task.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_a_former_term_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    let former = terms.iter().map(|(partition, term)| (*partition, term + 1)).collect();
    assert_eq!(writer.ask(&former, send(group(1), "ann", "one")).await, Ok(Reply::NotOwner));
    writer.assignment.send_replace(Assignment { generation: 2, partitions: Default::default() });
    let mut owned = writer.owned.watch();
    tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    assert_eq!(writer.ask(&terms, send(group(1), "ann", "one")).await, Ok(Reply::NotOwner));
    let again = writer.assign_all(3).await;
    assert!(again.iter().all(|(partition, term)| *term > terms[partition]), "a term only grows");
    assert_eq!(seq_of(writer.ask(&again, send(group(1), "ann", "one")).await), (2, false));
    writer.task.shut_down().await;
}

/// Groups whose key is at hand don't suffer from those whose key isn't, in the same partition and in the same batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_key_store_is_away_only_who_needs_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Switched::new(EmbeddedKeyStore::open(&dir.path().join("keys")).unwrap());
    let engines = engines_with(dir.path(), store.clone());
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    let warm = group(1);
    let mut beside = (2..=u8::MAX).map(group).filter(|group| place(*group) == place(warm));
    let (cold, gone) = (beside.next().unwrap(), beside.next().unwrap());
    for one in [warm, cold, gone] {
        writer.ask(&terms, create(one)).await.unwrap();
    }
    let dissolve = Request { group_id: gone, actor: user("ann"), wish: Wish::Dissolve };
    writer.ask(&terms, dissolve).await.unwrap();
    assert_eq!(seq_of(writer.ask(&terms, send(warm, "ann", "0")).await), (2, false));

    store.take_away(true);
    for round in 1..=20 {
        let id = round.to_string();
        let (refused, accepted) = tokio::join!(
            writer.ask(&terms, send(cold, "ann", &id)),
            writer.ask(&terms, send(warm, "ann", &id)),
        );
        assert_eq!(refused.unwrap_err().code, Code::Unavailable);
        let stranger = writer.ask(&terms, send(cold, "eve", &id)).await;
        assert_eq!(stranger.unwrap_err().code, Code::NotAMember, "that needs no key");
        let late = writer.ask(&terms, send(gone, "ann", &id)).await;
        assert_eq!(late.unwrap_err().code, Code::GroupDissolved, "nor does that");
        assert_eq!(seq_of(accepted), (2 + round, false));
        assert_eq!(seq_of(writer.ask(&terms, send(warm, "ann", &id)).await), (2 + round, true), "a repeat");
    }
    store.take_away(false);
    let accepted = async {
        loop {
            match writer.ask(&terms, send(cold, "ann", "1")).await {
                Ok(reply) => break seq_of(Ok(reply)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, accepted).await.unwrap(), (2, false));
    writer.task.shut_down().await;
}

/// What is in the log isn't said to be nobody's, or an edge would ask for it again: the ownership has changed hands, but an answer
/// beside it rests on acknowledgements, and whether others were written meanwhile can't be told.
#[tokio::test]
async fn what_landed_is_not_asked_for_again_where_the_answer_beside_it_can_not_be_given() {
    let dir = tempfile::tempdir().unwrap();
    let (log, engines) = CountingLog::before(&engines(dir.path()));
    let writer = Writer::start("one", &engines, 1_000);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    let of_ann = |wish| Request { group_id: group(1), actor: user("ann"), wish };
    let transfer = || of_ann(Wish::TransferOwnership(user("bob")));
    let count = of_ann(Wish::CountReceipts(vec![(1, user("ann"))]));
    log.is_blind.store(true, Ordering::Relaxed);
    // Asked before the shard's task runs: this test has one thread, and so they are one batch.
    let (transferred, _) = tokio::join!(writer.ask(&terms, transfer()), writer.ask(&terms, count));
    log.is_blind.store(false, Ordering::Relaxed);
    assert_eq!(transferred.unwrap_err().code, Code::OutcomeUnknown);
    let again = async {
        loop {
            let terms = writer.owned.watch().borrow().clone();
            if terms.contains_key(&place(group(1)))
                && let Err(rejection) = writer.ask(&terms, transfer()).await
            {
                break rejection.code;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(
        tokio::time::timeout(PATIENCE, again).await.unwrap(),
        Code::Forbidden,
        "it isn't ann's any more"
    );
    writer.task.shut_down().await;
}

/// A repeat is known as one also if the messages before it in its batch push its id out of those that are remembered.
#[tokio::test]
async fn a_repeat_is_known_beside_messages_that_make_its_id_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let writer = Writer::start_with(Options { recent_ids_max: 3, ..Options::default() }, &engines);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", "first")).await), (2, false));
    // All are asked before the shard's task runs: this test has one thread, and so they are one batch.
    let batch = ["a", "b", "c", "d", "first"].map(|id| writer.ask(&terms, send(group(1), "ann", id)));
    let answers = futures::future::join_all(batch).await;
    let answers: Vec<_> = answers.into_iter().map(seq_of).collect();
    assert_eq!(answers, [(3, false), (4, false), (5, false), (6, false), (2, true)]);
    writer.task.shut_down().await;
}

/// Whether its owner panics while it serves, or what takes the partition over then does too: nobody else need do anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_owner_panics_is_taken_over_anew() {
    for tails in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let (log, engines) = CountingLog::before(&engines(dir.path()));
        let writer = Writer::start("one", &engines, 1_000);
        let terms = writer.assign_all(1).await;
        writer.ask(&terms, create(group(1))).await.unwrap();
        *log.panics.lock().unwrap() = (1, tails);
        let lost = writer.ask(&terms, send(group(1), "ann", "one")).await;
        assert_eq!(lost.unwrap_err().code, Code::OutcomeUnknown);
        let mut owned = writer.owned.watch();
        let anew = owned
            .wait_for(|now| now.get(&place(group(1))).is_some_and(|term| *term > terms[&place(group(1))]));
        let terms = tokio::time::timeout(PATIENCE, anew).await.expect("taken over").unwrap().clone();
        assert_eq!(*log.panics.lock().unwrap(), (0, 0), "it panicked as it should");
        assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", "one")).await), (2, false));
        // Assignments are still followed.
        writer.assignment.send_replace(Assignment { generation: 2, partitions: Default::default() });
        tokio::time::timeout(PATIENCE, owned.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
        writer.task.shut_down().await;
    }
}

/// Else the claim could land after that of the next owner, who would lose what he has in flight: the claim of the first fold, of all
/// partitions, or those with which each is tried by itself where the first fold panics.
#[tokio::test]
async fn a_partition_is_released_only_once_no_claim_is_on_its_way() {
    for (tails, claims) in [(0, 1), (1, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, engines) = CountingLog::before(&engines(dir.path()));
        *log.panics.lock().unwrap() = (0, tails);
        log.keep_back();
        let (released, mut releases) = tokio::sync::mpsc::unbounded_channel();
        let (assignment, watch) = tokio::sync::watch::channel(Assignment::default());
        let release = move |generation| released.send(generation).unwrap_or_default();
        let (_, writer) = AssignedWriter::start(Options::default(), engines, watch, Arc::new(release));
        assignment.send_replace(Assignment { generation: 1, partitions: [0, 1].into() });
        log.until_kept_back(claims).await;
        while releases.try_recv().is_ok() {}
        assignment.send_replace(Assignment { generation: 2, partitions: Default::default() });
        // All that a release could come from runs on this thread, and does.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(releases.try_recv().is_err(), "claims are on their way");
        log.tell().await;
        assert_eq!(tokio::time::timeout(PATIENCE, releases.recv()).await.unwrap(), Some(2));
        writer.shut_down().await;
    }
}

/// The only writer of a log, which another one has taken from it all the same, is told to stop before the log says what became of its
/// claims: it refuses what was queued, and stops.
#[tokio::test]
async fn a_writer_that_is_told_to_stop_while_it_takes_over_again_stops() {
    let dir = tempfile::tempdir().unwrap();
    let engines = engines(dir.path());
    let (log, counted) = CountingLog::before(&engines);
    let options = |name: &str| Options { instance: name.into(), ..Options::default() };
    let (handle, writer) = parley_writer::Writer::start(options("one"), counted).await.unwrap();
    let (_, other) = parley_writer::Writer::start(options("other"), engines).await.unwrap();
    log.keep_back();
    let asked = call(&handle, create(group(1)), PATIENCE).await;
    assert_eq!(asked.unwrap_err().code, Code::OutcomeUnknown, "it isn't the owner any more");
    log.until_kept_back(1).await;
    let queued = call(&handle, create(group(2)), PATIENCE);
    let stopping = async {
        tokio::task::yield_now().await; // that is queued first
        tokio::time::timeout(PATIENCE, writer.shut_down()).await.expect("it stops");
    };
    let (queued, ()) = tokio::join!(queued, stopping);
    assert_eq!(queued.unwrap_err().code, Code::Unavailable);
    other.shut_down().await;
}

/// One that connects after the creation is told of it and acknowledges that, for its user. The user's other session, which was there
/// before, is told by the server all the same.
#[tokio::test]
async fn the_server_tells_a_member_of_a_new_group_also_if_one_of_its_sessions_acknowledged_it() {
    let dir = tempfile::tempdir().unwrap();
    let (tx, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let engines = Engines { notices: Arc::new(PassedOn(tx)), ..engines(dir.path()) };
    let options = Options { notify_after_ms: 500, ..Options::default() };
    let (handle, writer) = parley_writer::Writer::start(options, engines).await.unwrap();
    call(&handle, create(group(1)), PATIENCE).await.unwrap();
    let wish = CursorWish { user: user("bob"), delivered: 0, read: 0, notified: true };
    let wish = Wish::AdvanceCursors(vec![wish]);
    call(&handle, Request { group_id: group(1), actor: user("bob"), wish }, PATIENCE).await.unwrap();
    let notice = tokio::time::timeout(PATIENCE, notices.recv()).await.expect("told").unwrap();
    assert_eq!(notice.users.iter().collect::<Vec<_>>(), [&user("bob")]);
    writer.shut_down().await;
}
