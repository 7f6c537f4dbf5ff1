//! Add, remove, leave, transfer, roles.

use parley_domain::{Code, Limits, Role};

use crate::cases::Then::{Appends, Refused, Unchanged};
use crate::cases::{Case, case, check, club_and};
use crate::given::{
    add, added, facts, fold, remove, removed, role_changed, set_role, transfer, transferred, user,
};

#[test]
fn add_is_for_owner_and_admins_and_skips_members() {
    check([
        case("owner", "ann", add(&["gus"]), Appends(added("ann", &["gus"], 6))),
        case("admin", "bob", add(&["gus"]), Appends(added("bob", &["gus"], 6))),
        case("member", "dan", add(&["gus"]), Refused(Code::Forbidden)),
        case("a member is skipped", "ann", add(&["dan", "gus"]), Appends(added("ann", &["gus"], 6))),
        case("named twice", "ann", add(&["gus", "hal", "gus"]), Appends(added("ann", &["gus", "hal"], 7))),
        case("a former member", "ann", add(&["fay"]), Appends(added("ann", &["fay"], 6))),
        case("oneself", "ann", add(&["ann"]), Unchanged),
        case("members only", "ann", add(&["bob", "dan"]), Unchanged),
        case("members only, by a member", "dan", add(&["bob"]), Refused(Code::Forbidden)),
        case("nobody", "ann", add(&[]), Refused(Code::BadRequest)),
        case("as many as fit", "ann", add(&["g", "h", "i"]), Appends(added("ann", &["g", "h", "i"], 8))),
        case("one too many, none is added", "ann", add(&["g", "h", "i", "j"]), Refused(Code::GroupFull)),
        case(
            "those in don't count",
            "ann",
            add(&["ann", "bob", "cat", "g", "h", "i"]),
            Appends(added("ann", &["g", "h", "i"], 8)),
        ),
        case("at most so many names", "ann", add(&vec!["bob"; Limits::MEMBERS_PER_CALL_MAX]), Unchanged),
        case(
            "too many names",
            "ann",
            add(&vec!["bob"; Limits::MEMBERS_PER_CALL_MAX + 1]),
            Refused(Code::BadRequest),
        ),
    ]);
}

#[test]
fn a_full_group_takes_nobody_but_those_in_it() {
    let full = || club_and([added("ann", &["g", "h", "i"], 8)]);
    let case = |name, when, then| Case { name, given: full(), actor: "ann", when, then };
    check([
        case("another", add(&["j"]), Refused(Code::GroupFull)),
        case("one who is in it", add(&["g"]), Unchanged),
    ]);
}

#[test]
fn remove_goes_by_roles() {
    check([
        case("owner, a member", "ann", remove("dan"), Appends(removed("ann", "dan", 4))),
        case("owner, an admin", "ann", remove("bob"), Appends(removed("ann", "bob", 4))),
        case("admin, a member", "bob", remove("dan"), Appends(removed("bob", "dan", 4))),
        case("admin, an admin", "bob", remove("cat"), Refused(Code::Forbidden)),
        case("admin, the owner", "bob", remove("ann"), Refused(Code::Forbidden)),
        case("member, a member", "dan", remove("eve"), Refused(Code::Forbidden)),
        case("member, a stranger", "dan", remove("gus"), Refused(Code::Forbidden)),
        case("owner, a stranger", "ann", remove("gus"), Refused(Code::MemberNotFound)),
        case("admin, a former member", "bob", remove("fay"), Refused(Code::MemberNotFound)),
    ]);
}

#[test]
fn everybody_but_the_owner_may_leave() {
    check([
        case("member", "dan", remove("dan"), Appends(removed("dan", "dan", 4))),
        case("admin", "bob", remove("bob"), Appends(removed("bob", "bob", 4))),
        case("owner", "ann", remove("ann"), Refused(Code::OwnerMustTransfer)),
        Case {
            name: "former owner",
            given: club_and([transferred("ann", "dan")]),
            actor: "ann",
            when: remove("ann"),
            then: Appends(removed("ann", "ann", 4)),
        },
        Case {
            name: "twice",
            given: club_and([removed("dan", "dan", 4)]),
            actor: "dan",
            when: remove("dan"),
            then: Refused(Code::NotAMember),
        },
    ]);
}

#[test]
fn ownership_goes_to_a_member() {
    check([
        case("to a member", "ann", transfer("dan"), Appends(transferred("ann", "dan"))),
        case("to an admin", "ann", transfer("bob"), Appends(transferred("ann", "bob"))),
        case("to oneself", "ann", transfer("ann"), Unchanged),
        case("to a stranger", "ann", transfer("gus"), Refused(Code::MemberNotFound)),
        case("to a former member", "ann", transfer("fay"), Refused(Code::MemberNotFound)),
        case("by an admin", "bob", transfer("bob"), Refused(Code::Forbidden)),
        case("by a member", "dan", transfer("dan"), Refused(Code::Forbidden)),
        case("by a member, to a stranger", "dan", transfer("gus"), Refused(Code::Forbidden)),
    ]);
    let group = fold(&facts(&club_and([transferred("ann", "dan")]))).unwrap();
    assert_eq!(group.owner, user("dan"));
    let roles = ["ann", "dan"].map(|name| group.member(&user(name)).unwrap().role);
    assert_eq!(roles, [Role::Admin, Role::Owner]);
}

#[test]
fn roles_are_given_by_the_owner() {
    let promoted = || role_changed("ann", "dan", Role::Admin);
    check([
        case("promote", "ann", set_role("dan", Role::Admin), Appends(promoted())),
        case(
            "demote",
            "ann",
            set_role("bob", Role::Member),
            Appends(role_changed("ann", "bob", Role::Member)),
        ),
        case("an admin already", "ann", set_role("bob", Role::Admin), Unchanged),
        case("a member already", "ann", set_role("dan", Role::Member), Unchanged),
        case("another owner", "ann", set_role("dan", Role::Owner), Refused(Code::BadRequest)),
        case("the owner's own", "ann", set_role("ann", Role::Admin), Refused(Code::BadRequest)),
        case("a stranger's", "ann", set_role("gus", Role::Admin), Refused(Code::MemberNotFound)),
        case("a former member's", "ann", set_role("fay", Role::Admin), Refused(Code::MemberNotFound)),
        case("by an admin", "bob", set_role("dan", Role::Admin), Refused(Code::Forbidden)),
        case("by a member, the own", "dan", set_role("dan", Role::Admin), Refused(Code::Forbidden)),
    ]);
}

/// Who comes back is a plain member, with cursors that begin at the new joining.
#[test]
fn a_second_stay_begins_anew() {
    let events = club_and([removed("ann", "bob", 4), added("cat", &["bob"], 5)]);
    let group = fold(&facts(&events)).unwrap();
    let bob = group.member(&user("bob")).unwrap();
    assert_eq!((bob.role, bob.stay.joined, bob.stay.read, bob.past.len()), (Role::Member, 7, 7, 1));
    assert!(!bob.notified);
    assert_eq!(bob.past[0].left, Some(6));
    assert!(bob.stay_at(6).is_some_and(|stay| stay.joined == 1), "one's own removal is seen");
}
