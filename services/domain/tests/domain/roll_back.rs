//! Roll-back: by the system, so that nobody's membership is asked for.

use parley_domain::Code;

use crate::cases::Then::{Appends, Refused, Unchanged};
use crate::cases::{Case, Then, check, club_and};
use crate::given::{dissolved, facts, fold, removed, roll_back, rolled_back, sent, user};

fn on(name: &'static str, more: Vec<parley_domain::Event>, message_seq: u64, then: Then) -> Case {
    let given = club_and([vec![sent(6, "dan", 1)], more].concat());
    Case { name, given, actor: "system", when: roll_back(message_seq, "dan"), then }
}

#[test]
fn roll_back_compensates_once() {
    check([
        on("a message", vec![], 6, Appends(rolled_back(6, "dan"))),
        on("again", vec![rolled_back(6, "dan")], 6, Unchanged),
        on("after dissolution nothing follows", vec![dissolved("ann")], 6, Unchanged),
        on("the sender has left", vec![removed("dan", "dan", 4)], 6, Appends(rolled_back(6, "dan"))),
        on("before the first", vec![], 0, Refused(Code::MessageNotFound)),
        on("beyond the head", vec![], 7, Refused(Code::MessageNotFound)),
    ]);
}

#[test]
fn nobody_has_a_message_that_was_rolled_back() {
    let before = club_and([sent(6, "dan", 1)]);
    let group = fold(&facts(&before)).unwrap();
    assert_eq!(group.receipts(&[(6, user("dan"))])[0].members, 4);
    let after = fold(&facts(&club_and([sent(6, "dan", 1), rolled_back(6, "dan")]))).unwrap();
    let receipts = after.receipts(&[(6, user("dan"))])[0];
    assert_eq!((receipts.delivered, receipts.read, receipts.members), (0, 0, 4));
    assert_eq!(after.message_count, 1, "its place stays, and so does the count");
}
