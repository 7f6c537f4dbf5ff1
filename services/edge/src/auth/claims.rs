//! What a token says, checked once its signature is known to be good.

use std::time::Duration;

use parley_domain::{Timestamp, UserId};
use serde_json::{Map, Value};

use super::Identity;
use super::error::{AuthError, Reason};

/// 9999-12-31T23:59:59Z: the last second that RFC 3339 can name, as `authenticated.expires_at` must. It also
/// finds those who give milliseconds for seconds, whose tokens would otherwise live for 50,000 years.
pub(super) const EXPIRY_S_MAX: i64 = 253_402_300_799;

/// What the claims are held against.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) leeway: Duration,
}

impl Expected {
    /// `exp` is judged last, so that [`AuthError::Expired`] promises that a fresh token would do.
    pub(super) fn identify(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Identity, AuthError> {
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        let user_id = match claims.get("sub") {
            Some(Value::String(sub)) => UserId::parse(sub).map_err(|_| Reason::Subject)?,
            _ => return Err(Reason::Subject.into()),
        };
        let leeway_ms = i64::try_from(self.leeway.as_millis()).unwrap_or(i64::MAX);
        if let Some(not_before) = claims.get("nbf") {
            let not_before_ms = millis(not_before).ok_or(Reason::NotBefore)?;
            if now.plus_millis(leeway_ms).as_millis() < not_before_ms {
                return Err(Reason::NotBefore.into());
            }
        }
        let expiry_ms = claims.get("exp").and_then(millis).ok_or(Reason::Expiry)?;
        if !(0..=EXPIRY_S_MAX * 1000).contains(&expiry_ms) {
            return Err(Reason::Expiry.into());
        }
        let expires_at = Timestamp(expiry_ms);
        // RFC 7519: "on or after" `exp` it must not be accepted.
        if now >= expires_at.plus_millis(leeway_ms) {
            return Err(AuthError::Expired);
        }
        Ok(Identity { user_id, expires_at })
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Reason> {
        let Some(expected) = &self.issuer else {
            return Ok(());
        };
        match claims.get("iss") {
            Some(Value::String(issuer)) if issuer == expected => Ok(()),
            _ => Err(Reason::Issuer),
        }
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Reason> {
        let Some(expected) = &self.audience else {
            return Ok(());
        };
        let is_ours = match claims.get("aud") {
            Some(Value::String(audience)) => audience == expected,
            Some(Value::Array(audiences)) => {
                audiences.iter().all(Value::is_string)
                    && audiences.iter().any(|audience| audience.as_str() == Some(expected.as_str()))
            }
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(Reason::Audience) }
    }
}

/// A NumericDate (RFC 7519 section 2) in milliseconds. It may have a fraction; far-off ones saturate.
fn millis(value: &Value) -> Option<i64> {
    let Value::Number(seconds) = value else {
        return None;
    };
    if let Some(seconds) = seconds.as_i64() {
        return Some(seconds.saturating_mul(1000));
    }
    let millis = seconds.as_f64()? * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction of a millisecond is dropped on purpose, and the conversion saturates"
    )]
    let millis = millis.floor() as i64;
    Some(millis)
}
