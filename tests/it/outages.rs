//! Scenarios of `tests/scenarios` whose servers go away and come back.
//!
//! What is real: controller and analyzer with their stores and their gRPC on loopback; the agents' registration, upload,
//! collector and spool; sessions and packets of the emulated fabric. What is not: time. Fabric, sessions and the clocks of
//! everybody go from second to second, and each waits until the servers that are there have answered, as if they needed no
//! time: until every agent has the newest pinglist, and the analyzer has acknowledged every batch. While a server is away
//! nobody waits for it. So the tables are the same in every run. What happens while time passes, `tests/it/restarts.rs` has.

mod accounts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rpingmesh::agent::endpoint::{Delivery, EndpointCounters, OpenRnic};
use rpingmesh::agent::session_config;
use rpingmesh::fabric::realtime::capabilities;
use rpingmesh::fabric::scenario::Server;
use rpingmesh::fabric::swarm::Swarm;
use rpingmesh::fabric::topology::{RnicId, Topology};
use rpingmesh::fabric::{Engine, Profile, Scenario};
use rpingmesh::measure::Outcome;
use rpingmesh::probe::ProbeResult;
use rpingmesh::rpc::registry::TargetQuery;
use rpingmesh::store::Location;
use rpingmesh::telemetry;
use rpingmesh::time::{Clock, HostTime};
use rpingmesh::transport::RnicName;

use crate::agent::{Chain, Running};
use crate::analyzer::harness;
use crate::support::virtual_host::{Host, VirtualClock, patiently};
use accounts::{Phase, journal, phase_rows};

/// After this long all slots are over.
const SETTLED: Duration = Duration::from_secs(10);
/// Between two looks at a server; nothing is decided by how long this is.
const LOOK: Duration = Duration::from_millis(20);
const PORT: u8 = 1;

/// An agent's lease is measured in virtual time, its heartbeats come in real time: it must not run out between two.
const SETTINGS: &str = "[registry]\nlease = '5m'";

struct Site {
    chain: Chain,
    clock: Arc<VirtualClock>,
    swarm: Swarm,
    hosts: Vec<Host>,
    controller: Option<Running>,
    analyzer: Option<Running>,
    phases: Vec<Phase>,
    /// Lost probes by where they went.
    lost: BTreeMap<String, u64>,
    complete: u64,
}

impl Site {
    async fn new(scenario: &Scenario) -> Self {
        let topology = Arc::new(scenario.topology().expect("a scenario that was checked"));
        let clock = Arc::new(VirtualClock::default());
        let chain = Chain::with(clock.clone(), SETTINGS).await;
        let origin = HostTime::from_nanos(0);
        let profile = Profile::default();
        let mut engine = Engine::new(Arc::clone(&topology), profile, scenario.seed, origin);
        for fault in &scenario.faults {
            engine.inject(fault).expect("a fault that was checked");
        }
        let mut hosts = Vec::new();
        for (number, name) in (0..).zip(topology.hosts()) {
            let rnic = topology.rnics_of(number).next().expect("an RNIC");
            let tor = topology.rnic(rnic).tor.to_string();
            let config = chain.agent_config(name.as_str(), &tor);
            let limit = config.settings.spool_limit.0;
            let memory = (&Location::Memory, limit);
            hosts.push(Host::start(config, clock.clone(), memory).await);
        }
        let config = session_config(&hosts[0].config);
        let mut swarm = Swarm::new(engine, config, scenario.seed);
        swarm.leave_addresses_to_caller();
        let mut site = Self {
            chain,
            clock,
            swarm,
            hosts,
            controller: None,
            analyzer: None,
            phases: vec![Phase::default()],
            lost: BTreeMap::new(),
            complete: 0,
        };
        for rnic in topology.rnic_ids() {
            site.announce(rnic);
        }
        site.start(Server::Analyzer).await;
        site.start(Server::Controller).await;
        site.apply_pinglists();
        site
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::clone(self.swarm.engine().topology())
    }

    fn phase(&mut self) -> &mut Phase {
        self.phases.last_mut().expect("a phase")
    }

    /// Lets the agent of an RNIC know its address.
    fn announce(&self, rnic: RnicId) {
        let topology = self.topology();
        let described = topology.rnic(rnic);
        let name = RnicName {
            device: described.device.clone(),
            port: PORT,
        };
        let open = OpenRnic {
            address: self.swarm.address(rnic),
            capabilities: capabilities(),
            gid_index: 0,
            tor: described.tor.clone(),
        };
        let host = &self.hosts[described.host_index as usize];
        host.inventory.send_modify(|inventory| {
            inventory.insert(name, Ok(open));
        });
    }

    async fn stop(&mut self, server: Server) {
        let running = match server {
            Server::Controller => self.controller.take(),
            Server::Analyzer => self.analyzer.take(),
        };
        running.expect("a server that is there").stop().await;
    }

    /// Starts a server and waits until all agents have found it.
    async fn start(&mut self, server: Server) {
        match server {
            Server::Controller => {
                let (running, metrics) = self.chain.controller_with_metrics().await;
                self.controller = Some(running);
                patiently("registration", registered(&metrics, self.hosts.len())).await;
                let registered = accepted(&metrics);
                self.phase().registered = Some(registered);
                self.instructed().await;
            }
            Server::Analyzer => {
                self.analyzer = Some(self.chain.analyzer().await);
                self.uploaded().await;
            }
        }
    }

    async fn uploaded(&mut self) {
        for host in &mut self.hosts {
            host.uploaded().await;
        }
    }

    /// Until every agent follows a pinglist that has all RNICs where they are.
    async fn instructed(&mut self) {
        let topology = self.topology();
        let wanted: Vec<_> = topology
            .rnic_ids()
            .map(|rnic| self.swarm.address(rnic))
            .collect();
        let queries: Vec<_> = wanted
            .iter()
            .map(|address| TargetQuery::Gid(address.gid))
            .collect();
        let client = self.hosts[0].client.clone();
        let known = async {
            loop {
                let found = client.resolve_all(&queries).await.expect("an answer");
                let known: Vec<_> = found
                    .iter()
                    .flatten()
                    .map(|found| found.rnic.address)
                    .collect();
                if known == wanted {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        patiently("registry that is up to date", known).await;
        for host in &mut self.hosts {
            host.instructed().await;
        }
    }

    /// Gives the sessions what the agents were told.
    fn apply_pinglists(&mut self) {
        let topology = self.topology();
        for (number, host) in (0..).zip(&mut self.hosts) {
            let orders = host.orders.borrow().clone();
            if host.applied.as_ref() == Some(&orders) {
                continue;
            }
            for rnic in topology.rnics_of(number) {
                let groups = orders.groups.get(&topology.rnic(rnic).gid).cloned();
                self.swarm.set_groups(rnic, groups.unwrap_or_default());
            }
            host.applied = Some(orders);
        }
    }

    /// Lets everything happen up to `now`, and puts it into the spools.
    async fn advance(&mut self, now: HostTime) {
        let topology = self.topology();
        let mut results: BTreeMap<u32, Vec<ProbeResult>> = BTreeMap::new();
        self.swarm.run_until(now, |rnic, result| {
            results.entry(rnic.0).or_default().push(result);
        });
        self.clock.set(now);
        for (number, results) in results {
            let rnic = topology.rnic(RnicId(number));
            for result in &results {
                self.count(result);
            }
            let delivery = Delivery {
                rnic: RnicName {
                    device: rnic.device.clone(),
                    port: PORT,
                },
                tor: rnic.tor.clone(),
                results,
                // For a tracer, of which there is none.
                reverse_paths: Vec::new(),
                counters: EndpointCounters {
                    session: self.swarm.session(RnicId(number)).counters(),
                    ..EndpointCounters::default()
                },
            };
            self.hosts[rnic.host_index as usize].collect.take(delivery);
        }
        let before = self.batches();
        for host in &mut self.hosts {
            host.collect.flush().await;
        }
        let made = self.batches() - before;
        self.phase().batches += made;
    }

    fn count(&mut self, result: &ProbeResult) {
        self.phase().sent += 1;
        match result.outcome {
            Outcome::Lost => {
                self.phase().lost += 1;
                let target = &result.path.target;
                let name = format!("{}/{}", target.host, target.device);
                *self.lost.entry(name).or_default() += 1;
            }
            Outcome::Invalid(_) => {}
            Outcome::Complete(_) => self.complete += 1,
        }
    }

    /// Batches that all agents have made.
    fn batches(&self) -> u64 {
        self.hosts.iter().map(Host::newest).sum()
    }

    async fn second(&mut self, scenario: &Scenario, second: u64) {
        let now = HostTime::from_nanos(0).after(Duration::from_secs(second));
        self.advance(now).await;
        let reopened = self.swarm.take_reopened();
        for rnic in &reopened {
            self.announce(*rnic);
        }
        let at = Duration::from_secs(second);
        let leaving = scenario.outages.iter().filter(|one| one.at.0 == at);
        let back = scenario.outages.iter().filter(|one| one.end() == at);
        let (leaving, back): (Vec<_>, Vec<_>) = (leaving.collect(), back.collect());
        if !leaving.is_empty() || !back.is_empty() {
            self.end_phase().await;
            let mut away = self.phase().away.clone();
            away.extend(leaving.iter().map(|outage| outage.server));
            away.retain(|server| back.iter().all(|outage| outage.server != *server));
            let before = self.hosts.iter().map(Host::newest).collect();
            self.phases.push(Phase {
                from: second,
                away,
                before,
                ..Phase::default()
            });
        }
        // What was just put into the spools may be under way: taken and not acknowledged.
        for outage in leaving {
            self.stop(outage.server).await;
        }
        for outage in &back {
            self.start(outage.server).await;
        }
        if self.controller.is_some() && !reopened.is_empty() {
            self.instructed().await;
        }
        if self.controller.is_some() {
            self.apply_pinglists();
        }
        if self.analyzer.is_some() {
            self.uploaded().await;
        }
    }

    async fn end_phase(&mut self) {
        if self.analyzer.is_some() {
            return;
        }
        let before = self.phase().before.clone();
        let mut spooled = 0;
        for (host, before) in self.hosts.iter().zip(before) {
            let kept = host.spool.read(before, usize::MAX).await;
            spooled += kept.expect("readable").len();
        }
        self.phase().spooled = Some(spooled);
    }

    /// Stops everything and compares all accounts: those of the sessions, the windows and the journal.
    async fn settle(mut self, table: &mut String) {
        self.uploaded().await;
        let end = self.clock.host().after(SETTLED);
        self.clock.set(end);
        let answer = self
            .chain
            .get("/api/v1/paths?window=120s&limit=10000")
            .await
            .expect("an answer");
        assert_eq!(answer["next_offset"], serde_json::Value::Null);
        let windows = harness::sent(&answer);
        let agents = self.chain.get("/api/v1/agents").await.expect("an answer");
        for agent in agents["agents"].as_array().expect("agents") {
            assert_eq!(agent["lost_batches"], 0, "{agent}");
            assert_eq!(agent["counters"]["results_dropped"], 0, "{agent}");
        }
        let concluded: u64 = self.phases.iter().map(|phase| phase.sent).sum();
        let made = self.batches();
        for host in self.hosts {
            host.stop().await;
        }
        for server in [self.controller, self.analyzer] {
            server.expect("a server that is there").stop().await;
        }
        let (batches, sent, complete) = journal(self.chain.folder.path()).await;
        let _ = writeln!(
            table,
            "\n{concluded} probes concluded, {} of them complete, in {made} batches\n\
             {sent} stored, {complete} of them complete, in {batches} batches\n{windows} in the windows",
            self.complete
        );
        assert_eq!(
            (sent, complete, batches),
            (concluded, self.complete, made),
            "none is missing, none is stored twice"
        );
        assert_eq!(windows, concluded, "the windows count each probe once");
    }
}

/// Announcements that a controller has accepted since its start.
fn accepted(metrics: &Registry) -> usize {
    let text = telemetry::metrics::text(metrics).expect("metrics");
    text.lines()
        .find_map(|line| {
            line.strip_prefix("rpingmesh_controller_announcements_total{result=\"Accepted\"} ")
        })
        .map_or(0, |count| count.parse().expect("a number"))
}

/// Until so many agents have announced themselves.
async fn registered(metrics: &Registry, agents: usize) {
    while accepted(metrics) < agents {
        tokio::time::sleep(LOOK).await;
    }
}

async fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let scenario = Scenario::load(&folder.join(format!("{name}.toml"))).expect("a scenario");
    let end = scenario.duration.0.as_secs();
    let mut site = Site::new(&scenario).await;
    for second in 1..=end {
        site.second(&scenario, second).await;
    }
    let mut table = format!("{}\n\n{}", scenario.title, phase_rows(&site.phases, end));
    for (target, lost) in &site.lost {
        let _ = writeln!(table, "lost on the way to {target}: {lost}");
    }
    site.settle(&mut table).await;
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(name, table);
    });
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(stringify!($name)).await;
        })*

        /// The files that are run here.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    analyzer_restart
    both_away
    controller_away
}
