//! Create, update, dissolve.

use parley_domain::{Code, Command, CreateGroup, Event, Limits};

use crate::cases::Then::{Appends, Refused, Unchanged};
use crate::cases::{Case, Then, case, check, club_and};
use crate::given::{RECIPE, create, created, dissolved, transferred, update, updated, user, users};

fn fresh(name: &'static str, wish: CreateGroup, then: Then) -> Case {
    Case { name, given: Vec::new(), actor: "ann", when: Command::Create(wish), then }
}

fn named(name: &str) -> CreateGroup {
    CreateGroup { name: name.into(), ..create(&[]) }
}

fn described(description: &str) -> CreateGroup {
    CreateGroup { description: description.into(), ..create(&[]) }
}

fn created_as(wish: &CreateGroup) -> Event {
    Event::GroupCreated {
        name: wish.name.clone(),
        description: wish.description.clone(),
        creator: user("ann"),
        members: users(&["ann"]),
        recipe: RECIPE,
    }
}

#[test]
fn create_makes_the_actor_owner_and_first_member() {
    check([
        fresh("alone", create(&[]), Appends(created(&["ann"]))),
        fresh("with others", create(&["bob", "cat"]), Appends(created(&["ann", "bob", "cat"]))),
        fresh(
            "repeats are dropped",
            create(&["bob", "bob", "ann", "cat", "bob"]),
            Appends(created(&["ann", "bob", "cat"])),
        ),
        fresh(
            "as many as fit",
            create(&["b", "c", "d", "e", "f", "g", "h"]),
            Appends(created(&["ann", "b", "c", "d", "e", "f", "g", "h"])),
        ),
        fresh("one too many", create(&["b", "c", "d", "e", "f", "g", "h", "i"]), Refused(Code::GroupFull)),
        fresh(
            "members count once",
            create(&["ann", "b", "c", "d", "e", "f", "g", "h", "b"]),
            Appends(created(&["ann", "b", "c", "d", "e", "f", "g", "h"])),
        ),
    ]);
}

#[test]
fn create_checks_name_and_description() {
    let (longest, long) = ("ü".repeat(Limits::NAME_BYTES_MAX / 2), "x".repeat(Limits::NAME_BYTES_MAX + 1));
    let longest_text = "x".repeat(Limits::DESCRIPTION_BYTES_MAX);
    let long_text = "x".repeat(Limits::DESCRIPTION_BYTES_MAX + 1);
    check([
        fresh("longest name", named(&longest), Appends(created_as(&named(&longest)))),
        fresh("too long a name", named(&long), Refused(Code::BadRequest)),
        fresh("no name", named(""), Refused(Code::BadRequest)),
        fresh("a blank name", named(" \t\u{2003}"), Refused(Code::BadRequest)),
        fresh("no description", described(""), Appends(created_as(&described("")))),
        fresh(
            "longest description",
            described(&longest_text),
            Appends(created_as(&described(&longest_text))),
        ),
        fresh("too long a description", described(&long_text), Refused(Code::BadRequest)),
    ]);
}

/// The number of names in a call is limited, repeats or not: the work of reading them is.
#[test]
fn create_names_a_bounded_number_of_members() {
    let most = vec!["bob"; Limits::MEMBERS_PER_CALL_MAX];
    let beyond = vec!["bob"; Limits::MEMBERS_PER_CALL_MAX + 1];
    check([
        fresh("at the limit", create(&most), Appends(created(&["ann", "bob"]))),
        fresh("beyond it", create(&beyond), Refused(Code::BadRequest)),
    ]);
}

#[test]
fn create_again_is_the_same_or_a_conflict() {
    let again = |name, given: Vec<Event>, actor, wish: CreateGroup, then| Case {
        name,
        given,
        actor,
        when: Command::Create(wish),
        then,
    };
    let others = || create(&["bob", "cat", "dan", "eve"]);
    let other_recipe = || CreateGroup { recipe: [8; 32], ..others() };
    let changed = || club_and([updated("bob", "Other", ""), transferred("ann", "bob")]);
    check([
        again("same caller, same body", club_and([]), "ann", others(), Unchanged),
        again(
            "same caller, another body",
            club_and([]),
            "ann",
            other_recipe(),
            Refused(Code::IdempotencyConflict),
        ),
        again("a member", club_and([]), "bob", others(), Refused(Code::IdempotencyConflict)),
        again("a stranger", club_and([]), "gus", others(), Refused(Code::IdempotencyConflict)),
        again("after changes, by the creator", changed(), "ann", others(), Unchanged),
        again(
            "after changes, by the new owner",
            changed(),
            "bob",
            others(),
            Refused(Code::IdempotencyConflict),
        ),
    ]);
}

#[test]
fn update_is_for_owner_and_admins() {
    let new_name = || update(Some("New"), None);
    check([
        case("owner", "ann", new_name(), Appends(updated("ann", "New", "about Rust"))),
        case("admin", "bob", new_name(), Appends(updated("bob", "New", "about Rust"))),
        case("member", "dan", new_name(), Refused(Code::Forbidden)),
        case("description alone", "ann", update(None, Some("")), Appends(updated("ann", "Rust", ""))),
        case("both", "ann", update(Some("A"), Some("B")), Appends(updated("ann", "A", "B"))),
        case("nothing", "ann", update(None, None), Unchanged),
        case("as it is", "ann", update(Some("Rust"), Some("about Rust")), Unchanged),
        case("nothing, by a member", "dan", update(None, None), Refused(Code::Forbidden)),
    ]);
}

#[test]
fn update_checks_name_and_description() {
    let (long, long_text) =
        ("x".repeat(Limits::NAME_BYTES_MAX + 1), "x".repeat(Limits::DESCRIPTION_BYTES_MAX + 1));
    check([
        case("blank", "ann", update(Some(" "), None), Refused(Code::BadRequest)),
        case("too long a name", "ann", update(Some(&long), None), Refused(Code::BadRequest)),
        case("too long a description", "ann", update(None, Some(&long_text)), Refused(Code::BadRequest)),
    ]);
}

#[test]
fn dissolve_is_for_the_owner() {
    check([
        case("owner", "ann", Command::Dissolve, Appends(dissolved("ann"))),
        case("admin", "bob", Command::Dissolve, Refused(Code::Forbidden)),
        case("member", "dan", Command::Dissolve, Refused(Code::Forbidden)),
        Case {
            name: "former owner",
            given: club_and([transferred("ann", "dan")]),
            actor: "ann",
            when: Command::Dissolve,
            then: Refused(Code::Forbidden),
        },
        Case {
            name: "new owner",
            given: club_and([transferred("ann", "dan")]),
            actor: "dan",
            when: Command::Dissolve,
            then: Appends(dissolved("dan")),
        },
    ]);
}
