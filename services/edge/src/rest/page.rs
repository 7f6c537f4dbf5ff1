//! Pages: how long, and from where on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parley_domain::{GroupId, Seq, UserId};
use serde::Deserialize;

use super::fault::Fault;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// `cursor` and `limit`, as they were given.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    cursor: Option<String>,
    limit: Option<String>,
}

/// `after_seq`, `before_seq` and `limit`, as they were given.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Window {
    after_seq: Option<String>,
    before_seq: Option<String>,
    limit: Option<String>,
}

/// What a cursor is: the key of the last entry that was given. Clients see it as an opaque text.
pub(super) trait Key: Sized {
    fn bytes(&self) -> &[u8];
    fn parse(bytes: &[u8]) -> Option<Self>;
}

impl Key for GroupId {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes)
    }
}

impl Key for UserId {
    fn bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// The cursor behind an entry.
pub(super) fn cursor<K: Key>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(key.bytes())
}

impl Page {
    pub(super) fn limit(&self) -> Result<usize, Fault> {
        limit(self.limit.as_deref())
    }

    /// The entry after which the page begins.
    pub(super) fn after<K: Key>(&self) -> Result<Option<K>, Fault> {
        // Who asks for all pages in a loop may begin with an empty one.
        let Some(text) = self.cursor.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| K::parse(&bytes));
        key.map(Some).ok_or_else(|| Fault::bad_request("cursor must be a next_cursor of this call"))
    }
}

impl Window {
    pub(super) fn limit(&self) -> Result<usize, Fault> {
        limit(self.limit.as_deref())
    }

    pub(super) fn after(&self) -> Result<Option<Seq>, Fault> {
        seq("after_seq", self.after_seq.as_deref())
    }

    pub(super) fn before(&self) -> Result<Option<Seq>, Fault> {
        seq("before_seq", self.before_seq.as_deref())
    }
}

/// Entries beyond the greatest page are left for the next one.
fn limit(text: Option<&str>) -> Result<usize, Fault> {
    match text.map(str::parse::<u64>) {
        None => Ok(LIMIT_DEFAULT),
        Some(Ok(limit)) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)),
        Some(Ok(_) | Err(_)) => {
            Err(Fault::bad_request(format!("limit must be a number from 1 to {LIMIT_MAX}")))
        }
    }
}

fn seq(name: &str, text: Option<&str>) -> Result<Option<Seq>, Fault> {
    text.map(str::parse).transpose().map_err(|_| Fault::bad_request(format!("{name} must be a seq")))
}

/// Takes the entries of a page out of those found, one more than fit if there are more; the cursor if there are.
pub(super) fn cut<T, K: Key>(entries: &mut Vec<T>, limit: usize, key: impl Fn(&T) -> &K) -> Option<String> {
    if entries.len() <= limit {
        return None;
    }
    entries.truncate(limit);
    entries.last().map(|last| cursor(key(last)))
}

#[cfg(test)]
mod tests {
    use parley_domain::Code;

    use super::*;

    fn page(cursor: Option<&str>, limit: Option<&str>) -> Page {
        Page { cursor: cursor.map(Into::into), limit: limit.map(Into::into) }
    }

    #[test]
    fn limits() {
        for (given, taken) in [
            (None, Some(50)),
            (Some("1"), Some(1)),
            (Some("200"), Some(200)),
            (Some("201"), Some(200)),
            (Some("18446744073709551615"), Some(200)),
            (Some("0"), None),
            (Some(""), None),
            (Some("-1"), None),
            (Some("ten"), None),
            (Some("1.5"), None),
        ] {
            assert_eq!(page(None, given).limit().ok(), taken, "{given:?}");
        }
    }

    #[test]
    fn cursors_come_back_as_they_were() {
        let group = GroupId::from_bytes([0xab; 16]);
        assert_eq!(page(Some(&cursor(&group)), None).after().unwrap(), Some(group));
        for name in ["a", "Zoë / ?&=+%", &"x".repeat(128)] {
            let user = UserId::parse(name).unwrap();
            let text = cursor(&user);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
            assert_eq!(page(Some(&text), None).after().unwrap(), Some(user));
        }
        assert_eq!(page(None, None).after::<GroupId>().unwrap(), None);
    }

    #[test]
    fn other_cursors_are_bad_requests() {
        assert_eq!(page(Some(""), None).after::<GroupId>().unwrap(), None, "the first page");
        for text in ["!", "YWJj", "YQ=="] {
            assert_eq!(
                page(Some(text), None).after::<GroupId>().unwrap_err().code(),
                Code::BadRequest,
                "{text}"
            );
        }
        for bytes in [&b"\xff"[..], b"\n", &[b'x'; 129]] {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(page(Some(&text), None).after::<UserId>().unwrap_err().code(), Code::BadRequest);
        }
    }

    #[test]
    fn windows() {
        let window = |text: &str| Window { after_seq: Some(text.into()), ..Window::default() };
        assert_eq!(window("0").after().unwrap(), Some(0));
        assert_eq!(window("7").before().unwrap(), None);
        for bad in ["", "-1", "x"] {
            assert_eq!(window(bad).after().unwrap_err().code(), Code::BadRequest, "{bad}");
        }
    }

    #[test]
    fn a_page_ends_with_a_cursor_only_if_there_is_more() {
        let users: Vec<UserId> = ["a", "b", "c"].iter().map(|name| UserId::parse(name).unwrap()).collect();
        let mut all = users.clone();
        assert_eq!(cut(&mut all, 3, |user| user), None);
        let mut some = users.clone();
        assert_eq!(cut(&mut some, 2, |user| user), Some(cursor(&users[1])));
        assert_eq!(some, users[..2]);
    }
}
