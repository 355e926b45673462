//! What following the services' connections costs, and how long a connection waits for its first probe.
//!
//! `cargo bench --bench service`. Figures are reported, never asserted.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use rpingmesh::agent::Agent;
use rpingmesh::config::HumanDuration;
use rpingmesh::config::agent::AgentSettings;
use rpingmesh::config::controller::{AgentsSettings, ControllerSettings};
use rpingmesh::controller::Controller;
use rpingmesh::id::{FlowLabel, Gid, QKey, Qpn};
use rpingmesh::measure::Summary;
use rpingmesh::probe::{Config, PathId, ProbePath, Rate, Session};
use rpingmesh::service::flow::FlowTable;
use rpingmesh::service::probing::{Local, Planner};
use rpingmesh::service::trace::{TRACE_DEPTH, TraceMessage, TracedEvent, TracerStatus};
use rpingmesh::store::{Location, open};
use rpingmesh::time::{Clock, HostTime, Nanos, SystemClock};
use rpingmesh::topology::Peer;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use rpingmesh::transport::{
    Address, Capabilities, Completion, CompletionClock, Endpoint, Provider, RnicName, RnicPort,
    SendRequest, SourcePortSteering, TransportError,
};
use rpingmesh::wire::Keyring;
use rpingmesh_ebpf_event::{EventKind, QpEvent, present};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Queue pairs that come and go, or connections that stay.
const CONNECTIONS: u32 = 5_000;

fn main() {
    divan::main();
    if !std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(report_first_probes());
    }
}

fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn gid(node: u8) -> Gid {
    Gid::from(Ipv4Addr::new(10, 0, 0, node))
}

fn event(kind: EventKind, qpn: u32, time_ns: u64) -> QpEvent {
    QpEvent {
        qp_type: 2,
        port: 1,
        time_ns,
        tgid: 4242,
        local_qpn: qpn,
        present: present::DEVICE,
        comm: padded("train"),
        device: padded("mem0"),
        ..QpEvent::empty(kind)
    }
}

fn moved(qpn: u32, time_ns: u64, state: u8) -> QpEvent {
    QpEvent {
        qp_state: state,
        present: present::DEVICE | present::STATE,
        ..event(EventKind::Modify, qpn, time_ns)
    }
}

fn connected(qpn: u32, time_ns: u64, label: u32) -> QpEvent {
    QpEvent {
        remote_qpn: 0x99,
        flow_label: label,
        source_gid: gid(1).bytes(),
        destination_gid: gid(2).bytes(),
        present: present::DEVICE
            | present::STATE
            | present::ADDRESS_VECTOR
            | present::REMOTE_QPN
            | present::SOURCE_GID,
        ..moved(qpn, time_ns, 2)
    }
}

/// The life of every queue pair, all at once: creation, INIT, RTR, RTS, destruction.
fn lives() -> Vec<QpEvent> {
    let stages: [fn(u32, u64) -> QpEvent; 5] = [
        |qpn, time| event(EventKind::Create, qpn, time),
        |qpn, time| moved(qpn, time, 1),
        |qpn, time| connected(qpn, time, 1 + qpn),
        |qpn, time| moved(qpn, time, 3),
        |qpn, time| event(EventKind::Destroy, qpn, time),
    ];
    let mut events = Vec::new();
    for stage in stages {
        for qpn in 0..CONNECTIONS {
            events.push(stage(qpn, 1_000 + events.len() as u64));
        }
    }
    events
}

/// Events of 5 000 queue pairs from creation to destruction, with what the planner makes of them.
#[divan::bench(args = [false, true], sample_count = 20)]
fn flow_table_events(bencher: Bencher, with_planner: bool) {
    let events = lives();
    bencher
        .counter(ItemsCount::new(events.len()))
        .with_inputs(|| (FlowTable::new(32_768), planner()))
        .bench_local_values(|(mut table, mut planner)| {
            let mut changes = 0;
            for event in &events {
                table.apply(event, None);
                for change in table.drain_changes() {
                    changes += 1;
                    if with_planner {
                        planner.take(&change, HostTime::from_nanos(0));
                    }
                }
                planner.drain_changes();
            }
            // Live at RTR, changed at RTS, ended.
            assert_eq!(changes, 3 * CONNECTIONS);
        });
}

fn target() -> Arc<Peer> {
    Arc::new(Peer {
        address: Address {
            gid: gid(2),
            qpn: Qpn::from_lower_bits(0x11),
            q_key: QKey(1),
        },
        tor: "tor0".into(),
        host: "h2".into(),
        device: "mem0".into(),
    })
}

fn planner() -> Planner {
    let mut planner = Planner::default();
    planner.set_locals(vec![Local {
        rnic: mem0(),
        gid: gid(1),
        steering: SourcePortSteering::FlowLabel,
    }]);
    planner.set_hints(HashMap::from([(gid(2), target())]));
    planner
}

fn path(label: u32) -> Arc<ProbePath> {
    Arc::new(ProbePath {
        target: target(),
        flow_label: FlowLabel::new(label).expect("20 bits"),
        service: Some("train.service".into()),
        traffic_class: None,
        fidelity: None,
    })
}

fn session(connections: u32) -> Session {
    let config = Config {
        max_rate: Rate::MAX,
        max_outstanding: usize::MAX,
        ..Config::default()
    };
    let address = Address {
        gid: gid(1),
        ..target().address
    };
    let capabilities = Capabilities {
        clock: CompletionClock::Emulated,
        steering: SourcePortSteering::FlowLabel,
        sees_source_port: false,
    };
    let keys = Arc::new(Keyring::unkeyed());
    let mut session = Session::new(config, keys, address, capabilities, 7);
    for number in 0..connections {
        let id = PathId(number.into());
        session.set_connection(id, path(number + 1), HostTime::from_nanos(0));
    }
    session
}

/// One turn of the schedule: which of the connections is due, and its probe. Nothing answers; time-outs are concluded.
#[divan::bench(args = [1, 100, 5_000], sample_count = 20)]
fn turns_of_connections(bencher: Bencher, connections: u32) {
    let mut session = session(connections);
    let (mut requests, mut results) = (Vec::new(), Vec::new());
    let mut now = HostTime::from_nanos(0);
    let mut turn = || {
        now = session.next_wakeup().map_or(now, |next| next.max(now));
        session.poll(now, &mut requests);
        session.drain_results(&mut results);
        results.clear();
        let count = requests.len();
        requests.clear();
        count
    };
    // Into the steady state: every connection has been probed.
    for _ in 0..2 * connections + 1_000 {
        turn();
    }
    bencher.bench_local(turn);
}

/// A connection that comes and another that goes, among 5 000.
#[divan::bench(sample_count = 20)]
fn connections_come_and_go(bencher: Bencher) {
    let mut session = session(CONNECTIONS);
    let mut next = u64::from(CONNECTIONS);
    let path = path(77);
    bencher.bench_local(|| {
        session.set_connection(PathId(next), Arc::clone(&path), HostTime::from_nanos(0));
        session.remove_connection(PathId(next - u64::from(CONNECTIONS)));
        next += 1;
    });
}

fn mem0() -> RnicName {
    RnicName {
        device: "mem0".into(),
        port: 1,
    }
}

/// When a request with each label was handed to the endpoint for the first time.
type Posted = Arc<Mutex<HashMap<u32, Instant>>>;

struct Watched {
    inner: Box<dyn Endpoint>,
    posted: Posted,
}

impl Endpoint for Watched {
    fn address(&self) -> Address {
        self.inner.address()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        let now = Instant::now();
        let mut posted = self.posted.lock().expect("no panic");
        for request in batch {
            posted.entry(request.flow_label.get()).or_insert(now);
        }
        drop(posted);
        self.inner.post(batch)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        self.inner.poll_completions(cx, out)
    }
}

struct WatchedProvider {
    inner: MemoryProvider,
    posted: Posted,
}

impl Provider for WatchedProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        self.inner.discover()
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        Ok(Box::new(Watched {
            inner: self.inner.open(rnic)?,
            posted: Arc::clone(&self.posted),
        }))
    }
}

/// In real time, with a real controller: how long from the tracer's word to the first probe, the destination known?
async fn report_first_probes() {
    const SAMPLES: u32 = 200;
    let stop = CancellationToken::new();
    let folder = tempfile::tempdir().expect("a folder");
    let config = ControllerSettings {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        store: Location::Memory.to_string(),
        agents: AgentsSettings {
            upload_interval: Some(HumanDuration(Duration::from_secs(1))),
            ..AgentsSettings::default()
        },
        ..ControllerSettings::default()
    };
    let config = config.validate().expect("valid");
    let registry = open::registry(&config.store).await.expect("a store");
    let controller = Controller::start(config, registry, Arc::new(SystemClock))
        .await
        .expect("a controller");
    let url = format!("http://{}", controller.address());
    let network = Network::new();
    let posted = Posted::default();
    let (tracer, messages) = mpsc::channel(TRACE_DEPTH);
    let mut tasks = vec![tokio::spawn({
        let stop = stop.clone();
        async move { controller.run(stop).await.expect("clean stop") }
    })];
    for (node, tracing) in [(1, Some(messages)), (2, None)] {
        let settings = AgentSettings {
            controller: url.clone(),
            // Nobody listens: results stay in memory.
            analyzer: "http://127.0.0.1:9".to_owned(),
            host: format!("h{node}"),
            tor: Some("tor0".to_owned()),
            state_dir: folder.path().join(format!("h{node}")),
            ..AgentSettings::default()
        };
        let inner = MemoryProvider::new(network.clone(), [(mem0(), gid(node))]);
        let agent = Agent {
            config: Arc::new(settings.validate().expect("valid")),
            provider: Some(Arc::new(WatchedProvider {
                inner,
                posted: if node == 1 {
                    Arc::clone(&posted)
                } else {
                    Posted::default()
                },
            })),
            tracer: None,
            clock: Arc::new(SystemClock),
            spool: Location::Memory,
            off: Vec::new(),
            tracing,
            hardware: None,
            metrics: Arc::default(),
        };
        let stop = stop.clone();
        tasks.push(tokio::spawn(async move {
            agent.run(stop).await.expect("clean stop");
        }));
    }
    let attached = TracerStatus::Attached {
        since: SystemClock.host(),
        unseen: Vec::new(),
        devx: false,
        unproved: None,
    };
    tracer
        .send(TraceMessage::Status(attached))
        .await
        .expect("listens");
    // The first one waits for both agents to be registered.
    first_probe(&tracer, &posted, 0).await;
    let mut waits = Vec::new();
    for number in 1..=SAMPLES {
        waits.push(first_probe(&tracer, &posted, number).await);
    }
    stop.cancel();
    for task in tasks {
        task.await.expect("no panic");
    }
    if let Some(summary) = Summary::of(waits) {
        println!(
            "tracer's message to first service probe, destination known, {SAMPLES} connections one by one: p50 {} p99 {} \
             max {}",
            summary.p50, summary.p99, summary.max
        );
    }
}

async fn first_probe(tracer: &mpsc::Sender<TraceMessage>, posted: &Posted, number: u32) -> Nanos {
    let label = 0x4_0000 + number;
    let now = || u64::try_from(SystemClock.host().nanos()).expect("since boot");
    let said = Instant::now();
    let tell = |event| {
        TraceMessage::Event(TracedEvent {
            event,
            cgroup: Some("/system.slice/train.service".into()),
            variables: rpingmesh::service::qp::Variables::default(),
        })
    };
    let qpn = 0x100 + number;
    tracer
        .send(tell(connected(qpn, now(), label)))
        .await
        .expect("listens");
    let asked = FlowLabel::new(label)
        .and_then(|label| label.source_port().flow_label())
        .expect("20 bits");
    let at = loop {
        let at = posted.lock().expect("no panic").get(&asked.get()).copied();
        match at {
            Some(at) => break at,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    tracer
        .send(tell(event(EventKind::Destroy, qpn, now())))
        .await
        .expect("listens");
    Nanos::from(at.duration_since(said))
}
