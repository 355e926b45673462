//! Observations on paths, brought into the form that the search works on.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::component::{Component, ComponentId};
use super::crossing::{Crossing, Gathered, Key, KeyHasher, acks_cross, check, links_on, parts_of};
use super::error::ProblemError;
use super::evidence::{Counted, Evidence, Lossy, Part};
use crate::id::{HostName, RnicName};

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

/// Share of its probes that a path must lose to be dead, or unlucky: which of both is weighed, see [`super::mixture`].
const DEAD_SHARE: f64 = 0.9;
/// Probability that a traced path of which nothing else is known is out of date, each direction alone.
pub(crate) const DOUBT: f64 = 0.02;

/// The observations of a [`Problem`], divided into what is said about rates and what about dead paths. The doubtful paths
/// stand in their order behind the others.
#[derive(Debug)]
pub(super) struct Split<'a> {
    /// Trials are the probes on living paths.
    pub(super) probes: Cow<'a, Evidence>,
    /// Trials are the paths; the dead have failed.
    pub(super) paths: Cow<'a, Evidence>,
}

/// The components with their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) components: Vec<Component>,
    nodes: HashMap<String, u32>,
    names: Vec<String>,
    /// The nodes that are RNICs.
    rnics: HashMap<u32, RnicName>,
    /// Hosts that are suspects of their own beside their RNICs.
    hosts: HashSet<HostName>,
    /// The hosts, as nodes, of the nodes that are RNICs of these.
    hosts_of: HashMap<u32, u32>,
    ids: HashMap<Key, ComponentId, BuildHasherDefault<KeyHasher>>,
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
    /// Shared by the problems of one run: see [`Self::take_components`].
    pub(super) known: Arc<Known>,
    /// For each component the observation that touched it last, from 1, and its place in `scratch`.
    touched: Vec<(u64, usize)>,
    scratch: Vec<Gathered>,
    /// Parts of the observation at hand.
    parts: Vec<Part>,
    /// Nodes of the path at hand.
    path_nodes: Vec<u32>,
    /// Trials are the probes on living paths.
    pub(super) probes: Evidence,
    /// Trials are the living paths; none has failed.
    pub(super) paths: Evidence,
    /// Paths that lost all their probes, or nearly all: each is dead, or alive and unlucky. Trials are the probes.
    pub(super) doubtful: Evidence,
    pub(super) sent: u64,
    lost: u64,
    pub(super) observations: u64,
    rates_only: bool,
    /// Links that observations cross and that are not among the components: nothing was lost on a path across them.
    pub(super) unlisted_links: usize,
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
    pub(crate) fn of_rates() -> Self {
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
        &self.known.components
    }

    /// A component by its id.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.known.components[id.index()]
    }

    /// The id of a component that observations have named.
    pub fn id(&self, component: &Component) -> Option<ComponentId> {
        let node = |name: &str| self.known.nodes.get(name).copied();
        let key = match component {
            Component::Link { from, to } => Key::Link(node(from)?, node(to)?),
            Component::Switch { name } => Key::Switch(node(name)?),
            Component::Host { name } => Key::Host(node(name)?),
            Component::Rnic { .. } => Key::Rnic(node(&component.node()?)?),
            Component::Group { .. } => return None,
        };
        self.known.ids.get(&key).copied()
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
    pub(crate) fn dead_paths(&self) -> usize {
        self.doubtful.lossy.len()
    }

    /// The two bodies of evidence, where the doubtful paths are dead with these probabilities.
    pub(super) fn split(&self, dead: &[f64]) -> Split<'_> {
        let mut split = Split {
            probes: Cow::Borrowed(&self.probes),
            paths: Cow::Borrowed(&self.paths),
        };
        for (lossy, dead) in self.doubtful.lossy.iter().zip(dead) {
            let alive = 1.0 - dead;
            let counted = |sent, lost| Counted {
                parts: &lossy.parts,
                links: lossy.links,
                elsewhere: lossy.elsewhere,
                sent,
                lost,
            };
            let probes = counted(lossy.sent * alive, lossy.lost * alive);
            split.probes.to_mut().append(probes);
            split.paths.to_mut().append(counted(1.0, *dead));
        }
        split
    }

    /// Takes over the components of another problem, with their ids, in the place of its own; there must be no observations
    /// yet.
    pub(crate) fn take_components(&mut self, other: &Self) {
        let (signal, rates_only) = (self.signal, self.rates_only);
        self.clone_from(other);
        (self.signal, self.rates_only) = (signal, rates_only);
    }

    /// Says how many links observations cross beside those that are components here: the price of naming one of many counts them.
    pub(crate) const fn count_unlisted(&mut self, links: usize) {
        self.unlisted_links = links;
    }

    /// Makes hosts suspects of their own: what all RNICs of one lose may be the host's. For hosts of which paths end at several
    /// RNICs; of others nothing would tell RNIC and host apart. Their RNICs come behind this.
    pub fn add_hosts(&mut self, hosts: impl IntoIterator<Item = HostName>) {
        Arc::make_mut(&mut self.known).hosts.extend(hosts);
    }

    /// Makes an RNIC known, so that paths may end at it.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub fn add_rnic(&mut self, rnic: &RnicName) -> Result<(), ProblemError> {
        let node = self.node(&rnic.to_string())?;
        if self.known.rnics.contains_key(&node) {
            return Ok(());
        }
        Arc::make_mut(&mut self.known)
            .rnics
            .insert(node, rnic.clone());
        if self.known.hosts.contains(&rnic.host) {
            let host = self.node(rnic.host.as_str())?;
            Arc::make_mut(&mut self.known).hosts_of.insert(node, host);
        }
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
        if !self.known.hosts_of.is_empty() {
            // A path from one RNIC of a host to another ends twice at the host.
            self.count_nodes_once();
        }
        self.add_scratch(&[paths], links_on(paths), *sent, *lost)
    }

    fn count_nodes_once(&mut self) {
        for at in 0..self.scratch.len() {
            let component = self.scratch[at].component;
            if !matches!(self.component(component), Component::Link { .. }) {
                self.scratch[at].sum = self.scratch[at].sum.min(1.0);
            }
        }
    }

    /// Adds an observation of round trips, whose ACKs may have taken one of the paths `back`. Its links count as often as they
    /// are crossed; a node that both directions cross counts once, as what it loses is lost of one round trip.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before, but for components that were new.
    pub(crate) fn add_round_trip(
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
        self.count_nodes_once();
        let links = links_on(paths) + links_on(back);
        self.add_scratch(&[paths, back], links, *sent, *lost)
    }

    /// Adds the observation whose components are in `scratch`.
    fn add_scratch(
        &mut self,
        directions: &[&[Vec<&str>]],
        links: f64,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        let are_told = directions.iter().all(|paths| paths.len() == 1)
            && self.scratch.iter().any(|part| part.between);
        let elsewhere = if are_told {
            1.0 - (1.0 - DOUBT).powi(i32::try_from(directions.len()).unwrap_or(1))
        } else {
            0.0
        };
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        parts.extend(parts_of(self.scratch.iter().copied(), elsewhere));
        let added = self.add_parts(&parts, links, elsewhere, (sent, lost));
        self.parts = parts;
        added
    }

    /// Adds an observation whose path is given as components with shares, each at most once: what a round trip crosses,
    /// with `links` cables that may lose packets by chance.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before.
    pub(crate) fn add_shares(
        &mut self,
        shares: &[(ComponentId, f64)],
        links: f64,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent { lost, sent });
        }
        let crossing = Crossing {
            ends: shares,
            between: &[],
            elsewhere: 0.0,
            links,
        };
        self.add_crossing(&crossing, sent, lost)
    }

    /// Adds an observation whose path is given as components with shares, each at most once.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before.
    pub(crate) fn add_crossing(
        &mut self,
        crossing: &Crossing<'_>,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent { lost, sent });
        }
        let Crossing {
            ends,
            between,
            elsewhere,
            links,
        } = *crossing;
        if ends.is_empty() && between.is_empty() || links <= 0.0 {
            return Err(ProblemError::NoPath);
        }
        let gathered = |between: bool| {
            move |(component, sum): &(ComponentId, f64)| Gathered {
                component: *component,
                sum: *sum,
                between,
            }
        };
        let all = ends
            .iter()
            .map(gathered(false))
            .chain(between.iter().map(gathered(true)));
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        parts.extend(parts_of(all, elsewhere));
        self.observations += 1;
        let added = self.add_parts(&parts, links, elsewhere, (sent, lost));
        self.parts = parts;
        added
    }

    /// Adds second ACKs, of which `sent` were to come back and `lost` did not. They say what the way back loses, alone, and so tell the
    /// directions of a round trip apart. Losses are shares of those whose first ACK arrived, so they depend on no other observation.
    ///
    /// # Errors
    /// [`ProblemError`]; the problem is then as before.
    pub(crate) fn add_acks(
        &mut self,
        crossing: &Crossing<'_>,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        if lost > sent {
            return Err(ProblemError::LostMoreThanSent { lost, sent });
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        parts.extend(acks_cross(crossing));
        let added = self.probes.add_acks(Counted {
            parts: &parts,
            links: crossing.links,
            elsewhere: crossing.elsewhere,
            sent: sent as f64,
            lost: lost as f64,
        });
        self.parts = parts;
        added
    }

    /// Adds an observation that has been counted.
    fn add_parts(
        &mut self,
        parts: &[Part],
        links: f64,
        elsewhere: f64,
        (sent, lost): (u64, u64),
    ) -> Result<(), ProblemError> {
        let (trials, failures) = (sent as f64, lost as f64);
        self.sent = self.sent.saturating_add(sent);
        self.lost = self.lost.saturating_add(lost);
        let counted = |sent, lost| Counted {
            parts,
            links,
            elsewhere,
            sent,
            lost,
        };
        if !self.rates_only && lost > 0 && failures >= DEAD_SHARE * trials {
            return self.doubtful.add(counted(trials, failures));
        }
        self.paths.add(counted(1.0, 0.0))?;
        self.probes.add(counted(trials, failures))
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
        let last = nodes.len() - 1;
        for (index, pair) in nodes.windows(2).enumerate() {
            let between = index > 0 && index + 1 < last;
            self.collect(Key::Link(pair[0], pair[1]), weight, between)?;
        }
        for (index, node) in nodes.iter().enumerate() {
            let end = index == 0 || index == last;
            let key = if !end {
                Key::Switch(*node)
            } else if self.known.rnics.contains_key(node) {
                Key::Rnic(*node)
            } else {
                Key::Host(*node)
            };
            self.collect(key, weight, index > 1 && index + 2 <= last)?;
            if end && let Some(host) = self.known.hosts_of.get(node).copied() {
                self.collect(Key::Host(host), weight, false)?;
            }
        }
        self.path_nodes = nodes;
        Ok(())
    }

    fn collect(&mut self, key: Key, weight: f64, between: bool) -> Result<(), ProblemError> {
        let id = self.intern_key(key)?;
        let mark = &mut self.touched[id.index()];
        if mark.0 == self.observations {
            self.scratch[mark.1].sum += weight;
        } else {
            *mark = (self.observations, self.scratch.len());
            self.scratch.push(Gathered {
                component: id,
                sum: weight,
                between,
            });
        }
        Ok(())
    }

    fn node(&mut self, name: &str) -> Result<u32, ProblemError> {
        if let Some(node) = self.known.nodes.get(name) {
            return Ok(*node);
        }
        let node = u32::try_from(self.known.names.len()).map_err(|_| ProblemError::TooMany)?;
        let known = Arc::make_mut(&mut self.known);
        known.nodes.insert(name.to_owned(), node);
        known.names.push(name.to_owned());
        Ok(node)
    }

    /// The component's id in this problem, made if missing.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub(crate) fn intern(&mut self, component: Component) -> Result<ComponentId, ProblemError> {
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
                Arc::make_mut(&mut self.known)
                    .rnics
                    .entry(node)
                    .or_insert(rnic);
                Key::Rnic(node)
            }
        };
        self.intern_key(key)
    }

    fn intern_key(&mut self, key: Key) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.known.ids.get(&key) {
            return Ok(*id);
        }
        let id = ComponentId(
            u32::try_from(self.known.components.len()).map_err(|_| ProblemError::TooMany)?,
        );
        let name = |node: u32| self.known.names[node as usize].clone();
        let component = match key {
            Key::Link(from, to) => Component::Link {
                from: name(from),
                to: name(to),
            },
            Key::Switch(node) => Component::Switch { name: name(node) },
            Key::Host(node) => Component::Host { name: name(node) },
            Key::Rnic(node) => match self.known.rnics.get(&node) {
                Some(rnic) => Component::rnic(rnic.clone()),
                None => Component::Host { name: name(node) },
            },
        };
        let known = Arc::make_mut(&mut self.known);
        known.components.push(component);
        known.ids.insert(key, id);
        self.touched.push((0, 0));
        self.probes.grow();
        self.paths.grow();
        self.doubtful.grow();
        Ok(id)
    }
}
