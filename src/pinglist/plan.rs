//! A topology under a policy at one moment, and the lists that follow.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::id::{AgentId, DeviceName, Gid, HostName, TorId, UdpSourcePort};
use crate::time::WallTime;
use crate::topology::{Announcement, Member, Rnic, Topology};
use crate::transport::SourcePortSteering;

use super::coverage::tuples_for;
use super::mix::{hash, join};
use super::pair::{Pair, label_of};
use super::partners::{Circles, Draw, neighbours};
use super::site::{Site, Sparse};
use super::{
    Group, GroupKind, MESH_PARTNERS, MIN_PARTNERS, Pinglist, Policy, RnicPinglist, SPARSE_TUPLES,
    Target,
};

type Others<'a> = Box<dyn Iterator<Item = usize> + 'a>;

/// Answers what an agent has to probe. Made anew when the topology or the hour changes, which costs a look at each RNIC.
#[derive(Debug)]
pub struct PinglistPlan {
    pub(super) policy: Arc<Policy>,
    /// Rotations since the Unix epoch.
    pub(super) period: u64,
    pub(super) tors: Vec<Site>,
    pub(super) index: HashMap<TorId, usize>,
    /// Tuples by number of paths, by Eq. (1).
    tuples: HashMap<u32, u32>,
    /// Where all pairs are too many.
    pub(super) partners: Option<Partners>,
}

/// Who probes whom in a sparse matrix.
#[derive(Debug)]
pub(super) struct Partners {
    /// By source ToR: the ToRs that it probes.
    pub(super) of: Vec<Vec<usize>>,
    /// By target ToR: the ToRs that probe it.
    pub(super) by: Vec<Vec<usize>>,
}

/// Which pairs of ToRs are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// All that a path connects.
    Complete,
    /// Each ToR has so many partners at a time.
    Sparse {
        /// The fewest of a ToR.
        fewest: usize,
        /// The most of a ToR.
        most: usize,
    },
}

/// What a ToR's probes to all others would cost.
struct Demand {
    /// Others that a path and a common address family connect.
    others: usize,
    /// 5-tuples to all of them.
    slots: u64,
    most_paths: u32,
    most_tuples: u32,
}

impl PinglistPlan {
    /// Of `topology` under `policy` at `now`.
    pub fn new(topology: &Topology, policy: Arc<Policy>, now: WallTime) -> Self {
        let tors: Vec<_> = topology
            .tors()
            .map(|(name, tor)| Site::new(name, tor, policy.paths.place(name)))
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
            partners: None,
        };
        plan.choose_partners();
        plan.set_rates();
        plan
    }

    /// Between two ToRs; `None` for one and the same, and where no path connects them.
    fn paths(&self, source: usize, target: usize) -> Option<u32> {
        let (from, to) = (&self.tors[source], &self.tors[target]);
        if source == target {
            return None;
        }
        self.policy.paths.at(from.place, to.place)
    }

    fn demand(&mut self, source: usize) -> Demand {
        let mut demand = Demand {
            others: 0,
            slots: 0,
            most_paths: 0,
            most_tuples: 0,
        };
        for target in 0..self.tors.len() {
            let Some(paths) = self.paths(source, target) else {
                continue;
            };
            let coverage = self.policy.coverage;
            let tuples = *self
                .tuples
                .entry(paths)
                .or_insert_with(|| tuples_for(paths, coverage));
            let (sources, targets) = self.tors[source].common_family(&self.tors[target]);
            if !sources.is_empty() && !targets.is_empty() {
                demand.others += 1;
                demand.slots += u64::from(tuples);
                demand.most_paths = demand.most_paths.max(paths);
                demand.most_tuples = demand.most_tuples.max(tuples);
            }
        }
        demand
    }

    /// Sets what the links are to get and, if the fabric's RNICs cannot send all 5-tuples within the interval, the partners.
    /// All ToRs together decide: one with few RNICs does not change what the others probe.
    fn choose_partners(&mut self) {
        let mut wanted = vec![0; self.tors.len()];
        let (mut tuples, mut room) = (0.0, 0.0);
        for (source, wanted) in wanted.iter_mut().enumerate() {
            let demand = self.demand(source);
            let rate = self.policy.link_rate * f64::from(demand.most_paths);
            let site = &mut self.tors[source];
            let budget =
                (self.policy.rnic_budget - self.policy.tor_mesh_rate).max(0.0) * site.probers();
            site.allowed = if rate > budget { budget / rate } else { 1.0 };
            site.slot_rate = rate * site.allowed;
            let sent = site.slot_rate * self.policy.tuple_interval.as_secs_f64();
            let partners = sent / f64::from(demand.most_tuples.max(1));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, not negative"
            )]
            let partners = (partners as usize).max(MIN_PARTNERS);
            tuples += demand.slots as f64;
            room += sent;
            let most = SPARSE_TUPLES as f64 * site.probers() / f64::from(demand.most_tuples.max(1));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, not negative"
            )]
            let most = (most as usize).max(MIN_PARTNERS);
            *wanted = partners.min(most).min(demand.others);
        }
        if tuples > room {
            self.partners = Some(self.circles(&wanted));
        }
    }

    fn circles(&self, wanted: &[usize]) -> Partners {
        let keys: Vec<u64> = self.tors.iter().map(|site| site.key).collect();
        let rails = self.rails();
        let circles = Circles {
            keys: &keys,
            wanted,
            draw: Draw {
                seed: join(self.policy.seed, hash(b"partner ToRs")),
                period: self.period,
            },
        };
        let of = circles.partners(
            |source, target| {
                let (sources, targets) = self.tors[source].common_family(&self.tors[target]);
                self.paths(source, target).is_some() && !sources.is_empty() && !targets.is_empty()
            },
            |source, target, circle| {
                let of_rail = self.policy.same_rail * wanted[source] as f64;
                circle as f64 >= of_rail
                    || rails[source].is_none()
                    || rails[source] == rails[target]
            },
        );
        let mut by = vec![Vec::new(); self.tors.len()];
        for (source, own) in of.iter().enumerate() {
            for target in own {
                by[*target].push(source);
            }
        }
        Partners { of, by }
    }

    /// The rail of each ToR: the device that all its RNICs are on their hosts, where hosts have RNICs under several ToRs.
    fn rails(&self) -> Vec<Option<&DeviceName>> {
        let mut first: HashMap<&HostName, usize> = HashMap::new();
        let mut has_rails = false;
        for (at, site) in self.tors.iter().enumerate() {
            for member in &site.tor.members {
                has_rails |= *first.entry(&member.peer.host).or_insert(at) != at;
            }
        }
        self.tors
            .iter()
            .map(|site| {
                let mut devices = site.tor.members.iter().map(|member| &member.peer.device);
                let first = devices.next()?;
                (has_rails && devices.all(|device| device == first)).then_some(first)
            })
            .collect()
    }

    fn set_rates(&mut self) {
        for source in 0..self.tors.len() {
            let slots: u64 = self
                .others(source)
                .map(|target| self.pair(source, target))
                .filter(|pair| !pair.sources.is_empty() && !pair.targets.is_empty())
                .map(|pair| u64::from(pair.slots))
                .sum();
            let site = &mut self.tors[source];
            site.slots = slots;
            site.slot_rate = if slots == 0 {
                0.0
            } else {
                site.slot_rate / slots as f64
            };
        }
    }

    /// The ToRs that a ToR's RNICs probe.
    pub(super) fn others(&self, source: usize) -> Others<'_> {
        match &self.partners {
            Some(partners) => Box::new(partners.of[source].iter().copied()),
            None => Box::new(
                (0..self.tors.len()).filter(move |target| self.paths(source, *target).is_some()),
            ),
        }
    }

    fn others_count(&self, source: usize) -> usize {
        match &self.partners {
            Some(partners) => partners.of[source].len(),
            None => self.tors.len().saturating_sub(1),
        }
    }

    /// Paths between two ToRs, and the 5-tuples that Eq. (1) asks for.
    pub(super) fn wanted(&self, source: usize, target: usize) -> (u32, u32) {
        let paths = self.paths(source, target).unwrap_or(1);
        (paths, self.tuples.get(&paths).copied().unwrap_or(paths))
    }

    pub(super) fn pair(&self, source: usize, target: usize) -> Pair<'_> {
        let (from, to) = (&self.tors[source], &self.tors[target]);
        let (_, wanted) = self.wanted(source, target);
        let (sources, targets) = from.common_family(to);
        let others = self.others_count(source).max(1) as u64;
        let room = u64::from(self.policy.max_tuples) * sources.len() as u64 / others;
        let slots = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        Pair::new(
            (from.key, sources),
            (to.key, targets),
            slots,
            (self.policy.seed, self.period),
        )
    }

    /// Probes per second of each inter-ToR 5-tuple that begins under a ToR; `None` for a ToR without RNICs.
    pub(crate) fn tuple_rate(&self, tor: &TorId) -> Option<f64> {
        let site = self.index.get(tor)?;
        Some(self.tors[*site].slot_rate)
    }

    /// The ToRs with RNICs, by name.
    pub(crate) fn tor_names(&self) -> impl Iterator<Item = &TorId> {
        self.tors.iter().map(|site| &site.name)
    }

    /// Which pairs are probed.
    pub fn matrix(&self) -> Matrix {
        match &self.partners {
            None => Matrix::Complete,
            Some(partners) => {
                let counts = || partners.of.iter().map(Vec::len);
                Matrix::Sparse {
                    fewest: counts().min().unwrap_or(0),
                    most: counts().max().unwrap_or(0),
                }
            }
        }
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
        let groups = site.map_or_else(Vec::new, |site| self.groups(site, source));
        RnicPinglist { source, groups }
    }

    pub(super) fn groups(&self, site: usize, source: Gid) -> Vec<Group> {
        let both = [self.tor_mesh(site, source), self.inter_tor(site, source)];
        both.into_iter().flatten().collect()
    }

    fn tor_mesh(&self, site: usize, source: Gid) -> Option<Group> {
        let tor = &self.tors[site].tor;
        let at = tor.position(source)?;
        let own = &tor.members[at];
        let targets: Vec<_> = self
            .mesh_of(site, at)
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

    /// The RNICs under its own ToR that one of them probes.
    fn mesh_of(&self, site: usize, at: usize) -> Box<dyn Iterator<Item = &Arc<Member>> + '_> {
        let members = &self.tors[site].tor.members;
        if let Some(sparse) = self.sparse(site) {
            return Box::new(sparse.mesh[at].iter().map(|other| &members[*other]));
        }
        Box::new(
            members
                .iter()
                .filter(move |member| may_mesh(member, &members[at])),
        )
    }

    /// What the RNICs of a ToR probe, in a sparse matrix.
    pub(super) fn sparse(&self, site: usize) -> Option<&Sparse> {
        let partners = self.partners.as_ref()?;
        let sparse = self.tors[site].sparse.get_or_init(|| {
            Arc::new(Sparse {
                ends: partners.of[site]
                    .iter()
                    .map(|target| self.pair(site, *target).assign())
                    .collect(),
                mesh: self.sparse_mesh(site),
            })
        });
        Some(sparse)
    }

    fn sparse_mesh(&self, site: usize) -> Vec<Vec<usize>> {
        let site = &self.tors[site];
        let members = &site.tor.members;
        let seed = join(self.policy.seed, site.key);
        let mut mesh = vec![Vec::new(); members.len()];
        for is_ipv4 in [false, true] {
            let of_family = |at: &usize| members[*at].gid().is_ipv4() == is_ipv4;
            let places: Vec<usize> = (0..members.len()).filter(of_family).collect();
            let key = |at: &usize| hash(&members[*at].gid().bytes());
            let keys: Vec<u64> = places.iter().map(key).collect();
            for (own, others) in places.iter().zip(neighbours(&keys, MESH_PARTNERS, seed)) {
                mesh[*own] = others.into_iter().map(|other| places[other]).collect();
            }
        }
        mesh
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
        let sparse = self.sparse(site);
        for (nth, target) in self.others(site).enumerate() {
            let pair = self.pair(site, target);
            let Ok(own) = pair
                .sources
                .binary_search_by_key(&source, |member| member.gid())
            else {
                continue;
            };
            let slots = match sparse {
                Some(sparse) => {
                    let ends = &sparse.ends[nth];
                    share += ends.iter().filter(|ends| ends.source == own).count() as u64;
                    pair.slots_among(ends, own)
                }
                None => {
                    share += u64::from(pair.share(own));
                    pair.slots_of(own)
                }
            };
            found.extend(slots.into_iter().map(|slot| {
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
        let Some(&site) = self.index.get(tor) else {
            return BTreeSet::new();
        };
        let mut agents = self.mesh_probers(site, gid);
        let sources: Vec<usize> = match &self.partners {
            Some(partners) => partners.by[site].clone(),
            None => self.others(site).collect(),
        };
        for source in sources {
            let pair = self.pair(source, site);
            let found = pair
                .targets
                .binary_search_by_key(&gid, |member| member.gid());
            let Ok(target) = found else {
                continue;
            };
            match self.sparse(source) {
                Some(sparse) => {
                    let partner = self.others(source).position(|other| other == site);
                    let ends = partner.map_or(&[][..], |nth| &sparse.ends[nth]);
                    let towards = ends.iter().filter(|ends| ends.target == target);
                    agents.extend(towards.map(|ends| pair.sources[ends.source].agent.clone()));
                }
                None => agents.extend(
                    pair.sources_towards(target)
                        .map(|member| member.agent.clone()),
                ),
            }
        }
        agents
    }

    fn mesh_probers(&self, site: usize, gid: Gid) -> BTreeSet<AgentId> {
        let tor = &self.tors[site].tor;
        let (Some(target), Some(sparse)) = (tor.position(gid), self.sparse(site)) else {
            let all = tor.members.iter();
            return all.map(|member| member.agent.clone()).collect();
        };
        let both = tor.members.iter().zip(&sparse.mesh);
        both.filter(|(_, probed)| probed.contains(&target))
            .map(|(member, _)| member.agent.clone())
            .collect()
    }

    /// ToRs whose uplinks get fewer probes than asked for, with the probes per second that each link gets.
    pub(crate) fn slow_tors(&self) -> impl Iterator<Item = (&TorId, f64)> {
        self.tors
            .iter()
            .filter(|site| site.slots > 0 && site.allowed < 1.0)
            .map(|site| (&site.name, self.policy.link_rate * site.allowed))
    }
}

/// A ToR-mesh probes all others of the same address family.
fn may_mesh(member: &Member, own: &Member) -> bool {
    member.gid() != own.gid() && member.gid().is_ipv4() == own.gid().is_ipv4()
}
