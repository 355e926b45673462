//! Who is registered and alive. Logic without I/O: `now` is passed in, storing is the caller's.
//!
//! An agent is *live* while something of it arrives within the lease, *stale* after that, and forgotten when it has been
//! silent for the retention. A stale agent stays in pinglists until then, because probes into the silence are how a
//! dead host is seen; its GIDs can be taken over by another agent at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::config::controller::Lifetimes;
use crate::id::{AgentId, Gid, HostName, TorId};
use crate::rpc::registry::{ResolvedRnic, TargetQuery};
use crate::time::HostTime;
use crate::topology::{Announcement, Topology};

/// Numbers the registration streams of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamId(pub(super) u64);

/// An announcement that cannot be accepted. Nothing is changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Conflict {
    #[error(
        "GID {gid} is registered by agent `{owner}` on host `{owner_host}`, which is alive: agent `{agent}` on host \
         `{host}` cannot register it too; give one of the two RNICs another address, or stop agent `{owner}`"
    )]
    Gid {
        gid: Gid,
        owner: AgentId,
        owner_host: HostName,
        agent: AgentId,
        host: HostName,
    },
    #[error(
        "agent id `{agent}` is in use by the agent on host `{owner_host}`, which is alive: set another agent id on \
         host `{host}`, or stop the other agent"
    )]
    AgentId {
        agent: AgentId,
        owner_host: HostName,
        host: HostName,
    },
}

/// What an accepted announcement means for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// RNICs whose address or steering changed while their place stayed: their probers are to be told at once.
    pub(super) readdressed: Vec<(TorId, Gid)>,
    /// RNICs came, went or moved: lists change everywhere.
    pub(super) membership: bool,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.readdressed.is_empty() && !self.membership
    }
}

/// What time has brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    /// Live until now.
    pub(super) stale: Vec<AgentId>,
    /// To be forgotten: see [`Directory::forget`].
    pub(super) forgotten: Vec<AgentId>,
}

#[derive(Debug)]
struct Entry {
    announcement: Announcement,
    renewed_at: HostTime,
    live: bool,
    stream: Option<StreamId>,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) live: usize,
    pub(super) stale: usize,
    pub(super) rnics: usize,
    pub(super) tors: usize,
}

/// The agents and the topology that they form.
#[derive(Debug)]
pub(super) struct Directory {
    lifetimes: Lifetimes,
    agents: BTreeMap<AgentId, Entry>,
    owners: HashMap<Gid, AgentId>,
    hosts: HashMap<HostName, BTreeSet<AgentId>>,
    topology: Topology,
}

impl Directory {
    /// With what was stored; those agents have a lease from `now` on to come back.
    pub(super) fn new(stored: Vec<Announcement>, lifetimes: Lifetimes, now: HostTime) -> Self {
        let mut directory = Self {
            lifetimes,
            agents: BTreeMap::new(),
            owners: HashMap::new(),
            hosts: HashMap::new(),
            topology: Topology::default(),
        };
        for announcement in stored {
            directory.insert(announcement, None, now);
        }
        directory
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn announcement(&self, agent: &AgentId) -> Option<&Announcement> {
        self.agents.get(agent).map(|entry| &entry.announcement)
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.agents.keys()
    }

    pub(super) fn census(&self) -> Census {
        let live = self.agents.values().filter(|entry| entry.live).count();
        Census {
            live,
            stale: self.agents.len() - live,
            rnics: self.topology.rnics(),
            tors: self.topology.tors().len(),
        }
    }

    /// Whether an announcement can be accepted, and which stale agents lose GIDs to it.
    pub(super) fn check(
        &self,
        new: &Announcement,
        now: HostTime,
    ) -> Result<Vec<AgentId>, Conflict> {
        if let Some(entry) = self.agents.get(&new.agent) {
            let known = &entry.announcement;
            if entry.stream.is_some()
                && self.is_live(entry, now)
                && known.incarnation != new.incarnation
                && known.host != new.host
            {
                return Err(Conflict::AgentId {
                    agent: new.agent.clone(),
                    owner_host: known.host.clone(),
                    host: new.host.clone(),
                });
            }
        }
        let mut superseded = BTreeSet::new();
        for rnic in &new.rnics {
            let gid = rnic.address.gid;
            let Some(owner) = self.owners.get(&gid).filter(|owner| **owner != new.agent) else {
                continue;
            };
            let Some(entry) = self.agents.get(owner) else {
                continue;
            };
            if self.is_live(entry, now) {
                return Err(Conflict::Gid {
                    gid,
                    owner: owner.clone(),
                    owner_host: entry.announcement.host.clone(),
                    agent: new.agent.clone(),
                    host: new.host.clone(),
                });
            }
            superseded.insert(owner.clone());
        }
        Ok(superseded.into_iter().collect())
    }

    /// Whether exactly this is registered already, so that nothing has to be stored.
    pub(super) fn is_known(&self, announcement: &Announcement) -> bool {
        self.announcement(&announcement.agent) == Some(announcement)
    }

    /// Takes in an announcement that was checked and stored.
    pub(super) fn accept(
        &mut self,
        new: Announcement,
        superseded: &[AgentId],
        stream: StreamId,
        now: HostTime,
    ) -> Change {
        for owner in superseded {
            self.take_gids(owner, &new);
        }
        let old = self.detach(&new.agent);
        let mut change = old.map_or_else(
            || Change {
                membership: !new.rnics.is_empty(),
                ..Change::default()
            },
            |old| difference(&old, &new),
        );
        change.membership |= !superseded.is_empty();
        self.insert(new, Some(stream), now);
        change
    }

    fn take_gids(&mut self, owner: &AgentId, new: &Announcement) {
        let Some(entry) = self.agents.get_mut(owner) else {
            return;
        };
        self.topology.remove(&entry.announcement);
        entry.announcement.rnics.retain(|rnic| {
            new.rnics
                .iter()
                .all(|taken| taken.address.gid != rnic.address.gid)
        });
        self.topology.insert(&entry.announcement);
    }

    fn detach(&mut self, agent: &AgentId) -> Option<Announcement> {
        let entry = self.agents.remove(agent)?;
        self.topology.remove(&entry.announcement);
        for rnic in &entry.announcement.rnics {
            if self.owners.get(&rnic.address.gid) == Some(agent) {
                self.owners.remove(&rnic.address.gid);
            }
        }
        if let Some(agents) = self.hosts.get_mut(&entry.announcement.host) {
            agents.remove(agent);
            if agents.is_empty() {
                self.hosts.remove(&entry.announcement.host);
            }
        }
        Some(entry.announcement)
    }

    fn insert(&mut self, announcement: Announcement, stream: Option<StreamId>, now: HostTime) {
        self.topology.insert(&announcement);
        for rnic in &announcement.rnics {
            self.owners
                .insert(rnic.address.gid, announcement.agent.clone());
        }
        self.hosts
            .entry(announcement.host.clone())
            .or_default()
            .insert(announcement.agent.clone());
        self.agents.insert(
            announcement.agent.clone(),
            Entry {
                announcement,
                renewed_at: now,
                live: true,
                stream,
            },
        );
    }

    /// A sign of life on a stream; false when the stream is no longer the agent's.
    pub(super) fn renew_lease(&mut self, agent: &AgentId, stream: StreamId, now: HostTime) -> bool {
        let Some(entry) = self
            .agents
            .get_mut(agent)
            .filter(|entry| entry.stream == Some(stream))
        else {
            return false;
        };
        entry.renewed_at = now;
        entry.live = true;
        true
    }

    /// A stream has ended: the agent keeps its lease.
    pub(super) fn ended(&mut self, agent: &AgentId, stream: StreamId) {
        if let Some(entry) = self
            .agents
            .get_mut(agent)
            .filter(|entry| entry.stream == Some(stream))
        {
            entry.stream = None;
        }
    }

    fn is_live(&self, entry: &Entry, now: HostTime) -> bool {
        entry.live && now.since(entry.renewed_at) <= self.lifetimes.lease
    }

    /// Marks whom time has overtaken.
    pub(super) fn expire(&mut self, now: HostTime) -> Expired {
        let mut expired = Expired::default();
        for (agent, entry) in &mut self.agents {
            let silence = now.since(entry.renewed_at);
            if entry.live && silence > self.lifetimes.lease {
                entry.live = false;
                expired.stale.push(agent.clone());
            }
            if silence > self.lifetimes.retention.max(self.lifetimes.lease) {
                expired.forgotten.push(agent.clone());
            }
        }
        expired
    }

    /// Removes agents, after the store has.
    pub(super) fn forget(&mut self, agents: &[AgentId]) {
        for agent in agents {
            self.detach(agent);
        }
    }

    /// The registered RNICs that a query means.
    pub(super) fn resolve(&self, query: &TargetQuery) -> Vec<ResolvedRnic> {
        match query {
            TargetQuery::Gid(gid) => self
                .owners
                .get(gid)
                .map(|agent| self.rnics_of(agent, Some(*gid)))
                .unwrap_or_default(),
            TargetQuery::Host(host) => self
                .hosts
                .get(host)
                .into_iter()
                .flatten()
                .flat_map(|agent| self.rnics_of(agent, None))
                .collect(),
        }
    }

    fn rnics_of(&self, agent: &AgentId, only: Option<Gid>) -> Vec<ResolvedRnic> {
        let Some(entry) = self.agents.get(agent) else {
            return Vec::new();
        };
        entry
            .announcement
            .rnics
            .iter()
            .filter(|rnic| only.is_none_or(|gid| rnic.address.gid == gid))
            .map(|rnic| ResolvedRnic {
                rnic: rnic.clone(),
                host: entry.announcement.host.clone(),
                agent: agent.clone(),
            })
            .collect()
    }
}

fn difference(old: &Announcement, new: &Announcement) -> Change {
    let place = |announcement: &Announcement| -> BTreeMap<Gid, TorId> {
        let rnics = announcement.rnics.iter();
        rnics
            .map(|rnic| (rnic.address.gid, rnic.tor.clone()))
            .collect()
    };
    if place(old) != place(new) {
        return Change {
            membership: true,
            ..Change::default()
        };
    }
    let moved = old.host != new.host;
    let readdressed = new
        .rnics
        .iter()
        .filter(|rnic| {
            let same = |other: &&crate::topology::Rnic| other.address.gid == rnic.address.gid;
            moved
                || old.rnics.iter().find(same).is_none_or(|before| {
                    before.address != rnic.address
                        || before.device != rnic.device
                        || before.steering != rnic.steering
                })
        })
        .map(|rnic| (rnic.tor.clone(), rnic.address.gid))
        .collect();
    Change {
        readdressed,
        membership: false,
    }
}

#[cfg(test)]
mod tests;
