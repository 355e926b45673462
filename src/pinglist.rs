//! The pinglists: what every RNIC probes. ToR-mesh lists, and inter-ToR lists with enough 5-tuples for all ECMP paths.
//!
//! [`PinglistPlan`] is a topology seen under a [`Policy`] at one moment. It computes the list of one agent from the
//! agent's own position alone, so the cost of an answer is proportional to its length; nothing is stored per 5-tuple.
//! The same topology, policy and hour give the same lists in every controller.
//!
//! **Inter-ToR.** For each ordered pair of ToRs with `N` parallel paths, Eq. (1) ([`coverage`]) gives the number `k` of
//! 5-tuples. Slot `i` of the `k` goes from source RNIC `i mod S` to destination RNICs in turn, under a UDP source port
//! that no other slot of the pair has. Each hour one fifth of the slots takes new ports (the paper's rotation of about
//! 20 %); the others keep theirs.
//!
//! **Sparse matrix.** While the RNICs of the fabric can send all 5-tuples once per `tuple_interval`, all pairs of
//! connected ToRs are probed, and all RNICs of a ToR probe each other. In a larger fabric each ToR probes only so many
//! partner ToRs ([`partners`]), and each RNIC [`MESH_PARTNERS`] others under its own ToR; what an agent probes then does
//! not grow with the fabric. ToRs that no path connects (planes) are never probed from each other.
//!
//! **Rates.** A ToR's RNICs together send `N` times the rate per link, so that each of its uplinks, and by symmetry
//! each downlink, carries at least that rate when ECMP spreads evenly. If the budget per RNIC is too small, the missing
//! part is reported as [`Shortfall`].

mod changes;
pub(crate) mod coverage;
pub mod delta;
pub mod focus;
pub mod forecast;
pub(crate) mod mix;
mod pair;
mod partners;
mod paths;
mod plan;
mod shortfalls;
mod site;
mod version;

use std::sync::Arc;
use std::time::Duration;

use crate::id::{FlowLabel, Gid, TorId};
use crate::time::WallTime;
use crate::topology::Peer;
use crate::transport::SourcePortSteering;

pub use changes::Changed;
pub use paths::Paths;
pub use plan::{Matrix, PinglistPlan};

/// Fraction of the slots that one rotation changes, as its inverse.
pub(crate) const ROTATION_COHORTS: u64 = 5;

/// RNICs under its own ToR that each RNIC probes in a sparse matrix.
pub(crate) const MESH_PARTNERS: usize = 6;

/// Inter-ToR 5-tuples per RNIC in a sparse matrix, on average over the RNICs of a ToR: bounds the partners of small ToRs.
pub(crate) const SPARSE_TUPLES: usize = 60;

/// The fewest partners of a ToR in a sparse matrix: with one, the links on both sides would be crossed by the same 5-tuples.
pub(crate) const MIN_PARTNERS: usize = 2;

/// Slots per ToR pair beyond which distinct ports for the next rotation run out.
pub(crate) const MAX_SLOTS: u32 = 8192;

/// What pinglists must achieve and may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Decides which ports are drawn; several controllers of one fabric use the same.
    pub seed: u64,
    /// P of Eq. (1).
    pub coverage: f64,
    /// N of Eq. (1).
    pub paths: Paths,
    /// ToR-mesh probes per second and RNIC.
    pub tor_mesh_rate: f64,
    /// Inter-ToR probes per second that each link above a ToR gets at least, per direction.
    pub link_rate: f64,
    /// Probes per second and RNIC over both kinds.
    pub rnic_budget: f64,
    /// Inter-ToR 5-tuples per RNIC.
    pub max_tuples: u32,
    /// How often a fifth of the 5-tuples changes.
    pub rotation: Duration,
    /// The longest time between two probes of an inter-ToR 5-tuple. It bounds how many ToRs a ToR probes at a time.
    pub tuple_interval: Duration,
    /// Where hosts have their RNICs under several ToRs (rails): fraction of a ToR's partners that are of its own rail.
    pub same_rail: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            seed: 0,
            coverage: 0.99,
            paths: Paths::Uniform(16),
            tor_mesh_rate: 10.0,
            link_rate: 10.0,
            rnic_budget: 100.0,
            max_tuples: 8192,
            rotation: Duration::from_hours(1),
            tuple_interval: Duration::from_secs(10),
            same_rail: 0.75,
        }
    }
}

impl Policy {
    /// Rotations since the Unix epoch: a plan made in another period is out of date.
    pub fn period(&self, now: WallTime) -> u64 {
        let length = self.rotation.as_nanos().max(1);
        let since_epoch = u128::try_from(now.nanos()).unwrap_or(0);
        u64::try_from(since_epoch / length).unwrap_or(0)
    }
}

/// Why a list is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKind {
    /// All RNICs under the same ToR.
    TorMesh,
    /// RNICs under other ToRs, over all paths between.
    InterTor,
}

/// One 5-tuple to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub peer: Arc<Peer>,
    /// Which path.
    pub flow_label: FlowLabel,
}

/// Targets that share one rate, taken in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Why.
    pub kind: GroupKind,
    /// Probes per second of the whole group.
    pub probes_per_second: f64,
    /// The 5-tuples.
    pub targets: Vec<Target>,
}

/// The pinglist of one RNIC.
#[derive(Debug, Clone, PartialEq)]
pub struct RnicPinglist {
    /// The RNIC.
    pub source: Gid,
    /// At most one group per kind; none is empty.
    pub groups: Vec<Group>,
}

/// The pinglist of one agent, and the coverage that it does not reach.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pinglist {
    /// One entry for each of the agent's RNICs.
    pub rnics: Vec<RnicPinglist>,
    /// What the budget or the RNICs' abilities cut off, for the ToRs of this agent.
    pub shortfalls: Vec<Shortfall>,
}

/// The reason why a pair of ToRs is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// `max_tuples`, the number of 5-tuples per RNIC.
    Tuples,
    /// `rnic_budget`: too few probes per second to send all 5-tuples between two rotations.
    Rate,
    /// The source RNICs cannot choose that many UDP source ports.
    SourcePorts,
    /// The two ToRs have no routable address family in common.
    AddressFamily,
}

/// A coverage below what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortfall {
    /// Probes go from under this ToR.
    pub source: TorId,
    /// To under this one.
    pub target: TorId,
    /// The strongest limit.
    pub limit: Limit,
    /// Parallel paths between the two.
    pub paths: u32,
    /// Distinct 5-tuples probed between two rotations.
    pub tuples: u32,
    /// As Eq. (1) asks for.
    pub wanted_tuples: u32,
    /// The probability reached that all paths are touched.
    pub coverage: f64,
    /// Probes per second and link that the source ToR's uplinks get.
    pub link_rate: f64,
}

/// How many UDP source ports an RNIC can choose among.
fn steerable_ports(steering: &SourcePortSteering) -> u32 {
    match steering {
        SourcePortSteering::FlowLabel => MAX_SLOTS,
        SourcePortSteering::QueuePair(ports) => {
            u32::try_from(ports.len()).unwrap_or(MAX_SLOTS).max(1)
        }
        SourcePortSteering::Driver => 1,
    }
}

#[cfg(test)]
mod tests;
