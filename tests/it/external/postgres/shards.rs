//! Several analyzers on one database: agents upload to the owner of their shard, one of them judges, and each may be killed, or stand
//! still and wake up.

mod tls;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::config::agent::AgentSettings;
use rpingmesh::id::Gid;
use rpingmesh::net::http::{HttpError, get};
use rpingmesh::net::url::Url;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::judge_service_client::JudgeServiceClient;
use rpingmesh::rpc::v1::relay_request::Message;
use rpingmesh::transport::RnicName;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::cluster::Cluster;
use super::programs::controller;
use crate::agent::{Running, start};
use crate::support::program::{ANALYZER, OPERATOR, Program, command, refused};

/// What must come comes in this time, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Until when a fault is seen after its owner, or the judge, was killed, on a loaded machine. How long it took is printed.
const SEEN: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
/// Hosts with an RNIC each, and their ToRs: with two hosts, so that each has a peer.
const HOSTS: u8 = 16;
const TORS: u8 = 8;

/// An analyzer that runs, and where it is reached.
struct Member {
    program: Program,
    id: i64,
    grpc: SocketAddr,
    web: SocketAddr,
}

/// A database, a controller and three analyzers as programs, agents in this process.
struct Site {
    store: String,
    client: Client,
    members: Vec<Member>,
    agents: Vec<(String, Running)>,
    _controller: Program,
    _folder: tempfile::TempDir,
    _cluster: Cluster,
}

/// An address that is free now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address")
}

fn arguments(store: &str, grpc: SocketAddr, web: SocketAddr) -> Vec<String> {
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

async fn member(store: &str, client: &Client) -> Member {
    let (grpc, web) = (free(), free());
    member_with(&arguments(store, grpc, web), (grpc, web), client).await
}

async fn member_with(
    words: &[String],
    (grpc, web): (SocketAddr, SocketAddr),
    client: &Client,
) -> Member {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut program = Program::start(ANALYZER, &words);
    program.wait_for(&["shares the fleet"]);
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

/// Tries again until it holds; gives how long that took.
async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
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

fn name_of(number: u8) -> String {
    format!("h{number:02}")
}

/// An agent with these servers and, if it needs any, other settings.
fn agent(
    (number, controller, analyzer): (u8, &str, &str),
    other: &str,
    network: &Network,
    folder: &std::path::Path,
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
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        cluster.create("rpingmesh");
        let store = cluster.url("rpingmesh", "fleet=east");
        let (controller, line) = controller(&store);
        let address = line.split_once("address=").expect("its address").1;
        let address = address.split_whitespace().next().expect("its address");
        let url = format!("http://{address}");
        let client = cluster.client("rpingmesh").await;
        let mut members = Vec::new();
        for _ in 0..3 {
            members.push(member(&store, &client).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let network = Network::new();
        let any = format!("http://{}", members[0].grpc);
        let agents =
            (1..=HOSTS).map(|number| agent((number, &url, &any), "", &network, folder.path()));
        let site = Self {
            agents: agents.collect(),
            store,
            client,
            members,
            _controller: controller,
            _folder: folder,
            _cluster: cluster,
        };
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

    /// Analyzers with how many shards they own.
    async fn owned(&self) -> Vec<(i64, i64)> {
        let sql = "SELECT owner, count(*) FROM rpingmesh.shard GROUP BY owner ORDER BY owner";
        let rows = self.client.query(sql, &[]).await.expect("readable");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn judge(&self) -> i64 {
        let sql = "SELECT member FROM rpingmesh.owner WHERE role = 'analyzer'";
        let row = self.client.query_one(sql, &[]).await;
        row.expect("a judge").get(0)
    }

    /// An answer of the fleet, from whichever analyzer is asked first; `None` while nobody judges.
    async fn ask(&self, path: &str) -> Option<Value> {
        let web = self.members.last()?.web;
        ask(&Url::parse(&format!("http://{web}{path}")).expect("a URL")).await
    }

    /// Whether the judge has heard all agents lately, and has counted each of their batches once.
    async fn is_whole(&self) -> bool {
        let Some(answer) = self.ask("/api/v1/agents").await else {
            return false;
        };
        let (now, agents) = (&answer["now_unix_ns"], answer["agents"].as_array());
        let is_whole = |agent: &Value| {
            let age = now.as_i64().zip(agent["last_upload_unix_ns"].as_i64());
            let is_fresh = age.is_some_and(|(now, last)| now - last < 2_500_000_000);
            is_fresh
                && agent["batches"] == agent["sequence"]
                && agent["lost_batches"] == 0
                && agent["late_batches"] == 0
        };
        let living = self.agents.len();
        agents.is_some_and(|agents| agents.iter().filter(|agent| is_whole(agent)).count() >= living)
    }

    /// Titles and states of all incidents.
    async fn incidents(&self) -> Option<Vec<(String, bool)>> {
        let answer = self.ask("/api/v1/incidents").await?;
        let incidents = answer["incidents"].as_array()?;
        // Those of a test machine that is overloaded say nothing here.
        let is_load = |incident: &Value| {
            let evidence = incident["evidence"].to_string();
            let is_of_hosts = evidence.contains("agent_silent") || evidence.contains("host_down");
            incident["category"] == "cpu_overload"
                || incident["category"] == "monitoring_blind"
                    && evidence.contains("starved")
                    && !is_of_hosts
        };
        let told = |incident: &Value| {
            let title = incident["title"].as_str().unwrap_or_default().to_owned();
            (title, incident["closed_unix_ns"].is_null())
        };
        Some(
            incidents
                .iter()
                .filter(|one| !is_load(one))
                .map(told)
                .collect(),
        )
    }

    /// An agent whose shard this analyzer owns.
    async fn agent_of(&self, owner: i64) -> usize {
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

    /// Takes an analyzer out that is the judge, or is not, and owns the shard of an agent.
    async fn take(&mut self, judges: bool) -> Member {
        let judge = self.judge().await;
        let at = self
            .members
            .iter()
            .position(|one| (one.id == judge) == judges);
        self.members.remove(at.expect("one"))
    }

    async fn stop(self) {
        for (_, agent) in self.agents {
            agent.stop().await;
        }
        for member in self.members {
            member.program.stop();
        }
    }
}

async fn ask(url: &Url) -> Option<Value> {
    let timeout = Duration::from_secs(2);
    let body = match get(url, timeout).await {
        Err(HttpError::Elsewhere { location, .. }) => {
            get(&Url::parse(&location).expect("a URL"), timeout).await
        }
        answered => answered,
    };
    serde_json::from_slice(&body.ok()?).ok()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn three_analyzers_share_a_fleet_and_operators_see_them() {
    let site = Site::start().await;
    for member in &site.members {
        let url = format!("http://{}/api/v1/status", member.web);
        let status = ask(&Url::parse(&url).expect("a URL")).await;
        assert!(status.is_some(), "{url}");
    }
    let web = format!("http://{}", site.members[2].web);
    let arguments = ["status", "--analyzer", &web, "--store", &site.store];
    let done = command(OPERATOR, &arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}");
    assert!(text.contains("analyzers 3"), "{text}");
    assert_eq!(text.matches("; judges").count(), 1, "{text}");
    assert_eq!(text.matches(" shards, newest epoch ").count(), 3, "{text}");
    // An analyzer that wants the fleet for itself is refused, and one of another fleet.
    let alone = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--web",
        "127.0.0.1:0",
        "--store",
        &site.store,
    ];
    let (status, error) = refused(ANALYZER, &alone);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("is used by another analyzer"), "{error}");
    let west = site.store.replace("fleet=east", "fleet=west");
    let words = self::arguments(&west, free(), free());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (status, error) = refused(ANALYZER, &words);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("keeps the data of fleet `east`"), "{error}");
    assert_eq!(site.incidents().await, Some(Vec::new()), "nothing is wrong");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_owner_that_is_killed_loses_nothing_and_faults_are_seen_again() {
    let mut site = Site::start().await;
    let owner = site.take(false).await;
    let victim = site.agent_of(owner.id).await;
    // The fault begins when nobody takes the results of its host's shard.
    let (host, agent) = site.agents.remove(victim);
    agent.kill();
    // Dropped, a program is killed.
    drop(owner);
    let seen = until("the fault is seen", SEEN, async || {
        let incidents = site.incidents().await.unwrap_or_default();
        incidents.iter().any(|(title, _)| title.contains(&host))
    })
    .await;
    println!("a fault in the shard of an owner that was killed is seen after {seen:?}");
    let whole = until("each batch is counted once", SEEN, async || {
        site.is_whole().await
    })
    .await;
    println!("all agents upload again, and each batch is counted once, {whole:?} later");
    let incidents = site.incidents().await.expect("an answer");
    assert!(
        incidents.iter().all(|(title, _)| title.contains(&host)),
        "nothing else is wrong: {incidents:?}"
    );
    until("its shards have owners", PATIENCE, async || {
        site.owned()
            .await
            .iter()
            .map(|(_, shards)| *shards)
            .eq([32, 32])
    })
    .await;
    // A new one takes its share over.
    let third = member(&site.store, &site.client).await;
    site.members.push(third);
    until("the new one has its share", PATIENCE, async || {
        site.owned().await.len() == 3
    })
    .await;
    until("each batch is counted once", PATIENCE, async || {
        site.is_whole().await
    })
    .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_judge_that_is_killed_has_a_successor_who_knows_what_was_wrong() {
    let mut site = Site::start().await;
    let (host, agent) = site.agents.remove(0);
    agent.kill();
    until("the fault is seen", PATIENCE, async || {
        let incidents = site.incidents().await.unwrap_or_default();
        incidents
            .iter()
            .any(|(title, is_open)| title.contains(&host) && *is_open)
    })
    .await;
    let judge = site.take(true).await;
    drop(judge);
    let judged = until("another one judges", SEEN, async || {
        let status = site.ask("/api/v1/status").await;
        status.is_some_and(|status| {
            status["judge"]["runs"]
                .as_u64()
                .is_some_and(|runs| runs > 0)
        })
    })
    .await;
    println!("after the judge was killed, another one judges after {judged:?}");
    let incidents = site.incidents().await.expect("an answer");
    assert!(
        incidents
            .iter()
            .any(|(title, is_open)| title.contains(&host) && *is_open),
        "it stays open: {incidents:?}"
    );
    // What owners had kept has come: the windows hold what was before.
    until("all agents are heard", PATIENCE, async || {
        let agents = site.ask("/api/v1/agents").await;
        agents.is_some_and(|agents| {
            agents["agents"]
                .as_array()
                .is_some_and(|all| all.len() >= site.agents.len())
        })
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let incidents = site.incidents().await.expect("an answer");
    let about: Vec<_> = incidents
        .iter()
        .filter(|(title, _)| title.contains(&host))
        .collect();
    assert_eq!(about.len(), 1, "it was opened once: {incidents:?}");
    assert_eq!(incidents.len(), 1, "nothing else is wrong: {incidents:?}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_owner_that_stood_still_ends_and_its_late_evidence_is_refused() {
    let mut site = Site::start().await;
    let sql = "SELECT epoch FROM rpingmesh.owner WHERE role = 'analyzer'";
    let judge_epoch: i64 = site
        .client
        .query_one(sql, &[])
        .await
        .expect("a judge")
        .get(0);
    let mut owner = site.take(false).await;
    let sql = "SELECT number, epoch FROM rpingmesh.shard WHERE owner = $1 LIMIT 1";
    let before = site
        .client
        .query_one(sql, &[&owner.id])
        .await
        .expect("its shard");
    let (number, epoch): (i32, i64) = (before.get(0), before.get(1));
    let judge = site.judge().await;
    let judge = site
        .members
        .iter()
        .find(|one| one.id == judge)
        .expect("the judge");
    let mut client = JudgeServiceClient::connect(format!("http://{}", judge.grpc))
        .await
        .expect("a connection");
    let hello = relayed(Message::Hello(v1::RelayHello {
        analyzer: owner.id,
        judge_epoch,
    }));
    let (relay, requests) = mpsc::channel(2);
    relay.send(hello.clone()).await.expect("a hello");
    let mut answers = client
        .relay(ReceiverStream::new(requests))
        .await
        .expect("a stream")
        .into_inner();
    answers.message().await.expect("a hello").expect("one");

    let pid = Pid::from_raw(i32::try_from(owner.program.id()).expect("small")).expect("a process");
    kill_process(pid, Signal::STOP).expect("stopped");
    let whole = until("others take its shards", SEEN, async || {
        site.owned().await.len() == 2 && site.is_whole().await
    })
    .await;
    println!("after an owner stood still, each batch is counted once after {whole:?}");
    kill_process(pid, Signal::CONT).expect("goes on");
    owner.program.wait_for(&["was silent for too long"]);

    // What it would have sent, on a connection that survived.
    let item = v1::RelayedItem {
        agent_id: "h01".to_owned(),
        host: "h01".to_owned(),
        ..v1::RelayedItem::default()
    };
    let frame = v1::RelayFrame {
        number: 1,
        shards: vec![v1::RelayedShard {
            shard: Some(v1::ShardEpoch {
                shard: u32::try_from(number).expect("small"),
                epoch: u64::try_from(epoch).expect("positive"),
            }),
            items: vec![item.clone(), item],
        }],
        caught_up: true,
        ..v1::RelayFrame::default()
    };
    let packed = zstd::bulk::compress(&prost::Message::encode_to_vec(&frame), 1).expect("packed");
    let late = relayed(Message::ZstdFrame(packed.into()));
    relay.send(late).await.expect("a frame");
    let answer = answers.message().await.expect("an answer").expect("one");
    assert_eq!((answer.number, answer.stale), (1, 2));

    // On a new connection it is none of those that share the fleet.
    let refused = client
        .relay(tokio_stream::iter([hello]))
        .await
        .expect("a stream")
        .into_inner()
        .message()
        .await
        .expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(site.incidents().await, Some(Vec::new()), "nothing is wrong");
    site.stop().await;
}

fn relayed(message: Message) -> v1::RelayRequest {
    v1::RelayRequest {
        message: Some(message),
    }
}
