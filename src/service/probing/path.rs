//! The paths that connections share.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::connection::{Connection, Fidelity, Local, PathChange};
use crate::id::{FlowLabel, Gid, ServiceName, UdpSourcePort};
use crate::probe::{PathFidelity, PathId, ProbePath};
use crate::service::flow::QpKey;
use crate::topology::Peer;
use crate::transport::RnicName;

/// What makes a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PathKey {
    pub(super) rnic: RnicName,
    pub(super) destination: Gid,
    pub(super) flow_label: FlowLabel,
    pub(super) service: ServiceName,
    pub(super) traffic_class: u8,
    pub(super) fidelity: PathFidelity,
}

#[derive(Debug)]
struct Shared {
    id: PathId,
    path: Arc<ProbePath>,
    users: usize,
}

/// The paths with their users.
#[derive(Debug, Default)]
pub(super) struct Paths {
    shared: HashMap<PathKey, Shared>,
    last_id: u64,
    changes: Vec<PathChange>,
}

impl Paths {
    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    pub(super) fn drain_changes(&mut self) -> std::vec::Drain<'_, PathChange> {
        self.changes.drain(..)
    }

    /// The path leads to `target`; one more connection takes it where `joins`.
    pub(super) fn set(&mut self, key: &PathKey, target: &Arc<Peer>, joins: bool) {
        if let Some(shared) = self.shared.get_mut(key) {
            shared.users += usize::from(joins);
            if shared.path.target != *target {
                shared.path = probe_path(key, target);
                self.changes.push(PathChange {
                    rnic: key.rnic.clone(),
                    id: shared.id,
                    path: Some(Arc::clone(&shared.path)),
                });
            }
            return;
        }
        self.last_id += 1;
        let shared = Shared {
            id: PathId(self.last_id),
            path: probe_path(key, target),
            users: 1,
        };
        self.changes.push(PathChange {
            rnic: key.rnic.clone(),
            id: shared.id,
            path: Some(Arc::clone(&shared.path)),
        });
        self.shared.insert(key.clone(), shared);
    }

    /// One connection less.
    pub(super) fn release(&mut self, key: &PathKey) {
        let Some(shared) = self.shared.get_mut(key) else {
            return;
        };
        shared.users -= 1;
        if shared.users == 0 {
            self.changes.push(PathChange {
                rnic: key.rnic.clone(),
                id: shared.id,
                path: None,
            });
            self.shared.remove(key);
        }
    }
}

fn probe_path(key: &PathKey, target: &Arc<Peer>) -> Arc<ProbePath> {
    Arc::new(ProbePath {
        target: Arc::clone(target),
        flow_label: key.flow_label,
        service: Some(key.service.clone()),
        traffic_class: Some(key.traffic_class),
        fidelity: Some(key.fidelity),
    })
}

pub(super) fn key_of(key: &QpKey, connection: &Connection, local: &Local) -> PathKey {
    // Ports of RoCE v2 are in the range that labels reach; a connection whose port is not known takes any.
    let known = connection.source_port.and_then(UdpSourcePort::flow_label);
    let flow_label = known.unwrap_or_else(|| any_label(key));
    PathKey {
        rnic: local.rnic.clone(),
        destination: connection.destination,
        flow_label,
        service: connection.service.clone(),
        traffic_class: connection.traffic_class,
        fidelity: fidelity(connection, local, flow_label).of_path(),
    }
}

/// Always the same for one QP.
fn any_label(key: &QpKey) -> FlowLabel {
    const FIRST: FlowLabel = FlowLabel::new(1).expect("not 0");
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    u32::try_from(hasher.finish() & u64::from(FlowLabel::MAX))
        .ok()
        .and_then(FlowLabel::new)
        .unwrap_or(FIRST)
}

pub(super) fn fidelity(connection: &Connection, local: &Local, label: FlowLabel) -> Fidelity {
    match (connection.source_port, local.steering.source_port(label)) {
        _ if connection.source.is_some_and(|gid| gid != local.gid) => Fidelity::OtherSource,
        (Some(own), Some(port)) if own == port => Fidelity::OwnPath,
        (Some(_), Some(port)) => Fidelity::OtherPort(port),
        _ => Fidelity::UnknownPort,
    }
}
