use super::*;
use crate::id::{QKey, Qpn};

fn rnic(gid: &str, tor: &str, qpn: u32) -> Rnic {
    Rnic {
        address: Address {
            gid: gid.parse().expect("GID"),
            qpn: Qpn::from_lower_bits(qpn),
            q_key: QKey(0x1111_1111),
        },
        device: "rxe0".into(),
        port: 1,
        tor: tor.into(),
        gid_index: 1,
        clock: CompletionClock::Software,
        steering: SourcePortSteering::FlowLabel,
    }
}

fn announcement(agent: &str, rnics: Vec<Rnic>) -> Announcement {
    Announcement {
        agent: agent.into(),
        incarnation: 1,
        host: agent.into(),
        version: "0.1.0".to_owned(),
        rnics,
    }
}

#[test]
fn members_are_sorted_replaced_and_removed() {
    let mut topology = Topology::default();
    let a = announcement(
        "a",
        vec![rnic("10.0.0.2", "t0", 7), rnic("10.0.1.2", "t1", 7)],
    );
    let b = announcement("b", vec![rnic("10.0.0.1", "t0", 8)]);
    topology.insert(&a);
    topology.insert(&b);
    let before = topology.clone();
    let t0 = topology.tor(&"t0".into()).expect("t0");
    assert_eq!(t0.members[0].agent, "b".into());
    assert_eq!(t0.position("10.0.0.2".parse().expect("GID")), Some(1));

    topology.insert(&announcement("b", vec![rnic("10.0.0.1", "t0", 9)]));
    assert_eq!(topology.rnics(), 3);
    let t0 = topology.tor(&"t0".into()).expect("t0");
    assert_eq!(t0.members[0].peer.address.qpn.get(), 9);
    assert_ne!(topology, before, "the clone keeps what it had");

    topology.remove(&a);
    assert_eq!(topology.tors().len(), 1, "an empty ToR is gone");
    assert_eq!(topology.rnics(), 1);
}

#[test]
fn an_rnic_that_another_agent_took_over_stays() {
    let mut topology = Topology::default();
    let old = announcement("old", vec![rnic("10.0.0.1", "t0", 7)]);
    topology.insert(&old);
    topology.insert(&announcement("new", vec![rnic("10.0.0.1", "t0", 8)]));
    topology.remove(&old);
    assert_eq!(topology.rnics(), 1);
}
