//! Who may upload at the same time, and for how long: places are few, and nobody may keep them from the others.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Uploads at once; each holds a file and a buffer.
const UPLOADS_MAX: usize = 64;
/// Of one user.
const USER_UPLOADS_MAX: usize = 8;
/// How long an upload may take: this, and what its bytes take at the slowest pace that is waited for.
const UPLOAD_WAIT: Duration = Duration::from_secs(60);
const PACE_BYTES_PER_S: u64 = 16 * 1024;

/// How long an upload of so many bytes may take.
pub(super) fn time_for(bytes: u64) -> Duration {
    UPLOAD_WAIT + Duration::from_secs(bytes / PACE_BYTES_PER_S)
}

/// The uploads that are under way, by who uploads.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<String, usize>>);

impl Uploads {
    /// A place, until it is dropped; `None` while there is none.
    pub(super) fn enter(&self, uploader: &str) -> Option<Place<'_>> {
        let mut under_way = self.0.lock();
        let own = under_way.get(uploader).copied().unwrap_or(0);
        if own >= USER_UPLOADS_MAX || under_way.values().sum::<usize>() >= UPLOADS_MAX {
            return None;
        }
        under_way.insert(uploader.to_owned(), own + 1);
        Some(Place { uploads: self, uploader: uploader.to_owned() })
    }
}

/// Place for an upload.
pub(super) struct Place<'a> {
    uploads: &'a Uploads,
    uploader: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.uploads.0.lock();
        if let Some(own) = under_way.get_mut(&self.uploader) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(&self.uploader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_each_is_given_back() {
        let uploads = Uploads::default();
        let anns: Vec<_> = std::iter::from_fn(|| uploads.enter("ann")).collect();
        assert_eq!(anns.len(), USER_UPLOADS_MAX);
        assert!(uploads.enter("bob").is_some());
        let mut others: Vec<_> = (0..).map_while(|user| uploads.enter(&format!("user{user}"))).collect();
        assert_eq!(anns.len() + others.len(), UPLOADS_MAX);
        others.pop();
        assert!(uploads.enter("bob").is_some());
        drop((anns, others));
        assert!(uploads.0.lock().is_empty());
    }

    #[test]
    fn the_largest_upload_has_an_hour_and_more() {
        assert!(time_for(0) >= Duration::from_secs(60));
        assert!(time_for(100 << 20) > Duration::from_secs(3_600), "over a slow link");
    }
}
