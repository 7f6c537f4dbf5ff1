//! `parley token`: development tokens.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parley_domain::UserId;
use parley_edge::auth::{Secret, sign_hs256};
use parley_wire::clock;

use crate::config::{self, Config, ConfigArgs};
use crate::{Usage, data_dir, print_line};

/// A hundred years, so that `exp` stays a year of four digits.
const TTL_DAYS_MAX: u64 = 36_500;

#[derive(Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Whose token; can be repeated.
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// File with a user id a line.
    #[arg(long, value_name = "FILE")]
    users_from: Option<PathBuf>,
    /// How long the tokens live: 30s, 15m, 1h, 7d.
    #[arg(long, default_value = "1h")]
    ttl: String,
}

/// Signs tokens of users with the configured secret, or the data directory's own key.
pub(crate) struct Signer {
    secret: Secret,
    config: Config,
}

impl Signer {
    /// Reads the key, or makes it the first time. Works while a server runs.
    pub(crate) fn open(config: Config) -> anyhow::Result<Self> {
        let secret = if config.is_development() {
            data_dir::development_secret(&config.data_dir())?
        } else if config.auth.hs256_secret.is_empty() {
            let why = "tokens can only be made with auth.hs256_secret or the data directory's own key, not with auth.jwks";
            return Err(Usage(why.into()).into());
        } else {
            Secret::new(config.auth.hs256_secret.as_str())
        };
        Ok(Self { secret, config })
    }

    /// The same for the tokens of a server that is there, beside which no key is made: nobody would take what it signs.
    ///
    /// # Errors
    /// As [`open`](Self::open), or that there is no such key.
    pub(crate) fn of_server(config: Config) -> anyhow::Result<Self> {
        if config.is_development() {
            data_dir::must_have_secret(&config.data_dir())?;
        }
        Self::open(config)
    }

    /// A token.
    pub(crate) fn token(&self, user: &UserId, ttl: Duration) -> anyhow::Result<String> {
        let set = |text: &'static str, value: &str| (!value.is_empty()).then(|| (text, value.to_owned()));
        let issuer = set("iss", &self.config.auth.issuer).map(|(_, value)| value);
        let audience = set("aud", &self.config.auth.audience).map(|(_, value)| value);
        let token = sign_hs256(&self.secret, user, clock::now(), ttl, issuer.as_deref(), audience.as_deref());
        token.context("the token can't be signed")
    }
}

/// Reads `30s`, `15m`, `1h`, `7d`.
///
/// # Errors
/// [`Usage`].
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, Usage> {
    let bad = || Usage(format!("--ttl {text:?} is no time: use 30s, 15m, 1h or 7d"));
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let count: u64 = digits.parse().map_err(|_| bad())?;
    let seconds = count.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(bad)?;
    if seconds > TTL_DAYS_MAX * 86_400 {
        return Err(Usage(format!("--ttl {text:?} is too long: at most {TTL_DAYS_MAX}d")));
    }
    Ok(Duration::from_secs(seconds))
}

/// Checks a user id.
///
/// # Errors
/// [`Usage`].
pub(crate) fn parse_user(text: &str) -> Result<UserId, Usage> {
    UserId::parse(text).map_err(|error| Usage(format!("user id {text:?}: {error}")))
}

pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let ttl = parse_ttl(&args.ttl)?;
    let mut names = args.user.clone();
    if let Some(path) = &args.users_from {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
        names.extend(text.lines().filter(|line| !line.trim().is_empty()).map(ToOwned::to_owned));
    }
    if names.is_empty() {
        return Err(Usage("whose token? Name users with --user ID or --users-from FILE".into()).into());
    }
    let users = names.iter().map(|name| parse_user(name)).collect::<Result<Vec<_>, _>>()?;
    let signer = Signer::open(config::load(&args.config, None)?)?;
    let tokens = users.iter().map(|user| signer.token(user, ttl)).collect::<anyhow::Result<Vec<_>>>()?;
    print_line(&tokens.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(parse_ttl(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "h", "1", "1w", "-1h", "0s", "1.5h", "99999999999999999999d", "36501d", "1é"] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }
}
