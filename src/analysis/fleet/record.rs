//! What is kept of a host over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, DeviceName, HostName, ServiceName};
use crate::time::WallTime;

/// Services that are named of what is missing.
const MOST_SERVICES: usize = 64;

/// A host, and the RNICs that were there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub host: HostName,
    /// Since when it is gone; `None` while it is there.
    pub gone: Option<Absence>,
    /// By their names on the host.
    pub rnics: BTreeMap<DeviceName, RnicRecord>,
}

/// An RNIC that was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RnicRecord {
    /// The agent that had it last.
    pub agent: AgentId,
    /// Since when it is withdrawn; `None` while it is there.
    pub withdrawn: Option<Absence>,
}

/// That something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Since when, nanoseconds since 1970.
    pub since_unix_ns: i64,
    /// Why, in words.
    pub reason: String,
    /// Services that used it when it went missing.
    pub services: BTreeSet<ServiceName>,
    /// It has been missing for long enough to say so.
    pub is_reported: bool,
    /// An operator knows of it.
    pub is_acknowledged: bool,
    /// The services are still to be noted.
    #[serde(skip)]
    pub(super) needs_services: bool,
}

impl Absence {
    pub(super) fn new(since: WallTime, reason: impl Into<String>) -> Self {
        Self {
            since_unix_ns: since.nanos(),
            reason: reason.into(),
            services: BTreeSet::new(),
            is_reported: false,
            is_acknowledged: false,
            needs_services: true,
        }
    }

    /// How long it lasts.
    pub(super) fn age(&self, now: WallTime) -> Duration {
        now.since(WallTime::from_nanos(self.since_unix_ns))
    }

    /// It is reported from now on; false where it was before.
    pub(super) const fn report(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// Whether it outlives the process: a restart of an agent does not.
    pub(super) const fn is_kept(&self) -> bool {
        self.is_reported || self.is_acknowledged
    }

    pub(super) const fn is_to_be_told(&self) -> bool {
        self.is_reported && !self.is_acknowledged
    }

    pub(super) fn note(&mut self, service: &ServiceName) {
        if self.needs_services && self.services.len() < MOST_SERVICES {
            self.services.insert(service.clone());
        }
    }
}

impl RnicRecord {
    /// It is there; whether its record has changed.
    pub(super) fn open(&mut self, agent: &AgentId) -> bool {
        let was_kept = self
            .withdrawn
            .take()
            .is_some_and(|withdrawn| withdrawn.is_kept());
        let is_moved = self.agent != *agent;
        if is_moved {
            self.agent = agent.clone();
        }
        was_kept || is_moved
    }

    /// It is not there, or still not; whether its record has changed.
    pub(super) fn withdraw(&mut self, why: &str, now: WallTime) -> bool {
        match &mut self.withdrawn {
            None => {
                self.withdrawn = Some(Absence::new(now, why));
                false
            }
            Some(known) if known.reason == why => false,
            Some(known) => {
                why.clone_into(&mut known.reason);
                known.is_kept()
            }
        }
    }

    /// What outlives the process.
    pub(super) fn kept(&self) -> Self {
        Self {
            agent: self.agent.clone(),
            withdrawn: self.withdrawn.clone().filter(Absence::is_kept),
        }
    }
}
