//! The embedded server's own access key: random, made once, readable by this user only.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::sync_dir;
use crate::providers::s3::S3Credentials;

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Stored {
    access_key_id: String,
    secret_access_key: String,
}

/// Reads the file, or makes it.
pub(super) fn load_or_create(path: &Path) -> Result<S3Credentials, Error> {
    let bad = |source| Error::Credentials { path: path.to_owned(), source };
    let bytes = match fs::read(path) {
        Ok(bytes) => {
            // A copied or restored file may have become readable for others.
            fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| bad(e.into()))?;
            bytes
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes = serde_json::to_vec(&random()?).map_err(|e| bad(e.into()))?;
            write(path, &bytes).map_err(|e| bad(e.into()))?;
            bytes
        }
        Err(error) => return Err(bad(error.into())),
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| bad(e.into()))?;
    if stored.access_key_id.is_empty() || stored.secret_access_key.len() < 32 {
        return Err(bad("too short".into()));
    }
    Ok(S3Credentials {
        access_key_id: stored.access_key_id,
        secret_access_key: stored.secret_access_key,
        session_token: None,
    })
}

fn random() -> Result<Stored, Error> {
    let (mut id, mut secret) = ([0; 12], [0; 32]);
    for bytes in [&mut id[..], &mut secret[..]] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| Error::Configuration { reason: "no random numbers" })?;
    }
    Ok(Stored {
        access_key_id: format!("PARLEY{}", URL_SAFE_NO_PAD.encode(id)),
        secret_access_key: URL_SAFE_NO_PAD.encode(secret),
    })
}

/// Whole or not at all, and durable: with other credentials, every URL that was handed out would be void.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        let first = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let again = load_or_create(&path).unwrap();
        assert_eq!(first.secret_access_key, again.secret_access_key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(&first.secret_access_key));

        let other = load_or_create(&dir.path().join("other.json")).unwrap();
        assert_ne!(first.secret_access_key, other.secret_access_key);
        assert_ne!(first.access_key_id, other.access_key_id);
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        for broken in ["", "{}", r#"{"access_key_id":"a","secret_access_key":"short"}"#] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(load_or_create(&path), Err(Error::Credentials { .. })), "{broken}");
            assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        }
    }
}
