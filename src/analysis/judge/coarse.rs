//! A first look at very many paths: the sums of all paths between two ToRs, by what ECMP may choose between them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::counts::Counts;
use super::view::View;
use crate::analysis::localize::{Component, ComponentId, Crossing, Problem, ProblemError};
use crate::analysis::routes::{CLOUD, Leg, Routes};
use crate::id::TorId;

/// Links between an RNIC and its ToR that a probe and its ACK cross, at both ends together.
const HOST_LINKS: f64 = 4.0;

/// Components with how often, or with which probability, each is crossed.
type Shares = Vec<(ComponentId, f64)>;

/// What the paths between two ToRs cross, by its places in [`Coarse::shares`].
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// The ToRs begin here,
    first: usize,
    /// what lies between them here,
    between: usize,
    /// and this is behind both.
    end: usize,
    links: f64,
}

/// The paths between two ToRs as one observation.
pub(super) struct Coarse {
    /// The components, without observations.
    problem: Problem,
    shares: Shares,
    pairs: Vec<Pair>,
    /// For each path in their order its pair of ToRs; none for those under one ToR.
    pair_of: Vec<Option<usize>>,
}

impl Coarse {
    /// Of the paths that are judged.
    pub(super) fn of(routes: &mut Routes, view: &View<'_>) -> Result<Self, ProblemError> {
        let mut known: HashMap<(ComponentId, ComponentId), usize> = HashMap::new();
        let mut builder = Builder::default();
        let mut pair_of = Vec::with_capacity(view.len());
        for seen in view.iter() {
            let ends = view.board.place(seen.at).ends();
            let [from, to] = ends.map(|end| view.board.ends[end].tor);
            if from == to {
                pair_of.push(None);
                continue;
            }
            let next = known.len();
            let pair = *known.entry((from, to)).or_insert(next);
            if pair == next {
                builder.add(routes, &seen.source.tor, &seen.target.tor)?;
            }
            pair_of.push(Some(pair));
        }
        Ok(Self {
            problem: builder.problem,
            shares: builder.shares,
            pairs: builder.pairs,
            pair_of,
        })
    }

    /// Work of building a problem, in evaluations of one observation.
    pub(super) fn work(&self) -> u64 {
        (self.shares.len() as u64).saturating_mul(2)
    }

    /// The sums of the pairs' paths.
    pub(super) fn sums(&self, counts: impl Iterator<Item = Counts>) -> Vec<Counts> {
        let mut sums = vec![Counts::default(); self.pairs.len()];
        for (pair, counts) in self.pair_of.iter().zip(counts) {
            if let Some(pair) = pair {
                sums[*pair].add(counts);
            }
        }
        sums
    }

    /// The problem of such sums. The paths between two ToRs are several: that all of them lost everything in a pair says nothing of one
    /// 5-tuple.
    pub(super) fn problem(&self, sums: &[Counts]) -> Result<Problem, ProblemError> {
        let mut problem = Problem::of_rates();
        problem.take_components(&self.problem);
        for (pair, counts) in self.pairs.iter().zip(sums) {
            if counts.sent > 0 {
                let crossing = Crossing {
                    ends: &self.shares[pair.first..pair.between],
                    between: &self.shares[pair.between..pair.end],
                    elsewhere: 0.0,
                    links: pair.links,
                };
                problem.add_crossing(&crossing, counts.sent, counts.lost)?;
            }
        }
        Ok(problem)
    }
}

/// Makes [`Coarse`]; knows the components by leg and by ToR.
#[derive(Default)]
struct Builder {
    problem: Problem,
    shares: Shares,
    pairs: Vec<Pair>,
    legs: HashMap<*const Leg, (Shares, Arc<Leg>)>,
    switches: HashMap<String, ComponentId>,
}

impl Builder {
    /// Adds what lies between two ToRs, there and back.
    fn add(&mut self, routes: &mut Routes, from: &TorId, to: &TorId) -> Result<(), ProblemError> {
        let first = self.shares.len();
        for name in [from.as_str(), to.as_str(), CLOUD] {
            let id = self.switch(name)?;
            self.shares.push((id, 1.0));
        }
        let between = self.shares.len();
        let mut links = HOST_LINKS;
        for leg in [routes.leg(from, to, None), routes.leg(to, from, None)] {
            links += leg.links;
            self.leg(&leg, between)?;
        }
        self.pairs.push(Pair {
            first,
            between,
            end: self.shares.len(),
            links,
        });
        Ok(())
    }

    /// Adds a leg's components behind `between`, each once.
    fn leg(&mut self, leg: &Arc<Leg>, between: usize) -> Result<(), ProblemError> {
        let shares = match self.legs.entry(Arc::as_ptr(leg)) {
            Entry::Occupied(known) => &known.into_mut().0,
            Entry::Vacant(place) => {
                let mut shares = Vec::with_capacity(leg.shares.len());
                for (component, share) in &leg.shares {
                    shares.push((self.problem.intern(component.clone())?, *share));
                }
                // The leg is kept, so that its address stays its own.
                &place.insert((shares, Arc::clone(leg))).0
            }
        };
        for (id, share) in shares {
            let known = self.shares[between..]
                .iter_mut()
                .find(|(known, _)| known == id);
            match known {
                Some((_, sum)) => *sum += share,
                None => self.shares.push((*id, *share)),
            }
        }
        Ok(())
    }

    fn switch(&mut self, name: &str) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.switches.get(name) {
            return Ok(*id);
        }
        let name = name.to_owned();
        let switch = Component::Switch { name: name.clone() };
        let id = self.problem.intern(switch)?;
        self.switches.insert(name, id);
        Ok(id)
    }
}
