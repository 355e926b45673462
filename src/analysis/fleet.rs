//! What of the fleet was there and is missing: hosts whose agents are gone, and RNICs that their agents have withdrawn.
//!
//! Agents say which RNICs they have ([`AgentState`]). An RNIC is *withdrawn* when its agent says that it cannot be used, or does
//! not name it any more. A host is *gone* when none of its agents has been heard of for [`GONE`]; before, the host filter
//! reports it as silent. Both are findings ([`missing`]) until they return, until an operator acknowledges them
//! ([`Fleet::forget`]), or until the retention is over. What is reported outlives the process ([`HostRecord`]).
//!
//! An agent speaks of its own host alone: its word opens findings about RNICs of that host, never about the network.
//!
//! Memory is bounded by [`MOST_HOSTS`] and [`MOST_RNICS`]; hosts and RNICs beyond these limits are not remembered, and
//! [`Fleet::unlisted`] counts them.

pub(crate) mod missing;
pub mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::filter::{MOST_HOSTS, MOST_RNICS};
use crate::cluster_key::KeyUse;
use crate::id::{AgentId, DeviceName, HostName, RnicName, ServiceName};
use crate::time::{HostTime, Nanos, WallTime};
use crate::transport::CompletionClock;

use missing::Missing;
use record::{Absence, HostRecord, RnicRecord};

/// RNICs of one agent that are taken.
pub(crate) const MOST_RNICS_OF_AGENT: usize = 64;
/// Lines about what is off in one agent that are taken.
pub(crate) const MOST_LINES: usize = 64;
/// A host is gone when none of its agents was heard of for so long: as long as the host filter remembers it.
pub(crate) const GONE: Duration = Duration::from_mins(10);
/// An RNIC is reported when it has been withdrawn for so long: agents and drivers that restart need less.
pub(crate) const WITHDRAWN: Duration = Duration::from_mins(1);
/// After so long without a word an operator may acknowledge that a host is gone.
pub(crate) const QUIET: Duration = Duration::from_secs(15);

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentState {
    /// The RNICs that it has, or had since its start.
    pub rnics: Vec<RnicState>,
    /// What is off and why, in words.
    pub degraded: Vec<String>,
    /// 5-tuples of its pinglist.
    pub tuples: u64,
    /// How its probes are signed; `None` where it does not tell.
    pub keys: Option<KeyUse>,
    /// It stops, because it was told to.
    pub is_stopping: bool,
}

/// An RNIC of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RnicState {
    /// Its name on the host.
    pub device: DeviceName,
    /// Why it cannot be used; `None` while it can.
    pub closed: Option<String>,
    /// What stamps its completions; `None` while it cannot be used, and where the agent does not tell.
    pub clock: Option<CompletionClock>,
}

/// A point in time on both clocks: spans are measured on the first, people are told the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) host: HostTime,
    pub(crate) wall: WallTime,
}

/// Why something cannot be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForgetError {
    /// Nobody has ever told of it, or it was forgotten already.
    #[error("{0} is not known: nothing of this name was there and is missing")]
    Unknown(String),
    /// It is there.
    #[error("{0} is there: only what is missing can be forgotten")]
    Present(String),
}

#[derive(Debug)]
struct Member {
    /// When one of its agents was heard of last.
    heard: HostTime,
    gone: Option<Absence>,
    rnics: BTreeMap<DeviceName, RnicRecord>,
}

/// Hosts and RNICs that were there. See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    hosts: BTreeMap<HostName, Member>,
    rnics: usize,
    started: HostTime,
    /// What has been missing for so long is forgotten.
    retention: Duration,
    /// Hosts whose record differs from what was taken last.
    changed: BTreeSet<HostName>,
    unlisted: u64,
}

impl Fleet {
    /// With what was there before the start. Hosts that were not reported as gone have until [`GONE`] to be heard of. What has
    /// been missing for `retention` is forgotten.
    pub(crate) fn restored(records: Vec<HostRecord>, retention: Duration, now: HostTime) -> Self {
        let mut fleet = Self {
            hosts: BTreeMap::new(),
            rnics: 0,
            started: now,
            retention,
            changed: BTreeSet::new(),
            unlisted: 0,
        };
        for record in records.into_iter().take(MOST_HOSTS) {
            fleet.rnics += record.rnics.len();
            let member = Member {
                heard: now,
                gone: record.gone,
                rnics: record.rnics,
            };
            fleet.hosts.insert(record.host, member);
        }
        fleet
    }

    /// An agent of a host is there.
    pub(crate) fn hear(&mut self, host: &HostName, now: HostTime) {
        self.member(host, now);
    }

    fn member(&mut self, host: &HostName, now: HostTime) -> Option<&mut Member> {
        if host.as_str().is_empty() {
            return None;
        }
        if !self.hosts.contains_key(host) {
            if self.hosts.len() >= MOST_HOSTS {
                self.unlisted += 1;
                return None;
            }
            self.changed.insert(host.clone());
            let member = Member {
                heard: now,
                gone: None,
                rnics: BTreeMap::new(),
            };
            self.hosts.insert(host.clone(), member);
        }
        let member = self.hosts.get_mut(host)?;
        member.heard = now;
        if member.gone.take().is_some_and(|gone| gone.is_kept()) {
            self.changed.insert(host.clone());
        }
        Some(member)
    }

    /// Takes what an agent says of itself.
    pub(crate) fn tell(&mut self, host: &HostName, agent: &AgentId, state: &AgentState, now: Now) {
        let room = MOST_RNICS.saturating_sub(self.rnics);
        let Some(member) = self.member(host, now.host) else {
            return;
        };
        let before = member.rnics.len();
        let (changed, unlisted) = member.tell(agent, state, room, now.wall);
        let more = member.rnics.len() - before;
        self.rnics += more;
        self.unlisted += unlisted;
        if changed {
            self.changed.insert(host.clone());
        }
    }

    /// Decides what is reported from now on, and forgets what has been missing for too long.
    pub(crate) fn step(&mut self, now: Now) {
        let retention = self.retention;
        let is_settled = now.host.since(self.started) >= WITHDRAWN;
        let mut over = Vec::new();
        for (name, member) in &mut self.hosts {
            let silence = now.host.since(member.heard);
            if member.gone.is_none() && silence >= QUIET {
                let since = now.wall + (Nanos::ZERO - Nanos::from(silence));
                member.gone = Some(Absence::new(since, "none of its agents uploads"));
            }
            let (rnics, mut changed) = (member.rnics.len(), false);
            if let Some(gone) = &mut member.gone {
                changed |= silence >= GONE && gone.report();
                if gone.is_kept() && gone.age(now.wall) >= retention {
                    over.push(name.clone());
                    continue;
                }
            }
            member.rnics.retain(|_, rnic| {
                let Some(withdrawn) = &mut rnic.withdrawn else {
                    return true;
                };
                let age = withdrawn.age(now.wall);
                changed |= is_settled && age >= WITHDRAWN && withdrawn.report();
                !withdrawn.is_kept() || age < retention
            });
            self.rnics -= rnics - member.rnics.len();
            if changed || rnics != member.rnics.len() {
                self.changed.insert(name.clone());
            }
        }
        for name in over {
            if let Some(member) = self.hosts.remove(&name) {
                self.rnics -= member.rnics.len();
            }
            self.changed.insert(name);
        }
    }

    /// Whether services are to be noted of something that has gone missing since the last time.
    pub(crate) fn needs_services(&self) -> bool {
        self.absences().any(|absence| absence.needs_services)
    }

    fn absences(&self) -> impl Iterator<Item = &Absence> {
        self.hosts.values().flat_map(|member| {
            let withdrawn = member
                .rnics
                .values()
                .filter_map(|rnic| rnic.withdrawn.as_ref());
            member.gone.iter().chain(withdrawn)
        })
    }

    /// Notes which services have used what has gone missing since the last time, of all that use any RNIC.
    pub(crate) fn note_services<'a>(
        &mut self,
        used: impl Iterator<Item = (&'a HostName, &'a DeviceName, &'a ServiceName)>,
    ) {
        for (host, device, service) in used {
            let Some(member) = self.hosts.get_mut(host) else {
                continue;
            };
            let of_rnic = member.rnics.get_mut(device);
            let withdrawn = of_rnic.and_then(|rnic| rnic.withdrawn.as_mut());
            for absence in member.gone.iter_mut().chain(withdrawn) {
                absence.note(service);
            }
        }
        for member in self.hosts.values_mut() {
            let withdrawn = member
                .rnics
                .values_mut()
                .filter_map(|rnic| rnic.withdrawn.as_mut());
            for absence in member.gone.iter_mut().chain(withdrawn) {
                absence.needs_services = false;
            }
        }
    }

    /// What is missing and reported, by name. Of a host that is gone its RNICs are not named.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (host, member) in &self.hosts {
            if let Some(gone) = member.gone.as_ref().filter(|gone| gone.is_kept()) {
                if gone.is_to_be_told() {
                    missing.push(Missing::new(host, None, gone));
                }
                continue;
            }
            for (device, rnic) in &member.rnics {
                let withdrawn = rnic.withdrawn.as_ref();
                if let Some(withdrawn) = withdrawn.filter(|absence| absence.is_to_be_told()) {
                    missing.push(Missing::new(host, Some(device), withdrawn));
                }
            }
        }
        missing
    }

    /// An operator acknowledges that a host or an RNIC is missing: it is not reported any more, until it has returned and goes
    /// missing again. Gives the names of what is forgotten.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub(crate) fn forget(
        &mut self,
        host: &HostName,
        device: Option<&DeviceName>,
    ) -> Result<Vec<String>, ForgetError> {
        let name = |device: &DeviceName| RnicName::new(host.clone(), device.clone()).to_string();
        let asked = device.map_or_else(|| host.to_string(), name);
        let Some(member) = self.hosts.get_mut(host) else {
            return Err(ForgetError::Unknown(asked));
        };
        let mut forgotten = Vec::new();
        if let Some(device) = device {
            let rnic = member.rnics.get_mut(device);
            let rnic = rnic.ok_or_else(|| ForgetError::Unknown(asked.clone()))?;
            if let Some(withdrawn) = &mut rnic.withdrawn {
                withdrawn.is_acknowledged = true;
                forgotten.push(asked.clone());
            }
        } else if let Some(gone) = &mut member.gone {
            gone.is_acknowledged = true;
            forgotten.push(asked.clone());
        } else {
            for (device, rnic) in &mut member.rnics {
                if let Some(withdrawn) = &mut rnic.withdrawn {
                    withdrawn.is_acknowledged = true;
                    forgotten.push(name(device));
                }
            }
        }
        if forgotten.is_empty() {
            return Err(ForgetError::Present(asked));
        }
        self.changed.insert(host.clone());
        Ok(forgotten)
    }

    /// What has changed since the last call: the record of each host, `None` for one that is forgotten.
    pub(crate) fn take_changes(&mut self) -> BTreeMap<HostName, Option<HostRecord>> {
        let changed = std::mem::take(&mut self.changed);
        let record = |host: HostName| {
            let member = self.hosts.get(&host);
            let record = member.map(|member| HostRecord {
                host: host.clone(),
                gone: member.gone.clone().filter(Absence::is_kept),
                rnics: member
                    .rnics
                    .iter()
                    .map(|(device, rnic)| (device.clone(), rnic.kept()))
                    .collect(),
            });
            (host, record)
        };
        changed.into_iter().map(record).collect()
    }

    /// Hosts and RNICs that found no place, counted each time.
    pub(crate) const fn unlisted(&self) -> u64 {
        self.unlisted
    }
}

impl Member {
    /// Whether its record has changed, and how many RNICs found no place.
    fn tell(
        &mut self,
        agent: &AgentId,
        state: &AgentState,
        mut room: usize,
        now: WallTime,
    ) -> (bool, u64) {
        let (mut changed, mut unlisted) = (false, 0);
        for told in &state.rnics {
            match (self.rnics.get_mut(&told.device), &told.closed) {
                (Some(known), None) => changed |= known.open(agent),
                // Another agent of the host may use it.
                (Some(known), Some(why)) if known.agent == *agent => {
                    changed |= known.withdraw(why, now);
                }
                (None, None) if room > 0 => {
                    let known = RnicRecord {
                        agent: agent.clone(),
                        withdrawn: None,
                    };
                    self.rnics.insert(told.device.clone(), known);
                    (room, changed) = (room - 1, true);
                }
                (None, None) => unlisted += 1,
                // One that was never there is not missing.
                (Some(_) | None, Some(_)) => {}
            }
        }
        for (device, known) in &mut self.rnics {
            let is_named = || state.rnics.iter().any(|told| told.device == *device);
            if known.agent == *agent && !is_named() {
                changed |= known.withdraw("its agent does not find it any more", now);
            }
        }
        (changed, unlisted)
    }
}

#[cfg(test)]
mod tests;
