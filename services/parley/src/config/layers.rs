//! Laying one source over the other, with errors that say where a bad value came from.

use std::path::PathBuf;

use clap::Args;
use toml::{Table, Value};

use super::{Config, ConfigError};

/// Prefix of the environment; `__` stands for a dot.
const ENV_PREFIX: &str = "PARLEY_";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConfigArgs {
    /// TOML file with configuration.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Sets any key, e.g. --set limits.sends_per_second=0. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The data directory [default: parley-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// The effective configuration: defaults < file < environment < flags.
///
/// # Errors
/// [`ConfigError`], naming the source.
pub(crate) fn load(args: &ConfigArgs, listen: Option<&str>) -> Result<Config, ConfigError> {
    load_from(args, listen, environment())
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        })
        .collect()
}

fn load_from(
    args: &ConfigArgs,
    listen: Option<&str>,
    environment: Vec<(String, String)>,
) -> Result<Config, ConfigError> {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut table = defaults.clone();
    if let Some(path) = &args.config {
        let origin = path.display().to_string();
        let file = |why: String| ConfigError::File { path: origin.clone(), why };
        let text = std::fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
        let over: Table = text.parse().map_err(|error: toml::de::Error| file(error.to_string()))?;
        merge(&mut table, over, &origin, "")?;
    }
    for (name, value) in environment {
        let key = name.strip_prefix(ENV_PREFIX).unwrap_or_default().to_lowercase().replace("__", ".");
        put(&mut table, &key, &value, &name)?;
    }
    for set in &args.set {
        let origin = format!("--set {}", set.split('=').next().unwrap_or_default());
        let Some((key, value)) = set.split_once('=') else {
            let (key, why) = (set.clone(), "must be KEY=VALUE".to_owned());
            return Err(ConfigError::BadValue { origin: "--set".into(), key, why });
        };
        put(&mut table, key, value, &origin)?;
    }
    if let Some(data) = &args.data {
        put(&mut table, "data", &data.to_string_lossy(), "--data")?;
    }
    if let Some(listen) = listen {
        put(&mut table, "listen", listen, "--listen")?;
    }
    let config: Config = table.try_into().map_err(|error: toml::de::Error| ConfigError::BadValue {
        origin: "configuration".into(),
        key: "value".into(),
        why: error.message().to_owned(),
    })?;
    config.check()?;
    Ok(config)
}

/// Lays a file's table over what is there; every key must be there already, with a value of the same type.
fn merge(table: &mut Table, over: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    for (name, value) in over {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (table.get_mut(&name), value) {
            (None, _) => return Err(ConfigError::UnknownKey { origin: origin.into(), key }),
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value, origin, &key)?,
            (Some(known), value) if known.same_type(&value) => *known = value,
            (Some(known), value) => {
                let why = format!("must be {}, not {}", known.type_str(), value.type_str());
                return Err(ConfigError::BadValue { origin: origin.into(), key, why });
            }
        }
    }
    Ok(())
}

/// Sets a key from a text, which is read as the key's type.
fn put(table: &mut Table, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let unknown = || ConfigError::UnknownKey { origin: origin.into(), key: key.into() };
    let mut names = key.split('.');
    let mut known = table.get_mut(names.next().unwrap_or_default()).ok_or_else(unknown)?;
    for name in names {
        known = known.as_table_mut().and_then(|inner| inner.get_mut(name)).ok_or_else(unknown)?;
    }
    let bad = |why: &str| ConfigError::BadValue { origin: origin.into(), key: key.into(), why: why.into() };
    match known {
        Value::String(value) => text.clone_into(value),
        Value::Integer(value) => *value = text.trim().parse().map_err(|_| bad("must be a whole number"))?,
        Value::Boolean(value) => *value = text.trim().parse().map_err(|_| bad("must be true or false"))?,
        Value::Array(values) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            *values = parts.map(|part| Value::String(part.to_owned())).collect();
        }
        Value::Table(_) => return Err(bad("is a section: name one of its keys")),
        Value::Float(_) | Value::Datetime(_) => return Err(bad("can't be set")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: Option<&str>, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parley.toml");
        let mut args =
            ConfigArgs { set: set.iter().map(ToString::to_string).collect(), ..ConfigArgs::default() };
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            args.config = Some(path);
        }
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load_from(&args, None, env)
    }

    #[test]
    fn each_layer_covers_the_one_below() {
        assert_eq!(with(None, &[], &[]).unwrap().limits.send_burst, 60);
        let file = Some("[limits]\nsend_burst = 1\ntext_bytes = 1\n");
        assert_eq!(with(file, &[], &[]).unwrap().limits.send_burst, 1);
        let env = [("PARLEY_LIMITS__SEND_BURST", "2"), ("PARLEY_HTTP__ORIGINS", "https://a, https://b")];
        let config = with(file, &env, &[]).unwrap();
        assert_eq!((config.limits.send_burst, config.limits.text_bytes), (2, 1));
        assert_eq!(config.http.origins, ["https://a", "https://b"]);
        assert_eq!(with(file, &env, &["limits.send_burst=3"]).unwrap().limits.send_burst, 3);
        assert_eq!(with(None, &[], &["limits.sends_per_second=0"]).unwrap().limits.sends_per_second, 0);
    }

    #[test]
    fn what_is_wrong_says_where() {
        type Case = (
            Option<&'static str>,
            &'static [(&'static str, &'static str)],
            &'static [&'static str],
            &'static str,
        );
        let cases: [Case; 9] = [
            (Some("nonsense = 1"), &[], &[], "unknown key \"nonsense\""),
            (Some("[limits]\nsend_burst = \"x\""), &[], &[], "limits.send_burst: must be integer"),
            (Some("= ="), &[], &[], "parley.toml"),
            (None, &[("PARLEY_LIMITS__NONSENSE", "1")], &[], "PARLEY_LIMITS__NONSENSE: unknown key"),
            (
                None,
                &[],
                &["limits.send_burst=x"],
                "--set limits.send_burst: limits.send_burst: must be a whole number",
            ),
            (None, &[], &["limits=1"], "is a section"),
            (None, &[], &["log=kafka://x"], "not built into this version"),
            (None, &[], &["limits.text_bytes=0"], "at least 1"),
            (None, &[], &["limits.send_burst=-1"], "configuration"),
        ];
        for (file, env, set, expected) in cases {
            let error = with(file, env, set).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = "0123456789abcdef0123456789abcdef";
        let config = with(None, &[("PARLEY_AUTH__HS256_SECRET", secret)], &[]).unwrap();
        assert_eq!(config.auth.hs256_secret, secret);
        assert!(!toml::to_string(&config.redacted()).unwrap().contains(secret));
    }
}
