//! The key ring: the key-encryption keys, in a file that only its owner can read.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file can't be read or written.
    #[error("the key ring {path} can't be read or written")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no key ring.
    #[error("{path} is no key ring: {why}; restore it from a backup, without it no message can be read")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingFile {
    active: String,
    keys: BTreeMap<String, String>,
}

/// Key-encryption keys by name; the active one wraps what is new, all of them unwrap.
pub struct KeyRing {
    active: String,
    keys: BTreeMap<String, [u8; 32]>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("active", &self.active).finish_non_exhaustive()
    }
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

impl KeyRing {
    /// Opens the ring in a file; makes one with a fresh key, mode 0600, if there is none.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn open_or_create(path: &Path) -> Result<Self, RingError> {
        let io = |source| RingError::Io { path: path.to_owned(), source };
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(path, &bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let ring = Self { active: "k1".into(), keys: BTreeMap::from([("k1".into(), random())]) };
                ring.write(path).map_err(io)?;
                Ok(ring)
            }
            Err(error) => Err(io(error)),
        }
    }

    /// One of a key that is nowhere kept, for a process that opens nothing: what it wrapped nobody could ever read.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self { active: "none".into(), keys: BTreeMap::from([("none".into(), random())]) }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, RingError> {
        let invalid = |why: String| RingError::Invalid { path: path.to_owned(), why };
        let file: RingFile = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let keys = file.keys.into_iter().map(|(name, text)| {
            let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes
                .map(|bytes| (name.clone(), bytes))
                .ok_or_else(|| invalid(format!("key {name} has not 32 bytes")))
        });
        let keys = keys.collect::<Result<BTreeMap<_, _>, _>>()?;
        if !keys.contains_key(&file.active) {
            return Err(invalid(format!("the active key {} is not in it", file.active)));
        }
        Ok(Self { active: file.active, keys })
    }

    fn write(&self, path: &Path) -> Result<(), std::io::Error> {
        let keys = self.keys.iter().map(|(name, key)| (name.clone(), STANDARD.encode(key))).collect();
        let text = serde_json::to_vec_pretty(&RingFile { active: self.active.clone(), keys })?;
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let fresh = path.with_extension("new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        std::fs::File::open(dir)?.sync_all()
    }

    /// Adds a fresh key and makes it the active one, durably. What older keys wrapped stays readable.
    ///
    /// # Errors
    /// [`RingError::Io`].
    pub(crate) fn rotate(&mut self, path: &Path) -> Result<(), RingError> {
        // Not by how many there are: of a ring that somebody took keys out of, that could be the name of one that is left.
        let mut number = self.keys.len() + 1;
        while self.keys.contains_key(&format!("k{number}")) {
            number += 1;
        }
        self.active = format!("k{number}");
        self.keys.insert(self.active.clone(), random());
        self.write(path).map_err(|source| RingError::Io { path: path.to_owned(), source })
    }

    /// The name of the active key.
    #[must_use]
    pub fn active(&self) -> &str {
        &self.active
    }

    /// Wraps 32 secret bytes under the active key, bound to `context`.
    pub(crate) fn wrap(&self, secret: &[u8; 32], context: &[u8]) -> Option<(String, Vec<u8>)> {
        let key = self.aead(&self.active)?;
        let nonce: [u8; 12] = random();
        let mut wrapped = secret.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut wrapped)
            .ok()?;
        Some((self.active.clone(), [nonce.as_slice(), wrapped.as_slice()].concat()))
    }

    /// The reverse; `None` if the key is not in the ring or the bytes or the context are others.
    pub(crate) fn unwrap(&self, name: &str, wrapped: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        let key = self.aead(name)?;
        let (nonce, sealed) = wrapped.split_at_checked(12)?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let secret = key.open_in_place(nonce, Aad::from(context), &mut bytes).ok()?;
        <[u8; 32]>::try_from(&*secret).ok()
    }

    fn aead(&self, name: &str) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.keys.get(name)?).ok().map(LessSafeKey::new)
    }

    /// Authenticates bytes under the active key: its name and the code.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        let key = self.signing_key(&self.active)?;
        Some((self.active.clone(), hmac::sign(&key, bytes).as_ref().to_vec()))
    }

    /// Whether a key of the ring made this code.
    pub(crate) fn verify(&self, name: &str, bytes: &[u8], code: &[u8]) -> bool {
        self.signing_key(name).is_some_and(|key| hmac::verify(&key, bytes, code).is_ok())
    }

    /// Keys for signing are derived, so that no key is used for two things.
    fn signing_key(&self, name: &str) -> Option<hmac::Key> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, self.keys.get(name)?);
        let derived = hmac::sign(&root, b"parley media url v1");
        Some(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }
}
