//! A site for the tests of analyzers that share a fleet: PostgreSQL, controllers and analyzers as programs, agents in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rpingmesh::config::agent::AgentSettings;
use rpingmesh::id::Gid;
use rpingmesh::net::http::{HttpError, get};
use rpingmesh::net::url::Url;
use rpingmesh::transport::RnicName;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use serde_json::Value;
use tokio_postgres::Client;

use crate::agent::{Running, start};
use crate::external::postgres::cluster::Cluster;
use crate::support::program::{ANALYZER, CONTROLLER, Program};

/// What must come comes in this time, on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Until when a fault is seen after its owner, or the judge, was killed, on a loaded machine. How long it took is printed.
pub(super) const SEEN: Duration = Duration::from_mins(1);
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// Hosts with an RNIC each, and their ToRs: with two hosts, so that each has a peer.
pub(super) const HOSTS: u8 = 16;
const TORS: u8 = 8;
/// An agent uploads once a second: who is heard is not older than this.
const FRESH_NS: i64 = 2_500_000_000;
/// Batches of an agent that a judge must have, where the agent has made so many: the longest window holds 120 s, one batch a second.
const HELD: u64 = 115;

/// An analyzer that runs, and where it is reached.
pub(super) struct Member {
    pub(super) program: Program,
    pub(super) id: i64,
    pub(super) grpc: SocketAddr,
    pub(super) web: SocketAddr,
}

/// A controller that runs, and where it is reached.
pub(super) struct Controller {
    pub(super) program: Program,
    pub(super) address: SocketAddr,
}

/// What a site is made of.
#[derive(Default)]
pub(super) struct Plan {
    /// Controllers beside the first one.
    pub(super) further_controllers: usize,
    /// What analyzers are started with beside their addresses and their store.
    pub(super) of_analyzers: Vec<String>,
    /// Where each agent serves its metrics, if anywhere.
    pub(super) metrics: Vec<SocketAddr>,
}

/// A database, controllers and three analyzers as programs, agents in this process.
pub(super) struct Site {
    pub(super) plan: Plan,
    pub(super) store: String,
    pub(super) client: Client,
    pub(super) members: Vec<Member>,
    pub(super) agents: Vec<(String, Running)>,
    pub(super) controllers: Vec<Controller>,
    pub(super) folder: tempfile::TempDir,
    pub(super) cluster: Cluster,
}

/// An address that is free now.
pub(super) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address")
}

pub(super) fn arguments(store: &str, grpc: SocketAddr, web: SocketAddr) -> Vec<String> {
    let urls = [format!("http://{grpc}"), format!("http://{web}")];
    let [advertise, advertise_web] = urls;
    let words = [
        "run",
        "--listen",
        &grpc.to_string(),
        "--web",
        &web.to_string(),
        "--store",
        store,
        "--advertise",
        &advertise,
        "--advertise-web",
        &advertise_web,
    ];
    words.map(str::to_owned).into()
}

pub(super) async fn member_with(
    words: &[String],
    (grpc, web): (SocketAddr, SocketAddr),
    client: &Client,
) -> Member {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let program = apart(|| {
        let mut program = Program::start(ANALYZER, &words);
        program.wait_for(&["shares the fleet"]);
        program
    });
    let name = format!("%process {}", program.id());
    let sql = "SELECT id FROM rpingmesh.analyzer WHERE name LIKE $1";
    let id = client.query_one(sql, &[&name]).await.expect("its row");
    Member {
        program,
        id: id.get(0),
        grpc,
        web,
    }
}

/// Waits for a program: agents of this process go on meanwhile, also those whose tasks wait for this thread.
pub(super) fn apart<T>(wait: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(wait)
}

/// A controller on this address.
pub(super) fn controller_on(store: &str, address: SocketAddr) -> Controller {
    let listen = address.to_string();
    let words = ["run", "--listen", &listen, "--store", store];
    let program = apart(|| {
        let mut program = Program::start(CONTROLLER, &words);
        program.wait_for(&["controller listens"]);
        program
    });
    Controller { program, address }
}

/// Unix nanoseconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_nanos()).expect("before 2262")
}

/// Tries again until it holds; gives how long that took.
pub(super) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(LOOK).await;
    }
    begun.elapsed()
}

pub(super) fn name_of(number: u8) -> String {
    format!("h{number:02}")
}

/// An agent with these servers and, if it needs any, other settings.
pub(super) fn agent(
    (number, controller, analyzer): (u8, &str, &str),
    other: &str,
    network: &Network,
    folder: &Path,
) -> (String, Running) {
    let host = name_of(number);
    let settings: AgentSettings = toml::from_str(&format!(
        "host = '{host}'\ncontroller = '{controller}'\nanalyzer = '{analyzer}'\ntor = 'tor{}'\nstate_dir = '{}'\n{other}",
        number % TORS,
        folder.join(&host).display()
    ))
    .expect("settings");
    let name = RnicName {
        device: "mem0".into(),
        port: 1,
    };
    let port = (name, Gid::from(Ipv4Addr::new(10, 0, 0, number)));
    let provider = MemoryProvider::new(network.clone(), [port]);
    let config = settings.validate().expect("valid");
    (host, start(config, Arc::new(provider), None))
}

impl Site {
    pub(super) async fn start() -> Self {
        Self::of(Plan::default()).await
    }

    pub(super) async fn of(plan: Plan) -> Self {
        let cluster = Cluster::start().await;
        cluster.create("rpingmesh");
        let store = cluster.url("rpingmesh", "fleet=east");
        let client = cluster.client("rpingmesh").await;
        let controllers = (0..=plan.further_controllers).map(|_| controller_on(&store, free()));
        let mut site = Self {
            controllers: controllers.collect(),
            agents: Vec::new(),
            members: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
            plan,
            store,
            client,
            cluster,
        };
        for _ in 0..3 {
            site.join().await;
        }
        site.start_agents();
        until("each owns its share", PATIENCE, async || {
            let owned = site.owned().await;
            owned.len() == 3 && owned.iter().all(|(_, shards)| (21..=22).contains(shards))
        })
        .await;
        until("all results are judged", PATIENCE, async || {
            site.is_whole().await
        })
        .await;
        site
    }

    fn start_agents(&mut self) {
        let network = Network::new();
        let controllers = self.controllers.iter();
        let controllers: Vec<_> = controllers
            .map(|one| format!("http://{}", one.address))
            .collect();
        let (controllers, any) = (
            controllers.join(","),
            format!("http://{}", self.members[0].grpc),
        );
        for number in 1..=HOSTS {
            let metrics = self.plan.metrics.get(usize::from(number) - 1);
            let other = metrics.map_or_else(String::new, |at| format!("metrics = '{at}'"));
            let servers = (number, &*controllers, &*any);
            let agent = agent(servers, &other, &network, self.folder.path());
            self.agents.push(agent);
        }
    }

    /// Another analyzer joins.
    pub(super) async fn join(&mut self) {
        self.join_on(free(), free()).await;
    }

    /// The same on these addresses.
    pub(super) async fn join_on(&mut self, grpc: SocketAddr, web: SocketAddr) {
        let mut words = arguments(&self.store, grpc, web);
        words.extend(self.plan.of_analyzers.iter().cloned());
        let member = member_with(&words, (grpc, web), &self.client).await;
        self.members.push(member);
    }

    /// Analyzers with how many shards they own.
    pub(super) async fn owned(&self) -> Vec<(i64, i64)> {
        let sql = "SELECT owner, count(*) FROM rpingmesh.shard GROUP BY owner ORDER BY owner";
        let rows = self.client.query(sql, &[]).await.expect("readable");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    pub(super) async fn judge(&self) -> i64 {
        let sql = "SELECT member FROM rpingmesh.owner WHERE role = 'analyzer'";
        let row = self.client.query_one(sql, &[]).await;
        row.expect("a judge").get(0)
    }

    /// An answer of the fleet, from whichever analyzer is asked first; `None` while nobody judges.
    pub(super) async fn ask(&self, path: &str) -> Option<Value> {
        let web = self.members.last()?.web;
        ask(&Url::parse(&format!("http://{web}{path}")).expect("a URL")).await
    }

    /// Whether `holds` for as many agents as live.
    async fn all_agents(&self, holds: impl Fn(&Value) -> bool) -> bool {
        let Some(answer) = self.ask("/api/v1/agents").await else {
            return false;
        };
        let (now, agents) = (&answer["now_unix_ns"], answer["agents"].as_array());
        let is_whole = |agent: &&Value| {
            let age = now.as_i64().zip(agent["last_upload_unix_ns"].as_i64());
            let is_fresh = age.is_some_and(|(now, last)| now - last < FRESH_NS);
            is_fresh
                && agent["lost_batches"] == 0
                && agent["late_batches"] == 0
                && agent["future_batches"] == 0
                && agent["missing_batches"] == 0
                && holds(agent)
        };
        let living = self.agents.len();
        agents.is_some_and(|agents| agents.iter().filter(is_whole).count() >= living)
    }

    /// Whether the judge has heard all agents lately, and has counted each of their batches once. Of a site that has had one judge.
    pub(super) async fn is_whole(&self) -> bool {
        self.all_agents(|agent| agent["batches"] == agent["sequence"])
            .await
    }

    /// Whether the judge has a batch of each agent that ended after `since`, in Unix nanoseconds, and each of those before it that a
    /// window needs, whoever judged then.
    pub(super) async fn has_all_batches(&self, since: i64) -> bool {
        self.all_agents(|agent| {
            let end = agent["last_interval_end_unix_ns"].as_i64();
            let is_after = end.is_some_and(|end| end > since);
            let numbers = agent["sequence"]
                .as_u64()
                .zip(agent["oldest_sequence"].as_u64());
            let has_all =
                numbers.is_some_and(|(newest, oldest)| newest - oldest + 1 >= newest.min(HELD));
            is_after && has_all
        })
        .await
    }

    /// All incidents but those of a test machine that is overloaded, which say nothing here.
    pub(super) async fn faults(&self) -> Option<Vec<Value>> {
        let mut answer = self.ask("/api/v1/incidents?limit=1000").await?;
        let Value::Array(mut incidents) = answer["incidents"].take() else {
            return None;
        };
        incidents.retain(|incident| !is_load(incident));
        Some(incidents)
    }

    /// Titles and states of these.
    pub(super) async fn incidents(&self) -> Option<Vec<(String, bool)>> {
        let told = |incident: &Value| {
            let title = incident["title"].as_str().unwrap_or_default().to_owned();
            (title, incident["closed_unix_ns"].is_null())
        };
        Some(self.faults().await?.iter().map(told).collect())
    }

    /// An agent whose shard this analyzer owns.
    pub(super) async fn agent_of(&self, owner: i64) -> usize {
        let sql = "SELECT number FROM rpingmesh.shard WHERE owner = $1";
        let rows = self.client.query(sql, &[&owner]).await.expect("readable");
        let owned: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let is_owned = |number: u8| {
            let tor = format!("tor{}", number % TORS).as_str().into();
            let shard = rpingmesh::analysis::shards::ShardId::of_tors([&tor]);
            owned.contains(&i32::from(shard.number()))
        };
        let number = (1..=HOSTS).find(|number| is_owned(*number));
        usize::from(number.expect("an agent of each analyzer")) - 1
    }

    /// Takes an analyzer out that is the judge, or is not.
    pub(super) async fn take(&mut self, judges: bool) -> Member {
        let judge = self.judge().await;
        let at = self
            .members
            .iter()
            .position(|one| (one.id == judge) == judges);
        self.members.remove(at.expect("one"))
    }

    pub(super) async fn stop(self) {
        for (_, agent) in self.agents {
            agent.stop().await;
        }
        for member in self.members {
            member.program.stop();
        }
        for controller in self.controllers {
            controller.program.stop();
        }
    }
}

/// Whether an incident says that the machine is overloaded.
fn is_load(incident: &Value) -> bool {
    let evidence = incident["evidence"].to_string();
    let is_of_hosts = evidence.contains("agent_silent") || evidence.contains("host_down");
    incident["category"] == "cpu_overload"
        || incident["category"] == "monitoring_blind"
            && evidence.contains("starved")
            && !is_of_hosts
}

/// The JSON at this address, or at the one that it names.
pub(super) async fn ask(url: &Url) -> Option<Value> {
    let timeout = Duration::from_secs(2);
    let body = match get(url, timeout).await {
        Err(HttpError::Elsewhere { location, .. }) => {
            get(&Url::parse(&location).expect("a URL"), timeout).await
        }
        answered => answered,
    };
    serde_json::from_slice(&body.ok()?).ok()
}
