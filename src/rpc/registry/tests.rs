use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::id::{QKey, Qpn, UdpSourcePort};
use crate::transport::{Address, CompletionClock, SourcePortSteering};

pub(in crate::rpc) fn any_name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_.-]{0,40}"
}

pub(in crate::rpc) fn any_gid() -> impl Strategy<Value = Gid> {
    any::<[u8; 16]>()
        .prop_map(Gid::from_bytes)
        .prop_filter("an RNIC can have it", |gid| {
            !gid.is_zero() && !gid.ip().is_multicast()
        })
}

pub(in crate::rpc) fn any_address() -> impl Strategy<Value = Address> {
    (any_gid(), 0_u32..1 << 24, any::<u32>()).prop_map(|(gid, qpn, q_key)| Address {
        gid,
        qpn: Qpn::from_lower_bits(qpn),
        q_key: QKey(q_key),
    })
}

fn any_steering() -> impl Strategy<Value = SourcePortSteering> {
    prop_oneof![
        Just(SourcePortSteering::FlowLabel),
        Just(SourcePortSteering::Driver),
        btree_set(1_u16.., 1..20).prop_map(|ports| {
            SourcePortSteering::QueuePair(ports.into_iter().map(UdpSourcePort).collect())
        }),
    ]
}

fn any_clock() -> impl Strategy<Value = CompletionClock> {
    prop::sample::select(vec![
        CompletionClock::HardwareWall,
        CompletionClock::HardwareRaw,
        CompletionClock::Kernel,
        CompletionClock::Software,
        CompletionClock::Emulated,
    ])
}

fn any_rnic() -> impl Strategy<Value = Rnic> {
    (
        any_address(),
        any_name(),
        1_u8..,
        any_name(),
        any::<u32>(),
        any_clock(),
        any_steering(),
    )
        .prop_map(
            |(address, device, port, tor, gid_index, clock, steering)| Rnic {
                address,
                device: device.into(),
                port,
                tor: tor.into(),
                gid_index,
                clock,
                steering,
            },
        )
}

fn any_announcement() -> impl Strategy<Value = Announcement> {
    (
        any_name(),
        any::<u64>(),
        any_name(),
        any_name(),
        vec(any_rnic(), 0..6),
    )
        .prop_filter("distinct GIDs", |(.., rnics)| check_distinct(rnics).is_ok())
        .prop_map(|(agent, incarnation, host, version, rnics)| Announcement {
            agent: agent.into(),
            incarnation,
            host: host.into(),
            version,
            rnics,
        })
}

proptest! {
    #[test]
    fn announcements_survive_the_wire(announcement in any_announcement()) {
        let message = v1::Announcement::from(&announcement);
        prop_assert_eq!(Announcement::try_from(message), Ok(announcement));
    }

    #[test]
    fn resolved_rnics_and_queries_survive_the_wire(rnic in any_rnic(), host in any_name(), agent in any_name()) {
        let resolved = ResolvedRnic { rnic, host: host.as_str().into(), agent: agent.into() };
        let message = v1::ResolvedRnic::from(&resolved);
        prop_assert_eq!(ResolvedRnic::try_from(message), Ok(resolved.clone()));
        for query in [TargetQuery::Gid(resolved.rnic.address.gid), TargetQuery::Host(host.into())] {
            prop_assert_eq!(TargetQuery::try_from(v1::TargetQuery::from(&query)), Ok(query));
        }
    }

    #[test]
    fn random_messages_never_panic(
        gid in vec(any::<u8>(), 0..20), numbers in any::<[u32; 4]>(), steering: i32, clock: i32,
        text in ".{0,300}", ports in vec(any::<u32>(), 0..5),
    ) {
        let rnic = v1::Rnic {
            address: Some(v1::RnicAddress { gid: gid.into(), qpn: numbers[0], q_key: numbers[1] }),
            device: text.clone(), port: numbers[2], tor: text, gid_index: numbers[3],
            completion_clock: clock, steering, source_ports: ports,
        };
        if let Err(error) = Rnic::try_from(rnic) {
            prop_assert!(!error.field.is_empty() && !error.why.is_empty());
        }
    }
}

fn valid() -> v1::Announcement {
    v1::Announcement {
        agent_id: "a".to_owned(),
        incarnation: 1,
        host: "h".to_owned(),
        keys: None,
        version: String::new(),
        rnics: vec![v1::Rnic {
            address: Some(v1::RnicAddress {
                gid: vec![1; 16].into(),
                qpn: 17,
                q_key: 1,
            }),
            device: "rxe0".to_owned(),
            port: 1,
            tor: "t0".to_owned(),
            gid_index: 1,
            completion_clock: v1::CompletionClock::Software.into(),
            steering: v1::SourcePortSteering::FlowLabel.into(),
            source_ports: Vec::new(),
        }],
        machine: String::new(),
    }
}

type Spoil = fn(&mut v1::Announcement);

#[test]
fn what_is_wrong_is_named() {
    let cases: &[(&str, Spoil)] = &[
        ("agent_id: is empty", |m| m.agent_id.clear()),
        ("host: has 257 bytes", |m| m.host = "x".repeat(257)),
        ("host: contains control", |m| m.host = "a\nb".to_owned()),
        ("rnics: has 65 entries", |m| {
            m.rnics = vec![m.rnics[0].clone(); 65];
        }),
        ("rnics[1].address.gid: 101:101", |m| {
            m.rnics.push(m.rnics[0].clone());
        }),
        ("rnics[0].address: is missing", |m| {
            m.rnics[0].address = None;
        }),
        ("rnics[0].address.gid: a GID has 16 bytes, not 3", |m| {
            m.rnics[0].address.as_mut().expect("address").gid = vec![1; 3].into();
        }),
        ("rnics[0].address.gid: is all zero", |m| {
            m.rnics[0].address.as_mut().expect("address").gid = vec![0; 16].into();
        }),
        ("rnics[0].address.gid: ffff", |m| {
            m.rnics[0].address.as_mut().expect("address").gid = vec![0xff; 16].into();
        }),
        ("rnics[0].address.qpn: `16777216` is not a QPN", |m| {
            m.rnics[0].address.as_mut().expect("address").qpn = 1 << 24;
        }),
        ("rnics[0].port: 0 is not a port number", |m| {
            m.rnics[0].port = 0;
        }),
        ("rnics[0].tor: is empty", |m| m.rnics[0].tor.clear()),
        ("rnics[0].completion_clock: 0 is not", |m| {
            m.rnics[0].completion_clock = 0;
        }),
        ("rnics[0].steering: 99 is not", |m| m.rnics[0].steering = 99),
        ("rnics[0].source_ports: is empty", |m| {
            m.rnics[0].steering = 2;
        }),
        ("rnics[0].source_ports[1]: 7 occurs twice", |m| {
            m.rnics[0].steering = 2;
            m.rnics[0].source_ports = vec![7, 7];
        }),
    ];
    assert!(Announcement::try_from(valid()).is_ok());
    for (expected, spoil) in cases {
        let mut message = valid();
        spoil(&mut message);
        let error = Announcement::try_from(message)
            .expect_err(expected)
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let query = v1::TargetQuery {
        by: Some(v1::target_query::By::Ip("10.0.0".to_owned())),
    };
    let error = TargetQuery::try_from(query).expect_err("no address");
    assert_eq!(error.to_string(), "ip: `10.0.0` is not an IP address");
}
