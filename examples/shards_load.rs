//! What sharing a fleet costs: agents as of a fleet of 100 000 RNICs upload to one analyzer that has the fleet for itself, with SQLite, and
//! then to four that share it over PostgreSQL on loopback, one of which judges. Prints reports per second, processor time per report of all
//! analyzers together, their memory, and what they relay: `cargo run --release --example shards_load [AGENTS]` (Linux, Debian's
//! `postgresql`). `SECONDS` is how long each is measured [default: 30], `ROUNDS` how often [default: 2], `JUDGE` how often it is judged
//! [default: 1m, so that taking reports is measured].

// The tests' server: what only they use stays unused here.
#[allow(dead_code)]
#[path = "../tests/it/external/postgres/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::Cluster;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::shards::ShardId;
use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::events::Publisher;
use rpingmesh::id::{Gid, TorId};
use rpingmesh::net::client::channel;
use rpingmesh::net::http::get;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::time::{Clock as _, SystemClock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const AGENTS: u32 = 1_000;
const RNICS: u32 = 8;
/// 5-tuples of an agent in a fleet of 100 000 RNICs, and how many of them have a probe in a second.
const TUPLES: u32 = 235;
const REPORTS: u32 = 100;
const SHARING: usize = 4;
/// What is measured begins so long after the first batch.
const WARM_UP: Duration = Duration::from_secs(15);

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn number(name: &str, default: &str) -> u64 {
    let text = variable(name, default);
    text.parse()
        .unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", store, grpc, web] => runtime.block_on(serve(store, grpc, web)),
        [] => runtime.block_on(measure(AGENTS)),
        [agents] => runtime.block_on(measure(agents.parse().expect("a number of agents"))),
        _ => panic!("{arguments:?}: only a number of agents may be given"),
    }
}

/// An analyzer in a process of its own. One with SQLite has the fleet for itself.
async fn serve(store: &str, grpc: &str, web: &str) {
    let shares = store.starts_with("postgres:");
    let advertised = |address: &str| shares.then(|| format!("http://{address}"));
    let settings = format!(
        "judge_interval = '{}'\nmemory_limit = '4GiB'",
        variable("JUDGE", "1m")
    );
    let config = AnalyzerSettings {
        listen: grpc.to_owned(),
        web: web.to_owned(),
        store: store.to_owned(),
        advertise: advertised(grpc),
        advertise_web: advertised(web),
        ..toml::from_str(&settings).expect("settings")
    };
    let config = config.validate().expect("a configuration");
    let analyzer = Analyzer::start(config, Arc::new(SystemClock), Publisher::default());
    let analyzer = analyzer.await.expect("starts");
    println!("ready");
    std::io::stdout().flush().expect("a pipe");
    let forever = CancellationToken::new();
    analyzer.run(forever).await.expect("runs");
}

struct Server {
    child: Child,
    grpc: SocketAddr,
    web: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(store: &str) -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
            listener.local_addr().expect("an address")
        };
        let (grpc, web) = (free(), free());
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["serve", store, &grpc.to_string(), &web.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let lines = child.stdout.take().expect("piped");
        BufReader::new(lines).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "ready");
        Self { child, grpc, web }
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).expect("Linux's /proc")
    }

    /// Processor time so far.
    fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .expect("fields")
            .split(' ')
            .collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
        // Hundredths of a second on every Linux.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Resident megabytes.
    fn memory(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        kilobytes.expect("VmRSS").parse::<u64>().expect("a number") / 1024
    }

    /// A counter of its metrics.
    async fn counter(&self, name: &str) -> f64 {
        let url = Url::parse(&format!("http://{}/metrics", self.web)).expect("a URL");
        let body = get(&url, Duration::from_secs(10)).await.expect("metrics");
        let text = String::from_utf8(body.to_vec()).expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

fn tor(agent: u32) -> String {
    format!("leaf{}", agent % 64)
}

fn peer(rnic: u32, agents: u32) -> v1::Peer {
    let [_, a, b, c] = rnic.to_be_bytes();
    let host = rnic / RNICS % agents;
    v1::Peer {
        gid: Gid::from(Ipv4Addr::new(10, a, b, c))
            .bytes()
            .to_vec()
            .into(),
        qpn: 64 + rnic * 7,
        host: format!("gpu-{host:05}.pod{}.example.net", host / 64),
        tor: tor(host),
        device: format!("mlx5_{}", rnic % RNICS),
    }
}

/// The 5-tuples of an agent.
fn tuples(agent: u32, agents: u32, random: &mut ChaCha8Rng) -> Vec<v1::PathReport> {
    let mut tuple = |number: u32| v1::PathReport {
        source: Some(peer(agent * RNICS + number % RNICS, agents)),
        target: Some(peer(random.random_range(0..agents * RNICS), agents)),
        kind: v1::ProbeKind::InterTor.into(),
        source_port: random.random_range(0xc000..=0xffff),
        sent: 1,
        clock: v1::CompletionClock::HardwareWall.into(),
        ..v1::PathReport::default()
    };
    (0..TUPLES).map(&mut tuple).collect()
}

fn batch(sequence: u64, tuples: &[v1::PathReport], random: &mut ChaCha8Rng) -> v1::ResultBatch {
    let now = SystemClock.wall().nanos();
    let mut paths = Vec::with_capacity(REPORTS as usize);
    for tuple in tuples {
        if random.random_ratio(REPORTS, TUPLES) {
            let mut span = |most: i64| vec![random.random_range(most / 2..most)];
            paths.push(v1::PathReport {
                network_rtt_ns: span(9_000),
                prober_delay_ns: span(4_000),
                responder_delay_ns: span(3_000),
                ..tuple.clone()
            });
        }
    }
    v1::ResultBatch {
        sequence,
        start_unix_ns: now - 1_000_000_000,
        end_unix_ns: now,
        paths,
        ..v1::ResultBatch::default()
    }
}

/// Where an agent uploads, and what it says of its shard.
#[derive(Clone)]
struct Place {
    analyzer: SocketAddr,
    shard: Option<v1::ShardEpoch>,
}

/// Uploads once a second, until `stop`.
async fn agent(
    (number, agents): (u32, u32),
    place: Place,
    stop: CancellationToken,
    reports: Arc<AtomicU64>,
) {
    let mut random = ChaCha8Rng::seed_from_u64(number.into());
    let tuples = tuples(number, agents, &mut random);
    let url = Url::server(&format!("http://{}", place.analyzer)).expect("an address");
    let channel = channel(&url, &Security::loopback_plaintext()).expect("a channel");
    let (sender, outgoing) = mpsc::channel(2);
    let hello = v1::UploadHello {
        agent_id: format!("agent{number}"),
        spool_id: random.random(),
        host: peer(number * RNICS, agents).host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shard: place.shard,
        ..v1::UploadHello::default()
    };
    sender.send(hello.into()).await.expect("open");
    let mut client = AnalyzerServiceClient::new(channel);
    let stream = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let answers = client.upload(stream).await.expect("a stream");
    let mut answers = answers.into_inner();
    answers.message().await.expect("taken").expect("an answer");
    tokio::time::sleep(Duration::from_millis(
        u64::from(number) * 1_000 / u64::from(agents),
    ))
    .await;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut sequence = 0;
    while stop.run_until_cancelled(seconds.tick()).await.is_some() {
        sequence += 1;
        let batch = batch(sequence, &tuples, &mut random);
        let count = batch.paths.len() as u64;
        let packed = UploadRequest::of_packed(prost::Message::encode_to_vec(&batch).into());
        sender.send(packed).await.expect("open");
        let answer = answers.message().await.expect("taken").expect("an answer");
        assert_eq!(answer.acknowledged_sequence, sequence);
        reports.fetch_add(count, Ordering::Relaxed);
    }
}

/// One run.
struct Run {
    per_second: f64,
    /// Of processor time, of all analyzers.
    micros: f64,
    /// In megabytes, of each.
    memory: Vec<u64>,
    /// In bytes for each report that its owner does not judge itself.
    relayed: f64,
}

async fn run(servers: &[Server], places: Vec<Place>) -> Run {
    let agents = u32::try_from(places.len()).expect("few agents");
    let (stop, reports) = (CancellationToken::new(), Arc::<AtomicU64>::default());
    let mut running = JoinSet::new();
    for (number, place) in (0..).zip(places) {
        running.spawn(agent(
            (number, agents),
            place,
            stop.clone(),
            Arc::clone(&reports),
        ));
    }
    tokio::time::sleep(WARM_UP).await;
    let cpu = || servers.iter().map(Server::cpu).sum::<Duration>();
    let relayed = async || {
        let mut sum = 0.0;
        for server in servers {
            sum += server.counter("rpingmesh_analyzer_relay_bytes_total").await;
        }
        sum
    };
    let before = (cpu(), reports.load(Ordering::Relaxed), relayed().await);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(number("SECONDS", "30"))).await;
    let (took, spent) = (begun.elapsed(), cpu().saturating_sub(before.0));
    let count = (reports.load(Ordering::Relaxed) - before.1) as f64;
    let run = Run {
        per_second: count / took.as_secs_f64(),
        micros: spent.as_secs_f64() * 1e6 / count,
        memory: servers.iter().map(Server::memory).collect(),
        relayed: (relayed().await - before.2) / count,
    };
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.expect("an agent");
    }
    run
}

/// Who owns the shards, when each analyzer has its share.
async fn owners(cluster: &Cluster, servers: &[Server]) -> BTreeMap<u16, Place> {
    let client = cluster.client("bench").await;
    loop {
        let sql = "SELECT s.number, s.epoch, a.grpc FROM rpingmesh.shard s JOIN rpingmesh.analyzer a ON a.id = s.owner";
        let rows = client.query(sql, &[]).await.expect("readable");
        let place = |row: &tokio_postgres::Row| {
            let url: String = row.get(2);
            let server = servers
                .iter()
                .find(|server| url.ends_with(&server.grpc.to_string()));
            let (shard, epoch): (i32, i64) = (row.get(0), row.get(1));
            let place = Place {
                analyzer: server.expect("one of them").grpc,
                shard: Some(v1::ShardEpoch {
                    shard: shard.unsigned_abs(),
                    epoch: epoch.unsigned_abs(),
                }),
            };
            (u16::try_from(shard).expect("a shard"), place)
        };
        let owners: BTreeMap<u16, Place> = rows.iter().map(place).collect();
        let mut of: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for place in owners.values() {
            *of.entry(place.analyzer).or_default() += 1;
        }
        if of.len() == servers.len() && of.values().all(|shards| *shards == 64 / SHARING) {
            return owners;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn show(what: &str, run: &Run) {
    println!(
        "{what}: {:.0} reports/s, {:.2} µs of processor time each, memory {:?} MB, relayed {:.2} bytes each",
        run.per_second, run.micros, run.memory, run.relayed
    );
}

async fn measure(agents: u32) {
    println!("{agents} agents with {RNICS} RNICs and {TUPLES} 5-tuples, {REPORTS} reports/s each");
    let (mut alone, mut shared, mut bytes) = (0.0, 0.0, 0.0);
    let rounds = number("ROUNDS", "2");
    for round in 0..rounds {
        // What falls or rises all the time weighs on both alike.
        for shares in [round % 2 == 1, round % 2 == 0] {
            if shares {
                let cluster = Cluster::start().await;
                cluster.create("bench");
                let store = cluster.url("bench", "fleet=bench");
                let servers: Vec<_> = (0..SHARING).map(|_| Server::start(&store)).collect();
                let owners = owners(&cluster, &servers).await;
                // The analyzers see it a moment later.
                tokio::time::sleep(Duration::from_secs(2)).await;
                let place = |agent: u32| {
                    let tor: TorId = tor(agent).as_str().into();
                    owners[&ShardId::of_tors([&tor]).number()].clone()
                };
                let run = run(&servers, (0..agents).map(place).collect()).await;
                show("four analyzers that share the fleet", &run);
                shared += run.micros;
                bytes += run.relayed;
            } else {
                let folder = tempfile::tempdir().expect("a folder");
                let store = format!("sqlite:{}", folder.path().join("a.db").display());
                let server = Server::start(&store);
                let place = Place {
                    analyzer: server.grpc,
                    shard: None,
                };
                let places = vec![place; agents as usize];
                let run = run(std::slice::from_ref(&server), places).await;
                show("one analyzer with SQLite", &run);
                alone += run.micros;
            }
        }
    }
    let fleet = 12_500.0 * f64::from(REPORTS) / 1e6;
    println!(
        "reports per second of processor time, sharing beside alone: {:.2}; relayed for 100 000 RNICs: {:.2} MB/s",
        alone / shared,
        bytes / rounds as f64 * fleet
    );
}
