//! Which links and switches lie between two ToRs, one way.
//!
//! Three sources, the best that there is for a path:
//! 1. a trace of the very 5-tuple: the leg is known. Not where repeated traces contradict each other, because switches spray packets;
//! 2. the fabric's wiring from a file, or else the legs that traces have shown between the same two ToRs: what ECMP may
//!    choose, each link and switch with the share of the 5-tuples that cross it when every switch hashes evenly;
//! 3. neither: the fabric is one cloud, [`CLOUD`], with a link up from every ToR and one down to it. That still tells
//!    whose uplinks or downlinks are bad, not which.

mod fabric;
mod leg;
pub(crate) mod spread;
mod traced;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::report::End;
use crate::id::TorId;
use crate::probe::trace::Tuple;
use crate::time::WallTime;
use crate::topology::wiring::{Host, Rnics, Wiring};

use fabric::Fabric;
use traced::{Learned, TracedLegs};

pub(crate) use leg::CLOUD;
pub use leg::{Leg, Origin};

/// Differences between topology and reports that are listed.
pub(crate) const MOST_DIFFERENCES: usize = 100;

/// What is known of the paths.
#[derive(Debug, Default)]
pub struct Routes {
    fabric: Option<Fabric>,
    traced: TracedLegs,
    candidates: HashMap<(TorId, TorId), Arc<Leg>>,
    /// ToRs between which other paths may be chosen than before, until they are taken.
    changed: HashSet<(TorId, TorId)>,
    /// Whether the changes were asked for before: they are kept from then on.
    is_followed: bool,
}

/// What has changed in [`Routes`] since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct RouteChanges {
    /// Whatever was known may have changed.
    pub(crate) all: bool,
    /// 5-tuples with another leg than before.
    pub(crate) tuples: HashSet<Tuple>,
    /// ToRs between which other paths may be chosen than before.
    pub(crate) pairs: HashSet<(TorId, TorId)>,
}

impl RouteChanges {
    /// Whether nothing has changed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.tuples.is_empty() && self.pairs.is_empty()
    }
}

impl Routes {
    /// What has changed since this was asked last. The first answer says that all may have: only from then on changes are kept.
    pub(crate) fn take_changes(&mut self) -> RouteChanges {
        let was_followed = std::mem::replace(&mut self.is_followed, true);
        RouteChanges {
            all: !was_followed,
            tuples: self.traced.take_changed(),
            pairs: std::mem::take(&mut self.changed),
        }
    }

    /// The paths between two ToRs that ECMP may choose are to be worked out again.
    fn renew(&mut self, pair: (TorId, TorId)) {
        self.candidates.remove(&pair);
        if self.is_followed {
            self.changed.insert(pair);
        }
    }

    /// With the fabric's wiring, or without.
    pub fn new(wiring: Option<&Wiring>) -> Self {
        Self {
            fabric: wiring.map(Fabric::new),
            ..Self::default()
        }
    }

    /// Learns at `now` the switches that a 5-tuple crosses, from the sender's ToR to the receiver's. A trace that names a
    /// switch twice or fewer than one is not taken, nor one that is too short.
    ///
    /// What is learned stays until [`Self::forget`].
    pub fn learn(&mut self, flow: Tuple, switches: Vec<String>, now: WallTime) -> bool {
        let distinct: BTreeSet<_> = switches.iter().collect();
        let (Some(first), Some(last)) = (switches.first(), switches.last()) else {
            return false;
        };
        if distinct.len() != switches.len() {
            return false;
        }
        let pair = (TorId::new(first.as_str()), TorId::new(last.as_str()));
        if self.is_too_short(&pair, switches.len()) {
            return false;
        }
        if let Learned::New { hidden } = self.traced.learn(flow, switches, now) {
            self.renew(pair);
            if let Some(pair) = hidden {
                self.renew(pair);
            }
        }
        if !self.is_followed {
            // Nobody asks for them yet.
            self.traced.take_changed();
        }
        true
    }

    /// Forgets 5-tuples that nobody traces any more.
    pub(crate) fn forget(&mut self, flows: impl IntoIterator<Item = Tuple>) {
        for flow in flows {
            if let Some(pair) = self.traced.forget(&flow) {
                self.renew(pair);
            }
        }
    }

    /// Doubts traces that were not repeated for long.
    pub(crate) fn age(&mut self, now: WallTime) {
        self.traced.age(now);
    }

    /// Whether a trace that shows so many switches cannot have gone all the way from one ToR to the other: when the last
    /// switches keep silent, the last that answered is taken for the target's ToR.
    pub(crate) fn is_too_short(&self, pair: &(TorId, TorId), switches: usize) -> bool {
        pair.0 != pair.1 && switches < self.distance(pair) as usize + 1
    }

    /// Links between two different ToRs at the least; two in a Clos fabric whose wiring is not known.
    fn distance(&self, pair: &(TorId, TorId)) -> u32 {
        let Some(fabric) = &self.fabric else {
            return 2;
        };
        // Traces may name anything.
        fabric
            .distance(pair.0.as_str(), pair.1.as_str())
            .unwrap_or(2)
    }

    /// How many 5-tuples are known by a trace.
    pub fn traced(&self) -> usize {
        self.traced.len()
    }

    /// How many of these have no path of their own: repeated traces contradict each other.
    pub const fn sprayed(&self) -> usize {
        self.traced.sprayed()
    }

    /// The leg that a trace of this very 5-tuple has shown.
    pub(crate) fn traced_leg(&self, flow: Tuple) -> Option<&Leg> {
        self.traced.get(&flow).map(|leg| &**leg)
    }

    /// The leg of a 5-tuple between two different ToRs.
    pub(crate) fn leg(&mut self, from: &TorId, to: &TorId, flow: Option<Tuple>) -> Arc<Leg> {
        if let Some(leg) = flow.and_then(|flow| self.traced.get(&flow)) {
            return Arc::clone(leg);
        }
        let pair = (from.clone(), to.clone());
        if let Some(leg) = self.candidates.get(&pair) {
            return Arc::clone(leg);
        }
        let leg = Arc::new(self.candidate_leg(from.as_str(), to.as_str(), &pair));
        self.candidates.insert(pair, Arc::clone(&leg));
        leg
    }

    fn candidate_leg(&self, from: &str, to: &str, pair: &(TorId, TorId)) -> Leg {
        self.fabric
            .as_ref()
            .and_then(|fabric| fabric.leg(from, to))
            .or_else(|| Leg::of_shown(self.traced.shown().get(pair)?))
            .unwrap_or_else(|| Leg::cloud(from, to))
    }

    /// Whether the wiring has an RNIC under several ToRs.
    pub(crate) fn has_bonds(&self) -> bool {
        self.fabric.as_ref().is_some_and(|fabric| fabric.has_bonds)
    }

    /// The ToRs that the wiring has for an RNIC: all of a bond that reports one of them, else none.
    pub fn tors_of(&self, end: &End) -> &[TorId] {
        let host = self
            .fabric
            .as_ref()
            .and_then(|fabric| fabric.hosts.get(&end.host));
        let tors = host.map_or(&[] as &[TorId], |host| host.tors_of(&end.device));
        if tors.contains(&end.tor) { tors } else { &[] }
    }

    /// What the wiring says otherwise than the reports: hosts under other ToRs, ToRs that it does not have. At most
    /// [`MOST_DIFFERENCES`].
    pub fn differences<'a>(&self, reported: impl Iterator<Item = &'a End>) -> Vec<String> {
        let Some(fabric) = &self.fabric else {
            return Vec::new();
        };
        let mut found = BTreeSet::new();
        for end in reported {
            if found.len() >= MOST_DIFFERENCES {
                break;
            }
            let tor = end.tor.as_str();
            if !fabric.has_switch(tor) && !fabric.tors.contains(&end.tor) {
                found.insert(format!(
                    "reports name the ToR `{tor}`, the topology file does not"
                ));
            } else if let Some(said) = fabric.hosts.get(&end.host) {
                found.extend(difference(end, said));
            }
        }
        found.into_iter().collect()
    }
}

/// What the wiring says otherwise than the report of an RNIC. Of a bond any of its ToRs may be reported.
fn difference(end: &End, said: &Host) -> Option<String> {
    let tors = said.tors_of(&end.device);
    if tors.contains(&end.tor) {
        return None;
    }
    let (who, tor) = (&end.host, &end.tor);
    let told = match &said.rnics {
        Rnics::All(said) => {
            format!("host `{who}` reports the ToR `{tor}`, the topology file says `{said}`")
        }
        Rnics::Each(_) if tors.is_empty() => {
            let rnic = end.rnic();
            format!(
                "reports name the RNIC `{rnic}`, the topology file lists other ones of its host"
            )
        }
        Rnics::Each(_) => {
            let rnic = end.rnic();
            let said: Vec<&str> = tors.iter().map(TorId::as_str).collect();
            let said = said.join("` and `");
            format!("RNIC `{rnic}` reports the ToR `{tor}`, the topology file says `{said}`")
        }
    };
    Some(told)
}

#[cfg(test)]
mod tests;
