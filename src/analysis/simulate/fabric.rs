//! Regular fabrics and the paths through them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::error::PlanError;
use super::fault::FaultKind;
use crate::analysis::localize::Component;
use crate::fault::FaultError;
use crate::fault::pattern::{LinkPattern, fits, near_matches};
use crate::id::RnicName;
use crate::topology::wiring::file::{File, HostEntry, Link, RnicEntry};

/// A family of fabrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A three-tier fat tree of switches with `k` ports (Al-Fares et al., SIGCOMM 2008): k³/4 hosts.
    FatTree {
        /// Ports per switch, even.
        k: usize,
    },
    /// ToRs, each cabled to every spine.
    LeafSpine {
        /// Spines.
        spines: usize,
        /// ToRs.
        tors: usize,
        /// Hosts at each ToR.
        hosts: usize,
    },
    /// Hosts with an RNIC on each rail: `h3/mlx5_1` is cabled to `leaf0-r1`. Each leaf is cabled to the spines of its plane.
    Rails(Rails),
}

/// Rails and planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rails {
    /// Rails: RNICs of each host.
    pub rails: usize,
    /// Disjoint sets of spines; rail `r` is in plane `r mod planes`.
    pub planes: usize,
    /// Spines, over all planes.
    pub spines: usize,
    /// Leaves of each rail.
    pub tors: usize,
    /// Hosts at each leaf.
    pub hosts: usize,
}

/// Most hosts, or RNICs on rails, that a simulated fabric may have.
const MAX_HOSTS: usize = 1 << 20;

/// Share of the 5-tuples of an RNIC that stay on its rail, where its plane has others: `pinglist.same_rail` by default.
const SAME_RAIL: f64 = 0.75;

impl Rails {
    fn check(self) -> Result<(), PlanError> {
        let fault = |what, value: usize, why| {
            Err(PlanError::Value {
                what,
                value: value.to_string(),
                why,
            })
        };
        let Self {
            rails,
            planes,
            spines,
            tors,
            hosts,
        } = self;
        if !(1..=64).contains(&rails) {
            return fault("rails", rails, "expected 1 to 64");
        }
        if planes == 0 || !rails.is_multiple_of(planes) {
            return fault(
                "planes",
                planes,
                "the rails cannot be divided evenly among them",
            );
        }
        if !(1..=4096).contains(&spines) || !spines.is_multiple_of(planes) {
            return fault(
                "spines",
                spines,
                "expected 1 to 4096 that can be divided evenly among the planes",
            );
        }
        if !(2..=65536).contains(&tors) {
            return fault("tors", tors, "expected 2 to 65536 on each rail");
        }
        let rnics = tors
            .checked_mul(hosts)
            .and_then(|all| all.checked_mul(rails));
        if hosts == 0 || rnics.is_none_or(|all| all > MAX_HOSTS) {
            return fault(
                "hosts",
                hosts,
                "expected at least 1, and at most 1048576 RNICs in all",
            );
        }
        Ok(())
    }

    const fn rail(self, rnic: usize) -> usize {
        rnic % self.rails
    }

    const fn plane(self, rnic: usize) -> usize {
        self.rail(rnic) % self.planes
    }

    /// Spines of each plane.
    const fn spines_of_plane(self) -> usize {
        self.spines / self.planes
    }

    /// Which of the leaves of its rail an RNIC is at.
    const fn group(self, rnic: usize) -> usize {
        rnic / self.rails / self.hosts
    }

    fn leaf(self, rnic: usize) -> String {
        format!("leaf{}-r{}", self.group(rnic), self.rail(rnic))
    }

    fn spine(self, rnic: usize, choice: usize) -> String {
        format!(
            "spine{}",
            self.plane(rnic) * self.spines_of_plane() + choice
        )
    }

    fn device(rail: usize) -> String {
        format!("mlx5_{rail}")
    }

    fn name(self, rnic: usize) -> RnicName {
        RnicName::new(
            Fabric::host(rnic / self.rails),
            Self::device(self.rail(rnic)),
        )
    }

    /// An RNIC of another host that is reached.
    fn destination(self, source: usize, rng: &mut ChaCha8Rng) -> usize {
        let hosts = self.tors * self.hosts;
        let own = source / self.rails;
        let other = rng.random_range(0..hosts - 1);
        let host = if other >= own { other + 1 } else { other };
        let mut rail = self.rail(source);
        let of_plane = self.rails / self.planes;
        if of_plane > 1 && !rng.random_bool(SAME_RAIL) {
            let step = rng.random_range(1..of_plane);
            rail = (rail + step * self.planes) % self.rails;
        }
        host * self.rails + rail
    }

    fn links(self) -> Vec<(String, String)> {
        let leaves = (0..self.tors).flat_map(|group| {
            (0..self.rails).map(move |rail| group * self.hosts * self.rails + rail)
        });
        leaves
            .flat_map(|rnic| {
                (0..self.spines_of_plane())
                    .map(move |choice| (self.leaf(rnic), self.spine(rnic, choice)))
            })
            .collect()
    }

    fn host_entry(self, host: usize) -> HostEntry {
        let rnics = (0..self.rails).map(|rail| RnicEntry {
            device: Self::device(rail),
            tor: Some(self.leaf(host * self.rails + rail)),
            tors: None,
        });
        HostEntry {
            name: Fabric::host(host),
            tor: None,
            rnics: Some(rnics.collect()),
        }
    }
}

impl Shape {
    pub(super) fn check(self) -> Result<(), PlanError> {
        let fault = |what, value: usize, why| {
            Err(PlanError::Value {
                what,
                value: value.to_string(),
                why,
            })
        };
        match self {
            Self::FatTree { k } if k < 2 || k % 2 == 1 || k > 128 => {
                fault("k", k, "expected an even number from 2 to 128")
            }
            Self::LeafSpine { spines, .. } if !(1..=4096).contains(&spines) => {
                fault("spines", spines, "expected 1 to 4096")
            }
            Self::LeafSpine { tors, .. } if !(2..=65536).contains(&tors) => {
                fault("tors", tors, "expected 2 to 65536")
            }
            Self::LeafSpine { tors, hosts, .. }
                if hosts == 0 || tors.checked_mul(hosts).is_none_or(|all| all > MAX_HOSTS) =>
            {
                fault(
                    "hosts",
                    hosts,
                    "expected at least 1, and at most 1048576 in all",
                )
            }
            Self::Rails(rails) => rails.check(),
            Self::FatTree { .. } | Self::LeafSpine { .. } => Ok(()),
        }
    }
}

/// A fabric with names.
#[derive(Debug, Clone)]
pub struct Fabric {
    shape: Shape,
}

impl Fabric {
    /// A fabric of a checked shape.
    ///
    /// # Errors
    /// [`PlanError::Value`].
    pub fn new(shape: Shape) -> Result<Self, PlanError> {
        shape.check()?;
        Ok(Self { shape })
    }

    /// Number of hosts.
    pub const fn hosts(&self) -> usize {
        match self.shape {
            Shape::FatTree { k } => k * k * k / 4,
            Shape::LeafSpine { tors, hosts, .. } | Shape::Rails(Rails { tors, hosts, .. }) => {
                tors * hosts
            }
        }
    }

    /// Number of what probes: hosts, or RNICs on rails.
    pub const fn ends(&self) -> usize {
        match self.shape {
            Shape::FatTree { .. } | Shape::LeafSpine { .. } => self.hosts(),
            Shape::Rails(rails) => self.hosts() * rails.rails,
        }
    }

    /// Name of what probes.
    fn end(&self, index: usize) -> String {
        match self.shape {
            Shape::FatTree { .. } | Shape::LeafSpine { .. } => Self::host(index),
            Shape::Rails(rails) => rails.name(index).to_string(),
        }
    }

    /// Another end that `source` reaches, drawn.
    pub(super) fn destination(&self, source: usize, rng: &mut ChaCha8Rng) -> usize {
        match self.shape {
            Shape::FatTree { .. } | Shape::LeafSpine { .. } => {
                let other = rng.random_range(0..self.hosts() - 1);
                if other >= source { other + 1 } else { other }
            }
            Shape::Rails(rails) => rails.destination(source, rng),
        }
    }

    /// Name of a host.
    pub fn host(index: usize) -> String {
        format!("h{index}")
    }

    /// Number of an end's ToR.
    const fn tor_of(&self, end: usize) -> usize {
        match self.shape {
            Shape::FatTree { k } => end / (k / 2),
            Shape::LeafSpine { hosts, .. } => end / hosts,
            Shape::Rails(rails) => rails.group(end) * rails.rails + rails.rail(end),
        }
    }

    fn tor(&self, end: usize) -> String {
        match self.shape {
            Shape::FatTree { .. } | Shape::LeafSpine { .. } => format!("tor{}", self.tor_of(end)),
            Shape::Rails(rails) => rails.leaf(end),
        }
    }

    /// Number of shortest paths between two different ends that reach each other.
    pub(crate) const fn path_count(&self, source: usize, destination: usize) -> usize {
        let (from, to) = (self.tor_of(source), self.tor_of(destination));
        if from == to {
            return 1;
        }
        match self.shape {
            Shape::FatTree { k } if from / (k / 2) == to / (k / 2) => k / 2,
            Shape::FatTree { k } => k * k / 4,
            Shape::LeafSpine { spines, .. } => spines,
            Shape::Rails(rails) => rails.spines_of_plane(),
        }
    }

    /// The nodes of one of the shortest paths, `choice` below [`Fabric::path_count`].
    pub fn path(&self, source: usize, destination: usize, choice: usize) -> Vec<String> {
        let (from, to) = (self.tor_of(source), self.tor_of(destination));
        let mut path = vec![self.end(source), self.tor(source)];
        if from != to {
            match self.shape {
                Shape::Rails(rails) => path.push(rails.spine(source, choice)),
                Shape::FatTree { .. } | Shape::LeafSpine { .. } => {
                    self.climb(from, to, choice, &mut path);
                }
            }
            path.push(self.tor(destination));
        }
        path.push(self.end(destination));
        path
    }

    /// The switches between two ToRs.
    fn climb(&self, from: usize, to: usize, choice: usize, path: &mut Vec<String>) {
        match self.shape {
            Shape::LeafSpine { .. } | Shape::Rails(_) => path.push(format!("spine{choice}")),
            Shape::FatTree { k } => {
                let half = k / 2;
                let (from_pod, to_pod) = (from / half, to / half);
                if from_pod == to_pod {
                    path.push(format!("agg{from_pod}-{choice}"));
                } else {
                    let (plane, core) = (choice / half, choice % half);
                    path.push(format!("agg{from_pod}-{plane}"));
                    path.push(format!("spine{}", plane * half + core));
                    path.push(format!("agg{to_pod}-{plane}"));
                }
            }
        }
    }

    /// Cables between switches.
    pub(crate) fn fabric_links(&self) -> Vec<(String, String)> {
        match self.shape {
            Shape::LeafSpine { spines, tors, .. } => (0..tors)
                .flat_map(|tor| {
                    (0..spines).map(move |spine| (format!("tor{tor}"), format!("spine{spine}")))
                })
                .collect(),
            Shape::FatTree { k } => {
                let half = k / 2;
                let lower = (0..k * half).flat_map(move |tor| {
                    (0..half)
                        .map(move |agg| (format!("tor{tor}"), format!("agg{}-{agg}", tor / half)))
                });
                let upper = (0..k * half).flat_map(move |agg| {
                    (0..half).map(move |core| {
                        (
                            format!("agg{}-{}", agg / half, agg % half),
                            format!("spine{}", agg % half * half + core),
                        )
                    })
                });
                lower.chain(upper).collect()
            }
            Shape::Rails(rails) => rails.links(),
        }
    }

    /// The components of which a fault of a kind is drawn.
    pub(super) fn components(&self, kind: FaultKind) -> Vec<Component> {
        match kind {
            FaultKind::Link => self
                .fabric_links()
                .into_iter()
                .flat_map(both_ways)
                .collect(),
            FaultKind::Switch => {
                let mut names: Vec<String> = self
                    .fabric_links()
                    .into_iter()
                    .flat_map(|(a, b)| [a, b])
                    .collect();
                names.sort();
                names.dedup();
                names
                    .into_iter()
                    .map(|name| Component::Switch { name })
                    .collect()
            }
            FaultKind::Host => (0..self.hosts())
                .map(|host| Component::Host {
                    name: Self::host(host),
                })
                .collect(),
            FaultKind::Rnic => match self.shape {
                // Their hosts have one each, and stand for it.
                Shape::FatTree { .. } | Shape::LeafSpine { .. } => Vec::new(),
                Shape::Rails(rails) => (0..self.ends())
                    .map(|rnic| Component::rnic(rails.name(rnic)))
                    .collect(),
            },
        }
    }

    /// The components of a kind that have a name, in which `*` stands for any text. Host links fail when they are asked
    /// for; they are not drawn.
    ///
    /// # Errors
    /// [`FaultError::Unknown`]: there is none.
    pub(super) fn named(&self, kind: FaultKind, name: &str) -> Result<Vec<Component>, FaultError> {
        let mut all = self.components(kind);
        if kind == FaultKind::Link {
            all.extend(self.host_links());
        }
        let pattern = LinkPattern::new(name);
        let (found, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|component| match component {
                Component::Link { from, to } => pattern.fits(from, to),
                node => node.node().is_some_and(|node| fits(name, &node)),
            });
        if !found.is_empty() {
            return Ok(found);
        }
        let names: Vec<_> = others
            .iter()
            .map(|component| match component {
                Component::Link { from, to } => pattern.written(from, to),
                node => node.node().unwrap_or_default().into_owned(),
            })
            .collect();
        Err(FaultError::Unknown {
            kind: kind.name(),
            name: name.to_owned(),
            near: near_matches(name, names.iter().map(String::as_str)),
        })
    }

    /// Both directions of the hosts' cables.
    pub(super) fn host_links(&self) -> impl Iterator<Item = Component> + '_ {
        (0..self.ends()).flat_map(|end| both_ways((self.end(end), self.tor(end))))
    }

    /// The topology as `rpingmesh localize` reads it.
    pub fn topology(&self) -> File {
        File {
            links: self
                .fabric_links()
                .into_iter()
                .map(|(a, b)| Link { a, b })
                .collect(),
            hosts: (0..self.hosts())
                .map(|host| match self.shape {
                    Shape::FatTree { .. } | Shape::LeafSpine { .. } => {
                        HostEntry::new(Self::host(host), self.tor(host))
                    }
                    Shape::Rails(rails) => rails.host_entry(host),
                })
                .collect(),
            switches: Vec::new(),
        }
    }
}

fn both_ways((a, b): (String, String)) -> [Component; 2] {
    [
        Component::Link {
            from: a.clone(),
            to: b.clone(),
        },
        Component::Link { from: b, to: a },
    ]
}
