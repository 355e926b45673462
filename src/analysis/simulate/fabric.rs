//! Regular fabrics and the paths through them.

use super::error::PlanError;
use super::fault::FaultKind;
use crate::analysis::localize::Component;
use crate::topology::wiring::file::{File, HostEntry, Link};

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
}

/// Most hosts that a simulated fabric may have.
const MAX_HOSTS: usize = 1 << 20;

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
            _ => Ok(()),
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
            Shape::LeafSpine { tors, hosts, .. } => tors * hosts,
        }
    }

    /// Name of a host.
    pub fn host(index: usize) -> String {
        format!("h{index}")
    }

    /// Number of a host's ToR.
    const fn tor_of(&self, host: usize) -> usize {
        match self.shape {
            Shape::FatTree { k } => host / (k / 2),
            Shape::LeafSpine { hosts, .. } => host / hosts,
        }
    }

    /// Number of shortest paths between two different hosts.
    pub(crate) const fn path_count(&self, source: usize, destination: usize) -> usize {
        let (from, to) = (self.tor_of(source), self.tor_of(destination));
        if from == to {
            return 1;
        }
        match self.shape {
            Shape::FatTree { k } if from / (k / 2) == to / (k / 2) => k / 2,
            Shape::FatTree { k } => k * k / 4,
            Shape::LeafSpine { spines, .. } => spines,
        }
    }

    /// The nodes of one of the shortest paths, `choice` below [`Fabric::path_count`].
    pub fn path(&self, source: usize, destination: usize, choice: usize) -> Vec<String> {
        let (from, to) = (self.tor_of(source), self.tor_of(destination));
        let mut path = vec![Self::host(source), format!("tor{from}")];
        if from != to {
            self.climb(from, to, choice, &mut path);
            path.push(format!("tor{to}"));
        }
        path.push(Self::host(destination));
        path
    }

    /// The switches between two ToRs.
    fn climb(&self, from: usize, to: usize, choice: usize, path: &mut Vec<String>) {
        match self.shape {
            Shape::LeafSpine { .. } => path.push(format!("spine{choice}")),
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
            FaultKind::Switch | FaultKind::Blackhole => {
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
        }
    }

    /// Both directions of the hosts' cables.
    pub(super) fn host_links(&self) -> impl Iterator<Item = Component> + '_ {
        (0..self.hosts())
            .flat_map(|host| both_ways((Self::host(host), format!("tor{}", self.tor_of(host)))))
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
                .map(|host| HostEntry::new(Self::host(host), format!("tor{}", self.tor_of(host))))
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
