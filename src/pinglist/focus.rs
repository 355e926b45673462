//! What is to be probed more for a short time: 5-tuples of the lists, and how much more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Gid, UdpSourcePort};

/// The longest time for which anything is asked for at once: whoever is silent for longer asks for nothing.
pub const LONGEST_VALID: Duration = Duration::from_secs(10);
/// 5-tuples of one request.
pub const MOST_TUPLES: usize = 20_000;

/// A 5-tuple of an RNIC's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FocusedTuple {
    /// The RNIC that answers.
    pub target: Gid,
    /// The UDP source port that its flow label stands for.
    pub port: UdpSourcePort,
    /// How many times its rate in the list is added to it.
    pub portions: u32,
}

/// 5-tuples by the RNIC that probes them.
pub type FocusList = BTreeMap<Gid, Vec<FocusedTuple>>;

/// What all agents together are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FocusRequest {
    /// When the analyzer started that asks, in nanoseconds since the epoch.
    pub run: u64,
    /// Rises with each request of a run.
    pub number: u64,
    /// For how long it stands.
    pub valid: Duration,
    /// What.
    pub list: FocusList,
}

/// How much may be moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FocusBudgets {
    /// Probes per second that are added for one target, at the most.
    pub per_target: f64,
    /// Probes per second that are added over all agents, at the most.
    pub of_all: f64,
}

/// What became of the 5-tuples of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FocusCounts {
    /// Passed on.
    pub passed_on: u32,
    /// Not registered, or not connected.
    pub unknown: u32,
    /// Beyond the budgets.
    pub beyond: u32,
}

/// Takes 5-tuples as long as the budgets last.
#[derive(Debug)]
pub struct Budgeting {
    budgets: FocusBudgets,
    targets: BTreeMap<Gid, f64>,
    all: f64,
}

impl Budgeting {
    /// Nothing taken yet.
    pub const fn new(budgets: FocusBudgets) -> Self {
        Self {
            budgets,
            targets: BTreeMap::new(),
            all: 0.0,
        }
    }

    /// Takes a 5-tuple with this rate in its list, if the budgets have room for what is added to it.
    pub fn take(&mut self, tuple: &FocusedTuple, rate: f64) -> bool {
        let added = rate * f64::from(tuple.portions);
        let target = self.targets.entry(tuple.target).or_default();
        let has_room = added.is_finite()
            && *target + added <= self.budgets.per_target
            && self.all + added <= self.budgets.of_all;
        if has_room {
            *target += added;
            self.all += added;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn tuple(target: u8, portions: u32) -> FocusedTuple {
        FocusedTuple {
            target: Ipv4Addr::new(10, 0, 0, target).into(),
            port: UdpSourcePort(UdpSourcePort::FIRST),
            portions,
        }
    }

    #[test]
    fn each_target_and_all_together_have_a_budget() {
        let mut budgeting = Budgeting::new(FocusBudgets {
            per_target: 10.0,
            of_all: 25.0,
        });
        let taken = [
            (1, 3),
            (1, 2),
            (1, 1),
            (2, 5),
            (3, 3),
            (3, 2),
            (3, 4_000_000_000),
        ]
        .map(|(target, portions)| budgeting.take(&tuple(target, portions), 2.0));
        assert_eq!(taken, [true, true, false, true, false, true, false]);
        assert!(!budgeting.take(&tuple(4, 1), f64::NAN));
    }
}
