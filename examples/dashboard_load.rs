//! What viewers of the dashboard cost: an analyzer in a process of its own takes results of a fabric with as many ToRs as asked
//! for, one path between each two of them, with and without 64 viewers of the overview, in turn. Prints reports per
//! second, processor time per report, and how long pages take: `cargo run --release --example dashboard_load [TORS]` (Linux).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::events::Publisher;
use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use rpingmesh::time::{Clock as _, SystemClock};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const VIEWERS: usize = 64;
const PHASE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 4;
/// Phases before the first that counts: reports cost more as the windows fill.
const WARM_UP: usize = 3;
/// Probes in each report.
const SAMPLES: usize = 4;
/// Agents that upload at the same time; each stands for several ToRs.
const STREAMS: usize = 8;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("serve") {
        let folder = std::env::args_os().nth(2).expect("a folder");
        runtime.block_on(serve(Path::new(&folder)));
    } else {
        let tors = argument.map_or(256, |text| text.parse().expect("a number of ToRs"));
        runtime.block_on(measure(tors));
    }
}

async fn serve(folder: &Path) {
    let config = AnalyzerSettings {
        listen: "127.0.0.1:0".to_owned(),
        web: "127.0.0.1:0".to_owned(),
        store: format!("sqlite:{}", folder.join("analyzer.db").display()),
        ..AnalyzerSettings::default()
    };
    let config = config.validate().expect("a configuration");
    let analyzer = Analyzer::start(config, Arc::new(SystemClock), Publisher::default())
        .await
        .expect("starts");
    println!("{} {}", analyzer.grpc_address(), analyzer.web_address());
    std::io::stdout().flush().expect("a pipe");
    let forever = CancellationToken::new();
    analyzer.run(forever).await.expect("runs");
}

struct Server {
    child: Child,
    /// What was uploaded, many gigabytes: goes when the child is gone.
    _folder: TempDir,
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
            .expect("addresses");
        let (grpc, web) = line.trim().split_once(' ').expect("two addresses");
        Self {
            child,
            _folder: folder,
            grpc: grpc.parse().expect("an address"),
            web: web.parse().expect("an address"),
        }
    }

    /// Processor time so far.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .expect("Linux's /proc");
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
}

fn peer(tor: usize) -> v1::Peer {
    let number = u16::try_from(tor).expect("few ToRs").to_be_bytes();
    let mut gid = vec![0; 10];
    gid.extend([0xff, 0xff, 10, 0, number[0], number[1]]);
    v1::Peer {
        gid: gid.into(),
        qpn: 17,
        // The agent that sends for this ToR: an agent is believed about its own host only.
        host: format!("host{}", tor % STREAMS),
        tor: format!("tor{tor}"),
        device: "rxe0".to_owned(),
    }
}

fn batch(sequence: u64, source: usize, tors: usize) -> v1::ResultBatch {
    let now = SystemClock.wall().nanos();
    let spans = |base: i64| {
        (0..SAMPLES)
            .map(|n| base + 100 * i64::try_from(n).unwrap_or(0))
            .collect::<Vec<_>>()
    };
    let paths = (0..tors)
        .filter(|target| *target != source)
        .map(|target| v1::PathReport {
            source: Some(peer(source)),
            target: Some(peer(target)),
            kind: v1::ProbeKind::InterTor.into(),
            source_port: 50_000,
            sent: SAMPLES as u64,
            network_rtt_ns: spans(
                12_000 + 7 * i64::try_from((source * 31 + target) % 300).unwrap_or(0),
            ),
            prober_delay_ns: spans(4_000),
            responder_delay_ns: spans(5_000),
            clock: v1::CompletionClock::Software.into(),
            ..Default::default()
        })
        .collect();
    v1::ResultBatch {
        sequence,
        start_unix_ns: now - 1_000_000_000,
        end_unix_ns: now,
        paths,
        ..v1::ResultBatch::default()
    }
}

/// Uploads for as long as it is told to, as fast as it is acknowledged.
async fn agent(
    channel: Channel,
    number: usize,
    tors: usize,
    spool: u64,
    stop: Arc<AtomicBool>,
    reports: Arc<AtomicUsize>,
) {
    let (sender, outgoing) = mpsc::channel(2);
    let hello = v1::UploadHello {
        agent_id: format!("agent{number}"),
        spool_id: spool,
        host: format!("host{number}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..v1::UploadHello::default()
    };
    sender.send(hello.into()).await.expect("open");
    let mut answers = AnalyzerServiceClient::new(channel)
        .upload(tokio_stream::wrappers::ReceiverStream::new(outgoing))
        .await
        .expect("a stream")
        .into_inner();
    let feeder = tokio::spawn(async move {
        let mut sequence = 0;
        while !stop.load(Ordering::Relaxed) {
            for source in (number..tors).step_by(STREAMS) {
                sequence += 1;
                let batch = batch(sequence, source, tors);
                if sender.send(UploadRequest::from(&batch)).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut seen = 0;
    while let Some(answer) = answers.message().await.expect("answers") {
        let new = usize::try_from(answer.acknowledged_sequence - seen).unwrap_or(0);
        reports.fetch_add(new * (tors - 1), Ordering::Relaxed);
        seen = answer.acknowledged_sequence;
    }
    feeder.await.expect("fed");
}

type Fetches = Arc<Mutex<Vec<(Duration, usize)>>>;

/// Waits for ticks and fetches the page, as the dashboard's script does.
async fn viewer(web: SocketAddr, fetches: Fetches) {
    let mut events = TcpStream::connect(web).await.expect("connect");
    events
        .write_all(b"GET /events HTTP/1.1\r\nHost: analyzer\r\n\r\n")
        .await
        .expect("request");
    let mut buffer = vec![0; 4096];
    loop {
        let count = events.read(&mut buffer).await.expect("events");
        if count == 0 {
            return;
        }
        if !buffer[..count]
            .windows(11)
            .any(|window| window == b"event: tick")
        {
            continue;
        }
        let began = Instant::now();
        let mut page = TcpStream::connect(web).await.expect("connect");
        page.write_all(b"GET / HTTP/1.1\r\nHost: analyzer\r\nConnection: close\r\n\r\n")
            .await
            .expect("request");
        let mut body = Vec::new();
        page.read_to_end(&mut body).await.expect("a page");
        fetches
            .lock()
            .expect("no panic")
            .push((began.elapsed(), body.len()));
    }
}

struct Phase {
    reports: usize,
    cpu: Duration,
    took: Duration,
}

async fn phase(server: &Server, tors: usize, spool: u64) -> Phase {
    let (stop, reports) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let url = Url::server(&format!("http://{}", server.grpc)).expect("an address");
    let channel = channel(&url, &Security::loopback_plaintext()).expect("a channel");
    let (began, before) = (Instant::now(), server.cpu());
    let agents: Vec<_> = (0..STREAMS)
        .map(|number| {
            tokio::spawn(agent(
                channel.clone(),
                number,
                tors,
                spool,
                stop.clone(),
                reports.clone(),
            ))
        })
        .collect();
    tokio::time::sleep(PHASE).await;
    stop.store(true, Ordering::Relaxed);
    for agent in agents {
        agent.await.expect("an agent");
    }
    Phase {
        reports: reports.load(Ordering::Relaxed),
        cpu: server.cpu().saturating_sub(before),
        took: began.elapsed(),
    }
}

async fn measure(tors: usize) {
    let server = Server::start();
    println!(
        "{tors} ToRs, {} paths, {VIEWERS} viewers of the overview",
        tors * (tors - 1)
    );
    println!("viewers  reports/s  CPU µs/report  analyzer CPU share");
    // Fills the windows, so that phases are alike.
    for round in 0..WARM_UP {
        phase(&server, tors, 1 + round as u64).await;
    }
    let fetches: Fetches = Arc::default();
    let mut sums = [(0usize, Duration::ZERO, Duration::ZERO); 2];
    for round in 0..ROUNDS {
        // Without, with, with, without: what rises or falls all the time weighs on both alike.
        for with in [round % 2 == 1, round % 2 == 0] {
            let viewers: Vec<_> = (0..if with { VIEWERS } else { 0 })
                .map(|_| tokio::spawn(viewer(server.web, fetches.clone())))
                .collect();
            let phase = phase(&server, tors, 10 + (round * 2 + usize::from(with)) as u64).await;
            for viewer in viewers {
                viewer.abort();
            }
            let sum = &mut sums[usize::from(with)];
            sum.0 += phase.reports;
            sum.1 += phase.cpu;
            sum.2 += phase.took;
            println!(
                "{:>7} {:>10.0} {:>14.2} {:>18.2}",
                if with { VIEWERS } else { 0 },
                phase.reports as f64 / phase.took.as_secs_f64(),
                phase.cpu.as_secs_f64() * 1e6 / phase.reports as f64,
                phase.cpu.as_secs_f64() / phase.took.as_secs_f64(),
            );
        }
    }
    let per_report = sums.map(|(reports, cpu, _)| cpu.as_secs_f64() / reports as f64);
    println!(
        "processor time per report with viewers: {:+.1} %",
        (per_report[1] / per_report[0] - 1.0) * 100.0
    );
    // On a busy machine fewer reports come, and the same viewers weigh more on each of them; this does not depend on it.
    let (reports, cpu, took) = sums[1];
    let viewers = (cpu.as_secs_f64() - reports as f64 * per_report[0]) / took.as_secs_f64();
    println!(
        "processor time of the viewers: {:.1} ms per second, {:.1} % of one core that takes reports",
        viewers * 1e3,
        viewers * 100.0
    );
    let mut fetches = fetches.lock().expect("no panic").clone();
    fetches.sort();
    if let (Some((slowest, _)), Some((middle, bytes))) =
        (fetches.last(), fetches.get(fetches.len() / 2))
    {
        println!(
            "{} pages fetched after ticks, {bytes} bytes each: median {} ms, slowest {} ms",
            fetches.len(),
            middle.as_millis(),
            slowest.as_millis()
        );
    }
}
