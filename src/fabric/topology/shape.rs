//! How large an emulated fabric is, and what cannot be built.

use serde::{Deserialize, Serialize};

/// How large a fabric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// Spine switches.
    pub spines: u32,
    /// ToR switches, over all pods; with rails, planes or bonds groups of leaves: each rail has so many leaves.
    pub tors: u32,
    /// Hosts under each ToR, or in each group.
    pub hosts: u32,
    /// RNICs of each host.
    pub rnics: u32,
    /// Rails: RNIC `i` of each host is cabled to the leaf of rail `i mod rails`; 1 where all are under one ToR.
    pub rails: u32,
    /// Planes: disjoint sets of spines (with pods of aggregation switches, too) that no path connects.
    pub planes: u32,
    /// Whether each RNIC is a bond with two leaves.
    pub bonds: bool,
    /// Pods; 0 for a fabric of two tiers.
    pub pods: u32,
    /// Aggregation switches of each pod; unused without pods.
    pub aggs: u32,
    /// Whether all switches hash alike. Those above a ToR then see only the 5-tuples that its hash sends there, and divide
    /// them unevenly: polarisation.
    pub one_hash: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A shape that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A count outside its range.
    #[error("{what}: {count} is impossible, expected {least} to {most}")]
    Count {
        /// What is counted (`spines`).
        what: &'static str,
        /// The number given.
        count: u32,
        /// Smallest allowed.
        least: u32,
        /// Largest allowed.
        most: u32,
    },
    /// Too many RNICs in all.
    #[error("{0} RNICs are too many: at most {max} can be emulated", max = Shape::MAX_RNICS)]
    Rnics(u64),
    /// Things that cannot be divided evenly.
    #[error("{count} {what} cannot be divided evenly among {parts} {among}")]
    Uneven {
        /// What is divided.
        what: &'static str,
        /// How many there are.
        count: u32,
        /// Among what.
        among: &'static str,
        /// Among how many.
        parts: u32,
    },
}

impl Shape {
    /// The lab's: 4 spines, 8 ToRs, 8 hosts per ToR, 2 RNICs per host, one rail, one plane, no bonds, no pods.
    pub const DEFAULT: Self = Self {
        spines: 4,
        tors: 8,
        hosts: 8,
        rnics: 2,
        rails: 1,
        planes: 1,
        bonds: false,
        pods: 0,
        aggs: 2,
        one_hash: false,
    };

    /// The most RNICs of a fabric.
    pub const MAX_RNICS: u64 = 65_536;

    /// As many RNICs as [`Self::DEFAULT`] has, on rails or planes: each host has one RNIC on each rail or plane, and at
    /// least two; each rail has at least two leaves.
    #[must_use]
    pub fn on(rails: u32, planes: u32) -> Self {
        let plain = Self::DEFAULT;
        let rnics = rails.max(planes).max(plain.rnics);
        Self {
            rails,
            planes,
            rnics,
            tors: (plain.tors * plain.rnics / rnics).max(2),
            spines: plain.spines.max(planes),
            ..plain
        }
    }

    /// The classes of RNICs that differ in their leaves: rails, or planes where there are no rails.
    pub(super) const fn classes(self) -> u32 {
        if self.rails > 1 {
            self.rails
        } else {
            self.planes
        }
    }

    /// Cables of each RNIC.
    pub(super) const fn cables(self) -> u32 {
        if self.bonds { 2 } else { 1 }
    }

    pub(super) const fn leaves_per_group(self) -> u32 {
        self.classes() * self.cables()
    }

    /// ToRs, over all groups.
    pub(crate) const fn leaves(self) -> u32 {
        self.tors * self.leaves_per_group()
    }

    /// Cables of a ToR to the switches above.
    pub(crate) const fn leaf_ports(self) -> u32 {
        let above = if self.pods == 0 {
            self.spines
        } else {
            self.aggs
        };
        above / self.planes
    }

    /// The rail of an RNIC by its number on its host; without rails its plane.
    pub(crate) const fn class_of(self, rnic: u32) -> u32 {
        rnic % self.classes()
    }

    /// The plane of an RNIC by its number on its host.
    pub(crate) const fn plane_of(self, rnic: u32) -> u32 {
        self.class_of(rnic) % self.planes
    }

    /// The ToR of an RNIC by its group and its number on its host; of a bond the first one, the second one is next to it.
    pub(crate) const fn leaf_of(self, group: u32, rnic: u32) -> u32 {
        group * self.leaves_per_group() + self.class_of(rnic) * self.cables()
    }

    pub(crate) const fn plane_of_leaf(self, leaf: u32) -> u32 {
        leaf % self.leaves_per_group() / self.cables() % self.planes
    }

    /// `tor3`; `leaf3-r0` on rails, `leaf3-p0` on planes alone, with `a` or `b` behind it where RNICs are bonds.
    pub(crate) fn leaf_name(self, leaf: u32) -> String {
        let group = leaf / self.leaves_per_group();
        let class = leaf % self.leaves_per_group() / self.cables();
        let side = match (self.bonds, leaf % self.cables()) {
            (false, _) => "",
            (true, 0) => "a",
            (true, _) => "b",
        };
        if self.rails > 1 {
            format!("leaf{group}-r{class}{side}")
        } else if self.planes > 1 {
            format!("leaf{group}-p{class}{side}")
        } else if self.bonds {
            format!("leaf{group}{side}")
        } else {
            format!("tor{group}")
        }
    }

    /// Whether it can be built.
    ///
    /// # Errors
    /// [`ShapeError`] names the count that is impossible.
    pub fn check(&self) -> Result<(), ShapeError> {
        let counts = [
            ("spines", self.spines, 1, 256),
            ("tors", self.tors, 1, 256),
            ("hosts per ToR", self.hosts, 1, 256),
            ("rails", self.rails, 1, 16),
            ("planes", self.planes, 1, 16),
            ("RNICs per host", self.rnics, 1, 16),
            ("pods", self.pods, 0, 256),
        ];
        for (what, count, least, most) in counts {
            if !(least..=most).contains(&count) {
                return Err(ShapeError::Count {
                    what,
                    count,
                    least,
                    most,
                });
            }
        }
        let rnics = u64::from(self.tors) * u64::from(self.hosts) * u64::from(self.rnics);
        if rnics > Self::MAX_RNICS {
            return Err(ShapeError::Rnics(rnics));
        }
        if self.pods > 0 {
            self.check_pods()?;
        }
        self.check_planes()
    }

    fn check_planes(&self) -> Result<(), ShapeError> {
        let mut divisions = vec![("spines", self.spines, "planes", self.planes)];
        if self.pods > 0 {
            divisions.push((
                "aggregation switches per pod",
                self.aggs,
                "planes",
                self.planes,
            ));
        }
        if self.rails > 1 {
            divisions.push(("rails", self.rails, "planes", self.planes));
            divisions.push(("RNICs per host", self.rnics, "rails", self.rails));
        } else {
            divisions.push(("RNICs per host", self.rnics, "planes", self.planes));
        }
        divide(&divisions)
    }

    fn check_pods(&self) -> Result<(), ShapeError> {
        if !(1..=self.spines).contains(&self.aggs) {
            return Err(ShapeError::Count {
                what: "aggregation switches per pod",
                count: self.aggs,
                least: 1,
                most: self.spines,
            });
        }
        divide(&[
            ("ToRs", self.tors, "pods", self.pods),
            ("spines", self.spines, "aggregation switches", self.aggs),
        ])
    }
}

/// Whether so many things can be divided evenly among so many others: what, how many, among what, among how many.
fn divide(divisions: &[(&'static str, u32, &'static str, u32)]) -> Result<(), ShapeError> {
    for (what, count, among, parts) in divisions.iter().copied() {
        if !count.is_multiple_of(parts) {
            return Err(ShapeError::Uneven {
                what,
                count,
                among,
                parts,
            });
        }
    }
    Ok(())
}
