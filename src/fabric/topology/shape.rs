//! How large an emulated fabric is, and what cannot be built.

use serde::{Deserialize, Serialize};

/// How large a fabric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// Spine switches.
    pub spines: u32,
    /// ToR switches, over all pods.
    pub tors: u32,
    /// Hosts under each ToR.
    pub hosts: u32,
    /// RNICs of each host.
    pub rnics: u32,
    /// Pods; 0 for a fabric of two tiers.
    pub pods: u32,
    /// Aggregation switches of each pod; unused without pods.
    pub aggs: u32,
    /// Whether all switches hash alike. Those above a ToR then see only the 5-tuples that its hash sends there, and divide
    /// them unevenly: polarisation.
    pub one_hash: bool,
}

impl Default for Shape {
    /// The lab's: 4 spines, 8 ToRs, 8 hosts per ToR, 2 RNICs per host, no pods.
    fn default() -> Self {
        Self {
            spines: 4,
            tors: 8,
            hosts: 8,
            rnics: 2,
            pods: 0,
            aggs: 2,
            one_hash: false,
        }
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
    /// The most RNICs of a fabric.
    pub const MAX_RNICS: u64 = 65_536;

    /// Whether it can be built.
    ///
    /// # Errors
    /// [`ShapeError`] names the count that is impossible.
    pub fn check(&self) -> Result<(), ShapeError> {
        let counts = [
            ("spines", self.spines, 1, 256),
            ("tors", self.tors, 1, 256),
            ("hosts per ToR", self.hosts, 1, 256),
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
        Ok(())
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
        let divisions = [
            ("ToRs", self.tors, "pods", self.pods),
            ("spines", self.spines, "planes", self.aggs),
        ];
        for (what, count, among, parts) in divisions {
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
}
