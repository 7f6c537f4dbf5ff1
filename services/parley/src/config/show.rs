//! What `parley config` prints.

use super::{Config, Effective};

/// Shown instead of a secret.
const HIDDEN: &str = "[secret]";

impl Config {
    /// The same with secrets hidden.
    pub(crate) fn redacted(&self) -> Self {
        let mut shown = self.clone();
        if !shown.auth.hs256_secret.is_empty() {
            shown.auth.hs256_secret = HIDDEN.into();
        }
        for secret in
            [&mut shown.cassandra.password, &mut shown.s3.secret_access_key, &mut shown.s3.session_token]
        {
            if !secret.is_empty() {
                *secret = HIDDEN.into();
            }
        }
        // A URL may hold a password, or a key in its query; a path holds nothing to hide.
        if shown.auth.jwks.contains("://") && shown.auth.jwks.contains(['@', '?']) {
            shown.auth.jwks = HIDDEN.into();
        }
        shown
    }
}

impl Effective {
    /// As TOML, secrets hidden; what isn't the default has its origin in a comment.
    ///
    /// # Errors
    /// None that is known.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut section = String::new();
        let mut shown = String::new();
        for line in toml::to_string(&self.config.redacted())?.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.trim_end_matches(']'));
            }
            let key = line.split_once(" = ").map(|(name, _)| format!("{section}{name}"));
            let origin = key.and_then(|key| self.origins.get(&key));
            shown.push_str(line);
            if let Some(origin) = origin {
                // A file's name may hold anything; a comment ends with its line.
                shown.push_str("  # ");
                shown.extend(origin.chars().filter(|c| !c.is_control()));
            }
            shown.push('\n');
        }
        Ok(shown)
    }
}
