//! Who may ask anything of a group at all: the same for every command that is a member's.

use parley_domain::{Code, Command, Role};

use crate::cases::{Case, Then, check, club, club_and};
use crate::given::{add, create, dissolved, remove, roll_back, send, set_role, transfer, update};

fn commands() -> Vec<Command> {
    vec![
        update(Some("New"), None),
        add(&["gus"]),
        remove("dan"),
        transfer("dan"),
        set_role("dan", Role::Admin),
        Command::Dissolve,
        Command::Send(Box::new(send())),
    ]
}

#[test]
fn without_a_group_it_is_not_found() {
    let system = roll_back(1, "dan");
    check(commands().into_iter().chain([system]).map(|when| Case {
        name: "no group",
        given: Vec::new(),
        actor: "ann",
        when,
        then: Then::Refused(Code::GroupNotFound),
    }));
}

#[test]
fn strangers_and_former_members_are_not_members() {
    for actor in ["gus", "fay"] {
        check(commands().into_iter().map(|when| Case {
            name: "a stranger asks",
            given: club(),
            actor,
            when,
            then: Then::Refused(Code::NotAMember),
        }));
    }
}

/// A stranger learns nothing of a dissolved group; who was in it at any time learns that it is gone.
#[test]
fn a_dissolved_group_is_gone_for_those_who_were_in_it() {
    for (actor, code) in [
        ("ann", Code::GroupDissolved),
        ("dan", Code::GroupDissolved),
        ("fay", Code::GroupDissolved),
        ("gus", Code::NotAMember),
    ] {
        check(commands().into_iter().map(|when| Case {
            name: "dissolved",
            given: club_and([dissolved("ann")]),
            actor,
            when,
            then: Then::Refused(code),
        }));
    }
}

#[test]
fn creating_a_dissolved_group_again_doesnt_revive_it() {
    let again = |actor, code| Case {
        name: "created again",
        given: club_and([dissolved("ann")]),
        actor,
        when: Command::Create(create(&["bob", "cat", "dan", "eve"])),
        then: Then::Refused(code),
    };
    check([again("ann", Code::GroupDissolved), again("bob", Code::IdempotencyConflict)]);
}
