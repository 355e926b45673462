//! Several controllers on one database: who owns what, who sees what, and what is left when one of them goes or comes back.

mod left;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::agent::client::Controller;
use rpingmesh::config::agent::AgentSettings;
use rpingmesh::id::Gid;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::store::open;
use rpingmesh::store::registry::{Put, Registry};
use rpingmesh::store::shared::{Revision, Told, View};
use rpingmesh::time::WallTime;
use rpingmesh::transport::RnicName;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use super::cluster::Cluster;
use super::programs::controller;
use crate::agent::{Chain, Running, start};
use crate::stores::announcement;
use crate::support::program::{OPERATOR, Program, command};

/// What must come comes in this time, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// How soon agents of a controller that is gone are served by another one.
const FAILOVER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
const NOW: WallTime = WallTime::from_nanos(7);
const BEFORE_ALL: Revision = Revision {
    agents: -1,
    departures: 0,
    keys: 0,
};

pub(super) fn put(agent: &str, gids: &[&str], superseded: &[&str]) -> Put {
    Put {
        announcement: announcement(agent, gids),
        superseded: superseded.iter().map(|agent| (*agent).into()).collect(),
    }
}

async fn taken(registry: &dyn Registry, put: Put) -> bool {
    let refused = registry.put_all(&[put], NOW).await.expect("stored");
    refused[0].is_none()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_gid_that_two_claim_at_two_controllers_at_once_has_one_owner() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let location = cluster.location("rpingmesh", "fleet=east");
    let a = open::registry(&location).await.expect("a registry");
    let b = open::registry(&location).await.expect("another one");
    for round in 0..30 {
        let gid = format!("10.0.0.{round}");
        let (first, second) = (format!("first{round}"), format!("second{round}"));
        let (first, second) = tokio::join!(
            taken(&*a, put(&first, &[&gid], &[])),
            taken(&*b, put(&second, &[&gid], &[])),
        );
        assert!(first != second, "round {round}: {first} {second}");
    }
    let loaded = a.load().await.expect("load");
    assert_eq!(loaded.len(), 30);
    assert_eq!(loaded, b.load().await.expect("load"));

    // Each sees what the other one has taken, and only that.
    let (seen_by_a, seen_by_b) = (
        changes(&*a, BEFORE_ALL).await,
        changes(&*b, BEFORE_ALL).await,
    );
    assert_eq!(seen_by_a.len() + seen_by_b.len(), 30);
    assert!(seen_by_a.iter().all(|agent| !seen_by_b.contains(agent)));
}

/// Names of the agents that others have changed since.
async fn changes(registry: &dyn Registry, since: Revision) -> Vec<String> {
    let shared = registry.shared().expect("it is shared");
    let changes = shared.changes(since).await.expect("readable");
    let names = changes.agents.iter();
    let mut names: Vec<_> = names
        .map(|one| one.announcement.agent.to_string())
        .collect();
    names.sort();
    names
}

async fn view(registry: &dyn Registry, is_it: impl FnMut(&View) -> bool) -> View {
    let mut view = registry.shared().expect("it is shared").view();
    let seen = tokio::time::timeout(PATIENCE, view.wait_for(is_it)).await;
    *seen.expect("in time").expect("it is polled")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_agent_that_another_controller_hears_loses_nothing_and_one_forgets_for_all() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let location = cluster.location("rpingmesh", "fleet=east");
    let a = open::registry(&location).await.expect("a registry");
    view(&*a, |view| view.is_holder).await;
    let b = open::registry(&location).await.expect("another one");
    assert!(taken(&*a, put("old", &["10.0.0.1", "10.0.0.2"], &[])).await);
    assert!(
        !taken(&*b, put("new", &["10.0.0.1"], &["old"])).await,
        "it is heard"
    );

    let told = |is_heard| Told {
        agent: "old".into(),
        is_heard,
        machine: "m".to_owned(),
        keys: Some(vec![7]),
    };
    // Who does not serve the agent says nothing of it.
    let (of_a, of_b) = (a.shared().expect("shared"), b.shared().expect("shared"));
    of_b.tell(vec![told(false)]).await.expect("told");
    assert!(
        !taken(&*b, put("new", &["10.0.0.1"], &["old"])).await,
        "it is heard"
    );
    of_a.tell(vec![told(false)]).await.expect("told");
    let seen = of_b.changes(BEFORE_ALL).await.expect("readable");
    let old = &seen.agents[0];
    assert!(
        !old.is_heard && old.machine == "m" && old.keys == Some(vec![7]),
        "{old:?}"
    );
    assert!(
        taken(&*b, put("new", &["10.0.0.1"], &["old"])).await,
        "it is silent"
    );

    // What was told of an earlier run says nothing of the next one.
    assert!(taken(&*a, put("old", &["10.0.0.2"], &[])).await);
    let again = of_b.changes(seen.revision).await.expect("readable");
    let old = &again.agents[0];
    assert!(
        old.is_heard && old.machine.is_empty() && old.keys.is_none(),
        "{old:?}"
    );

    // A follower forgets nobody and makes no key; the holder does, and the others see it.
    let error = b
        .remove(&["old".into()])
        .await
        .expect_err("it does not hold the lease");
    assert!(
        error.to_string().contains("is used by another controller"),
        "{error}"
    );
    a.remove(&["old".into(), "new".into()])
        .await
        .expect("forgotten");
    let newest = view(&*b, |view| {
        view.revision.departures > seen.revision.departures
    })
    .await;
    assert!(!newest.is_holder && newest.revision.agents > seen.revision.agents);
    let seen = of_b.changes(seen.revision).await.expect("readable");
    // The other one is heard by the controller that has registered it.
    assert_eq!(seen.present, Some(["new".into()].into()));

    // The next one holds the lease when this one has gone.
    let (tenure, over) = (a.tenure(), tokio_util::sync::CancellationToken::new());
    over.cancel();
    tenure.hold(over).await.expect("given up");
    view(&*b, |view| view.is_holder).await;
    b.remove(&["new".into()]).await.expect("forgotten");
    assert!(b.load().await.expect("load").is_empty());
}

/// Agents by the controllers that serve them: ids of the rows.
async fn served_by(client: &Client) -> Vec<(String, i64)> {
    let rows = client
        .query(
            "SELECT id, controller FROM rpingmesh.agent WHERE NOT silent",
            &[],
        )
        .await;
    let mut served: Vec<_> = rows
        .expect("readable")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    served.sort();
    served
}

async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(LOOK).await;
    }
    begun.elapsed()
}

/// Hosts with an RNIC each.
const HOSTS: u8 = 16;

/// A database, two controllers as programs, an analyzer and agents in this process.
struct Site {
    cluster: Cluster,
    chain: Chain,
    analyzer: Running,
    urls: [String; 2],
    agents: Vec<Running>,
    client: Client,
}

impl Site {
    async fn start() -> (Self, [Program; 2]) {
        let cluster = Cluster::start().await;
        cluster.create("rpingmesh");
        let store = cluster.url("rpingmesh", "fleet=east");
        let (a, first) = listening(&store);
        let (b, second) = listening(&store);
        let chain = Chain::new().await;
        let analyzer = chain.analyzer().await;
        let (network, client) = (Network::new(), cluster.client("rpingmesh").await);
        let agents = (1..=HOSTS).map(|number| agent(&chain, &network, number, &[&first, &second]));
        let site = Self {
            agents: agents.collect(),
            cluster,
            analyzer,
            chain,
            urls: [first, second],
            client,
        };
        until("all agents are served, by both", PATIENCE, async || {
            let mut ids: Vec<_> = served_by(&site.client)
                .await
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            all == usize::from(HOSTS) && ids.len() == 2
        })
        .await;
        // An agent registers before its endpoints are open.
        until("all RNICs are registered", PATIENCE, async || {
            let sql = "SELECT count(*) FROM rpingmesh.rnic";
            let row = site.client.query_one(sql, &[]).await;
            row.expect("readable").get::<_, i64>(0) == i64::from(HOSTS)
        })
        .await;
        (site, [a, b])
    }

    /// Waits until all agents are served by the controllers with `id` alone.
    async fn served_by(&self, id: i64, patience: Duration) -> Duration {
        until(
            "all agents are served by the other controller",
            patience,
            async || {
                let served = served_by(&self.client).await;
                served.len() == usize::from(HOSTS) && served.iter().all(|(_, by)| *by == id)
            },
        )
        .await
    }

    async fn nothing_is_withdrawn(&self) {
        let incidents = self
            .chain
            .get("/api/v1/incidents")
            .await
            .expect("an answer");
        let text = incidents.to_string();
        assert!(!text.contains("withdrawn"), "{text}");
    }

    async fn stop(self) {
        for agent in self.agents {
            agent.stop().await;
        }
        self.analyzer.stop().await;
        drop(self.cluster);
    }
}

/// A controller and its URL.
fn listening(store: &str) -> (Program, String) {
    let (program, line) = controller(store);
    let address = line.split_once("address=").expect("its address").1;
    let address = address.split_whitespace().next().expect("its address");
    (program, format!("http://{address}"))
}

fn agent(chain: &Chain, network: &Network, number: u8, controllers: &[&String]) -> Running {
    let host = format!("h{number:02}");
    let controllers: Vec<_> = controllers.iter().map(|url| url.as_str()).collect();
    let settings: AgentSettings = toml::from_str(&format!(
        "host = '{host}'\ncontroller = '{}'\nanalyzer = 'http://{}'\ntor = 'tor{}'\nstate_dir = '{}'",
        controllers.join(","),
        chain.analyzer_address(),
        number % 4,
        chain.folder.path().join(&host).display()
    ))
    .expect("settings");
    let name = RnicName {
        device: "mem0".into(),
        port: 1,
    };
    let port = (name, Gid::from(Ipv4Addr::new(10, 0, 0, number)));
    let provider = MemoryProvider::new(network.clone(), [port]);
    start(
        settings.validate().expect("valid"),
        Arc::new(provider),
        None,
    )
}

/// The row of the controller that runs as this program.
async fn row_of(client: &Client, program: &Program) -> i64 {
    let name = format!("%process {}", program.id());
    let sql = "SELECT id FROM rpingmesh.controller WHERE name LIKE $1";
    client
        .query_one(sql, &[&name])
        .await
        .expect("its row")
        .get(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn agents_of_a_controller_that_was_killed_are_served_by_the_other_one() {
    let (site, [a, b]) = Site::start().await;
    // Both give an agent the same list: an agent may ask any of them.
    let security = Security::loopback_plaintext();
    let ask = site.urls.each_ref().map(|url| {
        let url = Url::server(url).expect("a URL");
        Controller::new(&url.into(), &security).expect("a client")
    });
    for number in 1..=HOSTS {
        let name = format!("h{number:02}").as_str().into();
        until("both have the same list", PATIENCE, async || {
            let [first, second] = ask
                .each_ref()
                .map(|controller| controller.pinglist(&name, 0));
            // One of them may not have seen the agent yet.
            let (Ok(first), Ok(second)) = (first.await, second.await) else {
                return false;
            };
            first.version == second.version && first == second && first.pinglist.is_some()
        })
        .await;
    }
    let other = row_of(&site.client, &b).await;
    // Dropped, a program is killed.
    drop(a);
    let took = site.served_by(other, FAILOVER).await;
    println!("all {HOSTS} agents are served by the other controller after {took:?}");
    until("the dead one is given up", PATIENCE, async || {
        let sql = "SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL";
        site.client
            .query_one(sql, &[])
            .await
            .expect("readable")
            .get::<_, i64>(0)
            == 1
    })
    .await;
    site.nothing_is_withdrawn().await;
    b.stop();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_controller_that_stood_still_changes_nothing_and_ends() {
    let (site, [mut a, b]) = Site::start().await;
    let (still, other) = (
        row_of(&site.client, &a).await,
        row_of(&site.client, &b).await,
    );
    let registry = "SELECT string_agg(agent || encode(gid, 'hex') || qpn || tor, ' ' ORDER BY gid) FROM rpingmesh.rnic";
    let before: String = site
        .client
        .query_one(registry, &[])
        .await
        .expect("readable")
        .get(0);
    let process = Pid::from_raw(i32::try_from(a.id()).expect("a process")).expect("a process");
    kill_process(process, Signal::STOP).expect("stopped");
    // Nothing closes its connections: their keep-alive does.
    site.served_by(other, PATIENCE).await;
    until("it is given up", PATIENCE, async || {
        let sql = "SELECT gone IS NOT NULL FROM rpingmesh.controller WHERE id = $1";
        let row = site
            .client
            .query_opt(sql, &[&still])
            .await
            .expect("readable");
        row.is_none_or(|row| row.get(0))
    })
    .await;
    kill_process(process, Signal::CONT).expect("it goes on");
    a.wait_for(&["the others have given it up"]);
    // What it had begun is over: the agents are the other one's, as they were.
    drop(a);
    site.served_by(other, FAILOVER).await;
    let after: String = site
        .client
        .query_one(registry, &[])
        .await
        .expect("readable")
        .get(0);
    assert_eq!(after, before);
    site.nothing_is_withdrawn().await;
    b.stop();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn the_clusters_key_is_one_and_changes_over_at_all_controllers() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let store = cluster.location("rpingmesh", "fleet=east");
    crate::identity::keys::several_controllers_hand_out_one_key(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn the_operator_sees_the_controllers() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let url = cluster.url("rpingmesh", "fleet=east");
    let ((first, _), (second, _)) = (controller(&url), controller(&url));
    let chain = Chain::new().await;
    let analyzer = chain.analyzer().await;
    let web = format!("http://{}", chain.web_address());
    let seen = |arguments: &[&str]| {
        let arguments = [&["status", "--analyzer", &web, "--store", &url], arguments].concat();
        let done = command(OPERATOR, &arguments).output().expect("it runs");
        let (text, errors) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        assert!(done.status.success(), "{text}\n{errors}");
        text.into_owned()
    };
    let text = seen(&[]);
    let line = |program: &Program| {
        let process = format!("process {}:", program.id());
        let line = text.lines().find(|line| line.contains(&process));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(text.contains("controllers 2"), "{text}");
    assert!(line(&first).ends_with("holds the lease"), "{text}");
    assert!(
        line(&second).contains(": 0 agents, seen ") && line(&second).ends_with(" ago"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&seen(&["--json"])).expect("JSON");
    assert_eq!(json["controllers"][0]["is_holder"], true, "{json}");
    assert_eq!(
        json["controllers"].as_array().map(Vec::len),
        Some(2),
        "{json}"
    );
    first.stop();
    second.stop();
    analyzer.stop().await;
}
