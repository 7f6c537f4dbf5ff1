//! Asks a read model everything, and compares with the oracle.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{Group, MediaId, MessageId, MessageSent, Seq};

use super::world::{World, group, user, users};
use crate::{Error, MessageKey, ReadModel};

/// No limit that matters.
const ALL: usize = 10_000;
/// Messages that are asked about at once: engines that are far away take their time.
const AT_ONCE: usize = 16;

/// Asks everything about a world, all of which the model has been given.
///
/// # Errors
/// The provider's.
///
/// # Panics
/// If an answer is wrong.
pub async fn check(model: &dyn ReadModel, world: &World) -> Result<(), Error> {
    for group in world.groups.values() {
        assert_eq!(model.group(group.id).await?, Some(world.group_row(group)));
        members(model, world, group).await?;
        events(model, world, group).await?;
        messages(model, world, group).await?;
        finding(model, world, group).await?;
        receipts(model, world, group).await?;
    }
    for number in 0..8 {
        let (id, expected) =
            (MediaId::from_bytes([number; 16]), world.media(MediaId::from_bytes([number; 16])));
        assert_eq!(model.media(id, ALL).await?, expected);
        assert_eq!(model.media(id, 1).await?, expected[..expected.len().min(1)]);
    }
    people(model, world).await?;
    strangers(model).await
}

async fn members(model: &dyn ReadModel, world: &World, group: &Group) -> Result<(), Error> {
    let expected = world.member_rows(group);
    assert_eq!(model.members(group.id, None, ALL, true).await?, expected);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = model.members(group.id, after.as_ref(), 2, true).await?;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.user.clone());
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    for user in users() {
        assert_eq!(model.membership(group.id, &user).await?, world.membership_row(group, &user), "{user}");
        let in_group = world.user_group_row(group, &user);
        assert_eq!(model.user_group(&user, group.id).await?, in_group, "{user}");
    }
    Ok(())
}

async fn events(model: &dyn ReadModel, world: &World, group: &Group) -> Result<(), Error> {
    let expected = world.event_rows(group);
    assert_eq!(model.events(group.id, 0, u64::MAX, ALL).await?, expected);
    for (from, to, limit) in
        [(1, group.head, 3), (2, 5, ALL), (3, 3, 1), (5, 2, 9), (group.head, u64::MAX, 2)]
    {
        let within = expected.iter().filter(|row| row.seq >= from && row.seq <= to).take(limit);
        let answer = model.events(group.id, from, to, limit).await?;
        assert_eq!(answer, within.cloned().collect::<Vec<_>>(), "{from}..={to}, {limit}");
    }
    Ok(())
}

async fn messages(model: &dyn ReadModel, world: &World, group: &Group) -> Result<(), Error> {
    let expected = world.message_rows(group);
    let middle = group.head / 2;
    for (after, before) in [
        (0, u64::MAX),
        (0, middle),
        (middle, u64::MAX),
        (1, group.head),
        (middle, middle),
        (u64::MAX, u64::MAX),
    ] {
        let within = expected.iter().filter(|row| row.seq > after && row.seq < before).cloned();
        let within: Vec<_> = within.collect();
        for limit in [0, 1, 3, within.len(), ALL] {
            let count = limit.min(within.len());
            let more = within.len() > limit;
            let oldest = model.messages(group.id, after, before, false, limit).await?;
            assert_eq!(oldest, (within[..count].to_vec(), more), "{after}..{before}, {limit}");
            let newest = model.messages(group.id, after, before, true, limit).await?;
            assert_eq!(newest, (within[within.len() - count..].to_vec(), more), "{after}..{before}, {limit}");
        }
    }
    Ok(())
}

async fn finding(model: &dyn ReadModel, world: &World, group: &Group) -> Result<(), Error> {
    let find = |(seq, message)| find(model, group, seq, message);
    stream::iter(world.messages(group.id)).map(find).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let unknown = MessageKey::Id(MessageId::from_bytes([0xff; 16]));
    assert_eq!(model.find(group.id, &unknown).await?, None);
    Ok(())
}

async fn find(model: &dyn ReadModel, group: &Group, seq: Seq, message: &MessageSent) -> Result<(), Error> {
    assert_eq!(model.find(group.id, &MessageKey::Id(message.message_id)).await?, Some(seq));
    let client_message_id = message.client_message_id.clone();
    let key = |sender| MessageKey::Client { sender, client_message_id: client_message_id.clone() };
    assert_eq!(model.find(group.id, &key(message.sender.clone())).await?, Some(seq));
    assert_eq!(model.find(group.id, &key(user("nobody"))).await?, None);
    Ok(())
}

async fn receipts(model: &dyn ReadModel, world: &World, group: &Group) -> Result<(), Error> {
    let ask = |(seq, message): (Seq, _)| receipts_of(model, world, group, seq, message);
    stream::iter(world.messages(group.id)).map(ask).buffer_unordered(AT_ONCE).try_collect().await
}

async fn receipts_of(
    model: &dyn ReadModel,
    world: &World,
    group: &Group,
    seq: Seq,
    message: &MessageSent,
) -> Result<(), Error> {
    let sender = &message.sender;
    let counts = model.receipts(group.id, seq, sender).await?;
    assert_eq!(vec![counts], group.receipts(&[(seq, sender.clone())]), "{seq}");
    let expected = world.status_rows(group, seq, sender);
    assert_eq!(model.statuses(group.id, seq, sender, None, ALL).await?, expected, "{seq}");
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = model.statuses(group.id, seq, sender, after.as_ref(), 2).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.user.clone());
        paged.extend(page);
    }
    assert_eq!(paged, expected, "{seq}");
    Ok(())
}

async fn people(model: &dyn ReadModel, world: &World) -> Result<(), Error> {
    for user in users() {
        assert_eq!(model.profile(&user).await?, world.profile(&user));
        let groups = world.groups.values().filter_map(|group| world.user_group_row(group, &user));
        let expected: Vec<_> = groups.collect();
        assert_eq!(model.user_groups(&user, None, ALL).await?, expected, "{user}");
        let (mut paged, mut after) = (Vec::new(), None);
        while let Some(row) = model.user_groups(&user, after, 1).await?.pop() {
            after = Some(row.group_id);
            paged.push(row);
        }
        assert_eq!(paged, expected, "{user}");
        let count = world.group_count(&user);
        for at_least in [0, 1, count, count + 1, ALL] {
            let is_in = model.is_in_groups(&user, at_least).await?;
            assert_eq!(is_in, count >= at_least, "{user}: {count}, at least {at_least}");
        }
    }
    Ok(())
}

async fn strangers(model: &dyn ReadModel) -> Result<(), Error> {
    let (unknown, nobody) = (group(0xff), user("nobody"));
    assert_eq!(model.group(unknown).await?, None);
    assert_eq!(model.members(unknown, None, ALL, true).await?, []);
    assert_eq!(model.membership(unknown, &nobody).await?, None);
    assert_eq!(model.user_group(&nobody, unknown).await?, None);
    assert_eq!(model.user_groups(&nobody, None, ALL).await?, []);
    assert_eq!(model.events(unknown, 1, u64::MAX, ALL).await?, []);
    assert_eq!(model.messages(unknown, 0, u64::MAX, true, ALL).await?, (Vec::new(), false));
    assert_eq!(model.statuses(unknown, 1, &nobody, None, ALL).await?, []);
    assert_eq!(model.receipts(unknown, 1, &nobody).await?, parley_domain::ReceiptCounts::default());
    Ok(())
}
