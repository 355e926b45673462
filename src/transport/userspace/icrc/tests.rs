use proptest::prelude::*;

use super::*;

/// A whole IPv4 packet that soft-RoCE accepted: IP, UDP, BTH, DETH, `hello rdma`, two bytes of padding, ICRC.
pub(in crate::transport::userspace) const IPV4_PACKET: &str = "4500004000004000401114ab0a0009020a000901c00112b7002c26406420ffff0000001100000001111111110000010068656c6c6f2072646d610000a98d7878";

pub(in crate::transport::userspace) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn v4_headers() -> Headers {
    Headers {
        addresses: Addresses::V4 {
            source: Ipv4Addr::new(10, 0, 9, 2),
            destination: Ipv4Addr::new(10, 0, 9, 1),
        },
        source_port: 0xc001,
        destination_port: 4791,
    }
}

fn split(packet: &[u8]) -> (&[u8], u32) {
    let (covered, icrc) = packet[28..].split_last_chunk::<4>().expect("long enough");
    (covered, u32::from_le_bytes(*icrc))
}

#[test]
fn ipv4_vector() {
    let packet = unhex(IPV4_PACKET);
    let (covered, expected) = split(&packet);
    assert_eq!(
        icrc(&v4_headers(), Identity::ATOMIC, covered),
        Some(expected)
    );
}

#[test]
fn ipv6_vector() {
    let packet = unhex(IPV4_PACKET);
    let (covered, _) = split(&packet);
    let headers = Headers {
        addresses: Addresses::new(
            "fd00:9::2".parse().expect("address"),
            "fd00:9::1".parse().expect("address"),
        )
        .expect("one family"),
        ..v4_headers()
    };
    let computed = icrc(&headers, Identity::ATOMIC, covered).expect("has a BTH");
    assert_eq!(computed.to_le_bytes(), [0x5b, 0xa2, 0x5e, 0xe8]);
}

#[test]
fn families_do_not_mix_and_mapped_addresses_are_ipv4() {
    let v4: IpAddr = "10.0.0.1".parse().expect("address");
    let v6: IpAddr = "fd00::1".parse().expect("address");
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("address");
    assert_eq!(Addresses::new(v4, v6), None);
    assert_eq!(Addresses::new(v4, mapped), Addresses::new(v4, v4));
}

#[test]
fn without_a_bth_there_is_no_icrc() {
    assert_eq!(icrc(&v4_headers(), Identity::ATOMIC, &[0; 11]), None);
    assert_eq!(
        icrc(&v4_headers(), Identity::ATOMIC, &vec![0; 65_530]),
        None
    );
}

proptest! {
    #[test]
    fn the_solver_finds_every_identification(
        covered in proptest::collection::vec(any::<u8>(), 20..96),
        identification: u16,
        dont_fragment: bool,
    ) {
        let identity = Identity { identification, dont_fragment };
        let sent = icrc(&v4_headers(), identity, &covered).expect("has a BTH");
        let solver = Solver::new(covered.len());
        prop_assert_eq!(solver.solve(&v4_headers(), &covered, sent), Some(identity));
    }

    #[test]
    fn masked_bytes_do_not_count_and_others_do(
        mut covered in proptest::collection::vec(any::<u8>(), 20..96),
        at: prop::sample::Index,
        flip in 1_u8..,
    ) {
        let before = icrc(&v4_headers(), Identity::ATOMIC, &covered);
        let at = at.index(covered.len());
        covered[at] ^= flip;
        let after = icrc(&v4_headers(), Identity::ATOMIC, &covered);
        prop_assert_eq!(before == after, at == BTH_MASKED);
    }
}

/// The chance that damage passes is 2^-15 for each datagram: among 20 000 random ICRCs less than one is expected, so
/// more than 10 would mean that the solver accepts what it must not.
#[test]
fn the_solver_keeps_most_of_the_check() {
    let covered = [7_u8; 72];
    let solver = Solver::new(covered.len());
    let mut accepted = 0;
    let mut random = 1_u32;
    for _ in 0..20_000 {
        // The constants of Numerical Recipes' generator.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        accepted += u32::from(solver.solve(&v4_headers(), &covered, random).is_some());
    }
    assert!(accepted <= 10, "{accepted} of 20000 passed");
}
