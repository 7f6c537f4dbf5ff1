//! Notifications are derived from events, so their ids are too.

use uuid::Uuid;

use crate::ids::{GroupId, Seq, UserId};
use crate::partition::murmur2;
use crate::time::Timestamp;

/// Why a user is told of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationKind {
    /// It was created with the user in it.
    Created,
    /// The user was added later.
    Added,
}

/// The id of the notification that a user gets for joining a group at `seq`: the same whoever computes it.
///
/// A UUIDv7 in form: the time of the joining in its first 48 bits, the rest a mix of group, user and `seq`.
#[must_use]
pub fn notification_id(group: GroupId, user: &UserId, seq: Seq, at: Timestamp) -> Uuid {
    let mut seed = Vec::with_capacity(32 + user.as_str().len());
    seed.extend_from_slice(group.as_bytes());
    seed.extend_from_slice(&seq.to_be_bytes());
    seed.extend_from_slice(user.as_str().as_bytes());
    let mut random = [0u8; 10];
    for (round, chunk) in (0u8..).zip(random.chunks_mut(4)) {
        seed.push(round);
        for (to, from) in chunk.iter_mut().zip(murmur2(&seed).to_be_bytes()) {
            *to = from;
        }
    }
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_each_of_its_parts_and_by_nothing_else() {
        let group = GroupId::from_bytes([7; 16]);
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let id = notification_id(group, &ann, 1, Timestamp(1_000));
        assert_eq!(id, notification_id(group, &ann, 1, Timestamp(1_000)));
        assert_eq!(id.get_version_num(), 7);
        for other in [
            notification_id(GroupId::from_bytes([8; 16]), &ann, 1, Timestamp(1_000)),
            notification_id(group, &bob, 1, Timestamp(1_000)),
            notification_id(group, &ann, 2, Timestamp(1_000)),
        ] {
            assert_ne!(id, other);
        }
    }
}
