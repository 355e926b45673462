//! The paths that are judged in one run, with what they cross.
//!
//! A pass over all paths is made once where it can be ([`View::new`]); what needs the paths across one thing asks for these.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::rc::Rc;

use super::board::{Board, NONE, Place};
use super::counts::Horizon;
use super::path_counts::PathCounts;
use super::second_acks::{AcksLost, TrustedAcks};
use super::snapshot::Snapshot;
use crate::analysis::localize::{Component, ComponentId};
use crate::analysis::report::End;
use crate::analysis::routes::{CLOUD, Leg, Origin};
use crate::id::RnicName;

/// ToRs from which on the fabric between them is a suspect of its own: with fewer it cannot be told from its switches.
const LEAST_TORS: usize = 4;

/// A path that is judged, with what it crosses.
#[derive(Clone, Copy)]
pub(super) struct Observed<'a> {
    pub(super) seen: &'a PathCounts,
    pub(super) at: usize,
    board: &'a Board,
}

impl Deref for Observed<'_> {
    type Target = PathCounts;

    fn deref(&self) -> &PathCounts {
        self.seen
    }
}

impl<'a> Observed<'a> {
    /// The leg of its probes; `None` for a path under one ToR.
    pub(super) fn there(&self) -> Option<&'a Leg> {
        self.board.there(self.at)
    }

    /// The leg of its ACKs.
    pub(super) fn back(&self) -> Option<&'a Leg> {
        self.board.back(self.at)
    }

    /// Share of the path's packets that cross a component.
    pub(super) fn share(&self, component: &Component) -> f64 {
        let is_end = |is_it: &dyn Fn(&End) -> bool| {
            f64::from(u8::from(is_it(&self.source) || is_it(&self.target)))
        };
        match component {
            Component::Rnic { host, device } => {
                is_end(&|end| end.host == *host && end.device == *device)
            }
            Component::Host { name } => is_end(&|end| end.host.as_str() == name),
            Component::Group { .. } => 0.0,
            Component::Link { .. } | Component::Switch { .. } => self
                .board
                .id(component)
                .map_or(0.0, |id| self.board.share(self.at, id)),
        }
    }
}

/// Paths by the ends that they have: those of end `n` stand from `first[n]` on.
struct ByEnd {
    first: Vec<u32>,
    places: Vec<u32>,
}

/// Numbers of paths, with the share of the packets of each that cross something.
type Across = Rc<[(u32, f64)]>;

/// Which paths of an end are left out.
#[derive(Debug, Clone, Copy, Default)]
struct Skipped {
    /// All: it is an anomalous RNIC.
    any: bool,
    /// Those to it: its host's upload is waited for.
    to: bool,
}

/// Numbers of paths with losses.
#[derive(Debug, Default)]
pub(super) struct Lossy {
    /// That have lost probes, over each horizon.
    pub(super) lost: [Vec<u32>; 4],
    /// Of which second ACKs alone are missing, over each horizon where these are evidence.
    pub(super) half_answered: [Vec<u32>; 4],
    /// With slow round trips.
    pub(super) slow: Vec<u32>,
}

impl Lossy {
    /// Paths that have lost probes or second ACKs over a horizon.
    pub(super) fn over(&self, horizon: Horizon) -> impl Iterator<Item = &u32> {
        let at = horizon.index();
        self.lost[at].iter().chain(&self.half_answered[at])
    }

    /// How many they are.
    pub(super) const fn len_over(&self, horizon: Horizon) -> usize {
        let at = horizon.index();
        self.lost[at].len() + self.half_answered[at].len()
    }
}

/// The paths that are judged. See the module.
pub(super) struct View<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) board: &'a Board,
    /// By end; empty where nothing is left out.
    skipped: Vec<Skipped>,
    left_out: BTreeSet<RnicName>,
    pub(super) lossy: Lossy,
    /// Whose second ACKs say something,
    acks: TrustedAcks,
    /// and over which horizons.
    with_acks: [bool; 4],
    /// How many paths are judged, by where their legs are known from.
    pub(super) origins: BTreeMap<Origin, usize>,
    /// Whether the fabric between the ToRs is a suspect of its own.
    pub(super) with_fabric: bool,
    by_end: OnceCell<ByEnd>,
    across: RefCell<HashMap<Component, Across>>,
}

impl<'a> View<'a> {
    /// The paths that say something about what lies between RNICs: without those of the RNICs in `left_out`, and without those to hosts
    /// that are waited for.
    pub(super) fn new(
        board: &'a Board,
        snapshot: &'a Snapshot,
        left_out: BTreeSet<RnicName>,
    ) -> Self {
        let mut view = Self {
            snapshot,
            board,
            skipped: Vec::new(),
            left_out: BTreeSet::new(),
            lossy: Lossy::default(),
            acks: TrustedAcks::of(board, snapshot),
            with_acks: [false; 4],
            origins: BTreeMap::new(),
            with_fabric: false,
            by_end: OnceCell::new(),
            across: RefCell::default(),
        };
        view.look(left_out);
        view
    }

    /// Leaves out the paths of other RNICs than before.
    pub(super) fn leave_out(&mut self, left_out: BTreeSet<RnicName>) {
        if left_out != self.left_out {
            self.look(left_out);
        }
    }

    fn look(&mut self, left_out: BTreeSet<RnicName>) {
        self.across.get_mut().clear();
        self.left_out = left_out;
        self.skipped = self.skipped();
        let mut lossy = Lossy::default();
        let mut acks: [AcksLost; 4] = Default::default();
        let mut origins = [0; Origin::ALL.len()];
        let mut tors: BTreeSet<ComponentId> = BTreeSet::new();
        for seen in self.iter() {
            origins[self.board.origin(seen.at) as usize] += 1;
            let number = number(seen.at);
            let has_half = seen.half_answered.is_some() && self.is_trusted(seen);
            for horizon in Horizon::ALL {
                let lost = seen.weighed(horizon).lost;
                let acks = &mut acks[horizon.index()];
                acks.probes = acks.probes.saturating_add(lost);
                if lost > 0 {
                    lossy.lost[horizon.index()].push(number);
                }
                if has_half {
                    acks.add(number, lost, seen.second_acks(horizon).lost);
                }
            }
            if seen.slow().lost > 0 {
                lossy.slow.push(number);
            }
            if tors.len() < LEAST_TORS {
                let ends = self.board.place(seen.at).ends();
                tors.extend(ends.map(|end| self.board.ends[end].tor));
            }
        }
        self.with_acks = acks.each_ref().map(AcksLost::say_something);
        for (half_answered, acks) in lossy.half_answered.iter_mut().zip(acks) {
            if acks.say_something() {
                *half_answered = acks.alone;
            }
        }
        self.lossy = lossy;
        let origins = Origin::ALL.into_iter().zip(origins);
        self.origins = origins.filter(|(_, paths)| *paths > 0).collect();
        self.with_fabric = tors.len() >= LEAST_TORS;
    }

    /// Whether the responder of a path seems to send its second ACKs. If it does, the network has lost those that are missing.
    fn is_trusted(&self, seen: Observed<'_>) -> bool {
        self.acks.holds(self.board.place(seen.at))
    }

    /// Whether the second ACKs of a path are evidence over a horizon.
    pub(super) fn takes_acks(&self, seen: Observed<'_>, horizon: Horizon) -> bool {
        self.with_acks[horizon.index()] && self.is_trusted(seen)
    }

    fn skipped(&self) -> Vec<Skipped> {
        let waited_for = &self.snapshot.overdue;
        if self.left_out.is_empty() && waited_for.is_empty() {
            return Vec::new();
        }
        let ends = self.board.ends.iter().map(|known| Skipped {
            any: !self.left_out.is_empty() && self.left_out.contains(&known.end.rnic()),
            to: waited_for.contains(&known.end.host),
        });
        ends.collect()
    }

    /// Whether a path is judged.
    fn is_judged(&self, place: Place) -> bool {
        if place.source == NONE {
            return false;
        }
        let [Some(source), Some(target)] = place.ends().map(|end| self.skipped.get(end)) else {
            return true;
        };
        !source.any && !target.any && !target.to
    }

    /// All that are judged.
    pub(super) fn iter(&self) -> impl Iterator<Item = Observed<'a>> {
        let (snapshot, board) = (self.snapshot, self.board);
        let places = board.places().iter().zip(&snapshot.seen).enumerate();
        places
            .filter(|(_, (place, _))| self.is_judged(**place))
            .filter_map(move |(at, (_, seen))| {
                let seen = seen.as_ref()?;
                Some(Observed { seen, at, board })
            })
    }

    /// All but those to hosts that are waited for, anomalous RNICs included.
    pub(super) fn with_results_of_rnics(&self) -> impl Iterator<Item = Observed<'a>> {
        let (snapshot, board) = (self.snapshot, self.board);
        let places = board.places().iter().zip(&snapshot.seen).enumerate();
        places.filter_map(move |(at, (place, seen))| {
            let target = self.skipped.get(place.target as usize);
            let seen = seen.as_ref()?;
            let is_waited_for = target.is_some_and(|target| target.to);
            (!is_waited_for).then_some(Observed { seen, at, board })
        })
    }

    /// Those of [`Self::with_results_of_rnics`] that have lost something over a horizon, in order.
    pub(super) fn with_losses_of_rnics(&self, horizon: Horizon) -> Vec<Observed<'a>> {
        if self.left_out.is_empty() {
            return self.all(&self.lossy.lost[horizon.index()]);
        }
        self.with_results_of_rnics()
            .filter(|seen| seen.weighed(horizon).lost > 0)
            .collect()
    }

    /// How many paths are judged.
    pub(super) fn len(&self) -> usize {
        self.origins.values().sum()
    }

    /// The most paths with losses over one of the three shorter horizons.
    pub(super) fn most_lossy(&self) -> usize {
        let horizons = self.lossy.lost.iter().take(3);
        horizons.map(Vec::len).max().unwrap_or(0)
    }

    /// A path by its number.
    pub(super) fn get(&self, at: usize) -> Option<Observed<'a>> {
        let seen = self.snapshot.seen.get(at)?.as_ref()?;
        Some(Observed {
            seen,
            at,
            board: self.board,
        })
    }

    fn by_end(&self) -> &ByEnd {
        self.by_end.get_or_init(|| {
            let places = self.board.places();
            let of = |place: &Place| {
                let [source, target] = place.ends();
                let is_there = place.source != NONE;
                let other = (is_there && target != source).then_some(target);
                is_there.then_some(source).into_iter().chain(other)
            };
            let mut first = vec![0_u32; self.board.ends.len() + 1];
            for end in places.iter().flat_map(of) {
                first[end + 1] += 1;
            }
            for end in 1..first.len() {
                first[end] += first[end - 1];
            }
            let mut next = first.clone();
            let mut sorted = vec![0; first.last().map_or(0, |all| *all as usize)];
            for (at, place) in places.iter().enumerate() {
                for end in of(place) {
                    sorted[next[end] as usize] = number(at);
                    next[end] += 1;
                }
            }
            ByEnd {
                first,
                places: sorted,
            }
        })
    }

    /// The paths that have one of these ends, judged or not, each once and in order.
    fn with_ends(&self, is_it: impl Fn(&End) -> bool) -> Vec<u32> {
        let by_end = self.by_end();
        let mut found: Vec<u32> = Vec::new();
        for (end, known) in self.board.ends.iter().enumerate() {
            if is_it(&known.end) {
                let range = by_end.first[end] as usize..by_end.first[end + 1] as usize;
                found.extend_from_slice(&by_end.places[range]);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The paths from or to an RNIC, or from or to those of a host, judged or not; none of others.
    pub(super) fn touching(&self, component: &Component) -> Vec<Observed<'a>> {
        let found = match component {
            Component::Rnic { host, device } => {
                self.with_ends(|end| end.host == *host && end.device == *device)
            }
            Component::Host { name } => self.with_ends(|end| end.host.as_str() == name),
            Component::Link { .. } | Component::Switch { .. } | Component::Group { .. } => {
                Vec::new()
            }
        };
        self.all(&found)
    }

    /// The judged paths from or to RNICs that report one ToR.
    pub(super) fn under(&self, tor: &str) -> Vec<Observed<'a>> {
        let found = self.with_ends(|end| end.tor.as_str() == tor);
        let mut found = self.all(&found);
        found.retain(|seen| self.is_judged(self.board.place(seen.at)));
        found
    }

    fn all(&self, numbers: &[u32]) -> Vec<Observed<'a>> {
        let found = numbers.iter().filter_map(|at| self.get(*at as usize));
        found.collect()
    }

    /// The judged paths that cross a component, with the share of their packets that do.
    pub(super) fn across(&self, component: &Component) -> Across {
        if let Some(known) = self.across.borrow().get(component) {
            return Rc::clone(known);
        }
        let found: Across = self.look_across(component).into();
        self.across
            .borrow_mut()
            .insert(component.clone(), Rc::clone(&found));
        found
    }

    fn look_across(&self, component: &Component) -> Vec<(u32, f64)> {
        match component {
            Component::Rnic { .. } | Component::Host { .. } => self
                .touching(component)
                .iter()
                .filter(|seen| self.is_judged(self.board.place(seen.at)))
                .map(|seen| (number(seen.at), 1.0))
                .collect(),
            Component::Group { .. } => Vec::new(),
            Component::Link { .. } | Component::Switch { .. } => {
                let Some(id) = self.board.id(component) else {
                    return Vec::new();
                };
                let shares = self.iter().map(|seen| {
                    let share = self.board.share(seen.at, id);
                    (number(seen.at), share)
                });
                shares.filter(|(_, share)| *share > 0.0).collect()
            }
        }
    }

    /// The same with the paths.
    pub(super) fn crossing(&self, component: &Component) -> Vec<(Observed<'a>, f64)> {
        self.across(component)
            .iter()
            .filter_map(|(at, share)| Some((self.get(*at as usize)?, *share)))
            .collect()
    }

    /// The ToR of each RNIC that has paths.
    pub(super) fn tors(&self) -> HashMap<RnicName, &'a str> {
        let ends = self.board.ends.iter();
        ends.map(|known| (known.end.rnic(), known.end.tor.as_str()))
            .collect()
    }
}

/// The number of a place. More paths do not fit into memory.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

/// Whether a switch is the fabric as a whole.
pub(super) fn is_fabric(component: &Component) -> bool {
    matches!(component, Component::Switch { name } if name == CLOUD)
}
