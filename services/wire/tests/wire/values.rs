//! Any value that the codec must carry.

use parley_domain::{
    ClientMessageId, CursorAdvance, Event, EventId, Fact, GroupId, KeyId, MediaDescription, MediaId,
    MessageId, MessageKind, MessageSent, ProfileChanged, Role, RollbackReason, Timestamp, UserId,
};
use parley_wire::event::CursorsAdvanced;
use proptest::prelude::*;

fn user() -> impl Strategy<Value = UserId> {
    "[a-z0-9@|. äß🦜]{1,20}".prop_map(|text| UserId::parse(&text).unwrap())
}

fn users() -> impl Strategy<Value = Vec<UserId>> {
    prop::collection::vec(user(), 0..5)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..100)
}

fn media() -> impl Strategy<Value = MediaDescription> {
    (any::<[u8; 16]>(), ".{0,20}", any::<u64>()).prop_map(|(media_id, content_type, content_length)| {
        MediaDescription { media_id: MediaId::from_bytes(media_id), content_type, content_length }
    })
}

/// A message; its id is given by [`fact`].
fn message() -> impl Strategy<Value = MessageSent> {
    let kinds = vec![MessageKind::Text, MessageKind::Image, MessageKind::Video, MessageKind::Audio];
    let who = (".{1,16}", user(), any::<u64>(), prop::sample::select(kinds));
    let content = (any::<[u8; 16]>(), bytes(), any::<[u8; 32]>(), any::<u32>());
    (who, prop::option::of(media()), content).prop_map(|((id, sender, sender_nth, kind), media, content)| {
        let (key_id, sealed, mac, text_bytes) = content;
        MessageSent {
            message_id: MessageId::from_bytes([0; 16]),
            client_message_id: ClientMessageId::parse(&id).unwrap(),
            sender,
            sender_nth,
            kind,
            media,
            key_id: KeyId::from_bytes(key_id),
            sealed: sealed.into(),
            mac,
            text_bytes,
        }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let role = prop::sample::select(vec![Role::Owner, Role::Admin, Role::Member]);
    let reason = prop::sample::select(vec![RollbackReason::MediaMissing, RollbackReason::Unprojectable]);
    prop_oneof![
        (".{0,20}", ".{0,20}", user(), users(), any::<[u8; 32]>()).prop_map(
            |(name, description, creator, members, recipe)| Event::GroupCreated {
                name,
                description,
                creator,
                members,
                recipe
            }
        ),
        (user(), users(), any::<u32>()).prop_map(|(actor, users, member_count)| Event::MembersAdded {
            actor,
            users,
            member_count
        }),
        (user(), users(), any::<u32>()).prop_map(|(actor, users, member_count)| Event::MembersRemoved {
            actor,
            users,
            member_count
        }),
        (user(), user(), role).prop_map(|(actor, user, role)| Event::RoleChanged { actor, user, role }),
        (user(), user()).prop_map(|(actor, owner)| Event::OwnerTransferred { actor, owner }),
        (user(), ".{0,20}", ".{0,20}").prop_map(|(actor, name, description)| Event::GroupUpdated {
            actor,
            name,
            description
        }),
        user().prop_map(|actor| Event::GroupDissolved { actor }),
        message().prop_map(Event::MessageSent),
        (any::<[u8; 16]>(), any::<u64>(), user(), reason).prop_map(|(id, message_seq, sender, reason)| {
            Event::MessageRolledBack { message_id: MessageId::from_bytes(id), message_seq, sender, reason }
        }),
    ]
}

pub(crate) fn fact() -> impl Strategy<Value = Fact> {
    let header = (any::<[u8; 16]>(), 1..=u64::MAX, any::<[u8; 16]>(), any::<i64>(), any::<u64>());
    (header, event()).prop_map(|((group_id, seq, id, at, message_count), mut event)| {
        if let Event::MessageSent(message) = &mut event {
            message.message_id = MessageId::from_bytes(id);
        }
        let (group_id, event_id) = (GroupId::from_bytes(group_id), EventId::from_bytes(id));
        Fact { group_id, seq, event_id, at: Timestamp(at), message_count, event }
    })
}

pub(crate) fn cursors() -> impl Strategy<Value = CursorsAdvanced> {
    let entry = (user(), any::<[u64; 4]>(), prop::option::of(1..=u64::MAX));
    let header = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<i64>());
    (header, prop::collection::vec(entry, 0..5)).prop_map(|((group_id, event_id, at), entries)| {
        let at = Timestamp(at);
        let advances =
            entries.into_iter().map(|(user, [delivered, read, delivered_before, read_before], notified)| {
                CursorAdvance { user, delivered, read, delivered_before, read_before, at, notified }
            });
        CursorsAdvanced {
            group_id: GroupId::from_bytes(group_id),
            event_id: EventId::from_bytes(event_id),
            at,
            advances: advances.collect(),
        }
    })
}

pub(crate) fn profile() -> impl Strategy<Value = ProfileChanged> {
    (user(), ".{0,20}", prop::option::of(".{0,20}"), any::<i64>()).prop_map(
        |(user, display_name, avatar_url, at)| ProfileChanged {
            user,
            display_name,
            avatar_url,
            at: Timestamp(at),
        },
    )
}
