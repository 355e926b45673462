//! Six agents, a controller and an analyzer over the emulated fabric, and what is done to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::agent::endpoint::{Delivery, EndpointCounters, OpenRnic};
use rpingmesh::agent::{SPOOL_FOLDER, session_config};
use rpingmesh::fabric::realtime::capabilities;
use rpingmesh::fabric::scenario::Server;
use rpingmesh::fabric::swarm::Swarm;
use rpingmesh::fabric::topology::Topology;
use rpingmesh::fabric::{Engine, Profile};
use rpingmesh::probe::ProbeResult;
use rpingmesh::store::Location;
use rpingmesh::time::{Clock, HostTime};
use rpingmesh::transport::RnicName;

use super::account::Account;
use super::breathe;
use super::gate::Writes;
use super::link::Way;
use super::member::Member;
use super::plan::{Deed, HOSTS, Moment, Plan, Planned, SHAPE};
use super::server::Place;
use crate::support::virtual_host::{Host, VirtualClock};

/// Of both servers, in folders of their own.
pub(super) const DATABASE: &str = "store.sqlite";
/// How far timers go at once.
const STEP: Duration = Duration::from_millis(100);
/// How long the threads have after each step, in real time; nothing is decided by how long this is.
const TURN: Duration = Duration::from_micros(100);
/// Looks for quiet in a second, the fewest and the most.
const LOOKS: std::ops::Range<u32> = 4..60;
/// More of them where a disk takes its time, and how long each is, in real time.
const PATIENT_LOOKS: u32 = 40;
const PATIENT_TURN: Duration = Duration::from_millis(5);
const PORT: u8 = 1;

/// The whole system.
pub(super) struct Site {
    clock: Arc<VirtualClock>,
    swarm: Swarm,
    spool_limit: u64,
    pub(super) members: Vec<Member>,
    pub(super) controller: Place,
    pub(super) analyzer: Place,
    now: HostTime,
    /// What ends by itself, and in which second.
    ends: Vec<(u64, Deed)>,
}

impl Site {
    pub(super) async fn start(plan: &Plan, folder: &Path) -> Self {
        let topology = Arc::new(Topology::new(SHAPE, plan.seed).expect("a fabric"));
        let origin = HostTime::from_nanos(0);
        let mut engine = Engine::new(Arc::clone(&topology), Profile::default(), plan.seed, origin);
        for fault in plan
            .kills
            .iter()
            .chain(plan.fault.iter().map(|(_, fault)| fault))
        {
            engine.inject(fault).expect("a fault of this fabric");
        }
        let controller = Place::new(Server::Controller, folder);
        let analyzer = Place::new(Server::Analyzer, folder);
        let mut members = Vec::new();
        for (number, name) in (0..).zip(topology.hosts()) {
            let rnic = topology.rnics_of(number).next().expect("an RNIC");
            let place = (name.as_str(), topology.rnic(rnic).tor.as_str());
            let servers = [&controller.address, &analyzer.address];
            members.push(Member::new(rnic, place, servers, folder).await);
        }
        assert_eq!(members.len(), HOSTS);
        let session = session_config(&members[0].config);
        let mut swarm = Swarm::new(engine, session, plan.seed);
        swarm.leave_addresses_to_caller();
        let mut site = Self {
            clock: Arc::new(VirtualClock::default()),
            swarm,
            spool_limit: plan.spool_limit,
            members,
            controller,
            analyzer,
            now: origin,
            ends: Vec::new(),
        };
        let clock: Arc<dyn Clock> = site.clock.clone();
        site.controller.start(&clock).await;
        site.analyzer.start(&clock).await;
        for number in 0..HOSTS {
            site.start_agent(number).await;
        }
        site
    }

    async fn start_agent(&mut self, number: usize) {
        let member = &mut self.members[number];
        let place = Location::File(member.state().join(SPOOL_FOLDER));
        let host = Host::start(
            member.config.clone(),
            self.clock.clone(),
            (&place, self.spool_limit),
        )
        .await;
        if member.disk_fails {
            let newest = member.account.newest();
            member.account.on_disk_until.get_or_insert(newest);
        }
        member.back = None;
        let topology = self.swarm.engine().topology();
        let described = topology.rnic(member.rnic);
        let name = RnicName {
            device: described.device.clone(),
            port: PORT,
        };
        let open = OpenRnic {
            address: self.swarm.address(member.rnic),
            capabilities: capabilities(),
            gid_index: 0,
            tor: described.tor.clone(),
        };
        host.inventory.send_modify(|inventory| {
            inventory.insert(name, Ok(open));
        });
        member.host = Some(host);
    }

    /// Lets timers and tasks of a second run.
    pub(super) async fn pass_second(&mut self) {
        let end = self.now.after(Duration::from_secs(1));
        while self.now < end {
            self.now = self.now.after(STEP);
            self.clock.set(self.now);
            tokio::time::advance(STEP).await;
            breathe(TURN).await;
        }
    }

    /// One second with all that is planned for its end.
    pub(super) async fn second(&mut self, second: u64, plan: &Plan) {
        self.pass_second().await;
        self.probe();
        let ended: Vec<_> = self.ends.extract_if(.., |(at, _)| *at <= second).collect();
        for (_, deed) in ended {
            self.end(deed);
        }
        let due = |planned: &&Planned| planned.second == second;
        let due = plan.deeds.iter().filter(due).copied();
        let (early, late): (Vec<Planned>, Vec<Planned>) =
            due.partition(|planned| matches!(planned.moment, Moment::Collected));
        for planned in &early {
            self.begin(planned.deed, second).await;
        }
        let now = self.clock.wall().nanos();
        for member in &mut self.members {
            member.flush(now).await;
        }
        for planned in &late {
            match planned.moment {
                Moment::Collected | Moment::Spooled => {}
                Moment::Underway(turns) => {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                }
                Moment::Quiet => self.settle().await,
            }
            self.begin(planned.deed, second).await;
        }
        self.come_back(second).await;
        self.settle().await;
        self.apply_pinglists();
    }

    /// What was probed since the last time, to the collectors.
    fn probe(&mut self) {
        let topology = Arc::clone(self.swarm.engine().topology());
        let mut results: BTreeMap<u32, Vec<ProbeResult>> = BTreeMap::new();
        self.swarm.run_until(self.now, |rnic, result| {
            results.entry(rnic.0).or_default().push(result);
        });
        // The members know by themselves when their queue pairs are new ones.
        self.swarm.take_reopened();
        for member in &mut self.members {
            let results = results.remove(&member.rnic.0).unwrap_or_default();
            let Some(host) = &mut member.host else {
                // A dead agent concludes nothing.
                continue;
            };
            for result in &results {
                member.account.take(&result.outcome);
            }
            let rnic = topology.rnic(member.rnic);
            host.collect.take(Delivery {
                rnic: RnicName {
                    device: rnic.device.clone(),
                    port: PORT,
                },
                tor: rnic.tor.clone(),
                results,
                reverse_paths: Vec::new(),
                counters: EndpointCounters {
                    session: self.swarm.session(member.rnic).counters(),
                    ..EndpointCounters::default()
                },
            });
        }
    }

    async fn begin(&mut self, deed: Deed, second: u64) {
        match deed {
            Deed::KillAgent { host, away, found } => {
                let member = &mut self.members[host];
                member.kill(found).await;
                member.back = Some(second + away);
                self.swarm.set_groups(member.rnic, Vec::new());
            }
            Deed::KillServer {
                server,
                away,
                found,
            } => {
                let place = self.place(server);
                if place.kill().await {
                    place.back = Some(second + away);
                    let gone = place.change(found).await;
                    self.destroy(&gone);
                }
            }
            Deed::Part {
                host,
                server,
                way,
                lasts,
            } => {
                self.members[host].link(server).set(way);
                self.ends.push((second + lasts, deed));
            }
            Deed::FailDisk { host, lasts } => {
                self.members[host].fail_disk();
                self.ends.push((second + lasts, deed));
            }
            Deed::FillDisk {
                server,
                hangs,
                lasts,
            } => {
                let writes = if hangs { Writes::Hang } else { Writes::Fail };
                self.place(server).set(writes);
                self.ends.push((second + lasts, deed));
            }
            Deed::CopySpool { host } => self.members[host].copy_spool(),
        }
    }

    fn end(&mut self, deed: Deed) {
        match deed {
            Deed::Part { host, server, .. } => self.members[host].link(server).set(Way::Open),
            Deed::FailDisk { host, .. } => self.members[host].mend_disk(),
            Deed::FillDisk { server, .. } => self.place(server).set(Writes::Work),
            Deed::KillAgent { .. } | Deed::KillServer { .. } | Deed::CopySpool { .. } => {}
        }
    }

    fn place(&mut self, server: Server) -> &mut Place {
        match server {
            Server::Controller => &mut self.controller,
            Server::Analyzer => &mut self.analyzer,
        }
    }

    /// What the analyzer had is gone with its database.
    fn destroy(&mut self, gone: &[(String, i64)]) {
        for member in &mut self.members {
            let own = gone
                .iter()
                .filter(|(agent, _)| agent == member.config.agent_id.as_str());
            member.account.destroy(own.map(|(_, end)| *end));
        }
    }

    async fn come_back(&mut self, second: u64) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        for place in [&mut self.controller, &mut self.analyzer] {
            if place.back.is_some_and(|back| back <= second) {
                place.start(&clock).await;
            }
        }
        for number in 0..HOSTS {
            if self.members[number].back.is_some_and(|back| back <= second) {
                self.start_agent(number).await;
            }
        }
    }

    /// Until everything that can be acknowledged is, or some time is over: who waits for a timer goes on in the next second.
    async fn settle(&self) {
        for look in 0..LOOKS.end + PATIENT_LOOKS {
            breathe(if look < LOOKS.end { TURN } else { PATIENT_TURN }).await;
            if look >= LOOKS.start && self.is_quiet().await {
                return;
            }
        }
    }

    async fn is_quiet(&self) -> bool {
        if !self.analyzer.works() {
            return true;
        }
        for member in &self.members {
            if member.analyzer.is_open() && member.waiting().await > 0 {
                return false;
            }
        }
        true
    }

    /// Gives the sessions what the agents were told.
    fn apply_pinglists(&mut self) {
        let topology = Arc::clone(self.swarm.engine().topology());
        for member in &mut self.members {
            let Some(host) = &mut member.host else {
                continue;
            };
            let orders = host.orders.borrow().clone();
            if host.applied.as_ref() != Some(&orders) {
                let groups = orders.groups.get(&topology.rnic(member.rnic).gid).cloned();
                self.swarm
                    .set_groups(member.rnic, groups.unwrap_or_default());
                host.applied = Some(orders);
            }
        }
    }

    /// Until the analyzer has all batches, for at most so many seconds.
    ///
    /// # Errors
    /// Who still has some.
    pub(super) async fn drain(&mut self, seconds: u64) -> Result<(), String> {
        let mut left = Vec::new();
        for _ in 0..seconds {
            self.settle().await;
            left.clear();
            for member in &self.members {
                let waiting = member.waiting().await;
                if waiting > 0 {
                    left.push(format!("{} of {}", waiting, member.config.host));
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            self.pass_second().await;
        }
        let left = left.join(", ");
        Err(format!(
            "batches are left {seconds} s after the end, though everything works: {left}"
        ))
    }

    /// Ends all agents and gives their accounts by name.
    pub(super) async fn end_agents(&mut self) -> BTreeMap<String, Account> {
        let mut accounts = BTreeMap::new();
        for mut member in self.members.drain(..) {
            if let Some(host) = member.host.take() {
                member.account.said += Member::said(&host);
                host.kill().await;
            }
            accounts.insert(member.config.agent_id.to_string(), member.account);
        }
        accounts
    }
}
