//! A fleet registers with one controller, over gRPC: a controller in a process of its own, and 12 500 agents with 8 RNICs and a
//! connection each, all at once. Half of them fetch their pinglists and each newer one, the others only stay registered. Then, at rest,
//! whole lists are asked for. Prints how long answers take, the controller's memory and its processor time: `cargo run --release --example registrations [AGENTS]`
//! (Linux).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message as _;
use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::controller::Controller;
use rpingmesh::id::Gid;
use rpingmesh::net::client::channel;
use rpingmesh::net::descriptors;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::controller_service_client::ControllerServiceClient;
use rpingmesh::rpc::v1::register_request::Message as Outgoing;
use rpingmesh::rpc::v1::register_response::Message as Incoming;
use rpingmesh::store::open;
use rpingmesh::time::SystemClock;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const AGENTS: usize = 12_500;
const RAILS: u8 = 8;
const HOSTS_PER_POD: usize = 64;
/// One of so many agents fetches lists.
const ACTIVE: usize = 2;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Agents count as served when nobody was told of a newer list for so long.
const QUIET: Duration = Duration::from_secs(10);
/// Nobody waits longer for the end.
const PATIENCE: Duration = Duration::from_mins(10);
/// Whole lists that are asked for in a second of a fleet at rest: as many as if all agents of 100 000 RNICs fetched theirs within two
/// minutes.
const ASKED: u32 = 100;
/// A list of an agent with 8 RNICs is far smaller.
const LARGEST: usize = 16 << 20;

fn main() {
    // A connection takes a descriptor at both ends, and the controller's gRPC has five eighths of its own.
    let limit = descriptors::raise().limit;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("serve") {
        let folder = std::env::args_os().nth(2).expect("a folder");
        runtime.block_on(serve(Path::new(&folder)));
    } else {
        let agents = argument.map_or(AGENTS, |text| text.parse().expect("a number of agents"));
        let wanted = agents as u64 * 8 / 5 + 1_000;
        if let Some(limit) = limit.filter(|limit| *limit < wanted) {
            eprintln!("only {limit} descriptors: {wanted} are wanted (ulimit -n {wanted})");
        }
        runtime.block_on(measure(agents));
    }
}

async fn serve(folder: &Path) {
    let settings = ControllerSettings {
        listen: "127.0.0.1:0".parse().expect("an address"),
        store: format!("sqlite:{}", folder.join("registry.db").display()),
        ..ControllerSettings::default()
    };
    let config = settings.validate().expect("a configuration");
    let registry = open::registry(&config.store).await.expect("a store");
    let controller = Controller::start(config, registry, Arc::new(SystemClock))
        .await
        .expect("starts");
    println!("{}", controller.address());
    std::io::stdout().flush().expect("a pipe");
    let forever = CancellationToken::new();
    controller.run(forever).await.expect("runs");
}

struct Server {
    child: Child,
    _folder: TempDir,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("an address");
        Self {
            child,
            _folder: folder,
            address: line.trim().parse().expect("an address"),
        }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("Linux's /proc")
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

    /// In MB: a field of `status`.
    fn memory(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("a field");
        let kibibytes: f64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number");
        kibibytes * 1024.0 / 1e6
    }
}

fn announcement(host: usize, rails: u8) -> v1::Announcement {
    let [.., high, low] = u32::try_from(host).expect("few hosts").to_be_bytes();
    let rnics = (0..rails).map(|rail| v1::Rnic {
        address: Some(v1::RnicAddress {
            gid: Gid::from(Ipv4Addr::new(10, rail + 1, high, low))
                .bytes()
                .to_vec()
                .into(),
            qpn: 17,
            q_key: 5,
        }),
        device: format!("mlx5_{rail}"),
        port: 1,
        tor: format!("leaf{}-r{rail}", host / HOSTS_PER_POD),
        gid_index: 3,
        completion_clock: v1::CompletionClock::HardwareWall.into(),
        steering: v1::SourcePortSteering::FlowLabel.into(),
        source_ports: Vec::new(),
    });
    v1::Announcement {
        keys: None,
        agent_id: format!("host{host}"),
        incarnation: host as u64 + 1,
        host: format!("host{host}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rnics: rnics.collect(),
        machine: format!("machine{host}"),
    }
}

/// What all agents have seen.
#[derive(Default)]
struct Seen {
    registered: Mutex<Vec<Duration>>,
    lists: Mutex<Vec<Duration>>,
    list_bytes: AtomicU64,
    deltas: AtomicU64,
    unchanged: AtomicU64,
    changes: Mutex<Vec<Instant>>,
    errors: Mutex<Vec<String>>,
}

impl Seen {
    /// Notices of newer lists.
    fn told(&self) -> u64 {
        self.changes.lock().expect("no panic").len() as u64
    }
}

fn keep<T>(all: &Mutex<Vec<T>>, one: T) {
    all.lock().expect("no panic").push(one);
}

/// An agent's life; ends with the first error. It does not keep the lists, but asks for changes as if it did.
async fn agent(host: usize, rails: u8, url: Url, seen: Arc<Seen>) -> Result<(), Status> {
    let channel = channel(&url, &Security::loopback_plaintext())
        .map_err(|error| Status::internal(error.to_string()))?;
    let mut client = ControllerServiceClient::new(channel).max_decoding_message_size(LARGEST);
    let (requests, stream) = mpsc::channel(8);
    let request = |message| v1::RegisterRequest {
        message: Some(message),
    };
    let closed = |_| Status::aborted("the stream has ended");
    let first = request(Outgoing::Announcement(announcement(host, rails)));
    requests.send(first).await.map_err(closed)?;
    let began = Instant::now();
    let answers = client.register(ReceiverStream::new(stream)).await?;
    let mut answers = answers.into_inner();
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut known = 0;
    loop {
        tokio::select! {
            answer = answers.message() => {
                let answer = answer?.ok_or_else(|| Status::aborted("the controller has ended it"))?;
                let version = match answer.message {
                    Some(Incoming::Registered(registered)) => {
                        keep(&seen.registered, began.elapsed());
                        registered.pinglist_version
                    }
                    Some(Incoming::Changed(changed)) => {
                        keep(&seen.changes, Instant::now());
                        changed.pinglist_version
                    }
                    Some(Incoming::Focused(_) | Incoming::Keys(_) | Incoming::Analyzer(_))
                    | None => 0,
                };
                if host.is_multiple_of(ACTIVE) && version != 0 && version != known {
                    let asked = Instant::now();
                    let request = v1::GetPinglistRequest {
                        agent_id: format!("host{host}"),
                        known_version: known,
                        takes_delta: known != 0,
                    };
                    let list = client.get_pinglist(request).await?.into_inner();
                    known = list.version;
                    let is_unchanged = list.delta.is_none() && list.pinglist.is_none();
                    seen.deltas.fetch_add(list.delta.is_some().into(), Ordering::Relaxed);
                    seen.unchanged.fetch_add(is_unchanged.into(), Ordering::Relaxed);
                    seen.list_bytes.fetch_add(list.encoded_len() as u64, Ordering::Relaxed);
                    keep(&seen.lists, asked.elapsed());
                }
            }
            _ = heartbeat.tick() => {
                let beat = Outgoing::Heartbeat(v1::Heartbeat { pinglist_version: known, health: None });
                requests.send(request(beat)).await.map_err(closed)?;
            }
        }
    }
}

fn quantiles(mut spans: Vec<Duration>) -> String {
    spans.sort_unstable();
    let at = |share: usize| {
        let place = (spans.len() * share / 100).min(spans.len().saturating_sub(1));
        spans.get(place).map_or(0.0, Duration::as_secs_f64)
    };
    format!(
        "{} ({:.2} s in the median, {:.2} s for 99 %, {:.2} s at most)",
        spans.len(),
        at(50),
        at(99),
        at(100)
    )
}

/// Until all are registered and nobody is told of a newer list any more.
async fn served(agents: usize, seen: &Seen, server: &Server) -> (Duration, Duration) {
    let began = Instant::now();
    let (mut registered, mut last, mut when) = (None, 0, Instant::now());
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let there = seen.registered.lock().expect("no panic").len();
        if there >= agents && registered.is_none() {
            registered = Some((began.elapsed(), server.cpu()));
        }
        let lists = seen.lists.lock().expect("no panic").len() as u64;
        let now = lists + seen.told() + there as u64;
        if now != last {
            (last, when) = (now, Instant::now());
        }
        if registered.is_some() && when.elapsed() >= QUIET {
            break;
        }
    }
    registered.unwrap_or((began.elapsed(), server.cpu()))
}

/// As an agent does: an error is reported and it is tried again.
fn run(host: usize, rails: u8, url: &Url, seen: &Arc<Seen>) {
    let (url, seen) = (url.clone(), Arc::clone(seen));
    tokio::spawn(async move {
        loop {
            if let Err(error) = agent(host, rails, url.clone(), Arc::clone(&seen)).await {
                keep(
                    &seen.errors,
                    format!("{:?}: {}", error.code(), error.message()),
                );
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// One RNIC joins a fleet at rest: who is told, and how soon.
async fn join(agents: usize, url: &Url, seen: &Arc<Seen>) {
    let before = seen.told();
    let began = Instant::now();
    run(agents, 1, url, seen);
    tokio::time::sleep(QUIET).await;
    let changes = seen.changes.lock().expect("no panic");
    let last = changes
        .last()
        .map_or(0.0, |last| last.duration_since(began).as_secs_f64());
    let told = changes.len() as u64 - before;
    println!(
        "one RNIC joins: {told} agents are told ({:.2} %), the last after {last:.2} s",
        100.0 * told as f64 / agents as f64
    );
}

/// Whole lists of agents at random, [`ASKED`] in a second whether or not earlier ones have come, from a fleet at rest.
async fn lists_at_rest(agents: usize, url: &Url, seen: &Arc<Seen>) {
    let channel = || channel(url, &Security::loopback_plaintext()).expect("a channel");
    let clients: Vec<_> = (0..16)
        .map(|_| ControllerServiceClient::new(channel()).max_decoding_message_size(LARGEST))
        .collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / ASKED);
    let mut asking = JoinSet::new();
    let bytes = Arc::new(AtomicU64::new(0));
    for number in 0..ASKED * 20 {
        let due = ticks.tick().await;
        let mut client = clients[number as usize % clients.len()].clone();
        let host = number as usize * 7_919 % agents;
        let (seen, bytes) = (Arc::clone(seen), Arc::clone(&bytes));
        asking.spawn(async move {
            let request = v1::GetPinglistRequest {
                agent_id: format!("host{host}"),
                known_version: 0,
                takes_delta: false,
            };
            match client.get_pinglist(request).await {
                Ok(list) => {
                    let list = list.into_inner();
                    bytes.fetch_add(list.encoded_len() as u64, Ordering::Relaxed);
                }
                Err(status) => keep(&seen.errors, status.to_string()),
            }
            due.elapsed()
        });
    }
    let mut spans = asking.join_all().await;
    spans.sort_unstable();
    let at = |share: usize| spans[(spans.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "whole lists at rest, {ASKED} in a second: {} ({:.1} ms in the median, {:.1} ms for 99 %, {:.1} ms at most), {:.0} kB each",
        spans.len(),
        at(50),
        at(99),
        at(100),
        bytes.load(Ordering::Relaxed) as f64 / 1e3 / spans.len() as f64
    );
}

async fn measure(agents: usize) {
    let server = Server::start();
    let url = Url::server(&format!("http://{}", server.address)).expect("a URL");
    let seen = Arc::new(Seen::default());
    for host in 0..agents {
        run(host, RAILS, &url, &seen);
    }
    let (all, cpu) = served(agents, &seen, &server).await;
    println!(
        "{agents} agents with {RAILS} RNICs, one of {ACTIVE} fetches lists; all were registered after {:.1} s, {:.1} s of the \
         controller's processor time",
        all.as_secs_f64(),
        cpu.as_secs_f64()
    );
    let take = |all: &Mutex<Vec<Duration>>| std::mem::take(&mut *all.lock().expect("no panic"));
    println!("registrations: {}", quantiles(take(&seen.registered)));
    println!(
        "lists: {}; {} of them as changes, {} unchanged; {:.0} MB; {} notices of newer lists",
        quantiles(take(&seen.lists)),
        seen.deltas.load(Ordering::Relaxed),
        seen.unchanged.load(Ordering::Relaxed),
        seen.list_bytes.load(Ordering::Relaxed) as f64 / 1e6,
        seen.told()
    );
    println!(
        "controller: {:.0} MB at most, {:.0} MB at the end, {:.1} s of processor time until nobody is told of a newer list",
        server.memory("VmHWM:"),
        server.memory("VmRSS:"),
        server.cpu().as_secs_f64()
    );
    let cpu = server.cpu();
    join(agents, &url, &seen).await;
    println!(
        "controller: {:.0} MB with all agents connected and at rest, {:.1} s of processor time in the {QUIET:?} after the join",
        server.memory("VmRSS:"),
        server.cpu().saturating_sub(cpu).as_secs_f64()
    );
    lists_at_rest(agents, &url, &seen).await;
    let errors = seen.errors.lock().expect("no panic");
    println!(
        "errors: {}{}",
        errors.len(),
        errors
            .first()
            .map_or_else(String::new, |error| format!(", the first: {error}"))
    );
}
