//! Laying one source over the other, with errors that say where a bad value came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize as _;
use toml::{Table, Value};

use super::{Config, ConfigError};

/// Prefix of the environment; `__` stands for a dot.
const ENV_PREFIX: &str = "PARLEY_";
/// What other Rust programs take their log filter from; below our own name for it.
const ENV_LOG_FILTER: &str = "RUST_LOG";

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

/// Where and what, but not the line itself as the error's own text has it: a secret may stand there.
fn without_its_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// The effective configuration and the origin of every key that some source gave, the defaults aside.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) config: Config,
    pub(crate) origins: BTreeMap<String, String>,
}

/// The effective configuration: defaults < file < environment < flags.
///
/// # Errors
/// [`ConfigError`], naming the key and where it came from.
pub(crate) fn load(args: &ConfigArgs, listen: Option<&str>) -> Result<Config, ConfigError> {
    load_effective(args, listen).map(|effective| effective.config)
}

/// The same, with origins.
///
/// # Errors
/// [`ConfigError`].
pub(crate) fn load_effective(args: &ConfigArgs, listen: Option<&str>) -> Result<Effective, ConfigError> {
    load_from(args, listen, environment()?)
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut ours = Vec::new();
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(ENV_PREFIX) && name != ENV_LOG_FILTER {
            continue;
        }
        if is_of_kubernetes(&name, &value.to_string_lossy()) {
            continue;
        }
        // Binaries that are wrong on purpose are told so beside the configuration.
        if cfg!(feature = "planted") && name == "PARLEY_PLANT" {
            continue;
        }
        let Ok(value) = value.into_string() else {
            return Err(ConfigError::BadValue {
                origin: name.clone(),
                key: key_of(&name),
                why: "is no UTF-8".into(),
            });
        };
        ours.push((name, value));
    }
    Ok(ours)
}

/// What Kubernetes puts into every container of a namespace that has a Service called `parley` or `parley-…`, unless told not to:
/// nobody's wish. For each `…_SERVICE_HOST`, `…_SERVICE_PORT` and that of each named port, `…_PORT` (a URL), and some for each port.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let Some(name) = name.strip_prefix(ENV_PREFIX) else { return false };
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |three: &[&str]| match three {
        [port, number, protocol] => {
            *port == "PORT" && is_number(number) && matches!(*protocol, "TCP" | "UDP" | "SCTP")
        }
        _ => false,
    };
    words.ends_with(&["SERVICE", "HOST"])
        || words.windows(2).any(|two| two == ["SERVICE", "PORT"])
        || words.windows(3).any(is_port)
        || (words.last() == Some(&"PORT") && value.contains("://"))
}

fn key_of(name: &str) -> String {
    match name.strip_prefix(ENV_PREFIX) {
        Some(key) => key.to_lowercase().replace("__", "."),
        None => "telemetry.filter".into(),
    }
}

pub(super) fn load_from(
    args: &ConfigArgs,
    listen: Option<&str>,
    mut environment: Vec<(String, String)>,
) -> Result<Effective, ConfigError> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        layers.lay_file(path)?;
    }
    // So that RUST_LOG is below PARLEY_TELEMETRY__FILTER, and errors don't depend on the environment's order.
    environment.sort_by_key(|(name, _)| (name.starts_with(ENV_PREFIX), name.clone()));
    for (name, value) in &environment {
        if name.starts_with(ENV_PREFIX) || !value.is_empty() {
            layers.lay(&key_of(name), Given::Text(value), name)?;
        }
    }
    for set in &args.set {
        let Some((key, value)) = set.split_once('=') else {
            let (key, why) = (set.clone(), "must be KEY=VALUE".to_owned());
            return Err(ConfigError::BadValue { origin: "--set".into(), key, why });
        };
        layers.lay(key.trim(), Given::Text(value), "--set")?;
    }
    if let Some(data) = &args.data {
        layers.lay("data", Given::Text(&data.to_string_lossy()), "--data")?;
    }
    if let Some(listen) = listen {
        layers.lay("listen", Given::Text(listen), "--listen")?;
    }
    layers.finish()
}

/// A value as a source gives it.
enum Given<'a> {
    /// From the environment or a flag; read as the type that the key has.
    Text(&'a str),
    /// From a file; must be of that type.
    Typed(Value),
}

/// What was laid so far.
struct Layers {
    table: Table,
    origins: BTreeMap<String, String>,
}

impl Default for Layers {
    fn default() -> Self {
        // `Config` has nothing that TOML can't hold; a test holds it.
        Self { table: Table::try_from(Config::default()).unwrap_or_default(), origins: BTreeMap::new() }
    }
}

impl Layers {
    fn lay_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let origin = path.display().to_string();
        let failed = |why: String| ConfigError::File { path: origin.clone(), why };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let table: Table =
            text.parse().map_err(|error: toml::de::Error| failed(without_its_line(&text, &error)))?;
        self.lay_table(table, "", &origin)
    }

    fn lay_table(&mut self, table: Table, section: &str, origin: &str) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            match (self.find(&key), value) {
                (Some(Value::Table(_)), Value::Table(inner)) => self.lay_table(inner, &key, origin)?,
                (_, value) => self.lay(&key, Given::Typed(value), origin)?,
            }
        }
        Ok(())
    }

    /// Lays one value over what is there. Only keys that are there exist.
    fn lay(&mut self, key: &str, given: Given<'_>, origin: &str) -> Result<(), ConfigError> {
        // `log` is a URL and can't be a section, but what it allows is asked for under its name.
        let key = if key == "log.allow_single" { "kafka.allow_single" } else { key };
        let unknown = || ConfigError::UnknownKey { origin: origin.into(), key: key.into() };
        let bad = |why: String| ConfigError::BadValue { origin: origin.into(), key: key.into(), why };
        let known = self.find(key).ok_or_else(unknown)?;
        *known = match given {
            Given::Text(text) => parse_as(known, text).map_err(bad)?,
            Given::Typed(value) if known.same_type(&value) => value,
            // `1` is a number with a fraction, too.
            Given::Typed(Value::Integer(whole)) if known.is_float() => {
                parse_as(known, &whole.to_string()).map_err(bad)?
            }
            Given::Typed(value) => {
                return Err(bad(format!("must be {}, not {}", type_name(known), type_name(&value))));
            }
        };
        // Fields are narrower than TOML's types: a count isn't negative, a list holds texts.
        self.config().map_err(|error| bad(error.message().to_owned()))?;
        self.origins.insert(key.to_owned(), origin.to_owned());
        Ok(())
    }

    fn find(&mut self, key: &str) -> Option<&mut Value> {
        let mut names = key.split('.');
        let first = self.table.get_mut(names.next()?)?;
        names.try_fold(first, |known, name| known.as_table_mut()?.get_mut(name))
    }

    fn config(&self) -> Result<Config, toml::de::Error> {
        Config::deserialize(self.table.clone())
    }

    fn finish(self) -> Result<Effective, ConfigError> {
        let origin_of = |key: &str| self.origins.get(key).cloned().unwrap_or_else(|| "default".into());
        let bad = |key: &str, why: String| ConfigError::BadValue {
            origin: origin_of(key),
            key: key.to_owned(),
            why,
        };
        let config = self.config().map_err(|error| bad("configuration", error.message().to_owned()))?;
        config.check().map_err(|(key, why)| bad(&key, why))?;
        Ok(Effective { config, origins: self.origins })
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
        Value::Float(_) => "a number",
        Value::Datetime(_) => "a time",
    }
}

/// Reads a text as the type that the key's value has now.
fn parse_as(known: &Value, text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?}: must be {}", type_name(known));
    match known {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|_| wrong()),
        Value::Float(_) => text.trim().parse().map(Value::Float).map_err(|_| wrong()),
        Value::Boolean(_) => text.trim().parse().map(Value::Boolean).map_err(|_| wrong()),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let texts: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(texts.into_iter().map(Value::String).collect::<Vec<_>>().into())
        }
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(|part| Value::String(part.to_owned())).collect::<Vec<_>>().into())
        }
        Value::Table(_) => Err("is a section: name one of its keys".into()),
        Value::Datetime(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_for_services_is_not_ours() {
        for (name, value) in [
            ("PARLEY_SERVICE_HOST", "10.0.0.1"),
            ("PARLEY_SERVICE_PORT_HTTP", "8080"),
            ("PARLEY_PORT", "tcp://10.0.0.1:8080"),
            ("PARLEY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PARLEY_EDGE_SERVICE_HOST", "10.0.0.1"),
            ("PARLEY_EDGE_SERVICE_PORT_HTTP", "8080"),
            ("PARLEY_EDGE_PORT", "tcp://10.0.0.1:8080"),
            ("PARLEY_WRITER_PORT_7000_TCP", "tcp://10.0.0.1:7000"),
        ] {
            assert!(is_of_kubernetes(name, value), "{name}");
        }
        // Whoever means the port is told that there is no such key.
        for (name, value) in [
            ("PARLEY_PORT", "8080"),
            ("PARLEY_PORT_HTTP", "8080"),
            ("PARLEY_HTTP__PUBLIC_URL", "http://a"),
            ("PARLEY_LISTEN", "a:1"),
            ("RUST_LOG", "info"),
        ] {
            assert!(!is_of_kubernetes(name, value), "{name}");
        }
    }
}
