//! What paths without losses say, as exact sums per component.
//!
//! The likelihood of an observation without a loss is a product over the components that it crosses. So all that the search needs
//! of such observations are sums per component: how many paths cross it, with how many probes, and with which probability. The
//! sums are whole numbers: in whatever order and in however many parts observations are added, subtracted and merged, equal
//! observations give equal sums. Shards of a fabric can therefore be summed apart and merged, and a path that has changed can be
//! taken out and added again.

use super::component::ComponentId;
use super::evidence::{Evidence, Part};
use super::problem::Problem;

/// Paths, and the probes that they sent: all of them passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    paths: u64,
    probes: u64,
}

impl Tally {
    const fn add(&mut self, other: Self) {
        self.paths = self.paths.saturating_add(other.paths);
        self.probes = self.probes.saturating_add(other.probes);
    }

    const fn checked_sub(self, other: Self) -> Option<Self> {
        match (
            self.paths.checked_sub(other.paths),
            self.probes.checked_sub(other.probes),
        ) {
            (Some(paths), Some(probes)) => Some(Self { paths, probes }),
            _ => None,
        }
    }

    const fn is_empty(self) -> bool {
        self.paths == 0 && self.probes == 0
    }
}

/// What the trials are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// Probes with their round trips.
    Probes,
    /// Second ACKs. Counts of probes and of paths leave them out.
    Acks,
}

/// What paths are alike in that surely cross a component, or links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sure {
    of: Of,
    /// How often a packet crosses it, or how many links it crosses: the bits of a number.
    times: u64,
}

/// What paths are alike in that may cross a component. Numbers with a fraction are kept as their bits: they are compared, never summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    of: Of,
    /// Probes of each path.
    sent: u64,
    /// Probability, 0 to 1, that each crosses the component.
    share: u64,
    /// How often a packet crosses it, where it does.
    times: u64,
    /// Probability, 0 to 1, that the path that was told is out of date.
    elsewhere: u64,
}

/// Sums by what they have in common, sorted by that. A list: nearly all have one to thirty entries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table<K>(Vec<(K, Tally)>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + Ord> Table<K> {
    fn add(&mut self, key: K, tally: Tally) {
        match self.0.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => self.0[at].1.add(tally),
            Err(at) => self.0.insert(at, (key, tally)),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (key, tally) in &other.0 {
            self.add(*key, *tally);
        }
    }

    fn holds(&self, other: &Self) -> bool {
        other.0.iter().all(|(key, tally)| {
            let found = self.0.binary_search_by(|(known, _)| known.cmp(key));
            found.is_ok_and(|at| self.0[at].1.checked_sub(*tally).is_some())
        })
    }

    /// Takes out what [`Self::holds`] has said is in it.
    fn subtract(&mut self, other: &Self) {
        for (key, tally) in &other.0 {
            let Ok(at) = self.0.binary_search_by(|(known, _)| known.cmp(key)) else {
                continue;
            };
            match self.0[at].1.checked_sub(*tally) {
                Some(left) if !left.is_empty() => self.0[at].1 = left,
                _ => {
                    self.0.remove(at);
                }
            }
        }
    }
}

/// Sums of the paths that cross one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfComponent {
    /// Those that surely cross it, by how often a packet does.
    sure: Table<Sure>,
    /// Those that may cross it.
    open: Table<Alike>,
}

/// One path, or several alike, on the way into [`PassedSums`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct PassedPath {
    /// Probes of each path; none of them was lost.
    pub(crate) sent: u64,
    /// Probability, 0 to 1, that a traced path is out of date; 0 for candidates.
    pub(crate) elsewhere: f64,
}

/// Exact sums over paths without losses. See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedSums {
    components: Vec<OfComponent>,
    /// All paths, by how many links each crosses.
    links: Table<Sure>,
}

impl PassedSums {
    /// Of no paths yet, for so many components.
    pub(crate) fn new(components: usize) -> Self {
        Self {
            components: vec![OfComponent::default(); components],
            links: Table::default(),
        }
    }

    /// Adds a path's crossing of one component: `sum` is the sum of the shares of both directions, 1 for one that a packet surely
    /// crosses once. `between` says whether it lies between the ToRs: there a path that is out of date does not cross it.
    pub(crate) fn cross(
        &mut self,
        component: ComponentId,
        (sum, between): (f64, bool),
        path: PassedPath,
    ) {
        self.cross_part((Of::Probes, Part::new(component, sum)), between, path);
    }

    /// The same for a path's second ACKs, all of which came back: `path.sent` are these. A loss at the ends is one of a round trip, which
    /// passes them twice: it counts half.
    pub(crate) fn cross_back(
        &mut self,
        component: ComponentId,
        (sum, between): (f64, bool),
        path: PassedPath,
    ) {
        let part = Part::new(component, sum);
        let part = if between { part } else { part.halved() };
        self.cross_part((Of::Acks, part), between, path);
    }

    fn cross_part(&mut self, (of, mut part): (Of, Part), between: bool, path: PassedPath) {
        if between {
            part.share *= 1.0 - path.elsewhere;
        }
        let Some(sums) = self.components.get_mut(part.component.index()) else {
            return;
        };
        let tally = Tally {
            paths: 1,
            probes: path.sent,
        };
        if part.is_sure() {
            let times = part.times.to_bits();
            sums.sure.add(Sure { of, times }, tally);
        } else {
            let alike = Alike {
                of,
                sent: path.sent,
                share: part.share.to_bits(),
                times: part.times.to_bits(),
                elsewhere: path.elsewhere.to_bits(),
            };
            sums.open.add(alike, tally);
        }
    }

    /// Adds probes that surely crossed a component once, of so many paths.
    pub(crate) fn cross_surely(&mut self, component: ComponentId, paths: u64, probes: u64) {
        if let Some(sums) = self.components.get_mut(component.index()) {
            let once = Sure {
                of: Of::Probes,
                times: 1_f64.to_bits(),
            };
            sums.sure.add(once, Tally { paths, probes });
        }
    }

    /// Counts paths that cross so many links each. Every path is counted once, whatever components it crosses.
    pub(crate) fn count(&mut self, links: f64, paths: u64, probes: u64) {
        let links = Sure {
            of: Of::Probes,
            times: links.to_bits(),
        };
        self.links.add(links, Tally { paths, probes });
    }

    /// Counts second ACKs of a path that all came back, over so many links.
    pub(crate) fn count_back(&mut self, links: f64, acks: u64) {
        let links = Sure {
            of: Of::Acks,
            times: links.to_bits(),
        };
        let tally = Tally {
            paths: 1,
            probes: acks,
        };
        self.links.add(links, tally);
    }

    /// Adds other sums: those of the paths of both.
    pub fn merge(&mut self, other: &Self) {
        if self.components.len() < other.components.len() {
            self.components
                .resize_with(other.components.len(), OfComponent::default);
        }
        for (own, other) in self.components.iter_mut().zip(&other.components) {
            own.sure.merge(&other.sure);
            own.open.merge(&other.open);
        }
        self.links.merge(&other.links);
    }

    /// Takes out the sums of paths that were added before; `false`, and nothing is changed, if they were not.
    #[must_use]
    pub fn subtract(&mut self, other: &Self) -> bool {
        let none = OfComponent::default();
        let holds = other.components.iter().enumerate().all(|(at, other)| {
            let own = self.components.get(at).unwrap_or(&none);
            own.sure.holds(&other.sure) && own.open.holds(&other.open)
        });
        if !holds || !self.links.holds(&other.links) {
            return false;
        }
        for (own, other) in self.components.iter_mut().zip(&other.components) {
            own.sure.subtract(&other.sure);
            own.open.subtract(&other.open);
        }
        self.links.subtract(&other.links);
        true
    }
}

impl Problem {
    /// Adds observations without losses that were summed before, by the ids of this problem.
    pub(crate) fn add_passed(&mut self, sums: &PassedSums) {
        for (at, sums) in sums.components.iter().enumerate() {
            if at >= self.known.components.len() {
                break;
            }
            add_component(&mut self.probes, at, sums, |tally| tally.probes);
            add_component(&mut self.paths, at, sums, |tally| tally.paths);
            add_acks(&mut self.probes, at, sums);
        }
        for (Sure { of, times }, tally) in &sums.links.0 {
            let links = f64::from_bits(*times);
            self.probes.passed_links += links * tally.probes as f64;
            if *of == Of::Acks {
                continue;
            }
            self.probes.observations += tally.paths as f64;
            self.paths.passed_links += links * tally.paths as f64;
            self.paths.observations += tally.paths as f64;
            self.sent = self.sent.saturating_add(tally.probes);
            self.observations = self.observations.saturating_add(tally.paths);
        }
    }
}

/// Adds sums of probes across a component to a body of evidence in which the trials are what `trials` counts.
fn add_component(
    evidence: &mut Evidence,
    at: usize,
    sums: &OfComponent,
    trials: impl Fn(&Tally) -> u64,
) {
    let of = &mut evidence.sums[at];
    let sure = sums.sure.0.iter();
    for (sure, tally) in sure.filter(|(sure, _)| sure.of == Of::Probes) {
        let passed = f64::from_bits(sure.times) * trials(tally) as f64;
        of.passed += passed;
        of.sent += passed;
        of.crossing = of.crossing.saturating_add(few(tally.paths));
    }
    let open = sums.open.0.iter();
    for (alike, tally) in open.filter(|(alike, _)| alike.of == Of::Probes) {
        let told = 1.0 - f64::from_bits(alike.elsewhere);
        let share = f64::from_bits(alike.share);
        let trials = trials(tally) as f64;
        let of = &mut evidence.sums[at];
        of.sent += (share / told).min(1.0) * trials;
        of.crossing = of.crossing.saturating_add(few(tally.paths));
        let times = f64::from_bits(alike.times);
        evidence.spare_many(at, share, tally.paths as f64, trials * times);
    }
}

/// Adds sums of second ACKs that passed a component. Counts of probes leave them out.
fn add_acks(evidence: &mut Evidence, at: usize, sums: &OfComponent) {
    let sure = sums.sure.0.iter();
    for (sure, tally) in sure.filter(|(sure, _)| sure.of == Of::Acks) {
        evidence.sums[at].passed += f64::from_bits(sure.times) * tally.probes as f64;
    }
    let open = sums.open.0.iter();
    for (alike, tally) in open.filter(|(alike, _)| alike.of == Of::Acks) {
        let trials = tally.probes as f64 * f64::from_bits(alike.times);
        let share = f64::from_bits(alike.share);
        evidence.spare_many(at, share, tally.paths as f64, trials);
    }
}

fn few(paths: u64) -> u32 {
    u32::try_from(paths).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
