//! What a controller knows of the others on the same registry, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster_key::{Held, Report};
use crate::error::describe;
use crate::id::AgentId;
use crate::rpc::convert::FieldError;
use crate::rpc::keys::{report_bytes, report_of};
use crate::store::StoreError;
use crate::store::shared::{Revision, SharedRegistry, View};
use crate::time::HostTime;

/// How often the others are told, and a registry that fails is read again.
const PAUSE: Duration = Duration::from_secs(1);

/// A call that fails after so long has waited in vain: others would, too.
const HANGING: Duration = Duration::from_secs(1);
/// For so long nothing is asked of a registry that hangs, except by announcements: the core has other things to do.
const RESPITE: Duration = Duration::from_secs(5);

/// Before every revision: what is read then is everything.
pub(super) const BEFORE_ALL: Revision = Revision {
    agents: -1,
    departures: 0,
    keys: 0,
};

/// What was known when the cluster's key was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeysRead {
    /// Of the lease, 0 for none.
    epoch: i64,
    /// Of the key.
    revision: i64,
}

/// What a controller knows of the others.
#[derive(Debug)]
pub(super) struct Sharing {
    pub(super) registry: Arc<dyn SharedRegistry>,
    pub(super) view: watch::Receiver<View>,
    pub(super) known: Revision,
    /// Agents of which the others have not been told yet: how they are, or that they are not known here any more.
    pub(super) untold: BTreeSet<AgentId>,
    /// What agents here do with keys, encoded; empty of one that knows nothing of them.
    pub(super) keys: BTreeMap<AgentId, Vec<u8>>,
    /// With which epoch and revision the cluster's key was read last.
    pub(super) keys_read: Option<KeysRead>,
    pub(super) told_at: Option<HostTime>,
    pub(super) failed_at: Option<HostTime>,
    /// When a call has ended that the registry did not answer.
    hung_at: Option<HostTime>,
}

impl Sharing {
    pub(super) fn new(registry: Arc<dyn SharedRegistry>) -> Self {
        Self {
            view: registry.view(),
            registry,
            known: BEFORE_ALL,
            untold: BTreeSet::new(),
            keys: BTreeMap::new(),
            keys_read: None,
            told_at: None,
            failed_at: None,
            hung_at: None,
        }
    }

    /// Notes what an agent here does with keys.
    pub(super) fn note(&mut self, agent: &AgentId, report: Option<&Report>) {
        let keys = report.map_or_else(Vec::new, report_bytes);
        self.untold.insert(agent.clone());
        self.keys.insert(agent.clone(), keys);
    }

    /// What is read of the cluster's key now is at least of this state.
    pub(super) fn keys_now(&self) -> KeysRead {
        let view = self.view.borrow();
        KeysRead {
            epoch: view.epoch,
            revision: view.revision.keys.max(self.known.keys),
        }
    }

    /// Whether another controller may have changed the cluster's key since it was read. The holder of the lease changes it alone.
    pub(super) fn owes_keys(&self) -> bool {
        let now = self.keys_now();
        self.keys_read.is_none_or(|read| {
            if now.epoch == 0 {
                read.revision < now.revision
            } else {
                read.epoch != now.epoch
            }
        })
    }

    /// A call has failed that began at `begun`.
    pub(super) fn has_waited(&mut self, begun: HostTime, now: HostTime) {
        if now.since(begun) >= HANGING {
            self.hung_at = Some(now);
        }
    }

    /// Whether the registry hangs, as far as is known.
    pub(super) fn is_hanging(&self, now: HostTime) -> bool {
        self.hung_at.is_some_and(|at| now.since(at) < RESPITE)
    }

    /// The same of a call by which controllers follow and tell each other.
    pub(super) fn has_failed(&mut self, error: &StoreError, begun: HostTime, now: HostTime) {
        self.has_waited(begun, now);
        if self.failed_at.replace(now).is_none() {
            let error = describe(error);
            tracing::error!(
                error,
                "what other controllers change is not seen, and they are not told; it is tried again"
            );
        }
    }
}

pub(super) fn is_due(last: Option<HostTime>, now: HostTime) -> bool {
    last.is_none_or(|last| now.since(last) >= PAUSE)
}

/// Of an agent of which it is not known yet what it does with keys: nothing is done without it.
pub(super) fn awaited() -> Report {
    Report::Held(Held {
        takes_unsigned: true,
        ..Held::default()
    })
}

/// What an agent does with keys; `None` of one that knows nothing of them.
pub(super) fn decoded(bytes: &[u8]) -> Result<Option<Report>, FieldError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    report_of(bytes).map(Some)
}
