use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::id::{FlowLabel, UdpSourcePort};
use crate::transport::{Class, Completion, Payload, Received, SendRequest, SendStatus, SendToken};

const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn provider(addresses: &[IpAddr]) -> UserspaceProvider {
    UserspaceProvider::new(Config {
        addresses: addresses.to_vec(),
        udp_port: 0,
        ..Config::default()
    })
}

fn open(provider: &UserspaceProvider) -> Box<dyn Endpoint> {
    let ports = provider.discover().expect("loopback is there");
    provider.open(&ports[0].name).expect("opens")
}

fn request(to: Address, token: u64, label: u32, payload: &[u8]) -> SendRequest {
    SendRequest {
        token: SendToken(token),
        to,
        flow_label: FlowLabel::new(label).expect("valid"),
        class: Class::default(),
        payload: Payload::new(payload).expect("short"),
    }
}

/// Takes completions until `enough` says so.
async fn take(
    endpoint: &mut dyn Endpoint,
    enough: impl Fn(&[Completion]) -> bool,
) -> Vec<Completion> {
    let mut all = Vec::new();
    let done = async {
        while !enough(&all) {
            poll_fn(|cx| endpoint.poll_completions(cx, &mut all))
                .await
                .expect("alive");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), done)
        .await
        .expect("completions arrive");
    all
}

fn received(completions: &[Completion]) -> Vec<Received> {
    completions
        .iter()
        .filter_map(|one| match one {
            Completion::Received(received) => Some(*received),
            _ => None,
        })
        .collect()
}

async fn exchange(address: IpAddr) {
    let provider = provider(&[address]);
    let (mut a, mut b) = (open(&provider), open(&provider));
    assert_ne!(a.address().qpn, b.address().qpn);
    assert_eq!(a.address().gid, b.address().gid);
    let label = FlowLabel::new(0x2_1234).expect("valid");
    let taken = a
        .post(&[request(b.address(), 7, label.get(), b"fifty bytes or so")])
        .expect("alive");
    assert_eq!(taken, 1);

    let sent = take(&mut *a, |all| !all.is_empty()).await;
    let [Completion::Sent { token, at, status }] = sent[..] else {
        panic!("one send completion: {sent:?}");
    };
    assert_eq!((token, status), (SendToken(7), SendStatus::Sent));
    let arrived = received(&take(&mut *b, |all| !all.is_empty()).await);
    let [datagram] = arrived[..] else {
        panic!("one datagram: {arrived:?}");
    };
    assert_eq!(datagram.payload.as_slice(), b"fifty bytes or so");
    assert_eq!(datagram.source_gid, a.address().gid);
    assert_eq!(datagram.source_qpn, a.address().qpn);
    assert_eq!(datagram.source_port, a.source_port(label));
    // One clock for both: on one host it never runs backwards, and loopback takes no second.
    assert!(datagram.at >= at, "received {datagram:?} before {at:?}");
    assert!(datagram.at.since(at) < Duration::from_secs(1));
    assert_eq!(provider.rejected(address), Some(Rejected::default()));
}

#[tokio::test]
async fn endpoints_exchange_datagrams_over_ipv4() {
    exchange(LOOPBACK_V4).await;
}

#[tokio::test]
async fn endpoints_exchange_datagrams_over_ipv6() {
    exchange("::1".parse().expect("address")).await;
}

#[tokio::test]
async fn flow_labels_choose_source_ports() {
    let provider = provider(&[LOOPBACK_V4]);
    let (mut a, mut b) = (open(&provider), open(&provider));
    let labels = [0x1111, 0x2222, 0x4_3333, 0x1111];
    let batch: Vec<_> = (0..)
        .zip(labels)
        .map(|(token, label)| request(b.address(), token, label, &[]))
        .collect();
    assert_eq!(a.post(&batch).expect("alive"), 4);
    let arrived = received(&take(&mut *b, |all| all.len() == 4).await);
    let ports: Vec<_> = arrived.iter().map(|one| one.source_port).collect();
    let expected: Vec<_> = labels
        .iter()
        .map(|label| a.source_port(FlowLabel::new(*label).expect("valid")))
        .collect();
    assert_eq!(ports, expected);
    assert_eq!(ports[0], ports[3]);
    assert_eq!(take(&mut *a, |all| all.len() == 4).await.len(), 4);
}

#[tokio::test]
async fn a_taken_source_port_is_replaced_and_the_real_one_reported() {
    let label = FlowLabel::new(0x777).expect("valid");
    let wanted = label.source_port();
    // Should another program hold them, all the better.
    let blockers: Vec<_> = (0..2)
        .map(|step| UdpSocket::bind((LOOPBACK_V4, wanted.0 + step)))
        .collect();

    let provider = provider(&[LOOPBACK_V4]);
    let (mut a, mut b) = (open(&provider), open(&provider));
    a.post(&[request(b.address(), 1, label.get(), b"x")])
        .expect("alive");
    let arrived = received(&take(&mut *b, |all| !all.is_empty()).await);
    let real = arrived[0].source_port.expect("seen");
    assert_ne!(real, wanted, "held by this test or by another program");
    assert!(real.0 >= UdpSourcePort::FIRST);
    assert_eq!(a.source_port(label), Some(real));
    drop(blockers);
}

#[tokio::test]
async fn damaged_and_foreign_datagrams_are_counted_and_dropped() {
    let provider = provider(&[LOOPBACK_V4]);
    let (mut a, mut b) = (open(&provider), open(&provider));
    let at = provider.receives_at(LOOPBACK_V4).expect("open");
    let stranger = UdpSocket::bind((LOOPBACK_V4, 0)).expect("a port");
    let headers = icrc::Headers {
        addresses: icrc::Addresses::new(LOOPBACK_V4, LOOPBACK_V4).expect("one family"),
        source_port: stranger.local_addr().expect("bound").port(),
        destination_port: at.port(),
    };
    let good = packet::Repr {
        destination_qpn: b.address().qpn,
        source_qpn: Qpn::from_lower_bits(5),
        q_key: b.address().q_key,
        psn: 0,
        payload: Payload::new(b"probe").expect("short"),
    };
    let send = |bytes: &[u8]| {
        stranger.send_to(bytes, at).expect("sent");
    };
    let mut damaged = good.emit(&headers).as_slice().to_vec();
    damaged[22] ^= 1;
    send(&damaged);
    send(b"no packet at all");
    let mut wrong = good;
    wrong.q_key = QKey(3);
    send(wrong.emit(&headers).as_slice());
    wrong = good;
    wrong.destination_qpn = Qpn::from_lower_bits(0x11);
    send(wrong.emit(&headers).as_slice());
    // Longer than anything that is taken.
    send(&[0x64; 1200]);
    // Another sender's identification: solved, so delivered.
    let datagram = good.emit(&headers);
    let mut counted = datagram.as_slice().to_vec();
    let (covered, tail) = counted.split_at_mut(datagram.as_slice().len() - 4);
    let identity = icrc::Identity {
        identification: 0xbeef,
        dont_fragment: true,
    };
    let other = icrc::icrc(&headers, identity, covered).expect("has a BTH");
    tail.copy_from_slice(&other.to_le_bytes());
    send(&counted);
    send(good.emit(&headers).as_slice());

    let arrived = received(&take(&mut *b, |all| all.len() >= 2).await);
    assert_eq!(arrived.len(), 2);
    assert!(
        arrived
            .iter()
            .all(|one| one.payload.as_slice() == b"probe" && one.source_qpn.get() == 5)
    );
    assert_eq!(
        provider.rejected(LOOPBACK_V4),
        Some(Rejected {
            malformed: 2,
            p_key: 0,
            icrc: 1,
            qpn: 1,
            q_key: 1
        })
    );
    // The endpoint still works.
    a.post(&[request(b.address(), 1, 9, b"y")]).expect("alive");
    take(&mut *b, |all| !all.is_empty()).await;
}

#[tokio::test]
async fn a_peer_of_the_other_family_is_a_failed_send() {
    let provider = provider(&[LOOPBACK_V4]);
    let mut a = open(&provider);
    let mut to = a.address();
    to.gid = "fd00::1".parse().expect("GID");
    a.post(&[request(to, 3, 1, &[])]).expect("alive");
    let sent = take(&mut *a, |all| !all.is_empty()).await;
    assert!(
        matches!(
            sent[..],
            [Completion::Sent {
                token: SendToken(3),
                status: SendStatus::Failed(code),
                ..
            }] if code != 0
        ),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_listening_port_in_use_is_explained() {
    let holder = UdpSocket::bind((LOOPBACK_V4, 0)).expect("a port");
    let provider = UserspaceProvider::new(Config {
        addresses: vec![LOOPBACK_V4],
        udp_port: holder.local_addr().expect("bound").port(),
        ..Config::default()
    });
    let name = provider.discover().expect("loopback")[0].name.clone();
    let Err(error) = provider.open(&name) else {
        panic!("the port is taken");
    };
    let text = error.to_string();
    assert!(
        text.contains("is in use") && text.contains("rdma_rxe"),
        "{text}"
    );
}

#[tokio::test]
async fn an_address_of_another_host_is_explained() {
    // TEST-NET-1, RFC 5737: nobody has it.
    let provider = provider(&["192.0.2.1".parse().expect("address")]);
    let error = provider.discover().expect_err("not here");
    insta::assert_snapshot!(
        error,
        @"no usable RNIC: 192.0.2.1 is not an address of this host (or its interface is down)"
    );
}

#[tokio::test]
async fn an_unknown_interface_is_explained() {
    let provider = provider(&[LOOPBACK_V4]);
    let name = RnicName {
        device: "nothing9".into(),
        port: 1,
    };
    let error = provider.open(&name).err().expect("no such port");
    insta::assert_snapshot!(
        error,
        @"RNIC nothing9/1: no such interface address is in use by this transport"
    );
}

#[test]
fn a_refused_bind_says_what_to_do() {
    let rnic = RnicName {
        device: "eth0".into(),
        port: 1,
    };
    let explain = |kind: io::ErrorKind| {
        let local = "10.0.0.1:4791".parse().expect("address");
        bind_error(&rnic, local, kind.into()).to_string()
    };
    insta::assert_snapshot!(
        explain(io::ErrorKind::PermissionDenied),
        @"RNIC eth0/1: no permission to receive on UDP 10.0.0.1:4791: a security policy (seccomp, SELinux, a sandbox) forbids it"
    );
    insta::assert_snapshot!(
        explain(io::ErrorKind::AddrNotAvailable),
        @"RNIC eth0/1: 10.0.0.1 is not an address of this host"
    );
}

#[tokio::test]
async fn closing_the_last_endpoint_frees_the_port() {
    let provider = provider(&[LOOPBACK_V4]);
    let endpoint = open(&provider);
    assert!(provider.rejected(LOOPBACK_V4).is_some());
    drop(endpoint);
    assert!(provider.rejected(LOOPBACK_V4).is_none());
}

#[tokio::test]
async fn many_source_ports_reuse_the_sockets() {
    let provider = provider(&[LOOPBACK_V4]);
    let (mut a, mut b) = (open(&provider), open(&provider));
    // More than an endpoint keeps sockets for.
    for token in 0..300_u32 {
        let batch = [request(b.address(), u64::from(token), 0x100 + token, &[])];
        assert_eq!(a.post(&batch).expect("alive"), 1);
        let arrived = received(&take(&mut *b, |all| !all.is_empty()).await);
        assert_eq!(arrived.len(), 1);
        take(&mut *a, |all| !all.is_empty()).await;
    }
}
