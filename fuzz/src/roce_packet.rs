//! Any bytes as a RoCE v2 datagram: views stay in bounds, what parses survives the round trip, and the solver finds the
//! identity that a sender used and none that the ICRC contradicts.

use std::net::{Ipv4Addr, Ipv6Addr};

use rpingmesh::transport::userspace::icrc::{Addresses, Headers, Identity, Solver, icrc};
use rpingmesh::transport::userspace::packet::{Datagram, Repr};

const V4: Addresses = Addresses::V4 {
    source: Ipv4Addr::new(10, 0, 0, 1),
    destination: Ipv4Addr::new(10, 0, 0, 2),
};
const V6: Addresses = Addresses::V6 {
    source: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
    destination: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2),
};

fn headers(addresses: Addresses, source_port: u16) -> Headers {
    Headers {
        addresses,
        source_port,
        destination_port: 4791,
    }
}

fn solve(sent: Identity, headers: &Headers, covered: &[u8], received: u32) {
    let solver = Solver::new(covered.len());
    if let Some(found) = solver.solve(headers, covered, received) {
        assert_eq!(icrc(headers, found, covered), Some(received));
    }
    if let Some(valid) = icrc(headers, sent, covered) {
        assert_eq!(solver.solve(headers, covered, valid), Some(sent));
    }
}

fn round_trip(repr: &Repr, headers: &Headers) {
    let encoded = repr.emit(headers);
    let datagram = Datagram::new_checked(encoded.as_slice()).expect("our own datagram");
    assert_eq!(Repr::parse(&datagram).as_ref(), Ok(repr));
    let expected = icrc(headers, Identity::ATOMIC, datagram.covered());
    assert_eq!(expected, Some(datagram.icrc()));
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((&[flags, a, b, c, d], bytes)) = data.split_first_chunk() else {
        return;
    };
    let sent = Identity {
        identification: u16::from_be_bytes([a, b]),
        dont_fragment: flags & 1 == 1,
    };
    let v4 = headers(V4, u16::from_be_bytes([c, d]));
    // Also what is no datagram: without a BTH there is no ICRC to solve for.
    solve(sent, &v4, bytes, u32::from_be_bytes([a, b, c, d]));
    let Ok(datagram) = Datagram::new_checked(bytes) else {
        return;
    };
    assert_eq!(datagram.covered().len() + 4, bytes.len());
    solve(sent, &v4, datagram.covered(), datagram.icrc());
    if let Ok(repr) = Repr::parse(&datagram) {
        assert_eq!(repr.payload.as_slice(), datagram.payload());
        round_trip(&repr, &v4);
        round_trip(&repr, &headers(V6, v4.source_port));
    }
}
