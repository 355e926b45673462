//! Which batch of an agent is new, which came before, which are missing.
//!
//! A spool numbers its batches from 1 without gaps and sends them in order, possibly several times. The watermark is
//! the highest number that was taken. Numbers at or below it are duplicates. A number that skips some is taken: the
//! agent's spool has dropped the others by overflow (it counts them too), and refusing it would stop the agent for ever.
//! What was skipped is counted as lost. A number that skips more than [`MOST_SKIPPED`], or begins beyond [`LARGEST_FIRST`], is
//! refused: no spool has dropped so many, and the watermark would make duplicates of all honest batches. The first batch of an unknown spool sets the watermark without a loss: what
//! came before it was taken by an analyzer with another store.

use super::report::{Sender, SpoolId};
use crate::id::HostName;
use crate::time::WallTime;

/// The most batches that a spool can have skipped: what an agent makes in four months at ten batches a second.
pub const MOST_SKIPPED: u64 = 100_000_000;
/// The largest number of a first batch: what an agent makes in 300 years at a hundred batches a second.
pub const LARGEST_FIRST: u64 = 1_000_000_000_000;

/// How far one spool has been taken. Outlives the batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Whose batches these are.
    pub sender: Sender,
    /// Where the agent runs.
    pub host: HostName,
    /// The highest number taken; 0 for none.
    pub sequence: u64,
    /// Batches taken.
    pub taken: u64,
    /// Batches that were skipped by the agent.
    pub lost: u64,
    /// When the last one was taken.
    pub updated: WallTime,
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// New: take it. So many before it are missing.
    New {
        /// Batches between the watermark and this one.
        skipped: u64,
    },
    /// It was taken before: acknowledge it, count nothing.
    Duplicate,
    /// Its number cannot be right: refuse it. The mark has not moved.
    TooFar {
        /// The largest number that is taken now.
        limit: u64,
    },
}

impl Watermark {
    /// Of a spool from which nothing was taken.
    pub const fn new(sender: Sender, host: HostName, now: WallTime) -> Self {
        Self {
            sender,
            host,
            sequence: 0,
            taken: 0,
            lost: 0,
            updated: now,
        }
    }

    /// The spool.
    pub const fn spool(&self) -> SpoolId {
        self.sender.spool
    }

    /// Decides on a batch and moves the mark if it is new.
    pub fn admit(&mut self, sequence: u64, now: WallTime) -> Admission {
        if sequence <= self.sequence {
            return Admission::Duplicate;
        }
        let limit = match self.taken {
            0 => LARGEST_FIRST,
            _ => self.sequence.saturating_add(MOST_SKIPPED),
        };
        if sequence > limit {
            return Admission::TooFar { limit };
        }
        let skipped = match self.taken {
            0 => 0,
            _ => sequence - self.sequence - 1,
        };
        self.sequence = sequence;
        self.taken = self.taken.saturating_add(1);
        self.lost = self.lost.saturating_add(skipped);
        self.updated = now;
        Admission::New { skipped }
    }
}

#[cfg(test)]
mod tests;
