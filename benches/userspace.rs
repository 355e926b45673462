//! The user-space transport on loopback: complete probes per second of processor time, and the network round-trip time
//! beside a plain UDP ping-pong in the same run. `cargo bench --bench userspace`

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::agent::drive::Driver;
use rpingmesh::id::FlowLabel;
use rpingmesh::measure::percentile;
use rpingmesh::probe::{
    Config, Group, ProbeKind, ProbePath, ProbeResult, Rate, ResponderConfig, Session, Start,
};
use rpingmesh::time::{Clock, Nanos, SystemClock};
use rpingmesh::topology::Peer;
use rpingmesh::transport::userspace::{self, UserspaceProvider};
use rpingmesh::transport::{Endpoint, Provider};
use rpingmesh::wire::Keyring;

const SPAN: Duration = Duration::from_secs(2);
const PING_PONGS: usize = 50_000;
/// As long as a probe's datagram: BTH, DETH, 50 bytes and padding, ICRC.
const DATAGRAM: usize = 76;

fn driver(endpoint: Box<dyn Endpoint>, rate: Rate, under_way: usize) -> Driver {
    let config = Config {
        max_rate: rate,
        max_outstanding: under_way,
        start: Start::AtOnce,
        responder: ResponderConfig {
            rate_per_source: Rate::MAX,
            rate_of_new_source: Rate::MAX,
            burst_per_source: 4096,
            rate_of_new: Rate::MAX,
            burst_of_new: 4_096,
            rate: Rate::MAX,
            burst: 4_096,
            ..ResponderConfig::default()
        },
        ..Config::default()
    };
    let session = Session::new(
        config,
        Arc::new(Keyring::unkeyed()),
        endpoint.address(),
        endpoint.capabilities().clone(),
        rand::random(),
    );
    Driver::new(endpoint, session, Arc::new(SystemClock))
}

fn open(provider: &UserspaceProvider) -> Box<dyn Endpoint> {
    let ports = provider.discover().expect("loopback is up");
    provider.open(&ports[0].name).expect("opens")
}

async fn probe(rate: Rate, under_way: usize) -> Vec<ProbeResult> {
    let provider = UserspaceProvider::new(userspace::Config {
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        udp_port: 0,
        ..userspace::Config::default()
    });
    let (prober, responder) = (open(&provider), open(&provider));
    let target = Arc::new(Peer {
        address: responder.address(),
        tor: "tor0".into(),
        host: "host0".into(),
        device: "lo".into(),
    });
    let paths = (1..=16).map(|label| {
        Arc::new(ProbePath {
            target: Arc::clone(&target),
            flow_label: FlowLabel::new(label * 37).expect("valid"),
            service: None,
            traffic_class: None,
            fidelity: None,
        })
    });
    let group = Group {
        kind: ProbeKind::TorMesh,
        rate,
        paths: paths.collect(),
    };
    let mut responder = driver(responder, rate, under_way);
    let mut prober = driver(prober, rate, under_way);
    prober
        .session_mut()
        .set_groups(vec![group], SystemClock.host());
    let mut results = Vec::new();
    prober.advance(&mut results).expect("alive");
    let answering = async {
        let mut none = Vec::new();
        loop {
            responder.turn(&mut none).await.expect("alive");
            tokio::task::yield_now().await;
        }
    };
    let start = Instant::now();
    let probing = async {
        while start.elapsed() < SPAN {
            prober.turn(&mut results).await.expect("alive");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = answering => {}
        () = probing => {}
    }
    results
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("positive"),
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}

fn ping_pong() -> Vec<Nanos> {
    let open = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let (a, b) = (open(), open());
    let (to_a, to_b) = (
        a.local_addr().expect("bound"),
        b.local_addr().expect("bound"),
    );
    let mut buffer = [0_u8; DATAGRAM];
    (0..PING_PONGS)
        .map(|_| {
            let start = Instant::now();
            a.send_to(&buffer, to_b).expect("sent");
            b.recv(&mut buffer).expect("received");
            b.send_to(&buffer, to_a).expect("sent");
            a.recv(&mut buffer).expect("received");
            Nanos::from(start.elapsed())
        })
        .collect()
}

fn distribution(name: &str, mut spans: Vec<Nanos>) {
    spans.sort_unstable();
    let at = |percent| {
        percentile(&spans, percent).map_or_else(|| "-".to_owned(), |span| span.to_string())
    };
    println!(
        "{name:<44} p1 {:>9}  p50 {:>9}  p90 {:>9}  p99 {:>9}  ({} samples)",
        at(1),
        at(50),
        at(90),
        at(99),
        spans.len()
    );
}

fn round_trips(results: &[ProbeResult]) -> Vec<Nanos> {
    results
        .iter()
        .filter_map(|result| result.outcome.measurement())
        .map(|measured| measured.network_rtt)
        .collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let (cpu, wall) = (processor_time(), Instant::now());
    let results = runtime.block_on(probe(Rate::MAX, 64));
    let (cpu, wall) = (processor_time().saturating_sub(cpu), wall.elapsed());
    let loaded = round_trips(&results);
    let per_second = |span: Duration| loaded.len() as f64 / span.as_secs_f64();
    println!(
        "saturated, one thread, 64 under way: {:.0} complete probes/s of processor time, {:.0}/s of wall time, {} not complete",
        per_second(cpu),
        per_second(wall),
        results.len() - loaded.len()
    );
    let paced = runtime.block_on(probe(Rate::per_second(2_000.0).expect("valid"), 64));

    distribution("network RTT, saturated", loaded);
    distribution("network RTT, 2000 probes/s", round_trips(&paced));
    distribution("plain UDP ping-pong, both sockets, one thread", ping_pong());
}
