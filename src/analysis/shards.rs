//! Which analyzer takes the results of which agents, where several work together.
//!
//! Agents are divided into [`SHARDS`] *virtual shards* by the ToRs of their RNICs ([`ShardId::of_tors`]): hosts under the same ToRs, in
//! all planes and rails, are in one shard. An analyzer *owns* shards. A shard has an *epoch*, which grows with each change of its owner.
//! One analyzer, the *judge*, decides who owns what ([`moves`]) and takes the evidence of the owners. It refuses what does not come
//! from the owner of the shard's newest epoch ([`Fence`]): an owner that stood still and goes on changes nothing.
//!
//! Batches are told apart by the number in their spool ([`Seen`]), so that one counts once, whichever owners have passed it on.

mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::TorId;

pub use seen::{Held, Seen};

/// Virtual shards: some for each of the analyzers that a fleet may need.
pub const SHARDS: u16 = 64;

/// A virtual shard, by its number below [`SHARDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// By its number; `None` for one that is not there.
    pub fn new(number: u16) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Each of them, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// The shard of an agent whose RNICs are under these ToRs: that of the ToR whose name is first. Without an RNIC, that of no ToR. The
    /// same in all versions of the program.
    pub fn of_tors<'a>(tors: impl IntoIterator<Item = &'a TorId>) -> Self {
        let first = tors.into_iter().map(TorId::as_str).min();
        let number = mixed(first.unwrap_or_default().as_bytes()) % u64::from(SHARDS);
        Self(u16::try_from(number).unwrap_or_default())
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// FNV-1a, and a last step that spreads names which differ in their last letter.
fn mixed(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// An analyzer among several. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub i64);

/// Who owns a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// The analyzer; `None` before the first one.
    pub owner: Option<MemberId>,
    /// Grows with each change of the owner; 0 before the first one.
    pub epoch: i64,
}

impl Owned {
    /// By nobody yet.
    pub const NEVER: Self = Self {
        owner: None,
        epoch: 0,
    };
}

/// Who owns which shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Vec<Owned>);

impl Default for Table {
    fn default() -> Self {
        Self(vec![Owned::NEVER; usize::from(SHARDS)])
    }
}

impl Table {
    /// Who owns a shard.
    pub fn get(&self, shard: ShardId) -> Owned {
        self.0[usize::from(shard.0)]
    }

    /// Another owner.
    pub fn set(&mut self, shard: ShardId, owned: Owned) {
        self.0[usize::from(shard.0)] = owned;
    }

    /// All shards with their owners.
    pub fn iter(&self) -> impl Iterator<Item = (ShardId, Owned)> {
        ShardId::all().map(|shard| (shard, self.get(shard)))
    }

    /// The shards of one analyzer.
    pub fn of(&self, owner: MemberId) -> impl Iterator<Item = ShardId> {
        self.iter()
            .filter(move |(_, owned)| owned.owner == Some(owner))
            .map(|(shard, _)| shard)
    }
}

/// A shard's next owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// Its owner from now on.
    pub to: MemberId,
    /// Of the shard from now on.
    pub epoch: i64,
}

/// Which shards change their owner, so that each analyzer of `live` has its share: no one has two more than another. As few as can be:
/// those whose owner is gone, and as many as a new analyzer needs. Between two that stay nothing moves unless one has too many. Empty
/// where nobody lives.
pub fn moves(table: &Table, live: &BTreeSet<MemberId>) -> Vec<Move> {
    if live.is_empty() {
        return Vec::new();
    }
    let mut of: BTreeMap<MemberId, Vec<ShardId>> =
        live.iter().map(|member| (*member, Vec::new())).collect();
    let mut homeless = Vec::new();
    for (shard, owned) in table.iter() {
        match owned.owner.and_then(|owner| of.get_mut(&owner)) {
            Some(shards) => shards.push(shard),
            None => homeless.push(shard),
        }
    }
    let mut moves = Vec::new();
    let mut give = |shard: ShardId, to: MemberId| {
        let epoch = table.get(shard).epoch.saturating_add(1);
        moves.push(Move { shard, to, epoch });
    };
    for shard in homeless {
        if let Some(to) = least(&of) {
            of.entry(to).or_default().push(shard);
            give(shard, to);
        }
    }
    while let (Some(from), Some(to)) = (most(&of), least(&of)) {
        let surplus = of[&from].len().saturating_sub(of[&to].len());
        // Only what was there before is left to give: who has too many has no other.
        let Some(shard) = of.get_mut(&from).filter(|_| surplus > 1).and_then(Vec::pop) else {
            break;
        };
        of.entry(to).or_default().push(shard);
        give(shard, to);
    }
    moves
}

fn least(of: &BTreeMap<MemberId, Vec<ShardId>>) -> Option<MemberId> {
    let least = of.iter().min_by_key(|(_, shards)| shards.len());
    least.map(|(member, _)| *member)
}

fn most(of: &BTreeMap<MemberId, Vec<ShardId>>) -> Option<MemberId> {
    let most = of.iter().max_by_key(|(_, shards)| shards.len());
    most.map(|(member, _)| *member)
}

/// Evidence that is not taken: another owner has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("shard {shard} belongs to another analyzer since epoch {newest}; this is of epoch {epoch}")]
pub struct Stale {
    /// The shard.
    pub shard: ShardId,
    /// Of the evidence.
    pub epoch: i64,
    /// Of the shard.
    pub newest: i64,
}

/// What the judge knows of owners: whose evidence it takes.
#[derive(Debug, Clone, Default)]
pub struct Fence {
    table: Table,
}

impl Fence {
    /// Takes a newer table over; of each shard the larger epoch counts, in whatever order tables come.
    pub fn follow(&mut self, table: &Table) {
        for (shard, owned) in table.iter() {
            if owned.epoch > self.table.get(shard).epoch {
                self.table.set(shard, owned);
            }
        }
    }

    /// Who owns what, as far as is known.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Whether evidence of a shard from this analyzer is taken.
    ///
    /// # Errors
    /// [`Stale`]: it is not the owner, or not any more.
    pub fn admit(&self, shard: ShardId, from: MemberId, epoch: i64) -> Result<(), Stale> {
        let owned = self.table.get(shard);
        if owned.owner == Some(from) && owned.epoch == epoch {
            return Ok(());
        }
        Err(Stale {
            shard,
            epoch,
            newest: owned.epoch,
        })
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
