//! How RDMA endpoints are opened: the verbs transport's settings, on every platform.

use rpingmesh::config::agent::SteeringChoice;
use rpingmesh::id::{Gid, QKey};

/// Which entry of a port's GID table an endpoint uses. It must be a RoCE v2 entry in every case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum GidChoice {
    /// A global IPv4-mapped GID if there is one, else a global IPv6 one, else a link-local one of either family; the
    /// lowest index of its kind.
    #[default]
    Auto,
    /// This index on every port.
    Index(u32),
    /// The first of these that the port has: one per RNIC of a multi-rail host.
    Gids(Vec<Gid>),
}

/// Everything that can be chosen about verbs endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Which GID.
    pub(crate) gid: GidChoice,
    /// What decides the source port.
    pub(crate) steering: SteeringChoice,
    /// How many queue pairs an endpoint has where only they decide the source port, from 1 to 64.
    pub(crate) queue_pairs: usize,
    /// The key that peers must send. Its top bit must be clear: it would ask for a privileged key.
    pub(crate) q_key: QKey,
    /// Datagrams under way per queue pair, and receive buffers per queue pair.
    pub(crate) depth: u32,
    /// Ask for extended completion queues, which carry hardware time stamps. Off only to work around a driver.
    pub(crate) extended_cq: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gid: GidChoice::Auto,
            steering: SteeringChoice::Auto,
            queue_pairs: 8,
            q_key: QKey(0x1111_1111),
            depth: 512,
            extended_cq: true,
        }
    }
}
