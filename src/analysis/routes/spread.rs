//! How evenly switches divide 5-tuples among next hops that lead to a ToR in the same number of hops.
//!
//! Only traced 5-tuples count: where each went is known. Which next hops a switch could have chosen comes from the wiring,
//! or else from what all traces to that ToR have shown; so without the wiring a next hop that is never taken is not
//! missed.
//!
//! Under an even hash each of `k` next hops takes a 5-tuple with probability `1/k`. Of `n` 5-tuples a next hop took the
//! share `o` instead of the expected `e`; the chance of that or worse is at most `exp(-n·KL(o‖e))` (Chernoff), and that
//! exponent, less the logarithm of the number of next hops that were looked at, is the evidence in nats.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Fabric, Leg, Origin, Routes};
use crate::id::TorId;
use crate::probe::trace::Tuple;

/// Evidence that a spread must have to be called uneven.
pub(crate) const LEAST_NATS: f64 = 9.0;
/// A next hop takes too little below this share of what is even,
const TOO_LITTLE: f64 = 0.5;
/// and too much from this one on.
const TOO_MUCH: f64 = 1.5;

/// One next hop of a switch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NextHop {
    /// Its name.
    pub name: String,
    /// 5-tuples that could have gone there.
    pub tuples: u64,
    /// Those that did.
    pub taken: u64,
    /// How many would, if the hash were even.
    pub expected: f64,
    /// Evidence that this is not chance.
    pub nats: f64,
}

/// A switch that divides 5-tuples unevenly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Uneven {
    /// The switch.
    pub switch: String,
    /// All its next hops that have others beside them, the one with most evidence first.
    pub next: Vec<NextHop>,
}

impl Uneven {
    /// The next hop that is furthest from even.
    pub(crate) fn worst(&self) -> Option<&NextHop> {
        self.next.first()
    }
}

impl NextHop {
    fn is_uneven(&self) -> bool {
        let taken = self.taken as f64;
        self.nats >= LEAST_NATS
            && (taken < TOO_LITTLE * self.expected || taken >= TOO_MUCH * self.expected)
    }
}

#[derive(Debug, Default)]
struct Tally {
    tuples: u64,
    taken: u64,
    expected: f64,
}

impl Routes {
    /// Switches that divide these 5-tuples unevenly, by name.
    pub(crate) fn uneven(&self, tuples: impl IntoIterator<Item = Tuple>) -> Vec<Uneven> {
        let distinct: BTreeSet<Tuple> = tuples.into_iter().collect();
        let mut choices = Choices::new(self);
        let mut tallies: BTreeMap<&str, BTreeMap<&str, Tally>> = BTreeMap::new();
        for leg in distinct.iter().filter_map(|tuple| self.traced.get(tuple)) {
            for (switch, next, of) in choices.made_by(leg) {
                let at = tallies.entry(switch).or_default();
                let all: usize = of.values().sum();
                for (other, cables) in of {
                    let tally = at.entry(other).or_default();
                    tally.tuples += 1;
                    tally.expected += cables as f64 / all as f64;
                    tally.taken += u64::from(other == next);
                }
            }
        }
        let tests: usize = tallies.values().map(BTreeMap::len).sum();
        let price = (tests.max(1) as f64).ln();
        tallies
            .into_iter()
            .map(|(switch, tallies)| uneven(switch, tallies, price))
            .filter(|uneven| uneven.next.iter().any(NextHop::is_uneven))
            .collect()
    }
}

fn uneven(switch: &str, tallies: BTreeMap<&str, Tally>, price: f64) -> Uneven {
    let mut next: Vec<NextHop> = tallies
        .into_iter()
        .map(|(name, tally)| NextHop {
            name: name.to_owned(),
            tuples: tally.tuples,
            taken: tally.taken,
            expected: tally.expected,
            nats: tally.nats() - price,
        })
        .collect();
    next.sort_by(|a, b| b.nats.total_cmp(&a.nats).then_with(|| a.name.cmp(&b.name)));
    Uneven {
        switch: switch.to_owned(),
        next,
    }
}

impl Tally {
    /// `n·KL(taken/n ‖ expected/n)`
    fn nats(&self) -> f64 {
        let all = self.tuples as f64;
        let taken = self.taken as f64;
        let term = |seen: f64, expected: f64| {
            if seen > 0.0 {
                seen * (seen / expected).ln()
            } else {
                0.0
            }
        };
        term(taken, self.expected) + term(all - taken, all - self.expected)
    }
}

/// Next hops from a switch, each with its number of cables.
type Hops<'a> = BTreeMap<&'a str, usize>;

/// Which next hops lead to a ToR.
struct Choices<'a> {
    fabric: Option<&'a Fabric>,
    /// By ToR: next hops that traces have shown, from every switch.
    shown: HashMap<&'a TorId, HashMap<&'a str, Hops<'a>>>,
    /// By switch and ToR.
    known: HashMap<(&'a str, &'a str), Hops<'a>>,
}

impl<'a> Choices<'a> {
    fn new(routes: &'a Routes) -> Self {
        let mut shown: HashMap<&TorId, HashMap<&str, Hops<'_>>> = HashMap::new();
        if routes.fabric.is_none() {
            for ((_, to), paths) in routes.traced.shown() {
                let hops = shown.entry(to).or_default();
                for pair in paths.keys().flat_map(|path| path.windows(2)) {
                    let next = hops.entry(pair[0].as_str()).or_default();
                    next.insert(pair[1].as_str(), 1);
                }
            }
        }
        Self {
            fabric: routes.fabric.as_ref(),
            shown,
            known: HashMap::new(),
        }
    }

    /// The choices that switches made on a traced way: which one, what it took, what else there was.
    fn made_by(&mut self, leg: &'a Leg) -> Vec<(&'a str, &'a str, Hops<'a>)> {
        let Some(path) = leg.path.as_ref().filter(|_| leg.origin == Origin::Traced) else {
            return Vec::new();
        };
        let Some(to) = path.last() else {
            return Vec::new();
        };
        let mut made = Vec::new();
        for pair in path.windows(2) {
            let (switch, next) = (pair[0].as_str(), pair[1].as_str());
            let hops = self.of(switch, to);
            // What the wiring does not have is no choice of an even hash.
            if hops.len() >= 2 && hops.contains_key(next) {
                made.push((switch, next, hops.clone()));
            }
        }
        made
    }

    fn of(&mut self, switch: &'a str, to: &'a str) -> &Hops<'a> {
        if !self.known.contains_key(&(switch, to)) {
            let hops = match self.fabric {
                Some(fabric) => fabric.next_hops(switch, to),
                None => self
                    .shown
                    .get(&TorId::new(to))
                    .and_then(|hops| hops.get(switch))
                    .cloned()
                    .unwrap_or_default(),
            };
            self.known.insert((switch, to), hops);
        }
        &self.known[&(switch, to)]
    }
}

#[cfg(test)]
mod tests;
