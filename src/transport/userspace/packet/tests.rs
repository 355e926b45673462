use proptest::prelude::*;

use super::*;
use crate::transport::userspace::icrc::tests::{IPV4_PACKET, unhex};
use crate::transport::userspace::icrc::{Addresses, Solver};

fn headers() -> Headers {
    Headers {
        addresses: Addresses::V4 {
            source: [10, 0, 9, 2].into(),
            destination: [10, 0, 9, 1].into(),
        },
        source_port: 0xc001,
        destination_port: 4791,
    }
}

fn vector() -> Repr {
    Repr {
        destination_qpn: Qpn::from_lower_bits(0x11),
        source_qpn: Qpn::from_lower_bits(0x100),
        q_key: QKey(0x1111_1111),
        psn: 1,
        payload: Payload::new(b"hello rdma").expect("short"),
    }
}

fn parse(bytes: &[u8]) -> Result<Repr, PacketError> {
    Repr::parse(&Datagram::new_checked(bytes)?)
}

/// The vector's datagram with one byte replaced.
fn with(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = vector().emit(&headers()).as_slice().to_vec();
    bytes[at] = value;
    bytes
}

#[test]
fn the_vector_is_emitted_and_parsed() {
    let packet = unhex(IPV4_PACKET);
    assert_eq!(vector().emit(&headers()).as_slice(), &packet[28..]);
    assert_eq!(parse(&packet[28..]), Ok(vector()));
}

#[test]
fn every_fault_has_its_error() {
    assert_eq!(parse(&[]), Err(PacketError::TooShort(0)));
    assert_eq!(parse(&[0; 23]), Err(PacketError::TooShort(23)));
    assert_eq!(parse(&[0; 25]), Err(PacketError::Unaligned(25)));
    // No payload, but three bytes of padding.
    let mut short = [0; 24];
    short[1] = 0x30;
    assert_eq!(parse(&short), Err(PacketError::TooShort(24)));
    assert_eq!(parse(&[0; 92]), Err(PacketError::Oversized(68)));
    assert_eq!(parse(&with(1, 0x21)), Err(PacketError::Version(1)));
    assert_eq!(parse(&with(0, 0x04)), Err(PacketError::Opcode(0x04)));
    assert_eq!(parse(&with(2, 0x12)), Err(PacketError::PKey(0x12ff)));
}

#[test]
fn a_limited_member_of_the_partition_is_heard() {
    assert_eq!(parse(&with(2, 0x7f)), Ok(vector()));
}

#[test]
fn the_longest_payload_fits() {
    let repr = Repr {
        payload: Payload::new(&[9; MAX_PAYLOAD]).expect("fits"),
        ..vector()
    };
    let encoded = repr.emit(&headers());
    assert_eq!(encoded.as_slice().len(), MAX_DATAGRAM);
    assert_eq!(parse(encoded.as_slice()), Ok(repr));
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(
        destination: u32, source: u32, q_key: u32, psn in 0_u32..1 << 24,
        payload in proptest::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD),
    ) {
        let repr = Repr {
            destination_qpn: Qpn::from_lower_bits(destination),
            source_qpn: Qpn::from_lower_bits(source),
            q_key: QKey(q_key),
            psn,
            payload: Payload::new(&payload).expect("fits"),
        };
        let encoded = repr.emit(&headers());
        let datagram = Datagram::new_checked(encoded.as_slice()).expect("long enough");
        prop_assert_eq!(Repr::parse(&datagram), Ok(repr));
        let solver = Solver::new(datagram.covered().len());
        prop_assert_eq!(
            solver.solve(&headers(), datagram.covered(), datagram.icrc()),
            Some(Identity::ATOMIC)
        );
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(datagram) = Datagram::new_checked(&bytes) {
            let _ = Repr::parse(&datagram);
            prop_assert!(datagram.payload().len() <= MAX_PAYLOAD);
            prop_assert_eq!(datagram.covered().len() + 4, bytes.len());
        }
    }
}
