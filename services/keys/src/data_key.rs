//! A data key in the clear, in memory: seals, opens, compares.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use bytes::BufMut as _;
use parley_domain::{GroupId, KeyId, MessageId, UserId};

use crate::ring::random;

/// What a sealed content is bound to: it opens in no other place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The group.
    pub group_id: GroupId,
    /// The message.
    pub message_id: MessageId,
    /// Its sender.
    pub sender: &'a UserId,
}

/// Two ids and a user's.
const PLACE_BYTES_MAX: usize = 16 + 16 + UserId::BYTES_MAX;

impl Place<'_> {
    /// Written into `space`, since every message is sealed and opened.
    fn bytes<'s>(&self, space: &'s mut [u8; PLACE_BYTES_MAX]) -> &'s [u8] {
        let mut rest = space.as_mut_slice();
        rest.put_slice(self.group_id.as_bytes());
        rest.put_slice(self.message_id.as_bytes());
        rest.put_slice(self.sender.as_str().as_bytes());
        let written = PLACE_BYTES_MAX - rest.len();
        space.get(..written).unwrap_or_default()
    }
}

/// The bytes don't open: another key, another place, or they were changed.
#[derive(Debug, thiserror::Error)]
#[error("sealed content doesn't open")]
pub struct SealError;

/// A data key. Two keys are derived from it, so that none is used for two things.
pub struct DataKey {
    id: KeyId,
    aead: LessSafeKey,
    mac: hmac::Key,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

impl DataKey {
    pub(crate) fn new(id: KeyId, secret: &[u8; 32]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let sealing = hmac::sign(&root, b"parley content seal v1");
        let comparing = hmac::sign(&root, b"parley content mac v1");
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, sealing.as_ref()).ok()?);
        Some(Self { id, aead, mac: hmac::Key::new(hmac::HMAC_SHA256, comparing.as_ref()) })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Seals content in its place: nonce, ciphertext, tag.
    ///
    /// # Errors
    /// [`SealError`], which can't happen for contents below 64 GiB.
    pub fn seal(&self, place: Place<'_>, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; 12] = random();
        let mut sealed = Vec::with_capacity(12 + content.len() + 16);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let text = sealed.get_mut(12..).ok_or(SealError)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut space = [0; PLACE_BYTES_MAX];
        let tag = self.aead.seal_in_place_separate_tag(nonce, Aad::from(place.bytes(&mut space)), text);
        sealed.extend_from_slice(tag.map_err(|_| SealError)?.as_ref());
        Ok(sealed)
    }

    /// Opens what [`DataKey::seal`] made for the same place.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, text) = sealed.split_at_checked(12).ok_or(SealError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        let mut bytes = text.to_vec();
        let mut space = [0; PLACE_BYTES_MAX];
        let aad = Aad::from(place.bytes(&mut space));
        let length = self.aead.open_in_place(nonce, aad, &mut bytes).map_err(|_| SealError)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// A code by which a repeat is compared with what was accepted, without opening that: of these pieces, one behind another.
    #[must_use]
    pub fn mac(&self, content: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        content.iter().for_each(|piece| context.update(piece));
        let tag = context.sign();
        let mut code = [0; 32];
        for (to, from) in code.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        code
    }
}
