//! The 40 bytes in front of every datagram that a UD queue pair receives.
//!
//! On RoCE v2 they are the packet's IP header: for IPv6 the whole of it, for IPv4 twenty bytes of no meaning and then
//! the IPv4 header (Linux `drivers/infiniband/core/verbs.c`, `ib_get_rdma_header_version`).

use std::net::{Ipv4Addr, Ipv6Addr};

use rpingmesh::id::Gid;

/// Length of what precedes the payload, in bytes.
pub(super) const LENGTH: usize = 40;

const IPV4_AT: usize = 20;
const IPV4_SOURCE: std::ops::Range<usize> = 32..36;
const IPV6_SOURCE: std::ops::Range<usize> = 8..24;

/// The sender's GID, unless the bytes are neither an IPv6 nor an IPv4 header.
pub(super) fn source_gid(grh: &[u8; LENGTH]) -> Option<Gid> {
    let looks_like_ipv6 = grh[0] >> 4 == 6;
    // Version 4, five words: RoCE v2 packets have no IP options.
    let looks_like_ipv4 = grh[IPV4_AT] == 0x45;
    // An IPv6 destination address can look like an IPv4 header; only a header has the right checksum.
    let ipv4 = looks_like_ipv4 && (!looks_like_ipv6 || ipv4_checksum_holds(grh));
    if ipv4 {
        let source: [u8; 4] = grh[IPV4_SOURCE].try_into().ok()?;
        Some(Ipv4Addr::from(source).into())
    } else if looks_like_ipv6 {
        let source: [u8; 16] = grh[IPV6_SOURCE].try_into().ok()?;
        Some(Ipv6Addr::from(source).into())
    } else {
        None
    }
}

/// Whether the ones' complement sum of the header is 0xffff (RFC 791).
fn ipv4_checksum_holds(grh: &[u8; LENGTH]) -> bool {
    let sum: u32 = grh[IPV4_AT..]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The header of a RoCE v2 packet from 10.0.9.2 to 10.0.9.1.
    const IPV4: [u8; 20] = [
        0x45, 0, 0, 0x40, 0, 0, 0x40, 0, 0x40, 0x11, 0x14, 0xab, 10, 0, 9, 2, 10, 0, 9, 1,
    ];

    fn ipv4_grh() -> [u8; LENGTH] {
        let mut grh = [0; LENGTH];
        grh[IPV4_AT..].copy_from_slice(&IPV4);
        grh
    }

    fn ipv6_grh(source: Ipv6Addr, destination: Ipv6Addr) -> [u8; LENGTH] {
        let mut grh = [0; LENGTH];
        grh[0] = 0x60;
        grh[6] = 17;
        grh[7] = 64;
        grh[IPV6_SOURCE].copy_from_slice(&source.octets());
        grh[24..].copy_from_slice(&destination.octets());
        grh
    }

    #[test]
    fn ipv4_source_is_mapped() {
        assert_eq!(
            source_gid(&ipv4_grh()),
            Some(Ipv4Addr::new(10, 0, 9, 2).into())
        );
    }

    #[test]
    fn bytes_before_an_ipv4_header_have_no_meaning() {
        let mut grh = ipv4_grh();
        grh[..IPV4_AT].fill(0x6a);
        assert_eq!(source_gid(&grh), Some(Ipv4Addr::new(10, 0, 9, 2).into()));
    }

    #[test]
    fn an_ipv6_source_that_ends_like_an_ipv4_header_is_ipv6() {
        // Bytes 20 to 23 of the GRH are the end of the source address.
        let source: Ipv6Addr = "2001:db8::4500:40".parse().expect("an address");
        let grh = ipv6_grh(source, "2001:db8::1".parse().expect("an address"));
        assert_eq!(grh[IPV4_AT], 0x45);
        assert_eq!(source_gid(&grh), Some(source.into()));
    }

    #[test]
    fn neither_header_is_no_gid() {
        assert_eq!(source_gid(&[0; LENGTH]), None);
        assert_eq!(source_gid(&[0xff; LENGTH]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::array::uniform32(any::<u8>()), tail in any::<[u8; 8]>()) {
            let mut grh = [0; LENGTH];
            grh[..32].copy_from_slice(&bytes);
            grh[32..].copy_from_slice(&tail);
            if let Some(gid) = source_gid(&grh) {
                let v4 = gid.is_ipv4() && gid.bytes()[12..] == grh[IPV4_SOURCE];
                prop_assert!(v4 || gid.bytes() == grh[IPV6_SOURCE]);
            } else {
                prop_assert!(grh[0] >> 4 != 6 && grh[IPV4_AT] != 0x45);
            }
        }

        #[test]
        fn ipv6_sources_come_back(source in any::<u128>(), destination in any::<u128>()) {
            let grh = ipv6_grh(Ipv6Addr::from(source), Ipv6Addr::from(destination));
            prop_assume!(!(grh[IPV4_AT] == 0x45 && ipv4_checksum_holds(&grh)));
            prop_assert_eq!(source_gid(&grh), Some(Gid::from_bytes(source.to_be_bytes())));
        }
    }
}
