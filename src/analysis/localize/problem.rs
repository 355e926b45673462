//! Observations on paths, brought into the form that the search works on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use super::component::Component;
use crate::id::RnicName;

/// A component's index in its [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(pub u32);

impl ComponentId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a failed probe is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// It was lost: `sent` counts probes sent, `lost` those without an answer.
    #[default]
    Loss,
    /// It came back late: `sent` counts probes answered, `lost` those whose network RTT was above what the caller holds
    /// for normal on that path (for instance three times its median over the last hour, and at least 20 µs more).
    Slow,
}

/// What was observed between two hosts, or two RNICs, in a window.
///
/// An end that is an RNIC is written as [`RnicName`]; the problem must know it ([`Problem::add_rnic`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathObservation<'a> {
    /// The paths that the probes may have taken, as node names from source to destination; one where it is known.
    pub paths: Vec<Vec<&'a str>>,
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
}

/// Why an observation cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// More lost than sent.
    #[error("{lost} probes lost of {sent} sent")]
    LostMoreThanSent {
        /// Probes lost.
        lost: u64,
        /// Probes sent.
        sent: u64,
    },
    /// No path, or a path of fewer than two nodes.
    #[error("a path needs at least two nodes")]
    NoPath,
    /// A path that visits a node twice.
    #[error("the path visits `{0}` twice")]
    Loop(String),
    /// More components than can be counted.
    #[error("too many components")]
    TooMany,
}

/// How much an observation has to do with a component: 1 when its path surely crosses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) component: ComponentId,
    pub(super) share: f64,
}

/// An observation with losses. Those without only add to the components' exposures.
#[derive(Debug, Clone)]
pub(super) struct Lossy {
    /// Components on the path, links first.
    pub(super) parts: Vec<Part>,
    /// Links on the path: each adds the background hazard.
    pub(super) links: f64,
    /// Trials.
    pub(super) sent: f64,
    /// Failures.
    pub(super) lost: f64,
}

/// Share of its probes that a path must lose to be dead, or unlucky: which of both is weighed, see [`super::mixture`].
const DEAD_SHARE: f64 = 0.9;

/// What passed through a component, beside each other in memory: every observation touches a few of these.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// Trials that passed, by share.
    pub(super) passed: f64,
    /// Trials, by share.
    pub(super) sent: f64,
    /// Observations, whatever the share.
    pub(super) crossing: u32,
}

/// Trials and failures on paths, compressed: successes only as sums per component.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) sums: Vec<Sums>,
    pub(super) lossy: Vec<Lossy>,
    /// Lossy observations of each component, with the share.
    pub(super) postings: Vec<Vec<(u32, f64)>>,
    /// Passed trials times links on their paths.
    pub(super) passed_links: f64,
}

impl Evidence {
    fn grow(&mut self) {
        self.sums.push(Sums::default());
        self.postings.push(Vec::new());
    }

    /// All failures.
    pub(super) fn lost(&self) -> f64 {
        self.lossy.iter().map(|lossy| lossy.lost).sum()
    }

    fn add(
        &mut self,
        parts: &[Part],
        links: f64,
        sent: f64,
        lost: f64,
    ) -> Result<(), ProblemError> {
        if lost > 0.0 {
            u32::try_from(self.lossy.len()).map_err(|_| ProblemError::TooMany)?;
            self.append(parts, links, sent, lost);
        } else {
            self.count(parts, links, sent, lost);
        }
        Ok(())
    }

    fn count(&mut self, parts: &[Part], links: f64, sent: f64, lost: f64) {
        for part in parts {
            let sums = &mut self.sums[part.component.index()];
            sums.passed += part.share * (sent - lost);
            sums.sent += part.share * sent;
            sums.crossing += 1;
        }
        self.passed_links += links * (sent - lost);
    }

    /// Adds an observation among those with losses, though it may have none.
    fn append(&mut self, parts: &[Part], links: f64, sent: f64, lost: f64) {
        self.count(parts, links, sent, lost);
        let index = u32::try_from(self.lossy.len()).unwrap_or(u32::MAX);
        for part in parts {
            self.postings[part.component.index()].push((index, part.share));
        }
        self.lossy.push(Lossy {
            parts: parts.to_vec(),
            links,
            sent,
            lost,
        });
    }
}

/// The observations of a [`Problem`], divided into what is said about rates and what about dead paths. The doubtful paths
/// stand in their order behind the others.
#[derive(Debug)]
pub(super) struct Split<'a> {
    /// Trials are the probes on living paths.
    pub(super) probes: Cow<'a, Evidence>,
    /// Trials are the paths; the dead have failed.
    pub(super) paths: Cow<'a, Evidence>,
}

/// A component as its nodes: a link from one to another, or the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Link(u32, u32),
    Switch(u32),
    Host(u32),
    Rnic(u32),
}

/// Multiplies and folds the few small integers of a [`Key`]: nodes are numbered here, nobody chooses them to collide.
#[derive(Default)]
struct KeyHasher(u64);

impl KeyHasher {
    const fn mix(&mut self, value: u64) {
        let spread = (self.0.rotate_left(26) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value).wrapping_add(0x9E37_79B9));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.unsigned_abs() as u64 + 1);
    }
}

/// Observations of one window, as two bodies of evidence.
///
/// A path that is dead, as a down link or a blackhole of some 5-tuples makes it, says nothing about a loss *rate*. So dead
/// paths are weighed against living ones, path by path, and rates are told from the probes on living paths alone. A path
/// that lost all of its few probes may be either: it counts in both bodies, with the probability that it is dead
/// ([`Split`]).
#[derive(Debug, Clone, Default)]
pub struct Problem {
    pub(super) signal: Signal,
    pub(super) components: Vec<Component>,
    nodes: HashMap<String, u32>,
    names: Vec<String>,
    /// The nodes that are RNICs.
    rnics: HashMap<u32, RnicName>,
    ids: HashMap<Key, ComponentId, BuildHasherDefault<KeyHasher>>,
    /// For each component the observation that touched it last, from 1, and its place in `scratch`.
    touched: Vec<(u64, usize)>,
    scratch: Vec<Part>,
    /// Nodes of the path at hand.
    path_nodes: Vec<u32>,
    /// Trials are the probes on living paths.
    probes: Evidence,
    /// Trials are the living paths; none has failed.
    paths: Evidence,
    /// Paths that lost all their probes, or nearly all: each is dead, or alive and unlucky. Trials are the probes.
    pub(super) doubtful: Evidence,
    sent: u64,
    lost: u64,
    observations: u64,
    rates_only: bool,
}

impl Problem {
    /// No observations of losses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No observations yet, of losses or of slow probes.
    pub fn of(signal: Signal) -> Self {
        Self {
            signal,
            ..Self::default()
        }
    }

    /// All observations with losses.
    pub(super) fn lossy(&self) -> impl Iterator<Item = &Lossy> {
        self.probes.lossy.iter().chain(&self.doubtful.lossy)
    }

    /// No observations; dead paths will count as lost probes like all others. For small bodies of evidence, whose few dead
    /// paths would say less than the many probes that were lost on them.
    pub fn of_rates() -> Self {
        Self {
            rates_only: true,
            ..Self::default()
        }
    }

    /// What a failed probe is here.
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// The components that observations have named.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// A component by its id.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.components[id.index()]
    }

    /// The id of a component that observations have named.
    pub fn id(&self, component: &Component) -> Option<ComponentId> {
        let node = |name: &str| self.nodes.get(name).copied();
        let key = match component {
            Component::Link { from, to } => Key::Link(node(from)?, node(to)?),
            Component::Switch { name } => Key::Switch(node(name)?),
            Component::Host { name } => Key::Host(node(name)?),
            Component::Rnic { .. } => Key::Rnic(node(&component.node()?)?),
            Component::Group { .. } => return None,
        };
        self.ids.get(&key).copied()
    }

    /// How many observations were added.
    pub const fn observations(&self) -> u64 {
        self.observations
    }

    /// Probes sent, over all observations; stays at the largest number where the sum does not fit.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Probes lost, over all observations; stays at the largest number where the sum does not fit.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Paths that lost all their probes, or nearly all.
    pub fn dead_paths(&self) -> usize {
        self.doubtful.lossy.len()
    }

    /// The two bodies of evidence, where the doubtful paths are dead with these probabilities.
    pub(super) fn split(&self, dead: &[f64]) -> Split<'_> {
        let mut split = Split {
            probes: Cow::Borrowed(&self.probes),
            paths: Cow::Borrowed(&self.paths),
        };
        for (lossy, dead) in self.doubtful.lossy.iter().zip(dead) {
            let Lossy {
                parts,
                links,
                sent,
                lost,
            } = lossy;
            let alive = 1.0 - dead;
            split
                .probes
                .to_mut()
                .append(parts, *links, sent * alive, lost * alive);
            split.paths.to_mut().append(parts, *links, 1.0, *dead);
        }
        split
    }

    /// Makes an RNIC known, so that paths may end at it.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub fn add_rnic(&mut self, rnic: &RnicName) -> Result<(), ProblemError> {
        let node = self.node(&rnic.to_string())?;
        self.rnics.entry(node).or_insert_with(|| rnic.clone());
        Ok(())
    }

    /// Adds an observation. The first and the last node of a path are hosts or RNICs, those between switches.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before, but for components that were new.
    pub fn add(&mut self, observation: &PathObservation<'_>) -> Result<(), ProblemError> {
        let PathObservation { paths, sent, lost } = observation;
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent {
                lost: *lost,
                sent: *sent,
            });
        }
        self.collect_parts(&[paths])?;
        let parts = std::mem::take(&mut self.scratch);
        let added = self.add_parts(&parts, links_on(paths), *sent, *lost);
        self.scratch = parts;
        added
    }

    /// Adds an observation of round trips, whose ACKs may have taken one of the paths `back`. Its links count as often as they
    /// are crossed; a node that both directions cross counts once, as what it loses is lost of one round trip.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before, but for components that were new.
    pub fn add_round_trip(
        &mut self,
        observation: &PathObservation<'_>,
        back: &[Vec<&str>],
    ) -> Result<(), ProblemError> {
        let PathObservation { paths, sent, lost } = observation;
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent {
                lost: *lost,
                sent: *sent,
            });
        }
        self.collect_parts(&[paths, back])?;
        let mut parts = std::mem::take(&mut self.scratch);
        for part in &mut parts {
            if !matches!(self.component(part.component), Component::Link { .. }) {
                part.share = part.share.min(1.0);
            }
        }
        let links = links_on(paths) + links_on(back);
        let added = self.add_parts(&parts, links, *sent, *lost);
        self.scratch = parts;
        added
    }

    /// Adds an observation whose path is given as components with shares, each at most once: what a round trip crosses,
    /// with `links` cables that may lose packets by chance.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before.
    pub fn add_shares(
        &mut self,
        shares: &[(ComponentId, f64)],
        links: f64,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent { lost, sent });
        }
        if shares.is_empty() || links <= 0.0 {
            return Err(ProblemError::NoPath);
        }
        let parts: Vec<Part> = shares
            .iter()
            .map(|(component, share)| Part {
                component: *component,
                share: *share,
            })
            .collect();
        self.observations += 1;
        self.add_parts(&parts, links, sent, lost)
    }

    /// Adds an observation that has been counted.
    fn add_parts(
        &mut self,
        parts: &[Part],
        links: f64,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        let (trials, failures) = (sent as f64, lost as f64);
        self.sent = self.sent.saturating_add(sent);
        self.lost = self.lost.saturating_add(lost);
        if !self.rates_only && lost > 0 && failures >= DEAD_SHARE * trials {
            return self.doubtful.add(parts, links, trials, failures);
        }
        self.paths.add(parts, links, 1.0, 0.0)?;
        self.probes.add(parts, links, trials, failures)
    }

    /// Puts the components of all candidate paths of each direction into `scratch`, with the share of the direction's
    /// candidates that cross each.
    fn collect_parts(&mut self, directions: &[&[Vec<&str>]]) -> Result<(), ProblemError> {
        if directions.iter().any(|paths| paths.is_empty()) {
            return Err(ProblemError::NoPath);
        }
        self.scratch.clear();
        self.observations += 1;
        let weighted = directions.iter().flat_map(|paths| {
            let weight = 1.0 / paths.len() as f64;
            paths.iter().map(move |path| (path, weight))
        });
        for (path, weight) in weighted {
            if let Err(error) = check(path).and_then(|()| self.collect_path(path, weight)) {
                self.observations -= 1;
                // Marks of this observation must not be taken for those of the next.
                self.touched.fill((0, 0));
                return Err(error);
            }
        }
        Ok(())
    }

    fn collect_path(&mut self, path: &[&str], weight: f64) -> Result<(), ProblemError> {
        let mut nodes = std::mem::take(&mut self.path_nodes);
        nodes.clear();
        for name in path {
            nodes.push(self.node(name)?);
        }
        for pair in nodes.windows(2) {
            self.collect(Key::Link(pair[0], pair[1]), weight)?;
        }
        for (index, node) in nodes.iter().enumerate() {
            let end = index == 0 || index + 1 == nodes.len();
            let key = if !end {
                Key::Switch(*node)
            } else if self.rnics.contains_key(node) {
                Key::Rnic(*node)
            } else {
                Key::Host(*node)
            };
            self.collect(key, weight)?;
        }
        self.path_nodes = nodes;
        Ok(())
    }

    fn collect(&mut self, key: Key, weight: f64) -> Result<(), ProblemError> {
        let id = self.intern_key(key)?;
        let mark = &mut self.touched[id.index()];
        if mark.0 == self.observations {
            self.scratch[mark.1].share += weight;
        } else {
            *mark = (self.observations, self.scratch.len());
            self.scratch.push(Part {
                component: id,
                share: weight,
            });
        }
        Ok(())
    }

    fn node(&mut self, name: &str) -> Result<u32, ProblemError> {
        if let Some(node) = self.nodes.get(name) {
            return Ok(*node);
        }
        let node = u32::try_from(self.names.len()).map_err(|_| ProblemError::TooMany)?;
        self.nodes.insert(name.to_owned(), node);
        self.names.push(name.to_owned());
        Ok(node)
    }

    /// The component's id in this problem, made if missing.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub fn intern(&mut self, component: Component) -> Result<ComponentId, ProblemError> {
        let key = match component {
            Component::Link { from, to } => Key::Link(self.node(&from)?, self.node(&to)?),
            // A group is no place on a path; nothing is observed of it.
            Component::Switch { name } | Component::Group { name } => {
                Key::Switch(self.node(&name)?)
            }
            Component::Host { name } => Key::Host(self.node(&name)?),
            Component::Rnic { host, device } => {
                let rnic = RnicName { host, device };
                let node = self.node(&rnic.to_string())?;
                self.rnics.entry(node).or_insert(rnic);
                Key::Rnic(node)
            }
        };
        self.intern_key(key)
    }

    fn intern_key(&mut self, key: Key) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        let id =
            ComponentId(u32::try_from(self.components.len()).map_err(|_| ProblemError::TooMany)?);
        let name = |node: u32| self.names[node as usize].clone();
        self.components.push(match key {
            Key::Link(from, to) => Component::Link {
                from: name(from),
                to: name(to),
            },
            Key::Switch(node) => Component::Switch { name: name(node) },
            Key::Host(node) => Component::Host { name: name(node) },
            Key::Rnic(node) => match self.rnics.get(&node) {
                Some(rnic) => Component::rnic(rnic.clone()),
                None => Component::Host { name: name(node) },
            },
        });
        self.ids.insert(key, id);
        self.touched.push((0, 0));
        self.probes.grow();
        self.paths.grow();
        self.doubtful.grow();
        Ok(id)
    }
}

/// Links that a packet crosses on one of these paths, on average.
fn links_on(paths: &[Vec<&str>]) -> f64 {
    let links: usize = paths.iter().map(|path| path.len() - 1).sum();
    links as f64 / paths.len() as f64
}

fn check(path: &[&str]) -> Result<(), ProblemError> {
    if path.len() < 2 {
        return Err(ProblemError::NoPath);
    }
    for (index, node) in path.iter().enumerate() {
        if path[..index].contains(node) {
            return Err(ProblemError::Loop((*node).to_owned()));
        }
    }
    Ok(())
}
