//! Error codes and close codes: the contract's tables, written down a second time.

use std::collections::HashSet;

use parley_domain::{Code, Rejection};
use parley_wire::code::{Close, http_status, name, retryable};
use parley_wire::rest::ErrorEnvelope;

/// By HTTP status, as section 3 has them.
const BY_STATUS: [(u16, &[&str]); 11] = [
    (400, &["bad_request"]),
    (401, &["unauthenticated", "token_expired"]),
    (403, &["forbidden", "not_a_member", "media_forbidden"]),
    (
        404,
        &[
            "group_not_found",
            "message_not_found",
            "media_not_found",
            "member_not_found",
            "user_not_found",
            "notification_not_found",
            "not_found",
        ],
    ),
    (409, &["idempotency_conflict", "owner_must_transfer", "group_full", "too_many_groups"]),
    (410, &["group_dissolved"]),
    (413, &["too_large"]),
    (422, &["media_not_uploaded", "media_mismatch"]),
    (429, &["rate_limited"]),
    (500, &["internal"]),
    (504, &["outcome_unknown"]),
];
const UNAVAILABLE: [&str; 2] = ["busy", "unavailable"];

#[test]
fn codes_have_the_contracts_status() {
    let statuses =
        BY_STATUS.iter().flat_map(|(status, names)| names.iter().map(move |name| (*name, *status)));
    let expected: Vec<(&str, u16)> = statuses.chain(UNAVAILABLE.map(|name| (name, 503))).collect();
    assert_eq!(expected.len(), Code::ALL.len());
    for code in Code::ALL {
        let entry = (name(code), http_status(code));
        assert!(expected.contains(&entry), "{entry:?} is not the contract's");
    }
    let names: HashSet<&str> = Code::ALL.into_iter().map(name).collect();
    assert_eq!(names.len(), Code::ALL.len(), "names are distinct");
}

/// What may succeed when it is sent again as it is; everything else needs another request.
#[test]
fn retryable_is_what_may_pass() {
    let names: Vec<&str> = Code::ALL.into_iter().filter(|code| retryable(*code)).map(name).collect();
    assert_eq!(names, ["rate_limited", "internal", "busy", "unavailable", "outcome_unknown"]);
}

#[test]
fn errors_have_one_shape() {
    let body = |rejection: &Rejection| serde_json::to_string(&ErrorEnvelope::new(rejection)).unwrap();
    assert_eq!(
        body(&Rejection::group_not_found()),
        r#"{"error":{"code":"group_not_found","message":"no group has this id","retryable":false}}"#,
    );
    assert_eq!(
        body(&Rejection::new(Code::RateLimited, "slow down").retry_after(50)),
        r#"{"error":{"code":"rate_limited","message":"slow down","retryable":true,"retry_after_ms":50}}"#,
    );
}

/// Below 3500 the client reconnects, from 3500 on it doesn't.
#[test]
fn close_codes_are_the_contracts() {
    for (close, code, reconnects) in [
        (Close::Normal, 1000, true),
        (Close::Protocol, 1002, true),
        (Close::InvalidText, 1007, true),
        (Close::TooLarge, 1009, true),
        (Close::GoingAway, 3001, true),
        (Close::TokenExpired, 3005, true),
        (Close::TooSlow, 3008, true),
        (Close::NoPong, 3012, true),
        (Close::BadToken, 3500, false),
        (Close::ProtocolViolation, 3501, false),
        (Close::TooManyConnections, 3504, false),
    ] {
        assert_eq!((close.code(), close.reconnects()), (code, reconnects), "{close:?}");
        assert!(close.reason().len() <= 123, "{close:?}: a control frame has at most 125 bytes");
    }
}
