//! The `Authorization` header.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::error::{AuthError, Reason};

/// The token of `Authorization: Bearer TOKEN`; `None` without that header. The scheme's case doesn't matter.
///
/// # Errors
/// [`Reason::Authorization`] for two such headers (whoever is before us may have looked at the other one),
/// another scheme, or no token.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Reason::Authorization.into());
    }
    let text = value.to_str().map_err(|_| Reason::Authorization)?;
    let (scheme, token) = text.split_once(' ').ok_or(Reason::Authorization)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Reason::Authorization.into());
    }
    Ok(Some(token))
}
