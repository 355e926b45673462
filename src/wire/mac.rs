//! The keyed MAC: HMAC-SHA256 (RFC 2104) truncated to 16 bytes.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Ends;

/// Bytes of the MAC that are sent.
pub(super) const MAC_LENGTH: usize = 16;

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A short key can be guessed.
    #[error(
        "a cluster key needs at least {min} bytes, this one has {0}: make one with `openssl rand -hex 32`",
        min = ClusterKey::MIN_LENGTH
    )]
    TooShort(usize),
}

/// A secret that all agents of a cluster share. Never shown.
#[derive(Clone)]
pub struct ClusterKey(Hmac<Sha256>);

impl ClusterKey {
    /// The shortest secret that is accepted, in bytes.
    pub(crate) const MIN_LENGTH: usize = 16;

    /// From a secret of any form, at least [`Self::MIN_LENGTH`] bytes.
    ///
    /// # Errors
    /// [`KeyError::TooShort`].
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        let too_short = KeyError::TooShort(secret.len());
        if secret.len() < Self::MIN_LENGTH {
            return Err(too_short);
        }
        Hmac::new_from_slice(secret)
            .map(Self)
            .map_err(|_| too_short)
    }

    fn mac(&self, signed: &[u8], ends: Ends) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(signed);
        mac.update(&ends.source.bytes());
        mac.update(&ends.destination.bytes());
        mac
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// The cluster keys in force: the first signs, any of them verifies, none means that nothing is signed.
///
/// To rotate: append the new key everywhere, then put it first everywhere, then remove the old one everywhere.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Vec<ClusterKey>);

impl Keyring {
    /// These keys, the signing one first.
    pub fn new(keys: Vec<ClusterKey>) -> Self {
        Self(keys)
    }

    /// No key: packets are neither signed nor accepted signed.
    pub fn unkeyed() -> Self {
        Self::default()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The MAC under the first key.
    pub(super) fn sign(&self, signed: &[u8], ends: Ends) -> Option<[u8; MAC_LENGTH]> {
        let full = self.0.first()?.mac(signed, ends).finalize().into_bytes();
        let mut mac = [0; MAC_LENGTH];
        mac.copy_from_slice(&full[..MAC_LENGTH]);
        Some(mac)
    }

    /// Whether any key made `mac`; each comparison takes the same time wherever the difference is.
    pub(super) fn verify(&self, signed: &[u8], ends: Ends, mac: &[u8; MAC_LENGTH]) -> bool {
        self.0
            .iter()
            .any(|key| key.mac(signed, ends).verify_truncated_left(mac).is_ok())
    }
}
