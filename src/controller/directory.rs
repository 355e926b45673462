//! Who is registered and alive. Logic without I/O: `now` is passed in, storing is the caller's.
//!
//! An agent is *live* while something of it arrives within the lease, *stale* after that, and forgotten when it has been
//! silent for the retention. A stale agent stays in pinglists until then, because probes into the silence are how a
//! dead host is seen; its GIDs can be taken over by another agent at once.

mod change;
mod elsewhere;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::config::controller::Lifetimes;
use crate::id::{AgentId, Gid, HostName, TorId};
use crate::rpc::registry::{MAX_RNICS, ResolvedRnic, TargetQuery};
use crate::time::HostTime;
use crate::topology::{Announcement, Topology};

use super::origin::Origin;
use change::difference;

pub(super) use change::Change;

/// Live agents of one host: one for each tenant of its RNICs, at most.
const MOST_AGENTS: usize = 16;
/// Runs of an agent that another run has replaced: one of them that comes back is another machine with its name.
const REPLACED: usize = 8;

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
    #[error(
        "two machines are called host `{host}` (agent id `{agent}`): one at {first}, which stays registered, and one at {second}, \
         which is refused: give one of them another name (the key `host`, and `agent_id` where it is set)"
    )]
    Twin {
        agent: AgentId,
        host: HostName,
        first: Box<Origin>,
        second: Box<Origin>,
    },
    #[error(
        "host `{host}` has {agents} agents with {rnics} RNICs already; at most {MOST_AGENTS} and {MAX_RNICS} are registered: \
         agent `{agent}` with {more} RNICs is refused"
    )]
    TooMany {
        agent: AgentId,
        host: HostName,
        agents: usize,
        rnics: usize,
        more: usize,
    },
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
    /// Another controller has heard it last: what that one says of it counts, not time.
    elsewhere: bool,
    /// Whether the other controllers know it as live.
    told_live: bool,
    stream: Option<StreamId>,
    origin: Origin,
    /// Incarnations that were replaced, the newest last.
    replaced: VecDeque<u64>,
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
    /// With what was stored; those agents have a lease from `now` on to come back. Of a registry that is shared, others may hear them.
    pub(super) fn new(
        stored: Vec<Announcement>,
        is_shared: bool,
        lifetimes: Lifetimes,
        now: HostTime,
    ) -> Self {
        let mut directory = Self {
            lifetimes,
            agents: BTreeMap::new(),
            owners: HashMap::new(),
            hosts: HashMap::new(),
            topology: Topology::default(),
        };
        for announcement in stored {
            let entry = Entry {
                announcement,
                renewed_at: now,
                live: true,
                elsewhere: is_shared,
                told_live: true,
                stream: None,
                origin: Origin::default(),
                replaced: VecDeque::new(),
            };
            directory.insert(entry);
        }
        directory
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn announcement(&self, agent: &AgentId) -> Option<&Announcement> {
        self.agents.get(agent).map(|entry| &entry.announcement)
    }

    /// The agent that has registered a GID, and the ToR of the RNIC.
    pub(super) fn owner(&self, gid: Gid) -> Option<(&AgentId, &TorId)> {
        let agent = self.owners.get(&gid)?;
        let rnics = &self.agents.get(agent)?.announcement.rnics;
        let rnic = rnics.iter().find(|rnic| rnic.address.gid == gid)?;
        Some((agent, &rnic.tor))
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
        origin: &Origin,
        now: HostTime,
    ) -> Result<Vec<AgentId>, Conflict> {
        if let Some(entry) = self.agents.get(&new.agent) {
            self.check_owner(entry, new, origin, now)?;
        }
        self.check_host(new, now)?;
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

    /// Whether the agent that is registered under this id is the one that announces itself, or has ended.
    ///
    /// A restart has a new incarnation, and the same machine. An incarnation that was replaced and comes back has not ended:
    /// then two agents run at a time.
    fn check_owner(
        &self,
        entry: &Entry,
        new: &Announcement,
        origin: &Origin,
        now: HostTime,
    ) -> Result<(), Conflict> {
        let known = &entry.announcement;
        let is_connected = entry.stream.is_some() || entry.elsewhere;
        let is_there = is_connected && self.is_live(entry, now);
        if !is_there || known.incarnation == new.incarnation {
            return Ok(());
        }
        if known.host != new.host {
            return Err(Conflict::AgentId {
                agent: new.agent.clone(),
                owner_host: known.host.clone(),
                host: new.host.clone(),
            });
        }
        if entry.origin.is_elsewhere(origin) || entry.replaced.contains(&new.incarnation) {
            return Err(Conflict::Twin {
                agent: new.agent.clone(),
                host: new.host.clone(),
                first: Box::new(entry.origin.clone()),
                second: Box::new(origin.clone()),
            });
        }
        Ok(())
    }

    /// Whether the host has room for the agent's RNICs beside those of its other agents.
    fn check_host(&self, new: &Announcement, now: HostTime) -> Result<(), Conflict> {
        let others = self.hosts.get(&new.host).into_iter().flatten();
        let others = others
            .filter(|agent| **agent != new.agent)
            .filter_map(|agent| self.agents.get(agent))
            .filter(|entry| self.is_live(entry, now));
        let (agents, rnics) = others.fold((0, 0), |(agents, rnics), entry| {
            (agents + 1, rnics + entry.announcement.rnics.len())
        });
        let more = new.rnics.len();
        if agents < MOST_AGENTS && rnics + more <= MAX_RNICS {
            return Ok(());
        }
        Err(Conflict::TooMany {
            agent: new.agent.clone(),
            host: new.host.clone(),
            agents,
            rnics,
            more,
        })
    }

    /// Whether exactly this is registered here already, so that nothing has to be stored.
    pub(super) fn is_known(&self, announcement: &Announcement) -> bool {
        let entry = self.agents.get(&announcement.agent);
        entry.is_some_and(|entry| !entry.elsewhere && entry.announcement == *announcement)
    }

    /// Takes in an announcement that was checked and stored.
    pub(super) fn accept(
        &mut self,
        new: Announcement,
        superseded: &[AgentId],
        (stream, origin): (StreamId, Origin),
        now: HostTime,
    ) -> Change {
        for owner in superseded {
            self.take_gids(owner, &new);
        }
        let old = self.detach(&new.agent);
        let mut replaced = VecDeque::new();
        if let Some(old) = &old {
            replaced.clone_from(&old.replaced);
            // The one that is registered now has not been replaced.
            replaced.retain(|incarnation| *incarnation != new.incarnation);
            if old.announcement.incarnation != new.incarnation {
                replaced.push_back(old.announcement.incarnation);
            }
            if replaced.len() > REPLACED {
                replaced.pop_front();
            }
        }
        // What is registered already is not stored again: the row says what the others were told last.
        let told_live = old
            .as_ref()
            .is_none_or(|old| old.elsewhere || old.announcement != new || old.told_live);
        let mut change = old.map_or_else(
            || Change {
                membership: !new.rnics.is_empty(),
                ..Change::default()
            },
            |old| difference(&old.announcement, &new),
        );
        change.membership |= !superseded.is_empty();
        self.insert(Entry {
            announcement: new,
            renewed_at: now,
            live: true,
            elsewhere: false,
            told_live,
            stream: Some(stream),
            origin,
            replaced,
        });
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

    fn detach(&mut self, agent: &AgentId) -> Option<Entry> {
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
        Some(entry)
    }

    fn insert(&mut self, entry: Entry) {
        let announcement = &entry.announcement;
        self.topology.insert(announcement);
        for rnic in &announcement.rnics {
            self.owners
                .insert(rnic.address.gid, announcement.agent.clone());
        }
        self.hosts
            .entry(announcement.host.clone())
            .or_default()
            .insert(announcement.agent.clone());
        self.agents.insert(announcement.agent.clone(), entry);
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

    /// The agent of a stream stops, because it was told to: its lease is over, and the next one of its name is no twin. It stays in
    /// pinglists as a silent one does.
    pub(super) fn leaves(&mut self, agent: &AgentId, stream: StreamId) {
        if let Some(entry) = self
            .agents
            .get_mut(agent)
            .filter(|entry| entry.stream == Some(stream))
        {
            tracing::info!(%agent, "the agent stops");
            (entry.live, entry.stream) = (false, None);
        }
    }

    fn is_live(&self, entry: &Entry, now: HostTime) -> bool {
        entry.live && (entry.elsewhere || now.since(entry.renewed_at) <= self.lifetimes.lease)
    }

    /// Marks whom time has overtaken.
    pub(super) fn expire(&mut self, now: HostTime) -> Expired {
        let mut expired = Expired::default();
        for (agent, entry) in &mut self.agents {
            let silence = now.since(entry.renewed_at);
            if entry.live && entry.elsewhere {
                continue;
            }
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

#[cfg(test)]
mod tests;
