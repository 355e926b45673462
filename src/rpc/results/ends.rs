//! What reports say about RNICs, read once.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;
use prost::{DecodeError, Message as _};

use super::error::ReportError;
use super::message::end;
use crate::analysis::report::End;
use crate::id::MAX_NAME;
use crate::rpc::v1;

/// Locks, so that uploads seldom wait for each other.
const SHARDS: usize = 16;
/// Longer descriptions are read each time: no agent sends them.
const LONGEST: usize = 4 * MAX_NAME;
/// Dead entries of a shard that are not worth a sweep.
const FEW: usize = 64;

/// The RNICs that reports name: every report of a path repeats what it says about both ends, so what was read once is found
/// by its bytes, and all that is said alike is one [`End`] in memory.
///
/// Nothing is kept alive: what nobody else holds any more is forgotten when a shard has doubled, so there are at most twice
/// as many entries as RNICs in use, and a few.
pub struct Ends {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    known: HashTable<Known>,
    /// When there are so many, the dead go.
    sweep_at: usize,
}

struct Known {
    hash: u64,
    /// A `Peer`, encoded.
    said: Box<[u8]>,
    end: Weak<End>,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}

impl Ends {
    /// The RNIC that an encoded `Peer` describes, or what is wrong with it.
    pub(in crate::rpc) fn read(
        &self,
        said: &[u8],
    ) -> Result<Result<Arc<End>, ReportError>, DecodeError> {
        let hash = self.hasher.hash_one(said);
        if let Some(end) = self.with(hash, |shard| shard.find(hash, said)) {
            return Ok(Ok(end));
        }
        let read = end(v1::Peer::decode(said)?).map(Arc::new);
        Ok(match read {
            Ok(end) if said.len() <= LONGEST => {
                Ok(self.with(hash, |shard| shard.keep(hash, said, end)))
            }
            other => other,
        })
    }

    fn with<T>(&self, hash: u64, act: impl FnOnce(&mut Shard) -> T) -> T {
        // The table uses the lowest and the highest bits.
        let number = (hash >> 32) as usize % SHARDS;
        let mut shard = self.shards[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(&mut shard)
    }

    /// Entries, dead ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.lock().expect("no panic").known.len())
            .sum()
    }
}

impl Shard {
    fn find(&self, hash: u64, said: &[u8]) -> Option<Arc<End>> {
        self.known
            .find(hash, |known| *known.said == *said)?
            .end
            .upgrade()
    }

    /// Keeps what was read, or gives what another upload has kept meanwhile.
    fn keep(&mut self, hash: u64, said: &[u8], end: Arc<End>) -> Arc<End> {
        if let Some(known) = self.known.find_mut(hash, |known| *known.said == *said) {
            return known.end.upgrade().unwrap_or_else(|| {
                known.end = Arc::downgrade(&end);
                end
            });
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| known.end.strong_count() > 0);
            self.sweep_at = 2 * self.known.len() + FEW;
        }
        let known = Known {
            hash,
            said: said.into(),
            end: Arc::downgrade(&end),
        };
        self.known.insert_unique(hash, known, |known| known.hash);
        end
    }
}
