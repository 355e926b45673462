//! The keyed MAC: HMAC-SHA256 (RFC 2104) truncated to 16 bytes.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Ends;

/// Bytes of the MAC that are sent.
pub(super) const MAC_LENGTH: usize = 16;

/// Length of a block of SHA-256, in bytes (FIPS 180-4).
const BLOCK: usize = 64;

/// HMAC-SHA256 with a key of 32 bytes. A key that is shorter than a block is filled with zeros (RFC 2104, section 2).
pub(crate) fn hmac_of(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; BLOCK];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

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

/// What is shown of a key: eight bytes that name it and from which it cannot be found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// What the MAC of a key is made over for its fingerprint: no packet begins like this.
    const LABEL: &'static [u8] = b"rpingmesh fingerprint of a cluster key";
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
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

    /// From a secret of 32 bytes.
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        Self(hmac_of(secret))
    }

    /// What may be shown of it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut mac = self.0.clone();
        mac.update(Fingerprint::LABEL);
        let full = mac.finalize().into_bytes();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&full[..8]);
        Fingerprint(bytes)
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

/// The cluster keys in force: which key signs, which verify, and whether unsigned packets are accepted.
///
/// Keys of a configuration: the first signs, any of them verifies, none means that nothing is signed. To rotate them: append the
/// new key everywhere, then put it first everywhere, then remove the old one everywhere. Keys of the controller go through the
/// same phases ([`crate::cluster_key`]).
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<ClusterKey>,
    /// Place of the key that signs.
    signing: Option<usize>,
    takes_unsigned: bool,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::unkeyed()
    }
}

/// Equal where they do the same.
impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        let prints =
            |ring: &Self| -> Vec<_> { ring.keys.iter().map(ClusterKey::fingerprint).collect() };
        (self.signing, self.takes_unsigned) == (other.signing, other.takes_unsigned)
            && prints(self) == prints(other)
    }
}

impl Keyring {
    /// These keys, the signing one first; without keys nothing is signed.
    pub fn new(keys: Vec<ClusterKey>) -> Self {
        let takes_unsigned = keys.is_empty();
        Self {
            signing: (!takes_unsigned).then_some(0),
            takes_unsigned,
            keys,
        }
    }

    /// Keys that verify, of which the one at `signing` signs. A place that there is not signs nothing.
    pub(crate) fn handed(
        keys: Vec<ClusterKey>,
        signing: Option<usize>,
        takes_unsigned: bool,
    ) -> Self {
        Self {
            signing: signing.filter(|place| *place < keys.len()),
            takes_unsigned,
            keys,
        }
    }

    /// No key: packets are neither signed nor accepted signed.
    pub fn unkeyed() -> Self {
        Self::new(Vec::new())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The fingerprint of the key that signs.
    pub fn signs_with(&self) -> Option<Fingerprint> {
        self.signing_key().map(ClusterKey::fingerprint)
    }

    /// Whether packets without a signature are accepted.
    pub fn takes_unsigned(&self) -> bool {
        self.takes_unsigned
    }

    fn signing_key(&self) -> Option<&ClusterKey> {
        self.keys.get(self.signing?)
    }

    /// The MAC under the key that signs.
    pub(super) fn sign(&self, signed: &[u8], ends: Ends) -> Option<[u8; MAC_LENGTH]> {
        let full = self
            .signing_key()?
            .mac(signed, ends)
            .finalize()
            .into_bytes();
        let mut mac = [0; MAC_LENGTH];
        mac.copy_from_slice(&full[..MAC_LENGTH]);
        Some(mac)
    }

    /// Whether something is signed at all.
    pub(super) fn signs(&self) -> bool {
        self.signing.is_some()
    }

    /// Whether any key made `mac`; each comparison takes the same time wherever the difference is.
    pub(super) fn verify(&self, signed: &[u8], ends: Ends, mac: &[u8; MAC_LENGTH]) -> bool {
        self.keys
            .iter()
            .any(|key| key.mac(signed, ends).verify_truncated_left(mac).is_ok())
    }
}
