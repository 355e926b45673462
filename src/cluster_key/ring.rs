//! The agent's part: which keys it verifies and signs with, by the orders that it was given.

use super::{Followed, Held, KeySource, KeyUse, MOST_KEYS, Order, Phase, Secret};
use crate::wire::{Fingerprint, Keyring};

/// The keys of an agent, without I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Those that it verifies, the newest last.
    secrets: Vec<Secret>,
    /// The one of them that signs.
    signs: Option<Fingerprint>,
    takes_unsigned: bool,
    followed: Option<Followed>,
}

/// A ring in parts, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) signs: Option<Fingerprint>,
    pub(crate) takes_unsigned: bool,
    pub(crate) followed: Option<Followed>,
}

impl Default for Ring {
    /// Without keys: it signs nothing and accepts what is not signed.
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            signs: None,
            takes_unsigned: true,
            followed: None,
        }
    }
}

impl Ring {
    /// Of what was stored; `None` for what no ring can be.
    pub(crate) fn restored(parts: Parts) -> Option<Self> {
        let knows = |key: &Fingerprint| parts.secrets.iter().any(|one| one.fingerprint() == *key);
        let is_sound = parts.secrets.len() <= MOST_KEYS
            && parts.signs.as_ref().is_none_or(knows)
            && (parts.takes_unsigned || parts.signs.is_some());
        is_sound.then_some(Self {
            secrets: parts.secrets,
            signs: parts.signs,
            takes_unsigned: parts.takes_unsigned,
            followed: parts.followed,
        })
    }

    /// Its parts, to be stored.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            secrets: self.secrets.clone(),
            signs: self.signs,
            takes_unsigned: self.takes_unsigned,
            followed: self.followed,
        }
    }

    /// Does what the controller says; gives whether anything has changed. An order that is older than one of the same lineage that
    /// was followed changes nothing: what was refused once stays refused.
    pub(crate) fn follow(&mut self, order: &Order) -> bool {
        let before = self.clone();
        let known = self.followed.filter(|known| known.lineage == order.lineage);
        let step = |generation, phase| (generation, phase);
        if known.is_some_and(|known| {
            step(order.generation, order.phase) < step(known.generation, known.phase)
        }) {
            return false;
        }
        // Where agents come from another store they go on as they do until they are told to sign with this one's key: their peers do
        // the same. Otherwise all agents sign since the first key.
        let goes_on = order.keeps && self.followed.is_some();
        match order.phase {
            Phase::Offered | Phase::Signing => {
                self.add_both(order);
                if let Some(previous) = order.previous.as_ref().filter(|_| !goes_on) {
                    self.takes_unsigned = false;
                    self.signs = Some(previous.fingerprint());
                }
                if order.phase == Phase::Signing {
                    self.signs = Some(order.key.fingerprint());
                }
            }
            Phase::Steady => {
                self.secrets = vec![order.key.clone()];
                self.signs = Some(order.key.fingerprint());
                self.takes_unsigned = false;
            }
        }
        self.followed = Some(order.into());
        *self != before
    }

    /// Verifies with both keys of an order. The oldest key gives way, never the one that signs.
    fn add_both(&mut self, order: &Order) {
        for secret in order.previous.iter().chain([&order.key]) {
            self.secrets.retain(|known| known != secret);
            self.secrets.push(secret.clone());
        }
        while self.secrets.len() > MOST_KEYS {
            let signs = self.signs;
            let oldest = self
                .secrets
                .iter()
                .position(|one| Some(one.fingerprint()) != signs);
            self.secrets.remove(oldest.unwrap_or(0));
        }
    }

    /// What it does, for the controller.
    pub(crate) fn held(&self) -> Held {
        Held {
            followed: self.followed,
            verifies: self.secrets.iter().map(Secret::fingerprint).collect(),
            signs: self.signs,
            takes_unsigned: self.takes_unsigned,
        }
    }

    /// What packets are signed and verified with.
    pub(crate) fn keyring(&self) -> Keyring {
        let keys: Vec<_> = self.secrets.iter().map(Secret::key).collect();
        let signing = keys
            .iter()
            .position(|key| Some(key.fingerprint()) == self.signs);
        Keyring::handed(keys, signing, self.takes_unsigned)
    }

    /// What people are told.
    pub(crate) fn key_use(&self) -> KeyUse {
        KeyUse {
            source: if self.followed.is_some() {
                KeySource::Controller
            } else {
                KeySource::NotGiven
            },
            phase: self.followed.map(|followed| followed.phase),
            signs: self.signs,
        }
    }
}
