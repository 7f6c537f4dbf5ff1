//! What makes two requests for a group the same.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use parley_domain::{GroupId, UserId};
use uuid::{Builder, Variant, Version};

/// A digest of parts, each with its length before it, so that no two lists of parts look the same.
fn digest<'a>(purpose: &'a str, parts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(purpose).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

/// A digest of what a group is to be: the order of the members, repeats, and whether the caller is named don't matter.
pub(super) fn recipe(caller: &UserId, name: &str, description: &str, members: &[UserId]) -> [u8; 32] {
    let others: BTreeSet<&str> = members.iter().filter(|user| *user != caller).map(UserId::as_str).collect();
    digest("parley create group v1", [name, description].into_iter().chain(others))
}

/// The id of the group that a caller's `Idempotency-Key` stands for, a UUIDv7 in form. Never change this: the key must
/// mean the same group for good.
pub(super) fn group_of_key(caller: &UserId, key: &str) -> GroupId {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest("parley idempotency key v1", [caller.as_str(), key])) {
        *to = from;
    }
    let shaped = Builder::from_bytes(bytes).with_version(Version::SortRand).with_variant(Variant::RFC4122);
    GroupId(shaped.into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn recipe_of(name: &str, description: &str, members: &[&str]) -> [u8; 32] {
        let members: Vec<UserId> = members.iter().map(|name| user(name)).collect();
        recipe(&user("ann"), name, description, &members)
    }

    #[test]
    fn the_same_wish_has_the_same_recipe() {
        let wish = recipe_of("name", "about", &["bob", "cem"]);
        for same in [&["cem", "bob"][..], &["bob", "cem", "bob"], &["ann", "bob", "cem"]] {
            assert_eq!(recipe_of("name", "about", same), wish);
        }
        for other in [
            recipe_of("name2", "about", &["bob", "cem"]),
            recipe_of("name", "", &["bob", "cem"]),
            recipe_of("namea", "bout", &["bob", "cem"]),
            recipe_of("name", "about", &["bob"]),
            recipe_of("name", "about", &["bobcem"]),
            recipe_of("name", "about", &[]),
        ] {
            assert_ne!(other, wish);
        }
    }

    #[test]
    fn a_key_is_one_group_for_good() {
        let id = group_of_key(&user("ann"), "key");
        assert_eq!(id.to_string(), "fc434730-e85e-721a-8d3b-d7b315302702");
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_variant(), Variant::RFC4122);
        assert_ne!(id, group_of_key(&user("ann"), "key2"));
        assert_ne!(id, group_of_key(&user("annk"), "ey"));
    }
}
