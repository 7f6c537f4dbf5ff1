//! Profiles.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use parley_domain::{Code, ProfileChanged, Timestamp, UserId};
use parley_wire::rest::{ProfileBody, PutProfile};
use parley_wire::{clock, time};

use super::extract::{Body, Caller, Path};
use super::fault::Fault;
use crate::edge::Shared;

const DISPLAY_NAME_BYTES_MAX: usize = 256;
const AVATAR_URL_BYTES_MAX: usize = 2_048;

/// Everybody with a token has a profile of one's own, if only one made up from the id.
pub(super) async fn own(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
) -> Result<Json<ProfileBody>, Fault> {
    Ok(Json(body(profile(&shared, &caller).await?.unwrap_or_else(|| unset(caller)))))
}

/// The profile of somebody who never made one.
fn unset(user: UserId) -> ProfileChanged {
    ProfileChanged { display_name: user.to_string(), user, avatar_url: None, at: Timestamp(0) }
}

pub(super) async fn put_own(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Body(wish): Body<PutProfile>,
) -> Result<Json<ProfileBody>, Fault> {
    check(&wish)?;
    let profile = ProfileChanged {
        user: caller,
        display_name: wish.display_name,
        avatar_url: wish.avatar_url,
        at: clock::now(),
    };
    shared.engines.commands.put_profile(profile.clone()).await?;
    Ok(Json(body(profile)))
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(user): Path<String>,
) -> Result<Json<ProfileBody>, Fault> {
    let user = UserId::parse(&user).map_err(|_| user_not_found())?;
    if let Some(profile) = profile(&shared, &user).await? {
        return Ok(Json(body(profile)));
    }
    // Members are shown to each other, so each has a profile, as everybody has to oneself.
    let known = user == caller || !shared.engines.reads.live().user_groups(&user, None, 1).await?.is_empty();
    if known { Ok(Json(body(unset(user)))) } else { Err(user_not_found()) }
}

async fn profile(shared: &Shared, user: &UserId) -> Result<Option<ProfileChanged>, Fault> {
    shared.caught_up(None).await?;
    Ok(shared.engines.reads.live().profile(user).await?)
}

fn user_not_found() -> Fault {
    Fault::new(Code::UserNotFound, "there is no user with this id")
}

fn body(profile: ProfileChanged) -> ProfileBody {
    ProfileBody {
        user_id: profile.user.to_string(),
        display_name: profile.display_name,
        avatar_url: profile.avatar_url,
        updated_at: time::format(profile.at),
    }
}

fn check(wish: &PutProfile) -> Result<(), Fault> {
    if wish.display_name.trim().is_empty() || wish.display_name.len() > DISPLAY_NAME_BYTES_MAX {
        let why = format!("display_name must not be blank, and have at most {DISPLAY_NAME_BYTES_MAX} bytes");
        return Err(Fault::bad_request(why));
    }
    if wish.avatar_url.as_deref().is_some_and(|url| !is_web_url(url)) {
        let why = format!("avatar_url must be an http or https URL of at most {AVATAR_URL_BYTES_MAX} bytes");
        return Err(Fault::bad_request(why));
    }
    Ok(())
}

/// Other clients show it: no `javascript:`, no `data:`, and nothing that the parser would quietly drop.
fn is_web_url(text: &str) -> bool {
    let is_clean = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let url = reqwest::Url::parse(text).ok();
    let is_web = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    text.len() <= AVATAR_URL_BYTES_MAX && is_clean && is_web
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_a_name_and_a_picture_on_the_web() {
        let (long_name, longest_name) = ("x".repeat(257), "x".repeat(256));
        let long_url = format!("https://x/{}", "y".repeat(2_039));
        for (name, url, taken) in [
            ("Ann", None, true),
            (longest_name.as_str(), None, true),
            (&long_name, None, false),
            ("", None, false),
            (" \t", None, false),
            ("Zoë 🦜", Some("https://example.com/a.png?b=c"), true),
            ("Ann", Some("http://127.0.0.1:8080/a"), true),
            ("Ann", Some(&long_url[..2_048]), true),
            ("Ann", Some(&long_url), false),
            ("Ann", Some(""), false),
            ("Ann", Some("javascript:alert(1)"), false),
            ("Ann", Some("data:image/png;base64,AA"), false),
            ("Ann", Some("//example.com/a.png"), false),
            ("Ann", Some("https://"), false),
            ("Ann", Some("https://exam\nple.com"), false),
        ] {
            let wish = PutProfile { display_name: name.into(), avatar_url: url.map(Into::into) };
            assert_eq!(check(&wish).is_ok(), taken, "{name} {url:?}");
        }
    }
}
