//! The REST calls as a table: what the router of the edge serves, with what goes in and what comes out.

use parley_domain::Code::{
    self, BadRequest, Forbidden, GroupDissolved, GroupFull, GroupNotFound, IdempotencyConflict,
    MediaForbidden, MediaNotFound, MemberNotFound, MessageNotFound, NotAMember, OutcomeUnknown,
    OwnerMustTransfer, TooLarge, TooManyGroups, UserNotFound,
};
use serde_json::{Value, json};

use super::components::Components;
use crate::rest;

/// Makes a schema, and names it in the components.
pub(super) type Make = fn(&mut Components) -> Value;

/// One call.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [&'static str],
    pub(super) takes: Option<Make>,
    /// Status of success.
    pub(super) status: u16,
    pub(super) gives: Option<Make>,
    /// Content type of what it gives.
    pub(super) content_type: &'static str,
    /// Codes of its own, beside those that every call may answer.
    pub(super) refuses: &'static [Code],
    /// A status of failure that has the body of success, and what it means.
    pub(super) fails: Option<(u16, &'static str)>,
}

const NO_QUERY: &[&str] = &[];
const PAGE: &[&str] = &["cursor", "limit"];
const WINDOW: &[&str] = &["after_seq", "before_seq", "limit"];

/// Reads of a group.
const SEEN: &[Code] = &[BadRequest, GroupNotFound, NotAMember, GroupDissolved];

const GROUP: Option<Make> = Some(Components::sent::<rest::GroupBody>);
const PROFILE: Option<Make> = Some(Components::sent::<rest::ProfileBody>);

/// What most calls have in common.
const PLAIN: Route = Route {
    method: "",
    path: "",
    summary: "",
    query: NO_QUERY,
    takes: None,
    status: 200,
    gives: None,
    content_type: "application/json",
    refuses: &[],
    fails: None,
};

const fn read(
    path: &'static str,
    summary: &'static str,
    gives: Option<Make>,
    refuses: &'static [Code],
) -> Route {
    Route { method: "get", path, summary, gives, refuses, ..PLAIN }
}

/// A write that answers with the group.
const fn write(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    takes: Option<Make>,
    refuses: &'static [Code],
) -> Route {
    Route { method, path, summary, takes, gives: GROUP, refuses, ..PLAIN }
}

pub(super) const ROUTES: &[Route] = &[
    Route {
        status: 201,
        ..write(
            "post",
            "/v1/groups",
            "Create a group. The same group_id or Idempotency-Key again gives 200 and the same group",
            Some(Components::received::<rest::CreateGroup>),
            &[
                BadRequest,
                TooLarge,
                IdempotencyConflict,
                GroupFull,
                TooManyGroups,
                GroupDissolved,
                OutcomeUnknown,
            ],
        )
    },
    Route {
        query: PAGE,
        ..read("/v1/groups", "The caller's groups", Some(Components::sent::<rest::Groups>), &[BadRequest])
    },
    read("/v1/groups/{group_id}", "A group, for its members", GROUP, SEEN),
    write(
        "patch",
        "/v1/groups/{group_id}",
        "Change name or description: owner and admins",
        Some(Components::received::<rest::UpdateGroup>),
        &[BadRequest, TooLarge, GroupNotFound, NotAMember, GroupDissolved, Forbidden, OutcomeUnknown],
    ),
    Route {
        status: 204,
        gives: None,
        ..write(
            "delete",
            "/v1/groups/{group_id}",
            "Dissolve the group: owner only",
            None,
            &[GroupNotFound, NotAMember, GroupDissolved, Forbidden, OutcomeUnknown],
        )
    },
    write(
        "put",
        "/v1/groups/{group_id}/owner",
        "Transfer the ownership to a member: owner only. The old owner becomes an admin",
        Some(Components::received::<rest::TransferOwnership>),
        &[
            BadRequest,
            TooLarge,
            GroupNotFound,
            NotAMember,
            GroupDissolved,
            Forbidden,
            MemberNotFound,
            OutcomeUnknown,
        ],
    ),
    Route {
        query: PAGE,
        ..read(
            "/v1/groups/{group_id}/members",
            "All members; with cursors in groups up to 200",
            Some(Components::sent::<rest::Members>),
            SEEN,
        )
    },
    write(
        "post",
        "/v1/groups/{group_id}/members",
        "Add up to 1,000 members, all or none; those already in are skipped: owner and admins",
        Some(Components::received::<rest::AddMembers>),
        &[
            BadRequest,
            TooLarge,
            GroupNotFound,
            NotAMember,
            GroupDissolved,
            Forbidden,
            GroupFull,
            TooManyGroups,
            OutcomeUnknown,
        ],
    ),
    Route {
        status: 204,
        gives: None,
        ..write(
            "delete",
            "/v1/groups/{group_id}/members/{user_id}",
            "Remove a member (owner and admins; an admin no owner or admin), or leave oneself",
            None,
            &[
                GroupNotFound,
                NotAMember,
                GroupDissolved,
                Forbidden,
                MemberNotFound,
                OwnerMustTransfer,
                OutcomeUnknown,
            ],
        )
    },
    write(
        "put",
        "/v1/groups/{group_id}/members/{user_id}/role",
        "Make a member an admin, or the reverse: owner only",
        Some(Components::received::<rest::SetRole>),
        &[
            BadRequest,
            TooLarge,
            GroupNotFound,
            NotAMember,
            GroupDissolved,
            Forbidden,
            MemberNotFound,
            OutcomeUnknown,
        ],
    ),
    Route {
        query: WINDOW,
        ..read(
            "/v1/groups/{group_id}/messages",
            "History in rising seq, between two exclusive bounds; without after_seq the newest",
            Some(Components::sent::<rest::Messages>),
            SEEN,
        )
    },
    Route {
        query: PAGE,
        ..read(
            "/v1/groups/{group_id}/messages/{message_id}/status",
            "Who has a message: a row for each member at its time other than its sender",
            Some(Components::sent::<rest::Statuses>),
            &[BadRequest, GroupNotFound, NotAMember, GroupDissolved, MessageNotFound],
        )
    },
    Route {
        gives: Some(Components::sent::<rest::Upload>),
        ..write(
            "post",
            "/v1/media/uploads",
            "A pre-signed upload URL that binds type, length and checksum, and the media_url to send; \
             a PUT to it answers 412 once the object is there",
            Some(Components::received::<rest::CreateUpload>),
            &[BadRequest, TooLarge, GroupNotFound, NotAMember, GroupDissolved],
        )
    },
    read(
        "/v1/media/{media_id}",
        "A short-lived download URL, for who may see a message that carries the object, and its uploader",
        Some(Components::sent::<rest::Download>),
        &[MediaNotFound, MediaForbidden, GroupDissolved],
    ),
    read("/v1/users/me", "The caller's profile", PROFILE, &[]),
    Route {
        gives: PROFILE,
        ..write(
            "put",
            "/v1/users/me",
            "Set the caller's profile",
            Some(Components::received::<rest::PutProfile>),
            &[BadRequest, TooLarge, OutcomeUnknown],
        )
    },
    read("/v1/users/{user_id}", "A profile", PROFILE, &[UserNotFound]),
    Route {
        status: 101,
        query: &["replay"],
        ..read(
            "/v1/ws",
            "The WebSocket's handshake: asyncapi.json describes what follows",
            None,
            &[BadRequest, Forbidden],
        )
    },
    read("/healthz", "Liveness", Some(Components::sent::<rest::Alive>), &[]),
    Route {
        fails: Some((503, "Not ready: `not_ready` names what is missing")),
        ..read(
            "/readyz",
            "Readiness: 503 names what is not ready",
            Some(Components::sent::<rest::Readiness>),
            &[],
        )
    },
    Route {
        content_type: "text/plain",
        ..read("/metrics", "Metrics in Prometheus' text format", Some(|_| json!({"type": "string"})), &[])
    },
];
