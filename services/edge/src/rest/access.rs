//! Who may see a group, and who may still join one.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use parley_domain::{Code, GroupId, MediaId, MessageId, Rejection, UserId};
use parley_readstore::{GroupRow, MembershipRow, ReadModel};

use super::fault::Fault;
use crate::edge::Shared;
use crate::joins::Joining;

/// Questions about single users that run at once.
const CONCURRENT_QUERIES: usize = 16;

/// What is no id is the id of nothing.
pub(super) fn group_id(text: &str) -> Result<GroupId, Fault> {
    GroupId::parse(text).map_err(|_| Rejection::group_not_found().into())
}

pub(super) fn message_id(text: &str) -> Result<MessageId, Fault> {
    MessageId::parse(text).map_err(|_| message_not_found())
}

pub(super) fn media_id(text: &str) -> Result<MediaId, Fault> {
    MediaId::parse(text).map_err(|_| media_not_found())
}

pub(super) fn message_not_found() -> Fault {
    Fault::new(Code::MessageNotFound, "the group has no message with this id that you may see")
}

pub(super) fn media_not_found() -> Fault {
    Fault::new(Code::MediaNotFound, "there is no media with this id")
}

/// User ids of a body.
pub(super) fn user_ids(field: &str, texts: &[String]) -> Result<Vec<UserId>, Fault> {
    let parsed = texts.iter().map(|text| UserId::parse(text));
    let parsed: Result<Vec<UserId>, _> = parsed.collect();
    parsed.map_err(|error| Fault::bad_request(format!("{field}: a user id {error}")))
}

/// A living group as one of its members sees it.
pub(super) struct Seen {
    pub(super) reads: Arc<dyn ReadModel>,
    pub(super) group: GroupRow,
    pub(super) membership: MembershipRow,
}

/// The group, if the user is a member of it now, in read models that show all that the user was told before.
pub(super) async fn seen(shared: &Shared, group_id: GroupId, user: &UserId) -> Result<Seen, Fault> {
    shared.caught_up(Some(group_id)).await?;
    let reads = shared.engines.reads.live();
    let group = reads.group(group_id).await?.ok_or_else(Rejection::group_not_found)?;
    let membership = reads.membership(group_id, user).await?.ok_or_else(Rejection::not_a_member)?;
    may_see(&group, &membership)?;
    Ok(Seen { reads, group, membership })
}

/// Whoever was a member learns of the end, even one who had left before.
pub(super) fn may_see(group: &GroupRow, membership: &MembershipRow) -> Result<(), Rejection> {
    if group.dissolved.is_some() {
        return Err(Rejection::group_dissolved());
    }
    if membership.left.is_some() {
        return Err(Rejection::not_a_member());
    }
    Ok(())
}

/// Those of a call's users who are in as many groups as a user may be in.
pub(super) async fn full_users(
    shared: &Shared,
    joining: &Joining<'_>,
    users: &[UserId],
) -> Result<Vec<UserId>, Fault> {
    let suspects = may_be_full(shared, joining, users).await?;
    if suspects.is_empty() {
        return Ok(suspects);
    }
    for user in &suspects {
        joining.alone(user).await;
    }
    shared.caught_up(None).await?;
    let limit = shared.options.limits.user_groups;
    let reads = shared.engines.reads.live();
    let mut full = Vec::new();
    for user in suspects {
        if reads.is_in_groups(&user, limit).await? {
            full.push(user);
        }
    }
    Ok(full)
}

/// Those who may be, by what the read models show at the moment and the calls that are under way.
async fn may_be_full(shared: &Shared, joining: &Joining<'_>, users: &[UserId]) -> Result<Vec<UserId>, Fault> {
    let limit = shared.options.limits.user_groups;
    let reads = &shared.engines.reads.live();
    let full = futures::stream::iter(users.to_vec())
        .map(|user| async move {
            // First the calls, then the groups: one that ends in between is counted twice rather than not at all.
            let under_way = joining.count(&user);
            let too_many = (limit + 1).saturating_sub(under_way);
            Ok::<_, Fault>(reads.is_in_groups(&user, too_many).await?.then_some(user))
        })
        .buffered(CONCURRENT_QUERIES)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(full.into_iter().flatten().collect())
}

/// `too_many_groups`, naming one who has too many.
pub(super) fn too_many_groups(user: &UserId, limit: usize) -> Fault {
    let why = format!("a user can be in at most {limit} groups: somebody whom you name must leave one first");
    Fault::new(Code::TooManyGroups, why).with_detail("user_id", user.as_str())
}
