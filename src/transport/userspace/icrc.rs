//! The invariant CRC of RoCE v2 packets, computed by a process that never sees the IP header.
//!
//! The ICRC covers all fields that no switch may change (InfiniBand Architecture Specification vol. 1, section 7.8.1;
//! Annex A17, section A17.3.3): eight bytes of ones in place of the local route header, the IP header, the UDP header,
//! the transport headers, the payload and its padding. Fields that a switch may change count as ones: type of service,
//! time to live and checksum of IPv4; traffic class, flow label and hop limit of IPv6; the UDP checksum; and byte 4 of
//! the BTH (congestion bits). The polynomial, reflection and inversion are those of Ethernet's CRC-32; the result
//! follows the padding with its least significant byte first.
//!
//! A UDP socket shows neither the identification nor the don't-fragment bit of an IPv4 header, which are covered.
//! The sender arranges that they are 0 and 1. For what other senders chose see [`Solver`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of the ICRC in bytes.
pub(crate) const ICRC_LEN: usize = 4;

/// Length of a BTH in bytes.
const BTH_LEN: usize = 12;
/// The byte of the BTH that counts as ones.
const BTH_MASKED: usize = 4;
const UDP_LEN: usize = 8;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const PROTOCOL_UDP: u8 = 17;
/// Bytes of an IPv4 header that follow the identification.
const AFTER_IDENTIFICATION: usize = 14;
const DONT_FRAGMENT: u16 = 0x4000;

/// The two fields of an IPv4 header that are covered but invisible to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The identification field.
    pub identification: u16,
    /// The don't-fragment bit; the other bits of that field are zero in every whole datagram.
    pub dont_fragment: bool,
}

impl Identity {
    /// What this transport's own packets have (RFC 6864: an atomic datagram needs no identification).
    pub const ATOMIC: Self = Self {
        identification: 0,
        dont_fragment: true,
    };
}

/// Source and destination of a datagram, of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source address.
        source: Ipv4Addr,
        /// Destination address.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: Ipv6Addr,
        /// Destination address.
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// Both addresses, if they are of one family. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source.to_canonical(), destination.to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4 {
                source,
                destination,
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6 {
                source,
                destination,
            }),
            _ => None,
        }
    }
}

/// The headers that carry a datagram, as far as the ICRC covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Headers {
    /// The IP addresses.
    pub addresses: Addresses,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// Eight bytes of ones, an IPv6 header, a UDP header and a BTH are the longest prefix.
struct Prefix {
    bytes: [u8; 8 + IPV6_LEN + UDP_LEN + BTH_LEN],
    len: usize,
}

impl Prefix {
    fn new() -> Self {
        Self {
            bytes: [0xff; 8 + IPV6_LEN + UDP_LEN + BTH_LEN],
            len: 8,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The ICRC of a datagram whose UDP payload is `covered` followed by the ICRC. For IPv6 `identity` has no meaning.
///
/// `covered` must start with a BTH; without one there is no ICRC.
pub fn icrc(headers: &Headers, identity: Identity, covered: &[u8]) -> Option<u32> {
    let (bth, rest) = covered.split_first_chunk::<BTH_LEN>()?;
    let udp_len = u16::try_from(UDP_LEN + covered.len() + ICRC_LEN).ok()?;
    let mut prefix = Prefix::new();
    match headers.addresses {
        Addresses::V4 {
            source,
            destination,
        } => {
            let total = udp_len.checked_add(u16::try_from(IPV4_LEN).ok()?)?;
            let flags = if identity.dont_fragment {
                DONT_FRAGMENT
            } else {
                0
            };
            prefix.put(&[0x45, 0xff]);
            prefix.put(&total.to_be_bytes());
            prefix.put(&identity.identification.to_be_bytes());
            prefix.put(&flags.to_be_bytes());
            prefix.put(&[0xff, PROTOCOL_UDP, 0xff, 0xff]);
            prefix.put(&source.octets());
            prefix.put(&destination.octets());
        }
        Addresses::V6 {
            source,
            destination,
        } => {
            prefix.put(&[0x6f, 0xff, 0xff, 0xff]);
            prefix.put(&udp_len.to_be_bytes());
            prefix.put(&[PROTOCOL_UDP, 0xff]);
            prefix.put(&source.octets());
            prefix.put(&destination.octets());
        }
    }
    prefix.put(&headers.source_port.to_be_bytes());
    prefix.put(&headers.destination_port.to_be_bytes());
    prefix.put(&udp_len.to_be_bytes());
    prefix.put(&[0xff, 0xff]);
    let mut bth = *bth;
    bth[BTH_MASKED] = 0xff;
    prefix.put(&bth);

    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_slice());
    hasher.update(rest);
    Some(hasher.finalize())
}

/// Finds the identification that a sender must have used, for datagrams of one length.
///
/// A CRC is affine: two messages of one length that differ only in the identification have CRCs whose difference
/// depends on the difference of the identifications and on nothing else. The 2^16 possible differences form a linear
/// subspace of the 2^32 CRC values. So a received ICRC fits some identification exactly when its difference to the ICRC
/// for identification 0 lies in that subspace, and then the identification is unique. What remains of the check is
/// one chance in 2^16 (2^15 as both values of the don't-fragment bit are tried) that a damaged datagram passes.
#[derive(Debug, Clone)]
pub struct Solver {
    /// Reduced basis, by the position of its leading bit: what the CRC changes by, for which change of identification.
    basis: [Option<(u32, u16)>; 32],
}

impl Solver {
    /// A solver for datagrams whose UDP payload has `covered_len` bytes before the ICRC.
    pub fn new(covered_len: usize) -> Self {
        let mut message = vec![0_u8; 2 + AFTER_IDENTIFICATION + UDP_LEN + covered_len];
        let zero = crc32fast::hash(&message);
        let mut basis = [None; 32];
        for bit in 0..16 {
            let mask = 1_u16 << bit;
            message[..2].copy_from_slice(&mask.to_be_bytes());
            let (rest, change) = reduce(&basis, crc32fast::hash(&message) ^ zero);
            // Never zero: CRC-32 detects every burst of up to 32 bits, so the 16 changes are independent.
            if let Some(place) = rest.checked_ilog2() {
                basis[place as usize] = Some((rest, change ^ mask));
            }
        }
        Self { basis }
    }

    /// The change of identification that changes the CRC by `difference`, if there is one.
    fn change(&self, difference: u32) -> Option<u16> {
        match reduce(&self.basis, difference) {
            (0, change) => Some(change),
            _ => None,
        }
    }

    /// The identity with which `covered` has the given ICRC, if any. The common one, [`Identity::ATOMIC`], is tried first.
    pub fn solve(&self, headers: &Headers, covered: &[u8], received: u32) -> Option<Identity> {
        [true, false].into_iter().find_map(|dont_fragment| {
            let zero = Identity {
                identification: 0,
                dont_fragment,
            };
            let difference = icrc(headers, zero, covered)? ^ received;
            self.change(difference).map(|identification| Identity {
                identification,
                dont_fragment,
            })
        })
    }
}

fn reduce(basis: &[Option<(u32, u16)>; 32], mut value: u32) -> (u32, u16) {
    let mut change = 0;
    for place in (0..32).rev() {
        if value >> place & 1 == 1
            && let Some((vector, mask)) = basis[place]
        {
            value ^= vector;
            change ^= mask;
        }
    }
    (value, change)
}

#[cfg(test)]
pub(in crate::transport::userspace) mod tests;
