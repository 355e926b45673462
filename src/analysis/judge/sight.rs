//! How much of the fabric is judged, and under which ToRs nearly nothing is.

use std::collections::{HashMap, HashSet};

use super::counts::{Counts, Horizon, told};
use crate::analysis::filter::HostFilter;
use crate::analysis::windows::SlotCounts;
use crate::id::{Gid, HostName, TorId};

/// Probes of 20 s below which nothing is said about a share of them.
pub(crate) const LEAST_PROBES: u64 = 100;
/// Share of the probes of one ToR that are set aside from which on nothing is judged there.
const BLIND_TOR: f64 = 0.8;

/// How much of the fabric is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// RNICs with judged probes from or to them.
    pub judged: usize,
    /// RNICs that are known.
    pub known: usize,
}

/// Probes of 20 s from and to RNICs under each ToR, and those that a host there has disturbed; and the RNICs that are judged.
#[derive(Debug, Default)]
pub(super) struct Sight {
    tors: HashMap<TorId, Counts>,
    pub(super) rnics: HashSet<Gid>,
}

impl Sight {
    pub(super) fn add(&mut self, tor: &TorId, counts: Counts) {
        if let Some(known) = self.tors.get_mut(tor) {
            known.add(counts);
        } else {
            self.tors.insert(tor.clone(), counts);
        }
    }

    /// ToRs where nearly everything is disturbed, and by more than one host.
    pub(super) fn blind(self, host_filter: &HostFilter) -> Vec<(TorId, Counts)> {
        let mut blind: Vec<_> = self
            .tors
            .into_iter()
            .filter(|(_, counts)| counts.sent >= LEAST_PROBES && counts.share() >= BLIND_TOR)
            .collect();
        if blind.is_empty() {
            return blind;
        }
        let mut hosts: HashMap<&TorId, HashSet<&HostName>> = HashMap::new();
        for end in host_filter.rnics() {
            hosts.entry(&end.tor).or_default().insert(&end.host);
        }
        blind.retain(|(tor, _)| hosts.get(tor).is_some_and(|hosts| hosts.len() > 1));
        blind.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        blind
    }
}

/// Sums of one path's slots.
pub(super) struct Tally {
    pub(super) counts: [Counts; 4],
    pub(super) unsent: [u64; 2],
    /// Probes whose first ACK came, and no second.
    pub(super) half_answered: [u64; 4],
    /// Whether the clocks of both ends ran evenly in the last 20 s.
    pub(super) clocks_run: bool,
    /// Probes of 20 s that are judged,
    pub(super) judged: Counts,
    /// and those that the prober's or the responder's host disturbed.
    pub(super) by_source: u64,
    pub(super) by_target: u64,
}

impl Tally {
    pub(super) const fn new() -> Self {
        Self {
            counts: [Counts { sent: 0, lost: 0 }; 4],
            unsent: [0; 2],
            half_answered: [0; 4],
            clocks_run: true,
            judged: Counts { sent: 0, lost: 0 },
            by_source: 0,
            by_target: 0,
        }
    }

    /// Adds the probes of a slot that is so many slots old.
    pub(super) fn add(&mut self, age: u32, slot: &SlotCounts) {
        let probes = told(slot);
        for horizon in Horizon::ALL {
            if age <= horizon.slots() {
                self.counts[horizon.index()].add(probes);
                let half_answered = &mut self.half_answered[horizon.index()];
                *half_answered = half_answered.saturating_add(slot.half_answered);
                if let Some(unsent) = self.unsent.get_mut(horizon.index()) {
                    *unsent = unsent.saturating_add(slot.unsent);
                }
            }
        }
    }
}
