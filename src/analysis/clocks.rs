//! How far the clocks of agents are off, estimated from when their batches arrive.
//!
//! An agent dates its batches by its own wall clock. A batch arrives a little after its end. Two things make it look
//! older: the agent has sent it late (it was cut off, and its spool drains), or its clock is behind. Nothing but a clock that
//! is ahead makes it look younger. So:
//!
//! | what is seen | what follows |
//! |---|---|
//! | the end is later than the arrival by more than [`Clocks::tolerance`] | the clock is ahead by this, at once |
//! | the end is earlier by more than [`LEAST`], and stays so over [`STEADY`] batches and [`STEADY_FOR`] | the clock is behind by this |
//! | the end is earlier, and the difference shrinks from batch to batch | a spool drains: nothing follows |
//! | the difference is below [`LEAST`] again | the clock is right, at once |
//!
//! Results of an agent whose clock is off by at most [`MOST_CORRECTED`] are moved by the estimate and count like those of
//! others. Beyond, they are not counted: a clock that is off by days may be anything.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::id::AgentId;
use crate::time::{Nanos, WallTime};

/// A clock that is off by less is right: so much later than it ends a batch may arrive.
pub(crate) const LEAST: Nanos = Nanos(10_000_000_000);
/// Results are corrected up to this error of the clock.
pub(crate) const MOST_CORRECTED: Nanos = Nanos(12 * 3_600 * 1_000_000_000);
/// Batches in a row that must agree before a clock counts as behind,
pub(crate) const STEADY: u32 = 6;
/// and how long they must have come.
pub(crate) const STEADY_FOR: Duration = Duration::from_secs(5);
/// Two batches agree if their differences differ by at most this.
const AGREE: Nanos = Nanos(1_000_000_000);
/// Agents of which a clock is kept.
const MOST_AGENTS: usize = 100_000;
/// An agent that has sent nothing for so long is forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// What is known of one agent's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// By how much it is ahead; negative when it is behind; zero when it is right.
    ahead: Nanos,
    /// End of a batch minus its arrival: the first of those in a row that agree with it,
    first: Nanos,
    /// when it came,
    since: WallTime,
    /// and how many they are.
    steady: u32,
    /// When the newest came.
    seen: WallTime,
}

/// The clocks of all agents. See the module.
#[derive(Debug)]
pub(crate) struct Clocks {
    tolerance: Nanos,
    agents: HashMap<AgentId, Clock>,
}

impl Clocks {
    /// A clock that is ahead by more than `tolerance` is wrong.
    pub(crate) fn new(tolerance: Duration) -> Self {
        Self {
            tolerance: Nanos::from(tolerance),
            agents: HashMap::new(),
        }
    }

    /// By how much an agent's clock is ahead (negative: behind) by what was seen of it; zero where nothing was.
    pub(crate) fn known(&self, agent: &AgentId) -> Nanos {
        let clock = self.agents.get(agent);
        clock.map_or(Nanos::ZERO, |clock| clock.ahead)
    }

    /// Takes the interval of a batch that arrived at `now`, never one that came before. Returns by how much the agent's clock
    /// is ahead (negative: behind), or zero.
    pub(crate) fn observe(
        &mut self,
        agent: &AgentId,
        interval: &Range<WallTime>,
        now: WallTime,
    ) -> Nanos {
        let seen = interval.end - now;
        if let Some(clock) = self.agents.get_mut(agent) {
            return clock.observe(seen, self.tolerance, now);
        }
        if self.agents.len() >= MOST_AGENTS {
            self.agents
                .retain(|_, clock| now.since(clock.seen) < FORGET);
        }
        if self.agents.len() >= MOST_AGENTS {
            return Nanos::ZERO;
        }
        let mut clock = Clock {
            ahead: Nanos::ZERO,
            first: seen,
            since: now,
            steady: 0,
            seen: now,
        };
        let ahead = clock.observe(seen, self.tolerance, now);
        self.agents.insert(agent.clone(), clock);
        ahead
    }
}

impl Clock {
    fn observe(&mut self, seen: Nanos, tolerance: Nanos, now: WallTime) -> Nanos {
        if distance(seen, self.first) <= AGREE {
            self.steady = self.steady.saturating_add(1);
        } else {
            (self.first, self.since, self.steady) = (seen, now, 1);
        }
        self.seen = now;
        if seen > tolerance {
            // Within the estimate's own noise it stays, or every batch would move results by another amount.
            if distance(seen, self.ahead) > AGREE {
                self.ahead = seen;
            }
        } else if seen >= Nanos::ZERO - LEAST {
            self.ahead = Nanos::ZERO;
        } else if self.ahead > Nanos::ZERO {
            // It was ahead and is behind now, or right with a spool that drains.
            self.ahead = Nanos::ZERO;
        }
        let is_new = distance(seen, self.ahead) > AGREE;
        let is_steady = self.steady >= STEADY && now.since(self.since) >= STEADY_FOR;
        if seen < Nanos::ZERO - LEAST && is_new && is_steady {
            self.ahead = seen;
        }
        self.ahead
    }
}

/// Whether results of a clock that is off by so much are counted after a correction.
pub(crate) const fn is_corrected(ahead: Nanos) -> bool {
    ahead.0.unsigned_abs() <= MOST_CORRECTED.0.unsigned_abs()
}

fn distance(a: Nanos, b: Nanos) -> Nanos {
    Nanos(a.0.saturating_sub(b.0).saturating_abs())
}

#[cfg(test)]
mod tests;
