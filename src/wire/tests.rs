use proptest::prelude::*;

use super::*;

fn ends() -> Ends {
    Ends {
        source: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        destination: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    }
}

fn key(byte: u8) -> ClusterKey {
    ClusterKey::new(&[byte; 32]).expect("long enough")
}

fn any_way_back() -> impl Strategy<Value = ReversePath> {
    prop_oneof![
        Just(ReversePath::Unasked),
        Just(ReversePath::Healthy),
        Just(ReversePath::Failing),
    ]
}

fn any_class() -> impl Strategy<Value = Option<Class>> {
    prop::option::of(
        (any::<u8>(), Class::LEVELS).prop_map(|(traffic_class, service_level)| Class {
            traffic_class,
            service_level,
        }),
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (
            1..=FlowLabel::MAX,
            any::<u32>(),
            any_way_back(),
            any_class()
        )
            .prop_map(|(label, key, reverse_path, reply_class)| {
                Body::Probe {
                    reply_label: FlowLabel::new(label).expect("in range"),
                    reply_key: QKey(key),
                    reverse_path,
                    reply_class,
                }
            }),
        (any::<u32>(), any::<u16>()).prop_map(|(qpn, port)| Body::FirstAck {
            responder: Qpn::from_lower_bits(qpn),
            seen: (port != 0).then_some(UdpSourcePort(port)),
        }),
        (any::<u32>(), any::<i64>()).prop_map(|(qpn, delay)| Body::SecondAck {
            responder: Qpn::from_lower_bits(qpn),
            delay: Nanos(delay),
        }),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    (any::<u64>(), any::<u64>(), any_body()).prop_map(|(session, sequence, body)| Packet {
        session: SessionId(session),
        sequence: Sequence(sequence),
        body,
    })
}

fn probe() -> Packet {
    Packet {
        session: SessionId(0x0102_0304_0506_0708),
        sequence: Sequence(0x1112_1314_1516_1718),
        body: Body::Probe {
            reply_label: FlowLabel::new(0x2_1234).expect("in range"),
            reply_key: QKey(0x1111_1111),
            reverse_path: ReversePath::Failing,
            reply_class: None,
        },
    }
}

proptest! {
    #[test]
    fn packets_survive_the_round_trip(packet in any_packet(), keyed: bool) {
        let keys = if keyed { Keyring::new(vec![key(1)]) } else { Keyring::unkeyed() };
        let payload = packet.encode(ends(), &keys);
        prop_assert_eq!(payload.as_slice().len(), LENGTH);
        prop_assert_eq!(Packet::decode(payload.as_slice(), ends(), &keys), Ok(packet));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), keyed: bool) {
        let keys = if keyed { Keyring::new(vec![key(1)]) } else { Keyring::unkeyed() };
        let _ = Packet::decode(&bytes, ends(), &keys);
    }

    #[test]
    fn bytes_behind_a_good_header_never_panic(tail in proptest::collection::vec(any::<u8>(), LENGTH - 3)) {
        let mut bytes = vec![0x52, 0x70, VERSION];
        bytes.extend(tail);
        match Packet::decode(&bytes, ends(), &Keyring::unkeyed()) {
            Ok(packet) => {
                let again = packet.encode(ends(), &Keyring::unkeyed());
                prop_assert_eq!(Packet::decode(again.as_slice(), ends(), &Keyring::unkeyed()), Ok(packet));
            }
            Err(error) => prop_assert!(!matches!(error, WireError::Truncated(_) | WireError::Oversized(_))),
        }
    }

    #[test]
    fn any_flipped_bit_of_a_signed_packet_is_noticed(packet in any_packet(), bit in 0..LENGTH * 8) {
        let keys = Keyring::new(vec![key(1)]);
        let mut bytes = packet.encode(ends(), &keys).as_slice().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Packet::decode(&bytes, ends(), &keys).is_err());
    }
}

#[test]
fn layout_is_stable() {
    let payload = probe().encode(ends(), &Keyring::unkeyed());
    let hex: Vec<_> = payload
        .as_slice()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex.concat(),
        "52700101060001020304050607081112131415161718000000000002123411111111\
         00000000000000000000000000000000"
    );
}

#[test]
fn every_fault_has_its_own_error() {
    let keys = Keyring::unkeyed();
    let good = probe().encode(ends(), &keys).as_slice().to_vec();
    let with = |index: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[index] = value;
        Packet::decode(&bytes, ends(), &keys)
    };
    assert_eq!(
        Packet::decode(&[], ends(), &keys),
        Err(WireError::Truncated(0))
    );
    assert_eq!(
        Packet::decode(&good[..49], ends(), &keys),
        Err(WireError::Truncated(49))
    );
    assert_eq!(
        Packet::decode(&[good.clone(), vec![0]].concat(), ends(), &keys),
        Err(WireError::Oversized(51))
    );
    assert_eq!(with(0, 0), Err(WireError::BadMagic(0x0070)));
    assert_eq!(with(2, 9), Err(WireError::UnknownVersion(9)));
    assert_eq!(with(3, 77), Err(WireError::UnknownKind(77)));
    assert_eq!(with(22, 1), Err(WireError::FlowLabel(1 << 56 | 0x2_1234)));
    assert_eq!(with(3, 2), Err(WireError::SourcePort(0x2_1234)));
    assert_eq!(with(3, 3), Err(WireError::Qpn(0x1111_1111)));
}

#[test]
fn keys_rotate_without_a_gap() {
    let (old, new) = (key(1), key(2));
    let only_old = Keyring::new(vec![old.clone()]);
    let both = Keyring::new(vec![new.clone(), old]);
    let only_new = Keyring::new(vec![new]);
    let check = |signer: &Keyring, verifier: &Keyring| {
        Packet::decode(probe().encode(ends(), signer).as_slice(), ends(), verifier)
    };
    assert_eq!(check(&only_old, &both), Ok(probe()));
    assert_eq!(check(&both, &both), Ok(probe()));
    assert_eq!(check(&both, &only_new), Ok(probe()));
    assert_eq!(check(&both, &only_old), Err(WireError::BadMac));
    assert_eq!(
        check(&Keyring::unkeyed(), &only_new),
        Err(WireError::Unsigned)
    );
    assert_eq!(
        check(&only_new, &Keyring::unkeyed()),
        Err(WireError::Unverifiable)
    );
}

#[test]
fn a_packet_between_other_ends_is_refused() {
    let keys = Keyring::new(vec![key(1)]);
    let payload = probe().encode(ends(), &keys);
    let turned = Ends {
        source: ends().destination,
        destination: ends().source,
    };
    assert_eq!(
        Packet::decode(payload.as_slice(), turned, &keys),
        Err(WireError::BadMac)
    );
}

#[test]
fn short_keys_are_refused_and_keys_are_never_shown() {
    assert_eq!(
        ClusterKey::new(b"secret").err(),
        Some(KeyError::TooShort(6))
    );
    assert_eq!(
        format!("{:?}", Keyring::new(vec![key(0x41)])),
        "Keyring { keys: [ClusterKey(…)], signing: Some(0), takes_unsigned: false }"
    );
}

#[test]
fn the_class_of_the_acks_stands_behind_the_flags() {
    let mut packet = probe();
    let Body::Probe { reply_class, .. } = &mut packet.body else {
        unreachable!("a probe")
    };
    *reply_class = Some(Class {
        traffic_class: 0x6a,
        service_level: 5,
    });
    let payload = packet.encode(ends(), &Keyring::unkeyed());
    let bytes = payload.as_slice();
    assert_eq!((bytes[4], bytes[5]), (0b101_1110, 0x6a));
    // Without the flag the byte says nothing: older probers leave it zero, and mean the responder's own class.
    let mut older = bytes.to_vec();
    older[4] &= !FLAG_CLASS;
    let read = Packet::decode(&older, ends(), &Keyring::unkeyed()).expect("a packet");
    assert_eq!(read, probe());
}
