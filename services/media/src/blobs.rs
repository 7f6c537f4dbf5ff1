//! What every provider of [`Blobs`](crate::Blobs) asks of its arguments, and the form in which each keeps a blob:
//!
//! ```text
//! "PBL1" | SHA-256 of the bytes | bytes
//! ```
//!
//! The checksum lies in the object itself, since some stores keep what they know of an object beside it, and bring
//! the two out of step when an object is replaced.

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::error::Error;
use crate::port::{BLOB_BYTES_MAX, BLOB_LIST_MAX, BLOB_NAME_BYTES_MAX};

/// Bytes before those of the blob.
pub(crate) const HEADER_BYTES: usize = 36;
const MAGIC: &[u8; 4] = b"PBL1";

/// What is kept before the bytes.
pub(crate) fn header(bytes: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (magic, digest) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    digest.copy_from_slice(&sha256(bytes));
    header
}

/// The bytes of what was kept.
pub(crate) fn open(name: &str, kept: &Bytes) -> Result<Bytes, Error> {
    let whole = kept.split_at_checked(HEADER_BYTES).filter(|(start, bytes)| *start == header(bytes));
    if whole.is_none() {
        return Err(Error::Damaged { name: name.to_owned() });
    }
    Ok(kept.slice(HEADER_BYTES..))
}

/// A name that every provider can hold as it is: as a key, and as a file's name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let is_part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_name = name.len() <= BLOB_NAME_BYTES_MAX && is_made_of_name(name) && name.split('/').all(is_part);
    if is_name { Ok(()) } else { Err(Error::Invalid { reason: "not the name of a blob" }) }
}

/// The beginning of a name, perhaps in the middle of a part.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    let is_prefix = prefix.len() <= BLOB_NAME_BYTES_MAX && is_made_of_name(prefix);
    if is_prefix { Ok(()) } else { Err(Error::Invalid { reason: "not the beginning of a blob's name" }) }
}

/// A number of bytes that one blob may have.
pub(crate) fn check_length(bytes: usize) -> Result<(), Error> {
    check(bytes <= BLOB_BYTES_MAX)
}

/// A number of bytes that may be kept of one, before memory is taken for them.
pub(crate) fn check_kept(bytes: u64) -> Result<(), Error> {
    check(usize::try_from(bytes).is_ok_and(|bytes| bytes <= BLOB_BYTES_MAX + HEADER_BYTES))
}

fn check(fits: bool) -> Result<(), Error> {
    if fits { Ok(()) } else { Err(Error::Invalid { reason: "the blob is too large" }) }
}

pub(crate) fn limit(limit: usize) -> usize {
    limit.min(BLOB_LIST_MAX)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    // The digest of this algorithm has 32 bytes.
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

fn is_made_of_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_that_stay_where_they_are() {
        let longest = "n".repeat(BLOB_NAME_BYTES_MAX);
        for good in ["a", "0", "Events/17/0000000123.v1", "a_b-c.d/e", longest.as_str()] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let longer = "n".repeat(BLOB_NAME_BYTES_MAX + 1);
        for bad in
            ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "-a", "a b", "a%2Fb", "ä", "a\0", &longer]
        {
            assert!(matches!(check_name(bad), Err(Error::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn a_prefix_may_end_anywhere_in_a_name() {
        for good in ["", "a", "a/", "a/b.", "."] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["a*", "a?", " ", &"n".repeat(BLOB_NAME_BYTES_MAX + 1)] {
            assert!(matches!(check_prefix(bad), Err(Error::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn lengths_and_limits_have_an_end() {
        assert!(check_length(0).is_ok() && check_length(BLOB_BYTES_MAX).is_ok());
        assert!(check_length(BLOB_BYTES_MAX + 1).is_err());
        let most = (BLOB_BYTES_MAX + HEADER_BYTES) as u64;
        assert!(check_kept(most).is_ok() && check_kept(most + 1).is_err() && check_kept(u64::MAX).is_err());
        assert_eq!((limit(0), limit(1000), limit(1001)), (0, 1000, 1000));
    }

    #[test]
    fn what_is_not_whole_is_damaged() {
        for bytes in [&b""[..], b"text"] {
            let kept = [&header(bytes), bytes].concat();
            assert_eq!(open("a", &kept.clone().into()).unwrap(), bytes);
            for at in 0..kept.len() {
                let mut other = kept.clone();
                other[at] ^= 1;
                assert!(matches!(open("a", &other.into()), Err(Error::Damaged { .. })), "bit of byte {at}");
                assert!(open("a", &kept[..at].to_vec().into()).is_err(), "{at} bytes");
            }
            assert!(open("a", &[&kept[..], b"x"].concat().into()).is_err(), "a byte more");
        }
    }
}
