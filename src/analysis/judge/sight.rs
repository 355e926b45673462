//! How much of the fabric is judged, and under which ToRs nearly nothing is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::counts::{Counts, Horizon};
use crate::analysis::filter::HostFilter;
use crate::analysis::report::End;
use crate::id::{Gid, HostName, RnicName, TorId};

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
    fn add(&mut self, tor: &TorId, counts: Counts) {
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
    /// Whether the clocks of both ends ran evenly in the last 20 s.
    pub(super) clocks_run: bool,
    /// Probes of 20 s that are judged,
    pub(super) judged: u64,
    /// and those that the prober's or the responder's host disturbed.
    pub(super) by_source: u64,
    pub(super) by_target: u64,
}

impl Tally {
    pub(super) const fn new() -> Self {
        Self {
            counts: [Counts { sent: 0, lost: 0 }; 4],
            unsent: [0; 2],
            clocks_run: true,
            judged: 0,
            by_source: 0,
            by_target: 0,
        }
    }

    /// Adds the probes of a slot that is so many slots old.
    pub(super) fn add(&mut self, age: u32, probes: Counts, not_sent: u64) {
        for horizon in Horizon::ALL {
            if age <= horizon.slots() {
                self.counts[horizon.index()].add(probes);
                if let Some(unsent) = self.unsent.get_mut(horizon.index()) {
                    *unsent = unsent.saturating_add(not_sent);
                }
            }
        }
    }
}

/// An RNIC at the ends of paths, with what [`Sight`] takes from it.
#[derive(Debug)]
struct SeenEnd<'a> {
    end: &'a End,
    name: Arc<RnicName>,
    /// The number of its ToR.
    tor: u32,
    is_judged: bool,
    counts: Counts,
}

/// The RNICs at the ends of paths. Paths share them: they are found by their address, and no name is read for each path.
#[derive(Debug, Default)]
pub(super) struct Ends<'a> {
    places: HashMap<*const End, usize>,
    seen: Vec<SeenEnd<'a>>,
    names: HashMap<Gid, Arc<RnicName>>,
    tors: HashMap<&'a TorId, u32>,
}

impl<'a> Ends<'a> {
    /// The place of an RNIC among them.
    pub(super) fn place(&mut self, end: &'a End) -> usize {
        if let Some(place) = self.places.get(&std::ptr::from_ref(end)) {
            return *place;
        }
        let name = self
            .names
            .entry(end.gid)
            .or_insert_with(|| Arc::new(end.rnic()));
        let next = u32::try_from(self.tors.len()).unwrap_or(u32::MAX);
        let tor = *self.tors.entry(&end.tor).or_insert(next);
        let place = self.seen.len();
        self.seen.push(SeenEnd {
            end,
            name: Arc::clone(name),
            tor,
            is_judged: false,
            counts: Counts::default(),
        });
        self.places.insert(std::ptr::from_ref(end), place);
        place
    }

    /// The number of the ToR of an RNIC.
    pub(super) fn tor(&mut self, end: &'a End) -> u32 {
        let place = self.place(end);
        self.seen[place].tor
    }

    /// The name of the RNIC in a place.
    pub(super) fn name(&self, place: usize) -> Arc<RnicName> {
        Arc::clone(&self.seen[place].name)
    }

    /// Takes in how much of a path from one place to another is judged, and how much is set aside.
    pub(super) fn show(&mut self, source: usize, target: usize, tally: &Tally) {
        for (place, disturbed) in [(source, tally.by_source), (target, tally.by_target)] {
            let seen = &mut self.seen[place];
            seen.is_judged |= tally.judged > 0;
            seen.counts.add(Counts {
                sent: tally.judged + disturbed,
                lost: disturbed,
            });
        }
    }

    /// All together.
    pub(super) fn sight(&self) -> Sight {
        let mut sight = Sight::default();
        for seen in &self.seen {
            if seen.is_judged {
                sight.rnics.insert(seen.end.gid);
            }
            if seen.counts.sent > 0 {
                sight.add(&seen.end.tor, seen.counts);
            }
        }
        sight
    }
}
