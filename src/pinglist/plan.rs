//! A topology under a policy at one moment, and the lists that follow.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::id::{AgentId, Gid, TorId, UdpSourcePort};
use crate::time::WallTime;
use crate::topology::{Announcement, Member, Rnic, Topology, Tor};
use crate::transport::SourcePortSteering;

use super::coverage::{coverage_of, tuples_for};
use super::mix::{hash, join};
use super::pair::{Pair, label_of};
use super::{Group, GroupKind, Limit, Pinglist, Policy, RnicPinglist, Shortfall, Target};

/// Answers what an agent has to probe. Made anew when the topology or the hour changes, which costs a look at each RNIC.
#[derive(Debug)]
pub struct PinglistPlan {
    policy: Arc<Policy>,
    /// Rotations since the Unix epoch.
    period: u64,
    tors: Vec<Site>,
    index: HashMap<TorId, usize>,
    /// Tuples by number of paths, by Eq. (1).
    tuples: HashMap<u32, u32>,
}

/// A ToR with its RNICs by what they can reach beyond it.
#[derive(Debug)]
struct Site {
    name: TorId,
    tor: Arc<Tor>,
    key: u64,
    ipv4: Vec<Arc<Member>>,
    /// Without link-local GIDs, which end at the ToR's segment.
    ipv6: Vec<Arc<Member>>,
    /// All RNICs choose their UDP source ports freely, so no slot repeats another.
    steers_freely: bool,
    /// Inter-ToR slots of all this ToR's RNICs together.
    slots: u64,
    /// Probes per second of each of them.
    slot_rate: f64,
    /// Which fraction of the wanted rate the budget allows.
    allowed: f64,
}

impl PinglistPlan {
    /// Of `topology` under `policy` at `now`.
    pub fn new(topology: &Topology, policy: Arc<Policy>, now: WallTime) -> Self {
        let tors: Vec<_> = topology
            .tors()
            .map(|(name, tor)| Site::new(name, tor))
            .collect();
        let index = tors
            .iter()
            .enumerate()
            .map(|(index, site)| (site.name.clone(), index))
            .collect();
        let mut plan = Self {
            period: policy.period(now),
            policy,
            tors,
            index,
            tuples: HashMap::new(),
        };
        plan.set_rates();
        plan
    }

    fn set_rates(&mut self) {
        for source in 0..self.tors.len() {
            let mut slots = 0_u64;
            let mut most_paths = 0;
            for target in (0..self.tors.len()).filter(|target| *target != source) {
                let paths = self
                    .policy
                    .paths
                    .between(&self.tors[source].name, &self.tors[target].name);
                let coverage = self.policy.coverage;
                self.tuples
                    .entry(paths)
                    .or_insert_with(|| tuples_for(paths, coverage));
                let pair = self.pair(source, target);
                if !pair.sources.is_empty() && !pair.targets.is_empty() {
                    slots += u64::from(pair.slots);
                    most_paths = most_paths.max(paths);
                }
            }
            let rate = self.policy.link_rate * f64::from(most_paths);
            let site = &self.tors[source];
            let probers = site.ipv4.len().max(site.ipv6.len()).max(1) as f64;
            let budget = (self.policy.rnic_budget - self.policy.tor_mesh_rate).max(0.0) * probers;
            let site = &mut self.tors[source];
            site.slots = slots;
            site.allowed = if rate > budget { budget / rate } else { 1.0 };
            site.slot_rate = if slots == 0 {
                0.0
            } else {
                rate * site.allowed / slots as f64
            };
        }
    }

    /// Tuples that Eq. (1) asks for between two ToRs.
    fn wanted(&self, source: &Site, target: &Site) -> (u32, u32) {
        let paths = self.policy.paths.between(&source.name, &target.name);
        (paths, self.tuples.get(&paths).copied().unwrap_or(paths))
    }

    fn pair(&self, source: usize, target: usize) -> Pair<'_> {
        let (from, to) = (&self.tors[source], &self.tors[target]);
        let (_, wanted) = self.wanted(from, to);
        let (sources, targets) = from.common_family(to);
        let others = self.tors.len().saturating_sub(1).max(1) as u64;
        let room = u64::from(self.policy.max_tuples) * sources.len() as u64 / others;
        let slots = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        Pair::new(
            (from.key, sources),
            (to.key, targets),
            slots,
            (self.policy.seed, self.period),
        )
    }

    /// What an agent has to probe.
    pub fn pinglist(&self, agent: &Announcement) -> Pinglist {
        let tors: BTreeSet<_> = agent
            .rnics
            .iter()
            .filter_map(|rnic| self.index.get(&rnic.tor).copied())
            .collect();
        Pinglist {
            rnics: agent.rnics.iter().map(|rnic| self.of_rnic(rnic)).collect(),
            shortfalls: tors
                .into_iter()
                .flat_map(|tor| self.shortfalls_of(tor))
                .collect(),
        }
    }

    fn of_rnic(&self, rnic: &Rnic) -> RnicPinglist {
        let source = rnic.address.gid;
        let site = self.index.get(&rnic.tor).copied();
        let groups = site
            .map(|site| [self.tor_mesh(site, source), self.inter_tor(site, source)])
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        RnicPinglist { source, groups }
    }

    fn tor_mesh(&self, site: usize, source: Gid) -> Option<Group> {
        let tor = &self.tors[site].tor;
        let own = &tor.members[tor.position(source)?];
        let targets: Vec<_> = tor
            .members
            .iter()
            .filter(|member| member.gid() != source && member.gid().is_ipv4() == source.is_ipv4())
            .map(|member| Target {
                peer: member.peer.clone(),
                flow_label: label_of(self.mesh_port(own, member.gid())),
            })
            .collect();
        (!targets.is_empty()).then_some(Group {
            kind: GroupKind::TorMesh,
            probes_per_second: self.policy.tor_mesh_rate,
            targets,
        })
    }

    fn mesh_port(&self, own: &Member, target: Gid) -> UdpSourcePort {
        let key = join(
            self.policy.seed,
            join(hash(&own.gid().bytes()), hash(&target.bytes())),
        );
        if let SourcePortSteering::QueuePair(ports) = &own.steering
            && !ports.is_empty()
        {
            return ports[usize::try_from(key % ports.len() as u64).unwrap_or(0)];
        }
        #[expect(clippy::cast_possible_truncation, reason = "14 bits")]
        let low = (key % u64::from(UdpSourcePort::COUNT)) as u16;
        UdpSourcePort(UdpSourcePort::FIRST | low)
    }

    fn inter_tor(&self, site: usize, source: Gid) -> Option<Group> {
        let mut found = Vec::new();
        let mut share = 0_u64;
        for target in (0..self.tors.len()).filter(|target| *target != site) {
            let pair = self.pair(site, target);
            let Ok(own) = pair
                .sources
                .binary_search_by_key(&source, |member| member.gid())
            else {
                continue;
            };
            share += u64::from(pair.share(own));
            found.extend(pair.slots_of(own).into_iter().map(|slot| {
                let target = Target {
                    peer: pair.targets[slot.target].peer.clone(),
                    flow_label: slot.flow_label,
                };
                (slot.order, target)
            }));
        }
        found.sort_by_key(|(order, _)| *order);
        let targets: Vec<_> = found.into_iter().map(|(_, target)| target).collect();
        (!targets.is_empty()).then(|| Group {
            kind: GroupKind::InterTor,
            probes_per_second: (self.tors[site].slot_rate * share as f64)
                .min((self.policy.rnic_budget - self.policy.tor_mesh_rate).max(0.0)),
            targets,
        })
    }

    /// The agents that probe an RNIC: those to tell when its address changes.
    pub fn probers_of(&self, tor: &TorId, gid: Gid) -> BTreeSet<AgentId> {
        let mut agents = BTreeSet::new();
        let Some(&site) = self.index.get(tor) else {
            return agents;
        };
        let mesh = self.tors[site].tor.members.iter();
        agents.extend(mesh.map(|member| member.agent.clone()));
        for source in (0..self.tors.len()).filter(|source| *source != site) {
            let pair = self.pair(source, site);
            if let Ok(target) = pair
                .targets
                .binary_search_by_key(&gid, |member| member.gid())
            {
                agents.extend(
                    pair.sources_towards(target)
                        .map(|member| member.agent.clone()),
                );
            }
        }
        agents
    }

    /// All coverage that is not reached, of all pairs.
    pub fn shortfalls(&self) -> Vec<Shortfall> {
        (0..self.tors.len())
            .flat_map(|source| self.shortfalls_of(source))
            .collect()
    }

    fn shortfalls_of(&self, source: usize) -> Vec<Shortfall> {
        let known = RefCell::new(HashMap::new());
        let coverage = |paths, tuples| {
            *known
                .borrow_mut()
                .entry((paths, tuples))
                .or_insert_with(|| coverage_of(paths, tuples))
        };
        (0..self.tors.len())
            .filter(|target| *target != source)
            .filter_map(|target| self.shortfall(source, target, &coverage))
            .collect()
    }

    fn shortfall(
        &self,
        source: usize,
        target: usize,
        coverage: &dyn Fn(u32, u32) -> f64,
    ) -> Option<Shortfall> {
        let (from, to) = (&self.tors[source], &self.tors[target]);
        let pair = self.pair(source, target);
        let (paths, wanted) = self.wanted(from, to);
        let sent = from.slot_rate * f64::from(pair.slots) * self.policy.rotation.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and a rate is not negative"
        )]
        let sent = sent as u32;
        let distinct = if from.steers_freely && !pair.targets.is_empty() {
            pair.slots
        } else {
            pair.distinct()
        };
        let (limit, tuples) = [
            (Limit::SourcePorts, distinct),
            (Limit::Tuples, pair.slots),
            (Limit::Rate, sent),
        ]
        .into_iter()
        .min_by_key(|(_, tuples)| *tuples)?;
        if tuples >= wanted && !pair.targets.is_empty() {
            return None;
        }
        let limit = if pair.sources.is_empty() || pair.targets.is_empty() {
            Limit::AddressFamily
        } else if limit == Limit::SourcePorts && distinct == pair.slots {
            Limit::Tuples
        } else {
            limit
        };
        Some(Shortfall {
            source: from.name.clone(),
            target: to.name.clone(),
            limit,
            paths,
            tuples,
            wanted_tuples: wanted,
            coverage: coverage(paths, tuples),
            link_rate: self.policy.link_rate * from.allowed,
        })
    }

    /// ToRs whose uplinks get fewer probes than asked for, with the probes per second that each link gets.
    pub fn slow_tors(&self) -> impl Iterator<Item = (&TorId, f64)> {
        self.tors
            .iter()
            .filter(|site| site.slots > 0 && site.allowed < 1.0)
            .map(|site| (&site.name, self.policy.link_rate * site.allowed))
    }
}

impl Site {
    fn new(name: &TorId, tor: &Arc<Tor>) -> Self {
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
        }
    }

    /// The RNICs of both ToRs in the address family that has more of them on its weaker side.
    fn common_family<'a>(&'a self, other: &'a Self) -> (&'a [Arc<Member>], &'a [Arc<Member>]) {
        let ipv4 = self.ipv4.len().min(other.ipv4.len());
        let ipv6 = self.ipv6.len().min(other.ipv6.len());
        if ipv6 > ipv4 {
            (&self.ipv6, &other.ipv6)
        } else {
            (&self.ipv4, &other.ipv4)
        }
    }
}
