//! The authenticator, at the level of tokens and answers.

#[expect(unreachable_pub, reason = "it is part of the test harness, which the end-to-end tests share")]
#[path = "../../../../tests/src/bad_tokens.rs"]
mod bad_tokens;

mod asymmetric;
mod bad;
mod good;
mod keys;
mod logs;
mod rotation;
mod setup;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const NOW_S: i64 = 1_800_000_000;
const NOW: Timestamp = Timestamp(NOW_S * 1000);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn secret_only() -> AuthOptions {
    AuthOptions { hs256_secret: Some(Secret::new(SECRET)), ..AuthOptions::default() }
}

fn jwks_only(path: &Path) -> AuthOptions {
    AuthOptions { jwks: Some(JwksSource::File(path.to_owned())), ..AuthOptions::default() }
}

fn alice() -> UserId {
    UserId::parse("alice").unwrap()
}

/// A file that goes with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("parley-auth-{}-{count}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// Replaces the content as an operator should: at once.
    fn replace(&self, content: impl AsRef<[u8]>) {
        let other = self.0.with_extension("new");
        std::fs::write(&other, content).unwrap();
        std::fs::rename(other, &self.0).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
