//! Steps of memberships on their way to and from the cluster.

use parley_domain::{GroupId, MembershipChange, Seq, Timestamp, UserId};
use scylla::value::CqlTimestamp;

use super::plan::{Pick, blob};
use super::value::{Value, present};
use crate::Error;
use crate::providers::stay::{Step, encode_kind, encode_role};

/// A step of the delivered cursor.
pub(super) const DELIVERED: i8 = 2;
/// A step of the read cursor.
pub(super) const READ: i8 = 3;

const JOINED: i8 = 1;
const ROLE: i8 = 2;
const LEFT: i8 = 3;

/// The cells of a step: step, time, role, who added, kind of notification.
pub(super) type Cells = (Option<i8>, Option<CqlTimestamp>, Option<i8>, Option<String>, Option<i8>);

/// The step that the cells of a row are.
pub(super) fn step(cells: &Cells) -> Result<Step<'_>, Error> {
    let small = |cell: Option<i8>| {
        present(cell).and_then(|cell| u8::try_from(cell).map_err(|_| Error::Damaged("a small number")))
    };
    let (step, at, role, by, kind) = cells;
    let at = present(*at)?.0;
    match present(*step)? {
        JOINED => {
            Ok(Step::Joined { at, role: small(*role)?, by: present(by.as_deref())?, kind: small(*kind)? })
        }
        ROLE => Ok(Step::Role { at, role: small(*role)? }),
        LEFT => Ok(Step::Left { at }),
        _ => Err(Error::Damaged("a step of a membership")),
    }
}

fn tiny(number: u8) -> Value {
    Value::Tiny(i8::try_from(number).unwrap_or(i8::MAX))
}

/// A key, the step's cells, and the timestamp.
fn values(key: Vec<Value>, at: Timestamp, change: &MembershipChange, seq: Seq) -> Vec<Value> {
    let mut values = key;
    values.push(Value::Time(at));
    match change {
        MembershipChange::Joined { role, by, kind } => {
            values.extend([tiny(encode_role(*role)), Value::User(by.clone()), tiny(encode_kind(*kind))]);
        }
        MembershipChange::Role(role) => values.push(tiny(encode_role(*role))),
        MembershipChange::Left => {}
    }
    values.push(Value::seq(seq));
    values
}

/// A step as a row of the group.
pub(super) fn by_group(
    group: GroupId,
    bucket: u64,
    user: &UserId,
    seq: Seq,
    at: Timestamp,
    change: &MembershipChange,
) -> (Pick, Vec<Value>) {
    let pick: Pick = match change {
        MembershipChange::Joined { .. } => |all| &all.put_joined,
        MembershipChange::Role(_) => |all| &all.put_role,
        MembershipChange::Left => |all| &all.put_left,
    };
    let key = vec![Value::Id(group.0), Value::seq(bucket), Value::User(user.clone()), Value::seq(seq)];
    (pick, values(key, at, change, seq))
}

/// A step as a row of the user.
pub(super) fn by_user(
    user: &UserId,
    group: GroupId,
    seq: Seq,
    at: Timestamp,
    change: &MembershipChange,
) -> (Pick, Vec<Value>) {
    let pick: Pick = match change {
        MembershipChange::Joined { .. } => |all| &all.put_user_joined,
        MembershipChange::Role(_) => |all| &all.put_user_role,
        MembershipChange::Left => |all| &all.put_user_left,
    };
    (pick, values(vec![Value::User(user.clone()), blob(group), Value::seq(seq)], at, change, seq))
}
