//! Cases with their answers written out.

use parley_domain::{
    Event, MessageKind, ReceiptCounts, RollbackReason, Row, Seq, Timestamp, UserId, Validity,
};

use super::order::dump;
use super::world::{World, group, user};
use super::{apply, check};
use crate::{Checkpoint, Error, ReadModel, StatusRow, UNREAD_MAX, Write};

/// A group with ann, its creator, and others.
fn created(others: &[&str]) -> World {
    let mut world = World::default();
    let others: Vec<UserId> = others.iter().map(|name| user(name)).collect();
    world.create(group(1), &user("ann"), &others);
    world
}

fn removal(name: &str, member_count: u32) -> Event {
    Event::MembersRemoved { actor: user("ann"), users: vec![user(name)], member_count }
}

fn addition(name: &str, member_count: u32) -> Event {
    Event::MembersAdded { actor: user("ann"), users: vec![user(name)], member_count }
}

fn roll_back(world: &mut World, seq: Seq) {
    let (_, message) = world.messages(group(1)).find(|(found, _)| *found == seq).unwrap();
    let (message_id, sender) = (message.message_id, message.sender.clone());
    let reason = RollbackReason::MediaMissing;
    world.push(group(1), Event::MessageRolledBack { message_id, message_seq: seq, sender, reason });
}

async fn unread_of(model: &dyn ReadModel, name: &str) -> Result<u32, Error> {
    Ok(model.user_group(&user(name), group(1)).await?.unwrap().unread)
}

async fn status_of(model: &dyn ReadModel, seq: Seq, name: &str) -> Result<Option<StatusRow>, Error> {
    let rows = model.statuses(group(1), seq, &user("ann"), None, 100).await?;
    Ok(rows.into_iter().find(|row| row.user == user(name)))
}

/// Who joins again has not read what came in an earlier stay, and not what came in between at all.
pub(super) async fn rejoining(model: &dyn ReadModel) -> Result<(), Error> {
    let (id, bob) = (group(1), user("bob"));
    let mut world = created(&["bob"]);
    let first = world.send(id, "ann"); // 2
    let second = world.send(id, "ann"); // 3
    let read_at = world.advance(id, &bob, first, first, false);
    world.push(id, removal("bob", 1)); // 4
    let between = world.send(id, "ann"); // 5
    world.push(id, addition("bob", 2)); // 6
    let after = world.send(id, "ann"); // 7
    apply(model, &world.log, 100).await?;
    check(model, &world).await?;

    let row = model.membership(id, &bob).await?.unwrap();
    assert_eq!((row.joined, row.left, row.delivered, row.read), (6, None, 6, 6));
    assert_eq!(unread_of(model, "bob").await?, 1, "what came since the joining");
    let read = status_of(model, first, "bob").await?.unwrap();
    assert_eq!((read.delivered, read.read, read.updated_at), (true, true, Some(read_at)));
    let missed = status_of(model, second, "bob").await?.unwrap();
    assert_eq!((missed.delivered, missed.read, missed.updated_at), (false, false, None));
    assert_eq!(status_of(model, between, "bob").await?, None, "no member then");
    assert!(!status_of(model, after, "bob").await?.unwrap().delivered);

    let delivered_at = world.advance(id, &bob, after, 0, false);
    apply(model, &world.log[world.log.len() - 1..], 1).await?;
    check(model, &world).await?;
    let delivered = status_of(model, after, "bob").await?.unwrap();
    assert_eq!(
        (delivered.delivered, delivered.read, delivered.updated_at),
        (true, false, Some(delivered_at))
    );
    assert!(
        !status_of(model, second, "bob").await?.unwrap().delivered,
        "a later stay says nothing of an earlier"
    );
    assert_eq!(
        model.receipts(id, first, &user("ann")).await?,
        ReceiptCounts { delivered: 1, read: 1, members: 1 }
    );
    assert_eq!(
        model.receipts(id, second, &user("ann")).await?,
        ReceiptCounts { delivered: 0, read: 0, members: 1 }
    );
    assert_eq!(model.receipts(id, between, &user("ann")).await?, ReceiptCounts::default());

    world.push(id, removal("bob", 1));
    apply(model, &world.log[world.log.len() - 1..], 1).await?;
    assert_eq!(model.members(id, None, 10, true).await?.len(), 1);
    assert_eq!(unread_of(model, "bob").await?, 0, "no member any more");
    assert!(!model.is_in_groups(&bob, 1).await?);
    assert_eq!(model.user_groups(&bob, None, 10).await?.len(), 1, "a group that the user was in");
    check(model, &world).await
}

/// Own messages and messages that were rolled back don't count, and none is subtracted twice.
pub(super) async fn unread(model: &dyn ReadModel) -> Result<(), Error> {
    let (id, bob) = (group(1), user("bob"));
    let mut world = created(&["bob"]);
    let read = world.send(id, "ann");
    world.advance(id, &bob, 0, read, false);
    let (own, others) = (world.send(id, "bob"), world.send(id, "ann"));
    world.send(id, "ann");
    apply(model, &world.log, 100).await?;
    let done = world.log.len();
    assert_eq!(unread_of(model, "bob").await?, 2);
    for (rolled_back, unread) in [(own, 2), (read, 2), (others, 1)] {
        roll_back(&mut world, rolled_back);
        apply(model, &world.log[done..], 1).await?;
        assert_eq!(unread_of(model, "bob").await?, unread);
        check(model, &world).await?;
    }
    assert_eq!(unread_of(model, "ann").await?, 0, "bob's message was rolled back");
    Ok(())
}

/// Counting stops.
pub(super) async fn unread_stops(model: &dyn ReadModel) -> Result<(), Error> {
    let id = group(1);
    let mut world = created(&["bob"]);
    for _ in 0..UNREAD_MAX {
        world.send(id, "ann");
    }
    let last = world.send(id, "ann");
    apply(model, &world.log, 500).await?;
    assert_eq!(unread_of(model, "bob").await?, UNREAD_MAX);
    for (seq, unread) in [(last, UNREAD_MAX), (last - 1, UNREAD_MAX - 1), (last - 2, UNREAD_MAX - 2)] {
        let done = world.log.len();
        roll_back(&mut world, seq);
        apply(model, &world.log[done..], 1).await?;
        assert_eq!(unread_of(model, "bob").await?, unread, "exact up to there");
    }
    Ok(())
}

/// Members whose cursors took many steps lie between others.
pub(super) async fn many_steps(model: &dyn ReadModel) -> Result<(), Error> {
    let id = group(1);
    let mut world = created(&["ann b", "b", "bob", "zoë", "日本"]);
    for round in 0..45 {
        let seq = world.send(id, "ann");
        for name in ["ann b", "bob"] {
            world.advance(id, &user(name), seq, 0, false);
            world.advance(id, &user(name), 0, seq - round % 3, false);
        }
        if round == 20 {
            world.push(id, removal("b", 5));
            world.push(id, removal("bob", 4));
            world.send(id, "ann");
            world.push(id, addition("bob", 5));
        }
    }
    // Two that a scan from an old message on meets only behind all the others' steps.
    let last = world.send(id, "ann");
    world.advance(id, &user("zoë"), last, last, false);
    world.advance(id, &user("日本"), last, 0, false);
    apply(model, &world.log, 50).await?;
    check(model, &world).await
}

/// Messages are found over many group events.
pub(super) async fn paging(model: &dyn ReadModel) -> Result<(), Error> {
    let id = group(1);
    let mut world = created(&["bob"]);
    let mut seqs = Vec::new();
    for _ in 0..5 {
        seqs.push(world.send(id, "ann"));
        for number in 0..60 {
            let (name, description) = (format!("{number}"), String::new());
            world.push(id, Event::GroupUpdated { actor: user("ann"), name, description });
        }
    }
    apply(model, &world.log, 100).await?;
    let (page, more) = model.messages(id, 0, u64::MAX, true, 2).await?;
    assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), seqs[3..]);
    assert!(more);
    let (page, more) = model.messages(id, seqs[1], seqs[4], false, 2).await?;
    assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), seqs[2..4]);
    assert!(!more);
    check(model, &world).await
}

/// A group whose events lie far apart, as those of one with a long history do that are asked about: whatever an engine keeps
/// together, these don't lie there together.
pub(super) async fn long_history(model: &dyn ReadModel) -> Result<(), Error> {
    let id = group(1);
    let (bob, cid) = (user("bob"), user("zoë"));
    let mut world = created(&["bob", "zoë", "b"]);
    let skip_to = |world: &mut World, head| world.groups.get_mut(&id).unwrap().head = head;
    let old = world.send(id, "ann");
    world.send(id, "bob");
    world.advance(id, &bob, old, 0, false);
    world.advance(id, &cid, old, old, false);
    skip_to(&mut world, 262_140);
    for _ in 0..4 {
        world.send(id, "ann");
        world.send(id, "bob");
    }
    let middle = world.send(id, "ann");
    world.advance(id, &bob, middle - 5, 0, false);
    world.push(id, removal("zoë", 3));
    world.push(id, removal("b", 2));
    skip_to(&mut world, 600_000);
    world.push(id, addition("zoë", 3));
    world.push(id, addition("anna", 4));
    let last = world.send(id, "bob");
    roll_back(&mut world, middle);
    world.advance(id, &cid, last, 0, false);
    world.send(id, "anna");
    apply(model, &world.log, 5).await?;
    check(model, &world).await?;
    // A step over all of it.
    let done = world.log.len();
    world.advance(id, &bob, last, last, false);
    apply(model, &world.log[done..], 1).await?;
    check(model, &world).await
}

/// A message that was rolled back keeps its place; nobody has it.
pub(super) async fn rolled_back(model: &dyn ReadModel) -> Result<(), Error> {
    let (id, ann) = (group(1), user("ann"));
    let mut world = created(&["bob", "b"]);
    let seq = world.send(id, "ann");
    world.advance(id, &user("bob"), 0, seq, false);
    apply(model, &world.log, 100).await?;
    assert_eq!(model.receipts(id, seq, &ann).await?, ReceiptCounts { delivered: 1, read: 1, members: 2 });
    assert!(!model.events(id, seq, seq, 1).await?[0].rolled_back);
    let done = world.log.len();
    roll_back(&mut world, seq);
    apply(model, &world.log[done..], 1).await?;
    assert_eq!(model.receipts(id, seq, &ann).await?, ReceiptCounts { delivered: 0, read: 0, members: 2 });
    assert!(model.events(id, seq, seq, 1).await?[0].rolled_back);
    assert!(model.messages(id, 0, u64::MAX, true, 1).await?.0[0].rolled_back);
    for row in model.statuses(id, seq, &ann, None, 10).await? {
        assert_eq!((row.delivered, row.read, row.updated_at), (false, false, None));
    }
    assert_eq!(model.membership(id, &user("bob")).await?.unwrap().read, seq, "cursors stay");
    check(model, &world).await
}

/// A notification belongs to one joining; who made the group has none.
pub(super) async fn notifications(model: &dyn ReadModel) -> Result<(), Error> {
    let (id, bob) = (group(1), user("bob"));
    let mut world = created(&["bob"]);
    apply(model, &world.log, 100).await?;
    let notified =
        async |name: &str| Ok::<_, Error>(model.user_group(&user(name), id).await?.unwrap().notified);
    assert!(notified("ann").await? && !notified("bob").await?);
    let mut done = world.log.len();
    world.advance(id, &bob, 0, 0, true);
    apply(model, &world.log[done..], 1).await?;
    assert!(notified("bob").await?);
    done = world.log.len();
    world.push(id, removal("bob", 1));
    world.push(id, addition("bob", 2));
    apply(model, &world.log[done..], 1).await?;
    assert!(!notified("bob").await?, "another joining");
    done = world.log.len();
    world.advance(id, &bob, 0, 0, true);
    apply(model, &world.log[done..], 1).await?;
    assert!(notified("bob").await?);
    check(model, &world).await
}

/// Acknowledgements may be projected before the events that they are about: they show nothing and break nothing.
pub(super) async fn early_acknowledgements(model: &dyn ReadModel) -> Result<(), Error> {
    let (id, bob) = (group(1), user("bob"));
    let mut world = created(&["bob"]);
    let seq = world.send(id, "ann");
    world.advance(id, &bob, seq, seq, true);
    let (acks, events) = world.log.split_last().unwrap();
    apply(model, std::slice::from_ref(acks), 1).await?;
    assert_eq!(model.membership(id, &bob).await?, None);
    assert_eq!(model.user_group(&bob, id).await?, None);
    assert_eq!(model.user_groups(&bob, None, 10).await?, []);
    assert_eq!(model.members(id, None, 10, true).await?, []);
    assert_eq!(model.receipts(id, seq, &user("ann")).await?, ReceiptCounts::default());
    apply(model, &events[..1], 1).await?;
    let row = model.user_group(&bob, id).await?.unwrap();
    assert_eq!((row.membership.read, row.head, row.unread), (seq, 1, 0), "the cursor is ahead of the events");
    apply(model, &events[1..], 1).await?;
    check(model, &world).await
}

/// Within one batch the last of several rows with one key counts.
pub(super) async fn one_batch(model: &dyn ReadModel) -> Result<(), Error> {
    let id = group(1);
    let mut world = created(&[]);
    world.send(id, "ann");
    for name in ["b", "a", "c"] {
        let (name, description) = (name.to_owned(), String::new());
        world.push(id, Event::GroupUpdated { actor: user("ann"), name, description });
    }
    let message = world.message(&user("ann"), 2, MessageKind::Video, 3);
    world.push(id, Event::MessageSent(message));
    apply(model, &world.log, usize::MAX).await?;
    assert_eq!(model.group(id).await?.unwrap().name, "c");
    check(model, &world).await?;
    // A row that has nothing to do with a group, alone.
    let row = Row::Cursor { group_id: id, user: user("x"), delivered: 0, read: 0, at: Timestamp(0) };
    let before = dump(model, 100).await?;
    model.apply(vec![Write { row, event: None }], Vec::new()).await?;
    assert!(dump(model, 100).await? == before, "0 is no step");
    Ok(())
}

/// Checkpoints are what was written last, and no rows.
pub(super) async fn checkpoints(model: &dyn ReadModel) -> Result<(), Error> {
    let at = |offset, claim| Checkpoint { offset, validity: Validity { claim, next_index: offset / 2 } };
    assert_eq!(model.checkpoints().await?, []);
    model.apply(Vec::new(), vec![((0, 300), at(5, None)), ((0, 2), at(7, Some(0)))]).await?;
    model
        .apply(
            Vec::new(),
            vec![((1, 2), at(9, Some(8))), ((0, 2), at(8, Some(3))), ((0, 2), at(10, Some(3)))],
        )
        .await?;
    model.apply(Vec::new(), Vec::new()).await?;
    let mut found = model.checkpoints().await?;
    found.sort_by_key(|(key, _)| *key);
    assert_eq!(found, [((0, 2), at(10, Some(3))), ((0, 300), at(5, None)), ((1, 2), at(9, Some(8)))]);
    assert!(dump(model, 10).await?.values().all(Vec::is_empty));
    Ok(())
}
