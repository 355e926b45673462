//! Tests on a real device, for guests with soft-RoCE: they are ignored elsewhere, and fail where there is no device.
//!
//! In a guest, with one RNIC whose interface may be taken down: `<test binary> --ignored --test-threads 1 device_tests`.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::process::Command;
use std::time::Duration;

use rpingmesh::id::{FlowLabel, Gid, QKey, Qpn, TargetName};
use rpingmesh::time::{Nanos, NicTime};
use rpingmesh::transport::{
    Address, Class, Completion, CompletionClock, Endpoint, EndpointEvent, Payload, Provider,
    Received, RnicPort, SendRequest, SendStatus, SendToken, SourcePortSteering,
};
use tokio::time::timeout;

use super::Verbs;
use crate::rdma_settings::{GidChoice, Settings};

/// Longer than anything here takes on an emulated processor, address resolution of a dead host included.
const PATIENCE: Duration = Duration::from_secs(20);

/// An endpoint with what arrived on it and was not asked for yet.
struct Peer {
    port: RnicPort,
    endpoint: Box<dyn Endpoint>,
    arrived: VecDeque<Completion>,
}

impl Peer {
    /// On the first usable RNIC, with the GID that the environment names, if it names one.
    fn open(mut settings: Settings) -> Self {
        if let Ok(gid) = std::env::var("RPINGMESH_TEST_GID") {
            settings.gid = GidChoice::Gids(vec![gid.parse().expect("a GID")]);
        }
        let verbs = Verbs::new(settings).expect("libibverbs");
        let port = verbs.discover().expect("a usable RNIC").remove(0);
        let endpoint = verbs.open(&port.name).expect("an endpoint");
        println!("{} {:?}", endpoint.address(), endpoint.capabilities());
        Self {
            port,
            endpoint,
            arrived: VecDeque::new(),
        }
    }

    fn address(&self) -> Address {
        self.endpoint.address()
    }

    async fn wait(&mut self) {
        let mut out = Vec::new();
        timeout(
            PATIENCE,
            poll_fn(|cx| self.endpoint.poll_completions(cx, &mut out)),
        )
        .await
        .expect("completions in time")
        .expect("the endpoint lives");
        self.arrived.extend(out);
    }

    /// Posts all, waiting whenever there is no room.
    async fn post(&mut self, mut batch: &[SendRequest]) {
        while !batch.is_empty() {
            let taken = self.endpoint.post(batch).expect("posted");
            batch = &batch[taken..];
            if !batch.is_empty() {
                self.wait().await;
            }
        }
    }

    /// The first completion that is wanted, which is taken out.
    async fn until<T>(&mut self, wanted: impl Fn(&Completion) -> Option<T>) -> T {
        loop {
            let found = self
                .arrived
                .iter()
                .enumerate()
                .find_map(|(index, completion)| Some((index, wanted(completion)?)));
            if let Some((index, found)) = found {
                self.arrived.remove(index);
                return found;
            }
            self.wait().await;
        }
    }

    async fn sent(&mut self) -> (u64, SendStatus, NicTime) {
        self.until(|completion| match completion {
            Completion::Sent { token, status, at } => Some((token.0, *status, *at)),
            _ => None,
        })
        .await
    }

    async fn received(&mut self) -> Received {
        self.until(|completion| match completion {
            Completion::Received(received) => Some(*received),
            _ => None,
        })
        .await
    }

    async fn event(&mut self, wanted: EndpointEvent) {
        self.until(|completion| {
            matches!(completion, Completion::Event(event) if *event == wanted).then_some(())
        })
        .await;
    }
}

/// A datagram that says its token; the token is its flow label too, so that they spread over all queue pairs.
fn request(token: u64, to: Address) -> SendRequest {
    SendRequest {
        token: SendToken(token),
        to,
        flow_label: FlowLabel::new(1 + u32::try_from(token).expect("small")).expect("a label"),
        class: Class {
            traffic_class: 0x68,
            service_level: 0,
        },
        payload: Payload::new(format!("datagram {token}").as_bytes()).expect("short"),
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// Sends over every queue pair of one endpoint to another on the same RNIC, and back to each of them.
async fn exchange(settings: Settings) {
    let mut a = Peer::open(settings.clone());
    let mut b = Peer::open(settings);
    assert_eq!(a.address().gid, a.port.gid);
    assert_ne!(a.address().qpn, b.address().qpn);
    let batch: Vec<_> = (1..=64).map(|token| request(token, b.address())).collect();
    a.post(&batch).await;
    let mut first_sent = None;
    for _ in &batch {
        let (_, status, at) = a.sent().await;
        assert_eq!(status, SendStatus::Sent);
        first_sent = first_sent.map_or(Some(at), |first: NicTime| Some(first.min(at)));
    }
    let mut texts = Vec::new();
    let mut senders = BTreeSet::new();
    for _ in &batch {
        let received = b.received().await;
        assert_eq!(received.source_gid, a.port.gid);
        if a.endpoint.capabilities().clock == CompletionClock::Software {
            assert!(Some(received.at) > first_sent, "both are this host's clock");
        }
        texts.push(String::from_utf8_lossy(received.payload.as_slice()).into_owned());
        senders.insert(received.source_qpn);
        // The answer goes to the queue pair that sent and arrives at the same endpoint.
        let back = Address {
            gid: received.source_gid,
            qpn: received.source_qpn,
            q_key: b.address().q_key,
        };
        b.post(&[request(1000, back)]).await;
        assert_eq!(b.sent().await.1, SendStatus::Sent);
        assert_eq!(a.received().await.payload.as_slice(), b"datagram 1000");
    }
    texts.sort();
    let mut wanted: Vec<_> = batch
        .iter()
        .map(|request| String::from_utf8_lossy(request.payload.as_slice()).into_owned())
        .collect();
    wanted.sort();
    assert_eq!(texts, wanted);
    if let SourcePortSteering::QueuePair(ports) = &a.endpoint.capabilities().steering {
        assert_eq!(senders.len(), ports.len(), "all queue pairs were used");
    }
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn datagrams_are_exchanged_over_an_extended_completion_queue() {
    exchange(Settings::default()).await;
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn datagrams_are_exchanged_over_a_plain_completion_queue() {
    exchange(Settings {
        extended_cq: false,
        ..Settings::default()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn more_than_the_queues_hold_is_sent_piece_by_piece() {
    let mut a = Peer::open(Settings {
        depth: 16,
        queue_pairs: 2,
        ..Settings::default()
    });
    let nobody = Address {
        qpn: Qpn::from_lower_bits(0xff_fffe),
        ..a.address()
    };
    // Once, so that the address handle is there.
    a.post(&[request(9999, nobody)]).await;
    a.sent().await;
    let batch: Vec<_> = (0..2000).map(|token| request(token, nobody)).collect();
    a.post(&batch).await;
    let mut tokens = Vec::new();
    for _ in &batch {
        let (token, status, _) = a.sent().await;
        assert_eq!(status, SendStatus::Sent);
        tokens.push(token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn a_dead_neighbour_fails_without_delaying_others() {
    let mut a = Peer::open(Settings::default());
    let mut dead = a.port.gid.bytes();
    dead[15] = 0xfe;
    let dead = Address {
        gid: Gid::from_bytes(dead),
        ..a.address()
    };
    let own = a.address();
    // Once, so that the address handle is there.
    a.post(&[request(1, own)]).await;
    a.sent().await;
    a.post(&[request(2, dead), request(3, own)]).await;
    let first = a.sent().await;
    assert_eq!((first.0, first.1), (3, SendStatus::Sent));
    let second = a.sent().await;
    assert!(
        matches!(second, (2, SendStatus::Failed(_), _)),
        "{second:?}"
    );
    println!(
        "the dead one failed {} later: {:?}",
        second.2 - first.2,
        second.1
    );
    // And at once while it is known to be dead.
    a.post(&[request(4, dead), request(5, own)]).await;
    let first = a.sent().await;
    let second = a.sent().await;
    let (failed, sent) = if first.0 == 4 {
        (first, second)
    } else {
        (second, first)
    };
    assert!(
        matches!(failed, (4, SendStatus::Failed(_), _)),
        "{failed:?}"
    );
    assert!((failed.2 - sent.2) < Nanos(500_000_000));
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn a_privileged_key_is_refused() {
    let verbs = Verbs::new(Settings {
        q_key: QKey(0x8000_0001),
        ..Settings::default()
    })
    .expect("libibverbs");
    let port = verbs.discover().expect("a usable RNIC").remove(0);
    let error = verbs.open(&port.name).err().expect("refused");
    assert!(error.to_string().contains("Q_Key"), "{error}");
}

#[tokio::test]
#[ignore = "needs an RDMA device"]
async fn what_does_not_carry_the_key_is_not_received() {
    let mut a = Peer::open(Settings::default());
    let own = a.address();
    let wrong = Address {
        q_key: QKey(0x2222_2222),
        ..own
    };
    a.post(&[request(1, wrong), request(2, own)]).await;
    assert_eq!(a.received().await.payload.as_slice(), b"datagram 2");
}

#[tokio::test]
#[ignore = "needs an RDMA device, and takes its interface down"]
async fn changes_of_port_and_gid_table_are_reported_and_survived() {
    let mut a = Peer::open(Settings::default());
    let interface = a.port.interface.clone().expect("a network interface");
    let own = a.address();
    a.post(&[request(1, own)]).await;
    assert_eq!(a.sent().await.1, SendStatus::Sent);

    ip(&format!("link set {interface} down"));
    a.event(EndpointEvent::PortDown).await;
    let refused = Verbs::new(Settings::default())
        .expect("libibverbs")
        .open(&a.port.name)
        .err()
        .expect("the port is down");
    assert!(
        refused.to_string().contains("the port is down"),
        "{refused}"
    );
    a.post(&[request(2, own), request(3, own)]).await;
    for _ in 0..2 {
        let sent = a.sent().await;
        println!("sent while down: {sent:?}");
    }

    ip(&format!("link set {interface} up"));
    a.event(EndpointEvent::PortActive).await;
    a.post(&[request(4, own)]).await;
    a.until(|completion| match completion {
        Completion::Received(received) => {
            (received.payload.as_slice() == b"datagram 4").then_some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(a.address(), own);

    // Of another network: a second address of the same one would go with the first.
    ip(&format!("addr add 10.78.0.1/24 dev {interface}"));
    ip(&format!("addr del {}/24 dev {interface}", own.gid));
    a.event(EndpointEvent::AddressChanged).await;
    ip(&format!("addr add {}/24 dev {interface}", own.gid));
    ip(&format!("addr del 10.78.0.1/24 dev {interface}"));
}

#[tokio::test]
#[ignore = "needs an RDMA device, and a peer that runs `echo`"]
async fn talk() {
    let target: TargetName = std::env::var("PEER")
        .expect("PEER=gid%qpn")
        .parse()
        .expect("a target");
    let mut a = Peer::open(Settings::default());
    let to = Address {
        gid: target.gid,
        qpn: target.qpn,
        q_key: a.address().q_key,
    };
    for token in 1..=64u64 {
        a.post(&[request(token, to)]).await;
        let (_, status, sent) = a.sent().await;
        assert_eq!(status, SendStatus::Sent);
        let back = a.received().await;
        assert_eq!(
            back.payload.as_slice(),
            format!("datagram {token}").as_bytes()
        );
        assert_eq!(back.source_gid, target.gid);
        println!("{token}: {}", back.at - sent);
        assert!(back.at > sent, "an answer comes after what it answers");
    }
}

#[tokio::test]
#[ignore = "needs an RDMA device, and a peer that runs `talk`"]
async fn echo() {
    let mut a = Peer::open(Settings::default());
    for _ in 0..64 {
        let got = a.received().await;
        let back = Address {
            gid: got.source_gid,
            qpn: got.source_qpn,
            q_key: a.address().q_key,
        };
        let answer = SendRequest {
            payload: got.payload,
            ..request(1, back)
        };
        a.post(&[answer]).await;
        assert_eq!(a.sent().await.1, SendStatus::Sent);
    }
}

#[test]
#[ignore = "needs an RDMA device"]
fn the_inventory_describes_the_device() {
    let inventory = super::inventory(&Settings::default());
    println!(
        "{}",
        serde_json::to_string_pretty(&inventory).expect("JSON")
    );
    assert_eq!(inventory.problem, None);
    let device = inventory.devices.first().expect("a device");
    assert_eq!(device.problem, None);
    assert!(device.ports[0].usable.is_ok());
}
