//! `POST /groups`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use parley_domain::{GroupId, Limits, Role, UserId};
use parley_wire::rest::{CreateGroup, GroupBody, MemberBody, role_name};
use parley_wire::service::{GroupSummary, Wish};
use parley_wire::time;
use uuid::Uuid;

use super::access::{full_users, too_many_groups, user_ids};
use super::answer::{SHOWN_MEMBERS_MAX, written};
use super::extract::{Body, Caller};
use super::fault::Fault;
use super::recipe::{group_of_key, recipe};
use crate::body;
use crate::edge::Shared;
use crate::joins::Joining;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    headers: HeaderMap,
    Body(wish): Body<CreateGroup>,
) -> Result<(StatusCode, Json<GroupBody>), Fault> {
    if wish.members.len() > Limits::MEMBERS_PER_CALL_MAX {
        return Err(Fault::bad_request(format!(
            "at most {} members can be named in one call: add the others with POST /v1/groups/{{id}}/members",
            Limits::MEMBERS_PER_CALL_MAX
        )));
    }
    let members = user_ids("members", &wish.members)?;
    let given = given_id(&caller, wish.group_id, &headers)?;
    let mut users = members.clone();
    users.push(caller.clone());
    let joining = shared.joins.begin(&users);
    refuse_full(&shared, &joining, &users, given).await?;
    let description = wish.description.unwrap_or_default();
    let recipe = recipe(&caller, &wish.name, &description, &members);
    let group_id = given.unwrap_or_else(|| GroupId(Uuid::now_v7()));
    let made = Made { name: wish.name.clone(), description: description.clone(), members: users };
    let wish = Wish::Create { name: wish.name, description, members, recipe };
    let reply = shared.call(group_id, &caller, wish).await?;
    let (group, created) = written(&shared, reply, &caller, |summary| made.body(&shared, summary)).await?;
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(group)))
}

/// A group as it was made, for its creator who repeats the call and isn't in it any more: what became of it since is no
/// business of his.
struct Made {
    name: String,
    description: String,
    members: Vec<UserId>,
}

impl Made {
    fn body(self, shared: &Shared, summary: GroupSummary) -> GroupBody {
        let members: BTreeSet<UserId> = self.members.into_iter().collect();
        let shown = members.iter().take(SHOWN_MEMBERS_MAX).map(|user| MemberBody {
            user_id: user.to_string(),
            role: role_name(if *user == summary.created_by { Role::Owner } else { Role::Member }),
            joined_at: time::format(summary.created_at),
            delivered_seq: None,
            read_seq: None,
        });
        let shown = Some(shown.collect());
        let made = GroupSummary {
            name: self.name,
            description: self.description,
            owner: summary.created_by.clone(),
            updated_at: summary.created_at,
            member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
            head: 1,
            ..summary
        };
        GroupBody { members: shown, ..body::of_summary(made, shared.opener.epoch()) }
    }
}

/// The id that makes a repeat of this call the same call.
fn given_id(caller: &UserId, group_id: Option<Uuid>, headers: &HeaderMap) -> Result<Option<GroupId>, Fault> {
    if let Some(group_id) = group_id {
        return Ok(Some(GroupId(group_id)));
    }
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    match (key, keys.next()) {
        (Some(key), None) => Ok(Some(group_of_key(caller, key))),
        (None, _) | (_, Some(_)) => Err(Fault::bad_request(format!(
            "there must be one Idempotency-Key header, of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
        ))),
    }
}

/// Whoever repeats the call for a group that is there is answered by its owner, however many groups people are in.
async fn refuse_full(
    shared: &Shared,
    joining: &Joining<'_>,
    users: &[UserId],
    given: Option<GroupId>,
) -> Result<(), Fault> {
    let full = full_users(shared, joining, users).await?;
    let Some(user) = full.first() else { return Ok(()) };
    if let Some(group_id) = given
        && shared.engines.reads.live().group(group_id).await?.is_some()
    {
        return Ok(());
    }
    Err(too_many_groups(user, shared.options.limits.user_groups))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use parley_domain::Code;

    use super::*;

    #[test]
    fn the_id_comes_from_the_body_or_the_key() {
        let ann = UserId::parse("ann").unwrap();
        let (none, id) = (HeaderMap::new(), Uuid::now_v7());
        let mut one = HeaderMap::new();
        one.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("key"));
        assert_eq!(given_id(&ann, None, &none).unwrap(), None);
        assert_eq!(given_id(&ann, Some(id), &none).unwrap(), Some(GroupId(id)));
        assert_eq!(given_id(&ann, None, &one).unwrap(), Some(group_of_key(&ann, "key")));
        assert_eq!(given_id(&ann, Some(id), &one).unwrap(), Some(GroupId(id)));
    }

    #[test]
    fn a_key_is_one_printable_header() {
        let ann = UserId::parse("ann").unwrap();
        let (longest, long) = ("x".repeat(255), "x".repeat(256));
        for (keys, taken) in [
            (vec!["k"], true),
            (vec![longest.as_str()], true),
            (vec![long.as_str()], false),
            (vec![""], false),
            (vec!["ü"], false),
            (vec!["a", "a"], false),
        ] {
            let mut headers = HeaderMap::new();
            for key in &keys {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
            }
            let given = given_id(&ann, None, &headers);
            assert_eq!(given.as_ref().map_err(Fault::code).is_ok(), taken, "{keys:?}");
            assert!(taken || given.unwrap_err().code() == Code::BadRequest);
        }
    }
}
