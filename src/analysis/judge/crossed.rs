//! What a path's probes and their ACKs cross, as components of a problem.
//!
//! A run of the judge works this out once ([`Crossings`]) and builds the problem of each horizon from it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use super::counts::Counts;
use super::snapshot::PathCounts;
use crate::analysis::localize::{Component, ComponentId, Crossing, Problem, ProblemError};
use crate::analysis::report::End;
use crate::analysis::routes::{CLOUD, Leg, Origin, Routes};
use crate::id::{RnicName, TorId};
use crate::probe::trace::Tuple;

/// Links between an RNIC and its ToR that a probe and its ACK cross, at both ends together.
const HOST_LINKS: f64 = 4.0;
/// ToRs from which on the fabric between them is a suspect of its own: with fewer it cannot be told from its switches.
const LEAST_TORS: usize = 4;

/// What a path's probes and their ACKs cross.
pub(super) struct Crossed {
    pub(super) there: Option<Arc<Leg>>,
    pub(super) back: Option<Arc<Leg>>,
    /// The ToRs of bonds, with the share of the packets that cross each; empty where each end has the one ToR that it reports.
    tors: Vec<(TorId, f64)>,
}

/// A path that is judged, with what it crosses.
pub(super) struct Observed<'a> {
    pub(super) seen: &'a PathCounts,
    pub(super) crossed: Crossed,
}

impl Deref for Observed<'_> {
    type Target = PathCounts;

    fn deref(&self) -> &PathCounts {
        self.seen
    }
}

impl Observed<'_> {
    /// Where the way there is known from.
    pub(super) fn origin(&self) -> Origin {
        self.crossed
            .there
            .as_ref()
            .map_or(Origin::Traced, |leg| leg.origin)
    }

    /// Share of the path's packets that cross a switch as the ToR of one of the ends.
    fn share_of_tor(&self, name: &str) -> f64 {
        let bonds = &self.crossed.tors;
        if bonds.is_empty() {
            let is_tor = self.source.tor.as_str() == name || self.target.tor.as_str() == name;
            return f64::from(u8::from(is_tor));
        }
        let found = bonds.iter().find(|(tor, _)| tor.as_str() == name);
        found.map_or(0.0, |(_, share)| *share)
    }

    /// Share of the path's packets that cross a component.
    pub(super) fn share(&self, component: &Component) -> f64 {
        match component {
            Component::Rnic { host, device } => {
                let is_it = |end: &End| end.host == *host && end.device == *device;
                f64::from(u8::from(is_it(&self.source) || is_it(&self.target)))
            }
            Component::Host { name } => {
                let is_in = |end: &End| end.host.as_str() == name;
                f64::from(u8::from(is_in(&self.source) || is_in(&self.target)))
            }
            Component::Group { .. } => 0.0,
            Component::Switch { name } if name == CLOUD => {
                f64::from(u8::from(!self.is_under_one_tor()))
            }
            Component::Switch { name } if self.share_of_tor(name) > 0.0 => self.share_of_tor(name),
            Component::Link { .. } | Component::Switch { .. } => {
                [&self.crossed.there, &self.crossed.back]
                    .into_iter()
                    .flatten()
                    .flat_map(|leg| &leg.shares)
                    .filter(|(other, _)| other == component)
                    .map(|(_, share)| share)
                    .sum()
            }
        }
    }
}

/// The paths with what they cross.
pub(super) fn observed<'a>(
    routes: &mut Routes,
    seen: impl IntoIterator<Item = &'a PathCounts>,
) -> Vec<Observed<'a>> {
    seen.into_iter()
        .map(|seen| Observed {
            seen,
            crossed: crossed(routes, seen),
        })
        .collect()
}

fn crossed(routes: &mut Routes, seen: &PathCounts) -> Crossed {
    if seen.is_under_one_tor() {
        return Crossed {
            there: None,
            back: None,
            tors: tors_of_bonds(routes, seen, &[]),
        };
    }
    let tuple = |source, target| {
        seen.port.map(|port| Tuple {
            source,
            target,
            port,
        })
    };
    let (source, target) = (&seen.source, &seen.target);
    let there = routes.leg(&source.tor, &target.tor, tuple(source.gid, target.gid));
    // Responders answer with the probe's own source port.
    let back = routes.leg(&target.tor, &source.tor, tuple(target.gid, source.gid));
    Crossed {
        tors: tors_of_bonds(routes, seen, &[&there, &back]),
        there: Some(there),
        back: Some(back),
    }
}

/// The ToRs that packets cross where an end is a bond: those that traces have shown, else each ToR of the bond with its share.
fn tors_of_bonds(routes: &Routes, seen: &PathCounts, legs: &[&Arc<Leg>]) -> Vec<(TorId, f64)> {
    if !routes.has_bonds() {
        return Vec::new();
    }
    let (of_source, of_target) = (routes.tors_of(&seen.source), routes.tors_of(&seen.target));
    if of_source.len() < 2 && of_target.len() < 2 {
        return Vec::new();
    }
    let mut tors: Vec<(TorId, f64)> = Vec::new();
    let mut add = |tor: &TorId, share: f64| match tors.iter_mut().find(|(known, _)| known == tor) {
        Some((_, sum)) => *sum = sum.max(share),
        None => tors.push((tor.clone(), share)),
    };
    for leg in legs {
        if let Some(path) = &leg.path {
            for tor in [path.first(), path.last()].into_iter().flatten() {
                add(&TorId::new(tor.as_str()), 1.0);
            }
        }
    }
    if legs.is_empty() || legs.iter().any(|leg| leg.path.is_none()) {
        for of_end in [of_source, of_target] {
            for tor in of_end {
                add(tor, 1.0 / of_end.len() as f64);
            }
        }
    }
    tors
}

/// The legs that ECMP may choose between two ToRs, there and back.
fn candidates(routes: &mut Routes, from: &TorId, to: &TorId) -> Crossed {
    Crossed {
        there: Some(routes.leg(from, to, None)),
        back: Some(routes.leg(to, from, None)),
        tors: Vec::new(),
    }
}

/// Components with how often, or with which probability, each is crossed.
type Shares = Vec<(ComponentId, f64)>;

/// What one path crosses, by its places in [`Crossings`].
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its ends begin here,
    first: usize,
    /// what lies between them here,
    between: usize,
    /// and this is behind both.
    end: usize,
    elsewhere: f64,
    links: f64,
}

/// What the paths of a run cross.
pub(super) struct Crossings {
    /// The components, without observations.
    problem: Problem,
    shares: Shares,
    places: Vec<Place>,
}

impl Crossings {
    /// Of these paths.
    pub(super) fn of(observed: &[Observed<'_>]) -> Result<Self, ProblemError> {
        let mut tors = BTreeSet::new();
        for seen in observed {
            tors.extend([seen.source.tor.as_str(), seen.target.tor.as_str()]);
            if tors.len() >= LEAST_TORS {
                break;
            }
        }
        let mut builder = Builder::new(tors.len() >= LEAST_TORS);
        for seen in observed {
            builder.add(seen, &seen.crossed, true)?;
        }
        Ok(builder.made)
    }

    /// What a path crosses, by its place among the observed, and the number of links.
    pub(super) fn of_path(&self, at: usize) -> (&[(ComponentId, f64)], f64) {
        let place = &self.places[at];
        (&self.shares[place.first..place.end], place.links)
    }

    /// A component by its id.
    pub(super) fn component(&self, id: ComponentId) -> &Component {
        self.problem.component(id)
    }

    /// The id of a component that some path crosses.
    pub(super) fn id(&self, component: &Component) -> Option<ComponentId> {
        self.problem.id(component)
    }

    /// Work of building a problem of these paths, in evaluations of one observation.
    pub(super) fn work(&self) -> u64 {
        (self.shares.len() as u64).saturating_mul(2)
    }

    /// Fills a problem with what the paths counted, in their order.
    pub(super) fn problem(
        &self,
        mut problem: Problem,
        counts: impl Iterator<Item = Counts>,
    ) -> Result<Problem, ProblemError> {
        problem.take_components(&self.problem);
        for (place, counts) in self.places.iter().zip(counts) {
            if counts.sent > 0 {
                let crossing = Crossing {
                    ends: &self.shares[place.first..place.between],
                    between: &self.shares[place.between..place.end],
                    elsewhere: place.elsewhere,
                    links: place.links,
                };
                problem.add_crossing(&crossing, counts.sent, counts.lost)?;
            }
        }
        Ok(problem)
    }
}

/// The paths between two ToRs as one observation: for a first look at very many.
pub(super) struct Coarse {
    pub(super) crossings: Crossings,
    /// For each path its pair of ToRs; none for those under one ToR.
    pairs: Vec<Option<usize>>,
    count: usize,
}

impl Coarse {
    /// Of these paths.
    pub(super) fn of(routes: &mut Routes, observed: &[Observed<'_>]) -> Result<Self, ProblemError> {
        let mut known: HashMap<(ComponentId, ComponentId), usize> = HashMap::new();
        let mut builder = Builder::new(true);
        let mut pairs = Vec::with_capacity(observed.len());
        for seen in observed {
            let ends = (builder.tor(&seen.source)?, builder.tor(&seen.target)?);
            if ends.0 == ends.1 {
                pairs.push(None);
                continue;
            }
            let (from, to) = (&seen.source.tor, &seen.target.tor);
            let next = known.len();
            let pair = *known.entry(ends).or_insert(next);
            if pair == next {
                builder.add(seen, &candidates(routes, from, to), false)?;
            }
            pairs.push(Some(pair));
        }
        Ok(Self {
            crossings: builder.made,
            pairs,
            count: known.len(),
        })
    }

    /// The sums of the pairs' paths.
    pub(super) fn sums(&self, counts: impl Iterator<Item = Counts>) -> Vec<Counts> {
        let mut sums = vec![Counts::default(); self.count];
        for (pair, counts) in self.pairs.iter().zip(counts) {
            if let Some(pair) = pair {
                sums[*pair].add(counts);
            }
        }
        sums
    }
}

/// An RNIC and its ToR, as far as they were asked for.
#[derive(Debug, Clone, Copy, Default)]
struct EndIds {
    rnic: Option<ComponentId>,
    tor: Option<ComponentId>,
}

/// Makes [`Crossings`]; knows the components by leg, by RNIC and by ToR.
struct Builder {
    made: Crossings,
    legs: HashMap<*const Leg, (Shares, Arc<Leg>)>,
    /// By the address of an end, which the paths of a run share.
    ends: HashMap<*const End, EndIds>,
    switches: HashMap<String, ComponentId>,
    /// Whether the fabric between the ToRs is a suspect of its own.
    with_fabric: bool,
}

impl Builder {
    fn new(with_fabric: bool) -> Self {
        Self {
            made: Crossings {
                problem: Problem::new(),
                shares: Vec::new(),
                places: Vec::new(),
            },
            legs: HashMap::new(),
            ends: HashMap::new(),
            switches: HashMap::new(),
            with_fabric,
        }
    }

    fn add(
        &mut self,
        seen: &PathCounts,
        crossed: &Crossed,
        rnics: bool,
    ) -> Result<(), ProblemError> {
        let first = self.made.shares.len();
        if rnics {
            let ends = [
                (&seen.source, &seen.source_name),
                (&seen.target, &seen.target_name),
            ];
            for (end, name) in ends {
                let id = self.rnic(end, name)?;
                self.made.shares.push((id, 1.0));
            }
        }
        if crossed.tors.is_empty() {
            let source = self.tor(&seen.source)?;
            self.made.shares.push((source, 1.0));
            let target = self.tor(&seen.target)?;
            if target != source {
                self.made.shares.push((target, 1.0));
            }
        }
        for (tor, share) in &crossed.tors {
            let tor = self.switch(tor.as_str())?;
            self.made.shares.push((tor, *share));
        }
        let mut links = HOST_LINKS;
        if self.with_fabric && !seen.is_under_one_tor() {
            let fabric = self.switch(CLOUD)?;
            self.made.shares.push((fabric, 1.0));
        }
        let between = self.made.shares.len();
        let legs = [&crossed.there, &crossed.back];
        let are_traced = legs
            .iter()
            .all(|leg| leg.as_ref().is_none_or(|leg| leg.origin == Origin::Traced));
        let mut told = 1.0;
        for leg in legs.into_iter().flatten() {
            links += leg.links;
            told *= 1.0 - leg.doubt;
            // Traced together the two legs are right or wrong together; beside candidates a trace counts by its share.
            let share = if are_traced { 1.0 } else { 1.0 - leg.doubt };
            self.leg(leg, share, between)?;
        }
        self.made.places.push(Place {
            first,
            between,
            end: self.made.shares.len(),
            elsewhere: if are_traced { 1.0 - told } else { 0.0 },
            links,
        });
        Ok(())
    }

    /// Adds a leg's components behind `between`, each once.
    fn leg(&mut self, leg: &Arc<Leg>, trust: f64, between: usize) -> Result<(), ProblemError> {
        let shares = match self.legs.entry(Arc::as_ptr(leg)) {
            Entry::Occupied(known) => &known.into_mut().0,
            Entry::Vacant(place) => {
                let mut shares = Vec::with_capacity(leg.shares.len());
                for (component, share) in &leg.shares {
                    shares.push((self.made.problem.intern(component.clone())?, *share));
                }
                // The leg is kept, so that its address stays its own.
                &place.insert((shares, Arc::clone(leg))).0
            }
        };
        for (id, share) in shares {
            let known = self.made.shares[between..]
                .iter_mut()
                .find(|(known, _)| known == id);
            match known {
                Some((_, sum)) => *sum += share * trust,
                None => self.made.shares.push((*id, share * trust)),
            }
        }
        Ok(())
    }

    fn rnic(&mut self, end: &Arc<End>, name: &RnicName) -> Result<ComponentId, ProblemError> {
        let place = Arc::as_ptr(end);
        if let Some(id) = self.ends.get(&place).and_then(|ids| ids.rnic) {
            return Ok(id);
        }
        let id = self.made.problem.intern(Component::rnic(name.clone()))?;
        self.ends.entry(place).or_default().rnic = Some(id);
        Ok(id)
    }

    fn tor(&mut self, end: &Arc<End>) -> Result<ComponentId, ProblemError> {
        let place = Arc::as_ptr(end);
        if let Some(id) = self.ends.get(&place).and_then(|ids| ids.tor) {
            return Ok(id);
        }
        let id = self.switch(end.tor.as_str())?;
        self.ends.entry(place).or_default().tor = Some(id);
        Ok(id)
    }

    fn switch(&mut self, name: &str) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.switches.get(name) {
            return Ok(*id);
        }
        let name = name.to_owned();
        let switch = Component::Switch { name: name.clone() };
        let id = self.made.problem.intern(switch)?;
        self.switches.insert(name, id);
        Ok(id)
    }
}
