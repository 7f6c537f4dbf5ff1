//! The limit on how many groups a user is in. No partition owns a user, so no owner can hold it: the edge does, for the
//! calls that go through it.
//!
//! A call that lets users join counts as under way from before it is checked until the read models show what came of it.
//! So `groups in the read model + calls under way` is never less than the truth. Only where that sum is beyond the
//! limit does a call wait until all earlier ones of the same user have ended, and then the read model alone is the truth.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use parking_lot::Mutex;
use parley_domain::UserId;
use tokio::sync::Notify;

#[derive(Default)]
struct UnderWay {
    next: u64,
    calls: HashMap<UserId, BTreeSet<u64>>,
}

/// The calls that let users join.
#[derive(Default)]
pub(crate) struct Joins {
    under_way: Mutex<UnderWay>,
    ended: Notify,
}

/// One of them, while it lives.
pub(crate) struct Joining<'a> {
    joins: &'a Joins,
    number: u64,
    users: Vec<UserId>,
}

impl Joins {
    /// A call begins that may let these users join a group. Keep it until the read models show its outcome.
    pub(crate) fn begin(&self, users: &[UserId]) -> Joining<'_> {
        let mut under_way = self.under_way.lock();
        let number = under_way.next;
        under_way.next += 1;
        for user in users {
            under_way.calls.entry(user.clone()).or_default().insert(number);
        }
        Joining { joins: self, number, users: users.to_vec() }
    }
}

impl Joining<'_> {
    /// Calls under way for a user, this one among them.
    pub(crate) fn count(&self, user: &UserId) -> usize {
        self.joins.under_way.lock().calls.get(user).map_or(0, BTreeSet::len)
    }

    /// Waits until all earlier calls for a user have ended. They wait for earlier ones only, so nobody waits in a circle.
    pub(crate) async fn alone(&self, user: &UserId) {
        loop {
            let ended = self.joins.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let first = self.joins.under_way.lock().calls.get(user).and_then(BTreeSet::first).copied();
            if first.is_none_or(|first| first >= self.number) {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        {
            let mut under_way = self.joins.under_way.lock();
            for user in &self.users {
                if let Some(calls) = under_way.calls.get_mut(user) {
                    calls.remove(&self.number);
                    if calls.is_empty() {
                        under_way.calls.remove(user);
                    }
                }
            }
        }
        self.joins.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_call_waits_for_earlier_ones_of_the_same_user() {
        let joins = Joins::default();
        let (ann, bob) = (user("ann"), user("bob"));
        let first = joins.begin(&[ann.clone(), ann.clone()]);
        let second = joins.begin(&[ann.clone(), bob.clone()]);
        let third = joins.begin(std::slice::from_ref(&bob));
        assert_eq!((first.count(&ann), third.count(&bob), third.count(&user("cem"))), (2, 2, 0));
        first.alone(&ann).await;
        second.alone(&bob).await;
        let waited = async {
            second.alone(&ann).await;
            assert_eq!(second.count(&ann), 1);
            drop(second);
        };
        let ends = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let last = async { third.alone(&bob).await };
        tokio::join!(last, waited, ends);
        drop(third);
        assert!(joins.under_way.lock().calls.is_empty());
    }
}
