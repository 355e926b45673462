//! The key that all agents of a controller sign their probes with, and how it is replaced while they probe.
//!
//! The controller makes each key from one secret ([`Master`]) and its number ([`Generation`]); before the first one nothing is
//! signed. A key comes into force in three phases, and the controller enters the next one when its agents say that they are ready
//! for it ([`rotation`]):
//!
//! ```text
//!             all verify it            all sign with it
//!  Offered ------------------> Signing ----------------> Steady ---- interval or command ----> Offered (next generation)
//!
//!  phase     signs                       accepts
//!  Offered   the key before              both        (before the first key: unsigned packets, too)
//!  Signing   the key                     both        (the same)
//!  Steady    the key                     the key
//! ```
//!
//! So whoever signs does it with a key that all others verify already, and the old one is refused when nobody signs with it any
//! more. An agent keeps its keys on its disk and follows orders by one rule ([`ring`]); it accepts unsigned packets only until it
//! has been told to refuse them once.
//!
//! All keys of a secret have one [`Lineage`]. A controller that was restored from an older copy makes the keys of its agents again
//! from their numbers. One that has lost its secret begins a new lineage: its agents go on with the keys that they have until
//! all verify the new one.

pub(crate) mod ring;
pub mod rotation;

use std::fmt;

use hmac::Mac;

use crate::wire::{ClusterKey, Fingerprint, hmac_of};

/// Length of the secret and of each key, in bytes.
pub(crate) const SECRET_LENGTH: usize = 32;
/// Keys that an agent verifies at a time, at most: two, and those of controllers before that have lost their secrets.
pub(crate) const MOST_KEYS: usize = 4;

/// A key in bytes, to be handed out or stored. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_LENGTH]);

impl Secret {
    /// Of these bytes; `None` if there is another number of them.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the wire and for files that nobody else can read.
    pub(crate) fn bytes(&self) -> &[u8; SECRET_LENGTH] {
        &self.0
    }

    /// The key that signs and verifies.
    pub(crate) fn key(&self) -> ClusterKey {
        ClusterKey::of(&self.0)
    }

    /// What is shown of it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key().fingerprint()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.fingerprint())
    }
}

/// The number of a key of one secret, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The first key: before it nothing was signed.
    pub(crate) const FIRST: Self = Self(1);

    /// The one before; `None` of the first.
    pub(crate) fn before(self) -> Option<Self> {
        (self > Self::FIRST).then(|| Self(self.0 - 1))
    }
}

/// How far a key has come into force; in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Agents learn it and verify with it.
    Offered,
    /// They sign with it, and still accept the one before.
    Signing,
    /// It is the only one.
    Steady,
}

impl Phase {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Offered, Self::Signing, Self::Steady];

    /// Its name in labels, JSON and files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Signing => "signing",
            Self::Steady => "steady",
        }
    }

    /// By its name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Tells keys of one secret from those of others; shows nothing of it.
pub(crate) type Lineage = Fingerprint;

/// What all keys of a controller are made from. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Master([u8; SECRET_LENGTH]);

impl Master {
    /// Of these bytes; `None` if there is another number of them.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the store.
    pub(crate) fn bytes(&self) -> &[u8; SECRET_LENGTH] {
        &self.0
    }

    /// HMAC-SHA256 over `label`: whoever knows some of these values knows nothing of the others.
    fn derived(&self, label: &[u8]) -> [u8; SECRET_LENGTH] {
        let mut mac = hmac_of(&self.0);
        mac.update(label);
        mac.finalize().into_bytes().into()
    }

    /// The key with this number.
    pub(crate) fn secret(&self, generation: Generation) -> Secret {
        let mut label = b"rpingmesh cluster key ".to_vec();
        label.extend_from_slice(&generation.0.to_be_bytes());
        Secret(self.derived(&label))
    }

    /// What its keys have in common.
    pub(crate) fn lineage(&self) -> Lineage {
        let full = self.derived(b"rpingmesh lineage of cluster keys");
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&full[..8]);
        Fingerprint(bytes)
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Master({})", self.lineage())
    }
}

/// What the controller tells its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub(crate) lineage: Lineage,
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
    pub(crate) key: Secret,
    /// The key before; `None` of the first.
    pub(crate) previous: Option<Secret>,
    /// Agents that have followed an order before go on signing and accepting as they do, until [`Phase::Signing`].
    pub(crate) keeps: bool,
}

/// What an agent says that it does with packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The newest order that it has followed; `None` before the first.
    pub(crate) followed: Option<Followed>,
    /// Keys that it verifies.
    pub(crate) verifies: Vec<Fingerprint>,
    /// The key that it signs with; `None` if it signs nothing.
    pub(crate) signs: Option<Fingerprint>,
    /// Whether it accepts unsigned packets.
    pub(crate) takes_unsigned: bool,
}

/// Which order an agent has followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    pub(crate) lineage: Lineage,
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
}

impl From<&Order> for Followed {
    fn from(order: &Order) -> Self {
        Self {
            lineage: order.lineage,
            generation: order.generation,
            phase: order.phase,
        }
    }
}

/// What an agent says of its keys when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its own configuration has keys: it takes none of the controller's.
    Own,
    /// It takes the controller's.
    Held(Held),
}

/// Where the key comes from that an agent signs with, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeySource {
    /// No key: it reaches the controller without TLS, so none is handed out.
    #[default]
    NoTls,
    /// No key: the controller has not handed out one yet, or does not.
    NotGiven,
    /// The agent's own configuration (`cluster_key_file`).
    Own,
    /// The controller.
    Controller,
}

/// What an agent says to people of its keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyUse {
    /// Where the key comes from.
    pub source: KeySource,
    /// The phase of the newest key of the controller.
    pub phase: Option<Phase>,
    /// The key that signs; `None` while nothing is signed.
    pub signs: Option<Fingerprint>,
}

#[cfg(test)]
mod tests;
