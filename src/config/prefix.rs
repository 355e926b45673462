//! Ranges of IP addresses in the notation people write.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::text_forms;

text_forms!(Prefix);

/// Addresses that begin with the same bits: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// Its first address.
    address: IpAddr,
    /// Bits that all addresses have in common.
    length: u8,
}

impl Prefix {
    /// Whether an address is of it. An IPv4 address is of no IPv6 prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v4(self.length) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v6(self.length) == 0
            }
            _ => false,
        }
    }

    /// Whether an IPv4 address is the last of it, which is the broadcast address where the prefix is a segment.
    pub fn ends_with(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) if self.length <= 30 => {
                address.to_bits() == first.to_bits() | !mask_v4(self.length)
            }
            _ => false,
        }
    }
}

const fn mask_v4(length: u8) -> u32 {
    match u32::MAX.checked_shl(32 - length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask_v6(length: u8) -> u128 {
    match u128::MAX.checked_shl(128 - length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = |why: &str| {
            format!(
                "`{}` is not a prefix such as 10.0.0.0/8 or fd00::/8: {why}",
                text.escape_debug()
            )
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| fail("it begins with no IP address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .ok_or_else(|| fail(&format!("the number of bits is 0 to {most}")))?,
        };
        let first = match address {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(length)))
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(length)))
            }
        };
        if first != address {
            return Err(fail(&format!(
                "{address} has bits beyond the first {length}; {first}/{length} is meant, or a longer prefix"
            )));
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_prefixes() {
        for (prefix, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.0/23", "10.1.3.255", "10.1.4.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::/0", "fe80::1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let prefix: Prefix = prefix.parse().expect("a prefix");
            assert!(
                prefix.contains(inside.parse().expect("an address")),
                "{prefix}"
            );
            assert!(
                !prefix.contains(outside.parse().expect("an address")),
                "{prefix}"
            );
            assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }

    #[test]
    fn the_last_address_of_a_segment_is_its_broadcast_address() {
        for (prefix, last) in [
            ("10.1.2.0/24", "10.1.2.255"),
            ("10.0.0.0/8", "10.255.255.255"),
        ] {
            let prefix: Prefix = prefix.parse().expect("a prefix");
            assert!(prefix.ends_with(last.parse().expect("an address")));
            assert!(!prefix.ends_with("10.1.2.254".parse().expect("an address")));
        }
        for (prefix, last) in [
            ("10.1.2.2/31", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::/126", "fd00::3"),
        ] {
            let prefix: Prefix = prefix.parse().expect("a prefix");
            assert!(!prefix.ends_with(last.parse().expect("an address")));
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_the_reason() {
        for (text, why) in [
            ("10.0.0.1/8", "10.0.0.0/8 is meant"),
            ("10.0.0.0/33", "number of bits"),
            ("fd00::/129", "number of bits"),
            ("10.0.0.0/", "number of bits"),
            ("ten", "no IP address"),
            ("", "no IP address"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            let error = text.parse::<Prefix>().expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
