//! From a connection that a tracer tells of to probes on its path: real controller, analyzer and agents.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::agent::client::Controller;
use rpingmesh::agent::endpoint::{Inventory, OpenRnic, Orders};
use rpingmesh::agent::mailbox::Mailboxes;
use rpingmesh::agent::metrics::Metrics;
use rpingmesh::agent::services::{ServiceChannels, ServiceStatus, Services};
use rpingmesh::config::TlsSettings;
use rpingmesh::id::{FlowLabel, Gid, QKey, Qpn};
use rpingmesh::net::url::Url;
use rpingmesh::probe::{Config, PathId};
use rpingmesh::service::naming::Naming;
use rpingmesh::service::qp::Variables;
use rpingmesh::service::trace::{TRACE_DEPTH, TraceMessage, TracedEvent, TracerStatus};
use rpingmesh::time::{Clock, SystemClock};
use rpingmesh::transport::{Address, Capabilities, CompletionClock, RnicName, SourcePortSteering};
use rpingmesh_ebpf_event::{EventKind, QpEvent, present};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::agent::{Chain, PATHS, count};

const PATIENCE: Duration = Duration::from_secs(25);

fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn now_ns() -> u64 {
    u64::try_from(SystemClock.host().nanos()).expect("since boot")
}

fn event(kind: EventKind, qpn: u32) -> QpEvent {
    QpEvent {
        qp_type: 2,
        port: 1,
        time_ns: now_ns(),
        tgid: 4242,
        tid: 4242,
        local_qpn: qpn,
        present: present::DEVICE,
        comm: padded("train"),
        device: padded("mem0"),
        ..QpEvent::empty(kind)
    }
}

/// `mem0` of host 1 connects.
fn connected(qpn: u32, to: Ipv4Addr, label: u32) -> TraceMessage {
    traced(QpEvent {
        qp_state: 2,
        remote_qpn: 0x99,
        flow_label: label,
        sgid_index: 1,
        source_gid: Gid::from(Ipv4Addr::new(10, 0, 0, 1)).bytes(),
        destination_gid: Gid::from(to).bytes(),
        present: present::DEVICE
            | present::STATE
            | present::ADDRESS_VECTOR
            | present::REMOTE_QPN
            | present::SOURCE_GID,
        ..event(EventKind::Modify, qpn)
    })
}

fn traced(event: QpEvent) -> TraceMessage {
    TraceMessage::Event(TracedEvent {
        event,
        cgroup: Some("/system.slice/train.service".into()),
        variables: Variables::default(),
    })
}

fn attached() -> TraceMessage {
    TraceMessage::Status(TracerStatus::Attached {
        since: SystemClock.host(),
        unseen: Vec::new(),
        devx: false,
        unproved: None,
    })
}

fn service_path(answer: &Value, port: u16) -> Option<&Value> {
    answer["paths"].as_array()?.iter().find(|path| {
        path["kind"] == "service_tracing"
            && path["source_port"] == port
            && path["source"]["host"] == "h1"
    })
}

const LABEL: u32 = 0x1_2345;
/// What the kernel makes of it.
const PORT: u16 = 58_177;

#[tokio::test]
async fn a_connection_is_probed_from_its_beginning_to_its_end() {
    let chain = Chain::new().await;
    let servers = [chain.controller().await, chain.analyzer().await];
    let (one, tracer) = chain.traced_agent(1);
    let two = chain.agent(2);
    let known = Ipv4Addr::new(10, 0, 0, 2);
    let unknown = Ipv4Addr::new(10, 0, 0, 77);
    for message in [
        attached(),
        connected(5, known, LABEL),
        connected(6, unknown, LABEL + 1),
    ] {
        tracer.send(message).await.expect("the agent listens");
    }
    let answer = chain
        .wait(PATHS, "complete probes of the connection", |answer| {
            service_path(answer, PORT)
                .is_some_and(|path| count(Some(&path["network_rtt"]), "count") > 20)
        })
        .await;
    let path = service_path(&answer, PORT).expect("the path");
    assert_eq!(path["service"], "train.service");
    assert_eq!(path["source"]["device"], "mem0");
    assert_eq!(path["target"]["host"], "h2");
    assert_eq!(path["target"]["gid"], known.to_string());
    assert!(
        !answer.to_string().contains(&unknown.to_string()),
        "nobody has registered it"
    );

    // The responder has another queue pair after its restart.
    let qpn = path["target"]["qpn"].clone();
    two.stop().await;
    let two = chain.agent(2);
    chain
        .wait(PATHS, "probes of the new queue pair", |answer| {
            service_path(answer, PORT).is_some_and(|path| path["target"]["qpn"] != qpn)
        })
        .await;

    tracer
        .send(traced(event(EventKind::Destroy, 5)))
        .await
        .expect("the agent listens");
    chain
        .wait(
            "/api/v1/paths?window=5s&limit=1000",
            "the end of the service's probes",
            |answer| {
                let paths = answer["paths"].as_array().map_or(0, Vec::len);
                paths > 0 && service_path(answer, PORT).is_none()
            },
        )
        .await;
    for running in [one, two].into_iter().chain(servers) {
        running.stop().await;
    }
}

/// The service task alone, on a real controller and without a pinglist that would tell it addresses.
struct Alone {
    tracer: mpsc::Sender<TraceMessage>,
    mailboxes: Mailboxes,
    status: watch::Receiver<ServiceStatus>,
    // Kept open: the task reads them.
    _orders: watch::Sender<Arc<Orders>>,
    _inventory: watch::Sender<Inventory>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn mem0() -> RnicName {
    RnicName {
        device: "mem0".into(),
        port: 1,
    }
}

impl Alone {
    fn start(chain: &Chain) -> Self {
        let open = OpenRnic {
            address: Address {
                gid: Gid::from(Ipv4Addr::new(10, 0, 0, 1)),
                qpn: Qpn::from_lower_bits(1),
                q_key: QKey(1),
            },
            capabilities: Capabilities {
                clock: CompletionClock::Software,
                steering: SourcePortSteering::FlowLabel,
                sees_source_port: false,
            },
            gid_index: 0,
            tor: "tor0".into(),
        };
        let (inventory, inventory_in) = watch::channel(Inventory::from([(mem0(), Ok(open))]));
        let (orders, orders_in) =
            watch::channel(Arc::new(Orders::idle(Config::default(), Arc::default())));
        let (status_out, status) = watch::channel(ServiceStatus::default());
        let (tracer, messages) = mpsc::channel(TRACE_DEPTH);
        let mailboxes = Mailboxes::default();
        let channels = ServiceChannels {
            messages,
            pods: None,
            inventory: inventory_in,
            orders: orders_in,
            mailboxes: mailboxes.clone(),
            status: status_out,
            metrics: Arc::new(Metrics::new()),
        };
        let security = TlsSettings::default().security().expect("plaintext");
        let url = Url::server(&format!("http://{}", chain.controller)).expect("an address");
        let controller = Controller::new(&url.into(), &security).expect("a client");
        let stop = CancellationToken::new();
        let services = Services::new(
            channels,
            controller,
            Arc::new(SystemClock),
            Naming::default(),
        );
        let task = tokio::spawn(services.run(stop.clone()));
        Self {
            tracer,
            mailboxes,
            status,
            _orders: orders,
            _inventory: inventory,
            stop,
            task,
        }
    }

    /// Reads the mailbox until as many paths are probed.
    async fn until(&self, held: &mut HashMap<PathId, FlowLabel>, count: usize) {
        let mailbox = self.mailboxes.of(&mem0());
        let reading = async {
            while held.len() != count {
                mailbox.arrival().await;
                for (id, path) in mailbox.take() {
                    match path {
                        Some(path) => held.insert(id, path.flow_label),
                        None => held.remove(&id),
                    };
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("{count} paths did not come"));
    }
}

#[tokio::test]
async fn thousands_of_connections_are_resolved_in_batches() {
    const CONNECTIONS: u32 = 3_000;
    let chain = Chain::new().await;
    let servers = [chain.controller().await, chain.analyzer().await];
    let two = chain.agent(2);
    chain
        .wait("/api/v1/agents", "a registered responder", |answer| {
            answer["agents"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        })
        .await;
    let mut task = Alone::start(&chain);
    task.tracer.send(attached()).await.expect("it listens");
    for number in 0..CONNECTIONS {
        // Every third goes where nobody has registered, each of these to another address.
        let [low, high, ..] = number.to_le_bytes();
        let to = match number % 3 {
            0 => Ipv4Addr::new(10, 9, high, low),
            _ => Ipv4Addr::new(10, 0, 0, 2),
        };
        let message = connected(100 + number, to, 1 + number);
        task.tracer.send(message).await.expect("it listens");
    }
    let mut held = HashMap::new();
    task.until(&mut held, 2_000).await;
    let labels: BTreeSet<_> = held.values().map(|label| label.get()).collect();
    let ports: Vec<_> = (0..CONNECTIONS).filter(|number| number % 3 != 0).collect();
    assert_eq!(labels.len(), ports.len(), "each on its own port");
    let status = task
        .status
        .wait_for(|status| status.census.unknown.len() == 1_000)
        .await
        .expect("the task lives")
        .clone();
    assert_eq!(status.census.connections, 3_000);
    assert_eq!(
        (status.census.probed, status.census.own_path),
        (2_000, 2_000)
    );
    let words = status.degraded();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        words[0].starts_with("service probing: 1000 destinations are not probed")
            && words[0].ends_with("10.9.0.0, 10.9.0.3, 10.9.0.6, 10.9.0.9, 10.9.0.12, …"),
        "{words:?}"
    );

    // All answers are at hand: a further connection is in the mailbox at once, and a destroyed one is out.
    let again = connected(9_000, Ipv4Addr::new(10, 0, 0, 2), 0x3ff0);
    task.tracer.send(again).await.expect("it listens");
    task.until(&mut held, 2_001).await;
    task.tracer
        .send(traced(event(EventKind::Destroy, 9_000)))
        .await
        .expect("it listens");
    task.until(&mut held, 2_000).await;

    // Nobody would tell of the connections' ends any more.
    let gone = TraceMessage::Status(TracerStatus::WaitingForIbCore);
    task.tracer.send(gone).await.expect("it listens");
    task.until(&mut held, 0).await;
    task.stop.cancel();
    task.task.await.expect("no panic");
    for running in [two].into_iter().chain(servers) {
        running.stop().await;
    }
}
