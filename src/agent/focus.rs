//! What this agent is to probe more, until it expires.
//!
//! The controller says which of the agent's own 5-tuples; the agent decides how much ([`FocusBounds`]). Nothing of it is stored: after a
//! restart, at the end of the registration and when nothing is said any more, the pinglist alone is in force.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::metrics::{FocusState, Metrics};
use crate::id::Gid;
use crate::pinglist::focus::FocusList;
use crate::probe::Group;
use crate::probe::focus::{FlowKey, FocusBounds, focused};

/// The pinglist, and what is asked for beside it.
pub(super) struct Focus {
    bounds: FocusBounds,
    metrics: Arc<Metrics>,
    groups: HashMap<Gid, Vec<Group>>,
    asked: HashMap<Gid, HashMap<FlowKey, u32>>,
    until: Option<Instant>,
    /// Whether what is refused of it is still to be counted.
    is_new: bool,
    counted: FocusState,
}

impl Focus {
    /// Nothing to probe yet.
    pub(super) fn new(bounds: FocusBounds, metrics: Arc<Metrics>) -> Self {
        Self {
            bounds,
            metrics,
            groups: HashMap::new(),
            asked: HashMap::new(),
            until: None,
            is_new: false,
            counted: FocusState::default(),
        }
    }

    /// Takes another pinglist.
    pub(super) fn follow(&mut self, groups: HashMap<Gid, Vec<Group>>) {
        self.groups = groups;
    }

    /// Takes what is asked for until `until`; it replaces what was asked for before.
    pub(super) fn ask(&mut self, list: &FocusList, until: Instant) {
        self.asked.clear();
        for (source, tuples) in list {
            let of_rnic = self.asked.entry(*source).or_default();
            for tuple in tuples {
                of_rnic.insert((tuple.target, tuple.port), tuple.portions);
            }
        }
        self.until = (!self.asked.is_empty()).then_some(until);
        self.is_new = true;
        self.counted.requests += 1;
    }

    /// Forgets what is asked for.
    pub(super) fn end(&mut self) {
        self.asked.clear();
        self.until = None;
    }

    /// When what is asked for expires.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// What each RNIC probes now. Counts what is refused, once for each request.
    pub(super) fn groups(&mut self) -> HashMap<Gid, Vec<Group>> {
        let mut changed = self.groups.clone();
        let (mut moved, mut unknown, mut cut) = (0, 0, 0);
        for (source, asked) in &self.asked {
            let Some(groups) = changed.get_mut(source) else {
                unknown += asked.len() as u64;
                continue;
            };
            let (now, refused) = focused(groups, asked, &self.bounds);
            *groups = now;
            unknown += refused.unknown;
            cut += refused.cut + u64::from(refused.is_scaled);
            moved += (asked.len() as u64).saturating_sub(refused.unknown);
        }
        if std::mem::take(&mut self.is_new) {
            self.counted.unknown += unknown;
            self.counted.cut += cut;
        }
        self.counted.tuples = moved;
        self.metrics.focus(self.counted);
        changed
    }
}

#[cfg(test)]
mod tests;
