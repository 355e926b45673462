//! A session that probes and is fed any completions; every probe still yields exactly one result.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::id::{FlowLabel, Gid, QKey, Qpn};
use rpingmesh::probe::{Config, Group, ProbeKind, ProbePath, Rate, Session, Start};
use rpingmesh::time::{HostTime, NicTime};
use rpingmesh::topology::Peer;
use rpingmesh::transport::{
    Address, Capabilities, Completion, CompletionClock, Payload, Received, SendStatus, SendToken,
    SourcePortSteering,
};
use rpingmesh::wire::Keyring;

fn address(node: u8) -> Address {
    Address {
        gid: Gid::from(Ipv4Addr::new(10, 0, 0, node)),
        qpn: Qpn::from_lower_bits(u32::from(node)),
        q_key: QKey(1),
    }
}

fn group() -> Option<Group> {
    let path = ProbePath {
        target: Arc::new(Peer {
            address: address(2),
            tor: "tor0".into(),
            host: "host0".into(),
            device: "rnic0".into(),
        }),
        flow_label: FlowLabel::new(1)?,
        service: None,
        traffic_class: None,
        fidelity: None,
    };
    Some(Group {
        kind: ProbeKind::TorMesh,
        rate: Rate::per_second(100.0)?,
        paths: vec![Arc::new(path)],
    })
}

/// One byte says what happens and how much later, the following ones with what.
fn completion(kind: u8, rest: &[u8], sent: &[Payload]) -> Option<Completion> {
    let byte = |index: usize| rest.get(index).copied().unwrap_or_default();
    let at = NicTime::from_nanos(i64::from(byte(1)));
    let received = |payload| {
        Completion::Received(Received {
            at,
            source_gid: address(2).gid,
            source_qpn: address(2).qpn,
            source_port: None,
            payload,
        })
    };
    match kind % 4 {
        0 => None,
        1 => Some(Completion::Sent {
            token: SendToken(u64::from(byte(0))),
            at,
            status: if byte(2) % 4 == 0 {
                SendStatus::Failed(1)
            } else {
                SendStatus::Sent
            },
        }),
        2 => Payload::new(rest.get(..rest.len().min(64))?).map(received),
        // A packet that the session itself has sent, bent into an ACK.
        _ => {
            let mut bytes = sent
                .get(usize::from(byte(0)) % sent.len().max(1))?
                .as_slice()
                .to_vec();
            *bytes.get_mut(3)? = byte(1) % 4;
            *bytes.get_mut(30..34)?.last_mut()? = 2;
            bytes.get_mut(30..33)?.fill(0);
            *bytes.get_mut(usize::from(byte(2)) % 50)? ^= byte(3);
            Payload::new(&bytes).map(received)
        }
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let config = Config {
        start: Start::AtOnce,
        ..Config::default()
    };
    let capabilities = Capabilities {
        clock: CompletionClock::Software,
        steering: SourcePortSteering::FlowLabel,
        sees_source_port: false,
    };
    let mut session = Session::new(
        config,
        Arc::new(Keyring::unkeyed()),
        address(1),
        capabilities,
        7,
    );
    let mut now = HostTime::from_nanos(0);
    session.set_groups(group().into_iter().collect(), now);
    let (mut requests, mut sent, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in data.chunks(8) {
        now = now.after(Duration::from_millis(u64::from(chunk[0] >> 2)));
        let completion = completion(chunk[0], &chunk[1..], &sent);
        session.on_completions(completion.as_slice(), now);
        session.poll(now, &mut requests);
        sent.extend(requests.drain(..).map(|request| request.payload));
        session.drain_results(&mut results);
    }
    session.set_groups(Vec::new(), now);
    session.poll(now.after(Duration::from_secs(10)), &mut requests);
    session.drain_results(&mut results);
    assert_eq!(session.counters().probes_sent, results.len() as u64);
}
