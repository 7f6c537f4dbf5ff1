//! Stops the log while there is still some space, so that the other stores on the same disk don't hit the wall.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::storage::{Space, Storage};

/// How long, and for how many written bytes, a look at the file system holds.
const FRESH_FOR: Duration = Duration::from_millis(100);
const FRESH_BYTES: u64 = 1 << 20;

/// Keeps a reserve free.
#[derive(Debug)]
pub(super) struct SpaceGuard {
    reserve_bytes_max: u64,
    seen: Option<(Space, Instant)>,
    /// Bytes written since.
    written: u64,
}

impl SpaceGuard {
    /// The reserve is the given number of bytes, or 5 % of the file system if that is less.
    pub(super) fn new(reserve_bytes_max: u64) -> Self {
        Self { reserve_bytes_max, seen: None, written: 0 }
    }

    /// Whether so many bytes may be written now. If the file system doesn't tell, they may: the write will say so.
    pub(super) fn admit(
        &mut self,
        storage: &mut dyn Storage,
        bytes: u64,
        now: Instant,
    ) -> Result<(), Arc<str>> {
        let fresh = self
            .seen
            .filter(|(_, at)| now.duration_since(*at) < FRESH_FOR && self.written < FRESH_BYTES)
            .map(|(space, _)| space);
        let space = match fresh {
            Some(space) => space,
            None => match storage.space() {
                Ok(space) => {
                    self.seen = Some((space, now));
                    self.written = 0;
                    space
                }
                Err(error) => {
                    tracing::warn!(%error, "the file system doesn't say how much space it has");
                    return Ok(());
                }
            },
        };
        let reserve = self.reserve_bytes_max.min(space.total / 20);
        let free = space.free.saturating_sub(self.written);
        if free < reserve.saturating_add(bytes) {
            let message = format!(
                "the disk is nearly full: {} KiB are free, and {} KiB are kept in reserve",
                free / 1024,
                reserve / 1024
            );
            return Err(message.into());
        }
        Ok(())
    }

    /// Notes what was written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }
}
