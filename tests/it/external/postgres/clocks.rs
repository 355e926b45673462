//! Analyzers that share a fleet, with wall clocks that are minutes apart and are set while they judge. Leases and epochs go by the
//! server's clock and by clocks that nobody sets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::agent::AgentSettings;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::events::Publisher;
use rpingmesh::id::Gid;
use rpingmesh::net::http::get;
use rpingmesh::net::url::Url;
use rpingmesh::time::{Clock, HostTime, Nanos, SystemClock, WallTime};
use rpingmesh::transport::RnicName;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use serde_json::Value;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::programs::controller;
use crate::agent::{Running, start};

/// What must come comes in this time, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);
/// Longer than any silence that counts.
const WATCHED: Duration = Duration::from_secs(9);
/// Batches of an agent that come too late for the windows before the judge knows by how much clocks are off.
const LATE: u64 = 10;
const AGENTS: u8 = 12;
const TORS: u8 = 6;

/// A wall clock that is off by seconds.
struct Shifted(AtomicI64);

impl Shifted {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Shifted {
    fn host(&self) -> HostTime {
        SystemClock.host()
    }

    fn wall(&self) -> WallTime {
        SystemClock.wall() + Nanos(self.0.load(Ordering::Relaxed) * 1_000_000_000)
    }
}

struct Member {
    id: i64,
    web: SocketAddr,
    clock: Arc<Shifted>,
    running: Running,
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address")
}

async fn member(store: &str, client: &Client, seconds: i64) -> (Member, SocketAddr) {
    let (grpc, web) = (free(), free());
    let settings = AnalyzerSettings {
        listen: grpc.to_string(),
        web: web.to_string(),
        store: store.to_owned(),
        advertise: Some(format!("http://{grpc}")),
        advertise_web: Some(format!("http://{web}")),
        ..AnalyzerSettings::default()
    };
    let clock = Arc::new(Shifted(AtomicI64::new(seconds)));
    let config = settings.validate().expect("valid");
    let analyzer = Analyzer::start(
        config,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Publisher::default(),
    );
    let analyzer = analyzer.await.expect("started");
    let stop = CancellationToken::new();
    let running = Running {
        stop: stop.clone(),
        task: tokio::spawn(async move { analyzer.run(stop).await.expect("clean stop") }),
    };
    let sql = "SELECT max(id) FROM rpingmesh.analyzer";
    let id = client.query_one(sql, &[]).await.expect("its row").get(0);
    let member = Member {
        id,
        web,
        clock,
        running,
    };
    (member, grpc)
}

fn agent(
    number: u8,
    controller: &str,
    analyzer: SocketAddr,
    network: &Network,
    folder: &std::path::Path,
) -> Running {
    let settings: AgentSettings = toml::from_str(&format!(
        "host = 'h{number}'\ncontroller = '{controller}'\nanalyzer = 'http://{analyzer}'\ntor = 'tor{}'\nstate_dir = '{}'",
        number % TORS,
        folder.join(number.to_string()).display()
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

async fn ask(member: &Member, path: &str) -> Option<Value> {
    let url = Url::parse(&format!("http://{}{path}", member.web)).expect("a URL");
    serde_json::from_slice(&get(&url, Duration::from_secs(2)).await.ok()?).ok()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) -> Duration {
    let begun = Instant::now();
    while let Err(why) = holds().await {
        assert!(
            begun.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}: {why}"
        );
        tokio::time::sleep(LOOK).await;
    }
    begun.elapsed()
}

/// Waits until each agent has uploaded, and each of its batches is counted once. Gives the most batches of an agent that were late for
/// the windows.
async fn whole(judge: &Member) -> u64 {
    let mut late = 0;
    until("each batch is counted once", async || {
        let answer = ask(judge, "/api/v1/agents").await.ok_or("no answer")?;
        let agents = answer["agents"].as_array().ok_or("no agents")?;
        let is_whole = |agent: &&Value| {
            let age = answer["now_unix_ns"]
                .as_i64()
                .zip(agent["last_upload_unix_ns"].as_i64());
            age.is_some_and(|(now, last)| now - last < 2_500_000_000)
                && agent["sequence"].as_u64().is_some_and(|newest| newest >= 3)
                && agent["batches"] == agent["sequence"]
                && agent["lost_batches"] == 0
        };
        let missed = |agent: &Value| -> u64 {
            let keys = ["late_batches", "future_batches"];
            keys.iter().filter_map(|key| agent[key].as_u64()).sum()
        };
        late = agents.iter().map(missed).max().unwrap_or_default();
        let whole = agents.iter().filter(is_whole).count();
        (whole == usize::from(AGENTS))
            .then_some(())
            .ok_or_else(|| format!("{answer:#}"))
    })
    .await;
    late
}

/// Categories and titles of incidents, but for those that say that the test machine is overloaded, and that clocks are off.
async fn blamed(judge: &Member) -> Vec<String> {
    let path = "/api/v1/incidents?state=open&order=rank";
    let answer = ask(judge, path).await.expect("an answer");
    let incidents = answer["incidents"].as_array().into_iter().flatten();
    let blames = |incident: &&Value| {
        let category = incident["category"].as_str().unwrap_or_default();
        let is_of_clocks = category == "clock";
        let is_blind = category == "monitoring_blind"
            && !incident["evidence"].to_string().contains("agent_silent");
        !(is_of_clocks || is_blind || category == "cpu_overload")
    };
    incidents
        .filter(blames)
        .map(|one| format!("{one}"))
        .collect()
}

/// Waits until each analyzer owns its share.
async fn shares(client: &Client) {
    until("each owns its share", async || {
        let sql = "SELECT count(DISTINCT owner), min(count), max(count)
                   FROM (SELECT owner, count(*) FROM rpingmesh.shard GROUP BY owner) AS share";
        let row = client.query_one(sql, &[]).await.expect("readable");
        let seen: (i64, Option<i64>, Option<i64>) = (row.get(0), row.get(1), row.get(2));
        (seen == (3, Some(21), Some(22)))
            .then_some(())
            .ok_or_else(|| format!("{seen:?}"))
    })
    .await;
}

/// Epochs of the judge and of all shards, and how many analyzers live.
async fn epochs(client: &Client) -> (i64, i64, i64) {
    let sql = "SELECT (SELECT epoch FROM rpingmesh.owner WHERE role = 'analyzer'),
                      (SELECT sum(epoch)::bigint FROM rpingmesh.shard),
                      (SELECT count(*) FROM rpingmesh.analyzer WHERE gone IS NULL)";
    let row = client.query_one(sql, &[]).await.expect("readable");
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn clocks_of_analyzers_that_are_apart_or_set_split_nothing_and_blame_nobody() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let store = cluster.url("rpingmesh", "fleet=east");
    let client = cluster.client("rpingmesh").await;
    let (controller, line) = controller(&store);
    let address = line.split_once("address=").expect("its address").1;
    let url = format!(
        "http://{}",
        address.split_whitespace().next().expect("its address")
    );
    let (mut members, mut any) = (Vec::new(), None);
    for seconds in [0, 180, -240] {
        let (member, grpc) = member(&store, &client, seconds).await;
        // The first one judges: its clock is right.
        until("somebody judges", async || {
            let sql = "SELECT count(*) FROM rpingmesh.owner WHERE role = 'analyzer'";
            let judges: i64 = client.query_one(sql, &[]).await.expect("readable").get(0);
            (judges == 1)
                .then_some(())
                .ok_or_else(|| "nobody".to_owned())
        })
        .await;
        any = Some(grpc);
        members.push(member);
    }
    shares(&client).await;
    let (network, folder) = (Network::new(), tempfile::tempdir().expect("a folder"));
    let any = any.expect("some");
    let agents: Vec<_> = (1..=AGENTS)
        .map(|number| agent(number, &url, any, &network, folder.path()))
        .collect();
    let sql = "SELECT member FROM rpingmesh.owner WHERE role = 'analyzer'";
    let judge: i64 = client.query_one(sql, &[]).await.expect("a judge").get(0);
    let judge = members
        .iter()
        .find(|one| one.id == judge)
        .expect("one of them");
    assert_eq!(
        whole(judge).await,
        0,
        "clocks of the others say nothing about agents"
    );
    let before = epochs(&client).await;

    // The judge's clock is set forwards and back, then those of the others.
    let (owners, others): (Vec<_>, Vec<_>) = members.iter().partition(|one| one.id == judge.id);
    let mut late = 0;
    for (who, clocks, seconds) in [
        ("the judge", &owners, 300),
        ("the judge", &owners, 0),
        ("the judge", &owners, -300),
        ("the judge", &owners, 0),
        ("the others", &others, 600),
        ("the others", &others, -600),
    ] {
        for one in clocks {
            one.clock.set(seconds);
        }
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            let seen = blamed(judge).await;
            assert_eq!(
                seen, [""; 0],
                "{who} {seconds}: a clock is no fault of the network or of agents"
            );
            tokio::time::sleep(LOOK).await;
        }
        let before = std::mem::replace(&mut late, whole(judge).await);
        let missed = late - before;
        println!(
            "{who} {seconds} s: each batch is counted once, at most {missed} of an agent were late for the windows"
        );
        assert!(
            missed <= LATE && (missed == 0 || who == "the judge"),
            "{missed}"
        );
    }
    let closed = until("what was said of clocks is over", async || {
        let answer = ask(judge, "/api/v1/incidents?state=open&order=rank")
            .await
            .ok_or("no answer")?;
        let is_over = !answer.to_string().contains("\"category\":\"clock\"");
        is_over.then_some(()).ok_or_else(|| format!("{answer:#}"))
    })
    .await;
    println!("what was said of clocks is over {closed:?} later");
    assert_eq!(
        epochs(&client).await,
        before,
        "one judge, one owner of each shard"
    );
    for agent in agents {
        agent.stop().await;
    }
    for member in members {
        member.running.stop().await;
    }
    controller.stop();
}
