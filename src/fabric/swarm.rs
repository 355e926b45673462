//! The fabric in virtual time with a prober and responder on every RNIC: for scenario tests and benchmarks.
//!
//! No task, no clock, no I/O: the swarm goes from one event to the next, of the [`Engine`] or of a [`Session`], and
//! hands every [`ProbeResult`] to its caller. A minute of a large fabric takes seconds. Hosts that a fault stalls
//! neither probe nor answer until the stall ends. Endpoints whose queue pairs a fault destroys are opened again at
//! once; peers learn the new address after [`RELEARN`], as they would from a controller, or from the caller, who may have
//! a real one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::engine::{Delivery, Engine};
use super::realtime::capabilities;
use super::scenario::{Probing, ServiceConnection};
use super::topology::{RnicId, Topology, mix};
use crate::id::{FlowLabel, UdpSourcePort};
use crate::probe::focus::{FlowKey, FocusBounds, Refused, focused};
use crate::probe::{Config, Group, ProbeKind, ProbePath, ProbeResult, Rate, Session};
use crate::time::HostTime;
use crate::topology::Peer;
use crate::transport::{Address, Completion, EndpointEvent, SendRequest};
use crate::wire::Keyring;

/// How long peers take to learn that an RNIC has another address.
pub const RELEARN: Duration = Duration::from_secs(1);

/// Probes per second on the path of a service's connection (R-Pingmesh: one in 10 ms).
pub const SERVICE_RATE: f64 = 100.0;

/// Ratio of the 5-tuples to other ToRs that stay on their rail: the controller's `pinglist.same_rail` by default.
const SAME_RAIL: f64 = 0.75;

const NEVER: i64 = i64::MAX;

/// An RNIC with its session.
struct Member {
    session: Session,
    /// What it probes while nothing is asked for,
    groups: Vec<Group>,
    /// and what is asked for.
    asked: HashMap<FlowKey, u32>,
    address: Address,
    /// The wake-up that the heap has for it; others are stale.
    wakes_at: i64,
}

/// All sessions over one engine. See the module.
pub struct Swarm {
    engine: Engine,
    members: Vec<Member>,
    wakes: BinaryHeap<Reverse<(i64, u32)>>,
    /// New addresses that peers do not know yet.
    news: Vec<(HostTime, RnicId)>,
    /// RNICs with new addresses, where the caller tells the peers.
    reopened: Option<Vec<RnicId>>,
    deliveries: Vec<Delivery>,
    sends: Vec<SendRequest>,
    results: Vec<ProbeResult>,
}

impl Swarm {
    /// Opens an endpoint on every RNIC. Nothing is probed before [`Self::probe`] or [`Self::set_groups`].
    pub fn new(mut engine: Engine, config: Config, seed: u64) -> Self {
        let keys = Arc::new(Keyring::unkeyed());
        let topology = Arc::clone(engine.topology());
        let members = topology
            .rnic_ids()
            .map(|rnic| {
                let address = engine.open(rnic);
                let seed = mix(seed ^ mix(u64::from(rnic.0)));
                Member {
                    groups: Vec::new(),
                    asked: HashMap::new(),
                    session: Session::new(config, Arc::clone(&keys), address, capabilities(), seed),
                    address,
                    wakes_at: NEVER,
                }
            })
            .collect();
        Self {
            engine,
            members,
            wakes: BinaryHeap::new(),
            news: Vec::new(),
            reopened: None,
            deliveries: Vec::new(),
            sends: Vec::new(),
            results: Vec::new(),
        }
    }

    /// From here on the caller tells peers of new addresses, by [`Self::set_groups`].
    pub fn leave_addresses_to_caller(&mut self) {
        self.reopened = Some(Vec::new());
    }

    /// RNICs whose addresses have changed since the last call, where that was left to the caller.
    pub fn take_reopened(&mut self) -> Vec<RnicId> {
        self.reopened
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Where peers reach an RNIC now.
    pub fn address(&self, rnic: RnicId) -> Address {
        self.members[rnic.index()].address
    }

    /// The engine, for ground truth.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The session of an RNIC.
    pub fn session(&self, rnic: RnicId) -> &Session {
        &self.members[rnic.index()].session
    }

    /// One path to an RNIC as it is reached now.
    pub fn path_to(&self, rnic: RnicId, flow_label: FlowLabel) -> Arc<ProbePath> {
        let described = self.engine.topology().rnic(rnic);
        Arc::new(ProbePath {
            target: Arc::new(Peer {
                address: self.members[rnic.index()].address,
                tor: described.tor.clone(),
                host: described.host.clone(),
                device: described.device.clone(),
            }),
            flow_label,
            service: None,
            traffic_class: None,
            fidelity: None,
        })
    }

    /// Replaces what an RNIC probes.
    pub fn set_groups(&mut self, rnic: RnicId, groups: Vec<Group>) {
        let now = self.engine.now();
        let member = &mut self.members[rnic.index()];
        member.groups.clone_from(&groups);
        member.asked.clear();
        member.session.set_groups(groups, now);
        self.schedule_wake(rnic);
    }

    /// Lets an RNIC probe some of its 5-tuples more, within its own bounds, until others are asked for.
    pub fn focus(
        &mut self,
        rnic: RnicId,
        asked: HashMap<FlowKey, u32>,
        bounds: &FocusBounds,
    ) -> Refused {
        let now = self.engine.now();
        let member = &mut self.members[rnic.index()];
        if member.asked == asked {
            return Refused::default();
        }
        let (groups, refused) = focused(&member.groups, &asked, bounds);
        member.asked = asked;
        member.session.set_groups(groups, now);
        self.schedule_wake(rnic);
        refused
    }

    /// Lets every RNIC probe all others under its ToR, and some under other ToRs with random 5-tuples.
    pub fn probe(&mut self, probing: &Probing, seed: u64) {
        self.probe_and_follow(probing, &[], seed);
    }

    /// As [`Self::probe`]; where a service's connection begins its path is probed, too, [`SERVICE_RATE`] times a second, as an
    /// agent does that traces it. Connections between RNICs that the fabric does not have are left out.
    pub fn probe_and_follow(
        &mut self,
        probing: &Probing,
        services: &[ServiceConnection],
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let topology = Arc::clone(self.engine.topology());
        // The RNICs of one group have few ToRs, and they come one after another.
        let mut pools: HashMap<u32, Pools> = HashMap::new();
        for rnic in topology.rnic_ids() {
            let mesh = self.mesh(rnic, &mut random);
            let tor = topology.rnic(rnic).tor_index;
            if !pools.contains_key(&tor) && topology.group_of(rnic).next() == Some(rnic) {
                pools.clear();
            }
            let pool = pools
                .entry(tor)
                .or_insert_with(|| Pools::of(&topology, rnic, probing.across_planes));
            let across = self.across(pool, probing.targets, &mut random);
            let group = |kind, rate, paths| {
                Some(Group {
                    kind,
                    rate: Rate::per_second(rate)?,
                    paths,
                })
            };
            let followed = self.followed(rnic, services);
            let groups = [
                group(ProbeKind::TorMesh, probing.tor_mesh, mesh),
                group(ProbeKind::InterTor, probing.inter_tor, across),
                group(
                    ProbeKind::ServiceTracing,
                    SERVICE_RATE * followed.len() as f64,
                    followed,
                ),
            ];
            self.set_groups(rnic, groups.into_iter().flatten().collect());
        }
    }

    /// Paths of the connections that begin at an RNIC.
    fn followed(&self, rnic: RnicId, services: &[ServiceConnection]) -> Vec<Arc<ProbePath>> {
        let topology = self.engine.topology();
        let mut paths = Vec::new();
        for service in services {
            if let Ok(flow) = service.flow(topology)
                && flow.source == rnic
            {
                let mut path = (*self.path_to(flow.target, service.flow_label)).clone();
                path.service = Some(service.name.clone());
                paths.push(Arc::new(path));
            }
        }
        paths
    }

    fn mesh(&self, rnic: RnicId, random: &mut ChaCha8Rng) -> Vec<Arc<ProbePath>> {
        let topology = self.engine.topology();
        let tor = topology.rnic(rnic).tor_index;
        topology
            .group_of(rnic)
            .filter(|peer| *peer != rnic && topology.rnic(*peer).tor_index == tor)
            .map(|peer| self.path_to(peer, random_label(random)))
            .collect()
    }

    /// `count` 5-tuples, of which [`SAME_RAIL`] go to the RNIC's own rail where there are others.
    fn across(&self, pools: &Pools, count: usize, random: &mut ChaCha8Rng) -> Vec<Arc<ProbePath>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a small count"
        )]
        let own = match (pools.own_rail.is_empty(), pools.other_rails.is_empty()) {
            (true, _) => 0,
            (false, true) => count,
            (false, false) => (count as f64 * SAME_RAIL).round() as usize,
        };
        let mut paths = Vec::new();
        for (pool, count) in [(&pools.own_rail, own), (&pools.other_rails, count - own)] {
            let mut missing = count;
            while missing > 0 && !pool.is_empty() {
                let some = missing.min(pool.len());
                for chosen in index::sample(random, pool.len(), some) {
                    paths.push(self.path_to(pool[chosen], random_label(random)));
                }
                missing -= some;
            }
        }
        paths
    }

    /// Lets everything happen up to and including `until`.
    pub fn run_until(&mut self, until: HostTime, mut on_result: impl FnMut(RnicId, ProbeResult)) {
        loop {
            let wake = self.wakes.peek().map_or(NEVER, |Reverse((at, _))| *at);
            let event = self.engine.next_event().map_or(NEVER, HostTime::nanos);
            let news = self.news.first().map_or(NEVER, |(at, _)| at.nanos());
            let next = wake.min(event).min(news);
            if next == NEVER || next > until.nanos() {
                break;
            }
            let now = HostTime::from_nanos(next);
            if next == event {
                self.step_engine(now);
            } else if next == news {
                self.spread_news();
            } else {
                self.step_session();
            }
            for result in self.results.drain(..) {
                let source = self.engine.topology().rnic_by_gid(result.source.gid);
                if let Some(rnic) = source {
                    on_result(rnic, result);
                }
            }
        }
        self.engine.advance(until, &mut self.deliveries);
    }

    fn step_engine(&mut self, now: HostTime) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        self.engine.advance(now, &mut deliveries);
        for delivery in deliveries.drain(..) {
            let rnic = delivery.rnic;
            let session = &mut self.members[rnic.index()].session;
            session.on_completions(std::slice::from_ref(&delivery.completion), delivery.at);
            if let Completion::Event(EndpointEvent::AddressChanged) = delivery.completion {
                self.reopen(rnic, delivery.at);
            }
            self.serve(rnic, delivery.at);
        }
        self.deliveries = deliveries;
    }

    fn step_session(&mut self) {
        let Some(Reverse((at, number))) = self.wakes.pop() else {
            return;
        };
        let rnic = RnicId(number);
        let member = &mut self.members[rnic.index()];
        if member.wakes_at != at {
            return;
        }
        member.wakes_at = NEVER;
        let now = HostTime::from_nanos(at);
        if member.session.next_wakeup().is_some_and(|due| due <= now) {
            self.serve(rnic, now);
        } else {
            self.schedule_wake(rnic);
        }
    }

    /// Lets a session do what is due, unless its host is stalled.
    fn serve(&mut self, rnic: RnicId, now: HostTime) {
        let host = self.engine.topology().rnic(rnic).host_index;
        if let Some(later) = self.engine.host_stalled_until(host, now) {
            return self.wake_at(rnic, later.nanos());
        }
        let member = &mut self.members[rnic.index()];
        member.session.poll(now, &mut self.sends);
        let from = member.address.qpn;
        for request in self.sends.drain(..) {
            self.engine.send(now, rnic, from, &request);
        }
        member.session.drain_results(&mut self.results);
        self.schedule_wake(rnic);
    }

    fn schedule_wake(&mut self, rnic: RnicId) {
        if let Some(at) = self.members[rnic.index()].session.next_wakeup() {
            self.wake_at(rnic, at.nanos());
        }
    }

    fn wake_at(&mut self, rnic: RnicId, at: i64) {
        let at = at.max(self.engine.now().nanos());
        let member = &mut self.members[rnic.index()];
        if at < member.wakes_at {
            member.wakes_at = at;
            self.wakes.push(Reverse((at, rnic.0)));
        }
    }

    fn reopen(&mut self, rnic: RnicId, now: HostTime) {
        let address = self.engine.open(rnic);
        let member = &mut self.members[rnic.index()];
        member.address = address;
        member.session.reset(address, capabilities(), now);
        match &mut self.reopened {
            Some(reopened) => reopened.push(rnic),
            None => self.news.push((now.after(RELEARN), rnic)),
        }
    }

    fn spread_news(&mut self) {
        let (_, rnic) = self.news.remove(0);
        let address = self.members[rnic.index()].address;
        for member in &mut self.members {
            member.session.replace_address(address.gid, address);
            let paths = member.groups.iter_mut().flat_map(|group| &mut group.paths);
            for path in paths.filter(|path| path.target.address.gid == address.gid) {
                let moved = Arc::make_mut(path);
                Arc::make_mut(&mut moved.target).address = address;
            }
        }
    }
}

/// The RNICs under other ToRs that an RNIC reaches.
struct Pools {
    own_rail: Vec<RnicId>,
    other_rails: Vec<RnicId>,
}

impl Pools {
    fn of(topology: &Topology, rnic: RnicId, across_planes: bool) -> Self {
        let tor = topology.rnic(rnic).tor_index;
        let (own_rail, other_rails) = topology
            .rnic_ids()
            .filter(|peer| topology.rnic(*peer).tor_index != tor)
            .filter(|peer| across_planes || topology.connects(rnic, *peer))
            .partition(|peer| topology.is_same_rail(rnic, *peer));
        Self {
            own_rail,
            other_rails,
        }
    }
}

/// Any of the labels that fold to distinct ports.
fn random_label(random: &mut ChaCha8Rng) -> FlowLabel {
    let port = random.random_range(UdpSourcePort::FIRST..=u16::MAX);
    UdpSourcePort(port)
        .flow_label()
        .unwrap_or_else(|| unreachable!("the port is in the range that labels reach"))
}

#[cfg(test)]
mod tests;
