//! A ToR as a plan sees it.

use std::sync::{Arc, OnceLock};

use crate::id::TorId;
use crate::topology::{Member, Tor};
use crate::transport::SourcePortSteering;

use super::mix::hash;
use super::pair::Ends;

/// A ToR with its RNICs by what they can reach beyond it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: TorId,
    pub(super) tor: Arc<Tor>,
    pub(super) key: u64,
    /// Place in the description of the fabric.
    pub(super) place: Option<usize>,
    pub(super) ipv4: Vec<Arc<Member>>,
    /// Without link-local GIDs, which end at the ToR's segment.
    pub(super) ipv6: Vec<Arc<Member>>,
    /// All RNICs choose their UDP source ports freely, so no slot repeats another.
    pub(super) steers_freely: bool,
    /// Inter-ToR slots of all this ToR's RNICs together.
    pub(super) slots: u64,
    /// Probes per second of each of them.
    pub(super) slot_rate: f64,
    /// Which fraction of the wanted rate the budget allows.
    pub(super) allowed: f64,
    /// In a sparse matrix, computed when first asked for.
    pub(super) sparse: OnceLock<Arc<Sparse>>,
}

/// What the RNICs of a ToR probe in a sparse matrix.
#[derive(Debug)]
pub(super) struct Sparse {
    /// By partner ToR, in the order of the plan's partners: source and target RNIC of each slot.
    pub(super) ends: Vec<Vec<Ends>>,
    /// By RNIC of the ToR: the others under it that it probes.
    pub(super) mesh: Vec<Vec<usize>>,
}

impl Site {
    pub(super) fn new(name: &TorId, tor: &Arc<Tor>, place: Option<usize>) -> Self {
        let members = |ipv4: bool| {
            tor.members
                .iter()
                .filter(|member| member.gid().is_ipv4() == ipv4 && !member.gid().is_link_local())
                .cloned()
                .collect()
        };
        Self {
            name: name.clone(),
            key: hash(name.as_str().as_bytes()),
            place,
            ipv4: members(true),
            ipv6: members(false),
            steers_freely: tor
                .members
                .iter()
                .all(|member| member.steering == SourcePortSteering::FlowLabel),
            tor: tor.clone(),
            slots: 0,
            slot_rate: 0.0,
            allowed: 1.0,
            sparse: OnceLock::new(),
        }
    }

    /// RNICs that probe beyond the ToR, at least 1.
    pub(super) fn probers(&self) -> f64 {
        self.ipv4.len().max(self.ipv6.len()).max(1) as f64
    }

    /// The RNICs of both ToRs in the address family that has more of them on its weaker side.
    pub(super) fn common_family<'a>(
        &'a self,
        other: &'a Self,
    ) -> (&'a [Arc<Member>], &'a [Arc<Member>]) {
        let ipv4 = self.ipv4.len().min(other.ipv4.len());
        let ipv6 = self.ipv6.len().min(other.ipv6.len());
        if ipv6 > ipv4 {
            (&self.ipv6, &other.ipv6)
        } else {
            (&self.ipv4, &other.ipv4)
        }
    }
}
