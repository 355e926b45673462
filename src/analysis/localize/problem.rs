//! Observations on paths, brought into the form that the search works on.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that can lose packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Component {
    /// One direction of a cable.
    Link {
        /// The end that sends.
        from: String,
        /// The end that receives.
        to: String,
    },
    /// A switch, with all its ports.
    Switch {
        /// Its name.
        name: String,
    },
    /// A host, with its RNICs.
    Host {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { from, to } => write!(f, "link {from}->{to}"),
            Self::Switch { name } => write!(f, "switch {name}"),
            Self::Host { name } => write!(f, "host {name}"),
        }
    }
}

/// A component's index in its [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(pub u32);

impl ComponentId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What was observed between two hosts in a window.
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
    pub(super) lost: f64,
}

/// Probes that a path must have had before losing (nearly) all of them counts as the path being dead.
const DEAD_MIN_LOST: u64 = 8;
/// Share of its probes that a dead path loses.
const DEAD_SHARE: f64 = 0.9;

/// Trials and failures on paths, compressed: successes only as sums per component.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// Trials that passed each component, by share.
    pub(super) passed: Vec<f64>,
    /// Trials across each component, by share.
    pub(super) sent: Vec<f64>,
    pub(super) lossy: Vec<Lossy>,
    /// Lossy observations of each component, with the share.
    pub(super) postings: Vec<Vec<(u32, f64)>>,
    /// Passed trials times links on their paths.
    pub(super) passed_links: f64,
}

impl Evidence {
    fn grow(&mut self) {
        self.passed.push(0.0);
        self.sent.push(0.0);
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
        for part in parts {
            self.passed[part.component.index()] += part.share * (sent - lost);
            self.sent[part.component.index()] += part.share * sent;
        }
        self.passed_links += links * (sent - lost);
        if lost > 0.0 {
            let index = u32::try_from(self.lossy.len()).map_err(|_| ProblemError::TooMany)?;
            for part in parts {
                self.postings[part.component.index()].push((index, part.share));
            }
            self.lossy.push(Lossy {
                parts: parts.to_vec(),
                links,
                lost,
            });
        }
        Ok(())
    }
}

/// Observations of one window, as two bodies of evidence.
///
/// A path that loses all its probes says nothing about a loss *rate*: it is dead, as a down link or a blackhole of some
/// 5-tuples makes it. So dead paths are weighed against living ones, path by path, and rates are told from the probes
/// on living paths alone.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    pub(super) components: Vec<Component>,
    ids: HashMap<Component, ComponentId>,
    /// Trials are the probes on living paths.
    pub(super) probes: Evidence,
    /// Trials are the paths; the dead have failed.
    pub(super) paths: Evidence,
    /// Probes lost on each dead path, in the order of `paths.lossy`.
    pub(super) dead_lost: Vec<u64>,
    observations: u64,
}

impl Problem {
    /// No observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// The components that observations have named.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// A component by its id.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.components[id.index()]
    }

    /// How many observations were added.
    pub const fn observations(&self) -> u64 {
        self.observations
    }

    /// Adds an observation. The first and the last node of a path are hosts, those between switches.
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
        let parts = self.parts(paths)?;
        let nodes: usize = paths.iter().map(|path| path.len() - 1).sum();
        let links = nodes as f64 / paths.len() as f64;
        self.add_parts(&parts, links, *sent, *lost)
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
        self.add_parts(&parts, links, sent, lost)
    }

    fn add_parts(
        &mut self,
        parts: &[Part],
        links: f64,
        sent: u64,
        lost: u64,
    ) -> Result<(), ProblemError> {
        let (trials, failures) = (sent as f64, lost as f64);
        self.observations += 1;
        if lost >= DEAD_MIN_LOST && failures >= DEAD_SHARE * trials {
            self.dead_lost.push(lost);
            return self.paths.add(parts, links, 1.0, 1.0);
        }
        self.paths.add(parts, links, 1.0, 0.0)?;
        self.probes.add(parts, links, trials, failures)
    }

    /// The components of all candidate paths with the share of the candidates that cross each.
    fn parts(&mut self, paths: &[Vec<&str>]) -> Result<Vec<Part>, ProblemError> {
        if paths.is_empty() {
            return Err(ProblemError::NoPath);
        }
        let weight = 1.0 / paths.len() as f64;
        let mut parts: Vec<Part> = Vec::new();
        for path in paths {
            check(path)?;
            for component in components_of(path) {
                let id = self.intern(component)?;
                match parts.iter_mut().find(|part| part.component == id) {
                    Some(part) => part.share += weight,
                    None => parts.push(Part {
                        component: id,
                        share: weight,
                    }),
                }
            }
        }
        Ok(parts)
    }

    /// The component's id in this problem, made if missing.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub fn intern(&mut self, component: Component) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.ids.get(&component) {
            return Ok(*id);
        }
        let id =
            ComponentId(u32::try_from(self.components.len()).map_err(|_| ProblemError::TooMany)?);
        self.components.push(component.clone());
        self.ids.insert(component, id);
        self.probes.grow();
        self.paths.grow();
        Ok(id)
    }
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

fn components_of<'a>(path: &'a [&'a str]) -> impl Iterator<Item = Component> + 'a {
    let links = path.windows(2).map(|pair| Component::Link {
        from: pair[0].to_owned(),
        to: pair[1].to_owned(),
    });
    let switches = path[1..path.len() - 1]
        .iter()
        .map(|name| Component::Switch {
            name: (*name).to_owned(),
        });
    let hosts = [path[0], path[path.len() - 1]]
        .into_iter()
        .map(|name| Component::Host {
            name: name.to_owned(),
        });
    links.chain(switches).chain(hosts)
}
