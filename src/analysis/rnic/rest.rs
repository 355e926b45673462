//! Pairs of RNICs that have lost nothing, as sums per ToR.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::localize::{Component, PassedSums, Problem};
use crate::analysis::routes::CLOUD;

/// Links that a probe and its ACK cross between an RNIC and its ToR.
pub(super) const HOST_LINKS: f64 = 2.0;

/// Probes between RNICs that have lost nothing, by ToR: none of these RNICs is a suspect, but their ToRs may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest<'a> {
    /// By ToR: twice the probes between its RNICs, and those with RNICs elsewhere.
    pub(super) tors: BTreeMap<&'a str, (u64, u64)>,
}

impl<'a> Rest<'a> {
    /// Adds the probes from and to one RNIC: those with others under its ToR, and those with RNICs elsewhere. Each probe comes twice,
    /// once for either RNIC.
    pub(crate) fn add(&mut self, tor: &'a str, inside: u64, across: u64) {
        if inside > 0 || across > 0 {
            let sums = self.tors.entry(tor).or_default();
            sums.0 = sums.0.saturating_add(inside);
            sums.1 = sums.1.saturating_add(across);
        }
    }

    /// All probes.
    fn probes(&self) -> u64 {
        let twice = self.tors.values().fold(0, |sum: u64, (inside, across)| {
            sum.saturating_add(*inside).saturating_add(*across)
        });
        twice / 2
    }

    /// Adds the probes that were summed. What no pair crosses is no suspect, and has no sums.
    pub(super) fn add_to(&self, problem: &mut Problem, acquitted: &BTreeSet<Component>) {
        let mut sums = PassedSums::new(problem.components().len());
        let mut unlisted = 0;
        let mut between: u64 = 0;
        for (tor, (inside, across)) in &self.tors {
            if let Some(id) = problem.id(&switch(tor)) {
                sums.cross_surely(id, 0, (inside / 2).saturating_add(*across));
            }
            let above = above(tor);
            match problem.id(&above) {
                Some(id) => sums.cross_surely(id, 0, *across),
                None if acquitted.contains(&above) => {}
                None => unlisted += usize::from(*across > 0),
            }
            between = between.saturating_add(*across);
        }
        if let Some(id) = problem.id(&switch(CLOUD)) {
            sums.cross_surely(id, 0, between / 2);
        }
        sums.count(2.0 * HOST_LINKS, 0, self.probes());
        problem.add_passed(&sums);
        problem.count_unlisted(unlisted);
    }
}

pub(super) fn switch(name: &str) -> Component {
    Component::Switch {
        name: name.to_owned(),
    }
}

/// What lies above a ToR.
pub(super) fn above(tor: &str) -> Component {
    Component::Link {
        from: tor.to_owned(),
        to: CLOUD.to_owned(),
    }
}
