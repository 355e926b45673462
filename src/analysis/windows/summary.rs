//! What was measured on one path in a window.

use std::sync::Arc;

use super::bucket::{Focused, reason_number};
use crate::analysis::report::End;
use crate::analysis::sketch::Sketch;
use crate::id::{ServiceName, UdpSourcePort};
use crate::measure::Invalid;
use crate::probe::{PathFidelity, ProbeKind};
use crate::transport::Class;

/// What was measured on one path in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The RNIC that probes.
    pub source: Arc<End>,
    /// The RNIC that answers.
    pub target: Arc<End>,
    /// Why it is probed.
    pub kind: ProbeKind,
    /// UDP source port of the probes, where known.
    pub source_port: Option<UdpSourcePort>,
    /// The service that uses the path.
    pub service: Option<ServiceName>,
    /// The class of the probes, where the agent tells.
    pub class: Option<Class>,
    /// Whether it is the path of the service's own connections, where the agent tells.
    pub fidelity: Option<PathFidelity>,
    /// All probes but those of focus.
    pub sent: u64,
    /// Probes without an ACK in time.
    pub lost: u64,
    /// Measurements that are not valid, in the order of [`Invalid::ALL`].
    pub invalid: [u64; Invalid::ALL.len()],
    /// Time on the wire, both ways; without probes whose responder took so long (over 10 ms) that two clocks which run
    /// apart falsify it.
    pub network_rtt: Sketch,
    /// Time that the prober's host added.
    pub prober_delay: Sketch,
    /// Time that the responder's host added.
    pub responder_delay: Sketch,
    /// Probes of focus; nothing else here counts them.
    pub focused: Focused,
}

impl Summary {
    /// Measurements that are not valid, for any reason.
    #[cfg(test)]
    pub(crate) fn invalid_total(&self) -> u64 {
        self.invalid.iter().sum()
    }

    /// Measurements that are not valid for one reason.
    pub(crate) fn invalid_for(&self, reason: Invalid) -> u64 {
        self.invalid[reason_number(reason)]
    }
}
