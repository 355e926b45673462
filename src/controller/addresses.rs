//! Which addresses agents may register: other agents send probes to them.
//!
//! Loopback, multicast, broadcast and unspecified addresses are nobody's. Link-local ones are probed within their ToR alone (see
//! [`pinglist`](crate::pinglist)); those of metadata services of clouds are nobody's RNIC either, and public ones are rather a
//! stranger's than a fabric's. `agents.prefixes` says which of the others are the fabric's, and has the last word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::prefix::Prefix;
use crate::id::Gid;

/// Where clouds have services that answer to whoever sends from a machine.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Which addresses may be registered.
#[derive(Debug, Clone)]
pub(super) struct AddressRule {
    prefixes: Vec<Prefix>,
    /// All agents are on this machine, since the controller listens on its loopback without TLS.
    loopback: bool,
}

impl AddressRule {
    /// The configured one.
    pub(super) const fn new(prefixes: Vec<Prefix>, loopback: bool) -> Self {
        Self { prefixes, loopback }
    }

    /// What speaks against registering a GID, with the rule.
    pub(super) fn check(&self, gid: Gid) -> Result<(), String> {
        let address = gid.ip();
        if let Some(what) = nobodys(address) {
            return Err(format!("{gid} is {what}: no RNIC can have it"));
        }
        if !self.prefixes.is_empty() {
            if let Some(prefix) = self
                .prefixes
                .iter()
                .find(|prefix| prefix.ends_with(address))
            {
                return Err(format!(
                    "{gid} is the broadcast address of {prefix}, one of the controller's agents.prefixes"
                ));
            }
            if self.prefixes.iter().any(|prefix| prefix.contains(address)) {
                return Ok(());
            }
            let allowed: Vec<_> = self.prefixes.iter().map(Prefix::to_string).collect();
            return Err(format!(
                "{gid} is in none of the controller's agents.prefixes ({})",
                allowed.join(", ")
            ));
        }
        let what = if address.is_loopback() && !self.loopback {
            "a loopback address"
        } else if METADATA.contains(&address) {
            "the address of a cloud's metadata service"
        } else if is_public(address) {
            "a public address"
        } else {
            return Ok(());
        };
        Err(format!(
            "{gid} is {what}, which is not registered unless the controller's agents.prefixes has it"
        ))
    }
}

/// IPv4 addresses that the Internet does not route: RFC 1918, shared (RFC 6598), link-local, benchmarks (RFC 2544), documentation
/// (RFC 5737), loopback.
const PRIVATE: [(Ipv4Addr, u32); 10] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
];

/// Whether the Internet may lead to the address: of IPv6 that is 2000::/3 without the documentation's 2001:db8::/32.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => PRIVATE
            .iter()
            .all(|(network, length)| (address.to_bits() ^ network.to_bits()) >> (32 - length) != 0),
        IpAddr::V6(address) => {
            let segments = address.segments();
            segments[0] >> 13 == 1 && segments[..2] != [0x2001, 0xdb8]
        }
    }
}

/// What an address is that no interface can have.
fn nobodys(address: IpAddr) -> Option<&'static str> {
    match address {
        address if address.is_unspecified() => Some("the unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(address) if address.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("an address of \"this network\""),
        IpAddr::V4(address) if address.octets()[0] >= 240 => Some("a reserved address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &AddressRule, address: &str) -> Result<(), String> {
        rule.check(address.parse().expect("an address"))
    }

    #[test]
    fn without_prefixes_what_is_nobodys_is_refused() {
        let rule = AddressRule::new(Vec::new(), false);
        for address in [
            "10.0.0.1",
            "100.127.0.1",
            "172.31.255.1",
            "192.168.7.1",
            "198.19.0.1",
            "fe80::1",
            "169.254.7.1",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert_eq!(check(&rule, address), Ok(()));
        }
        for (address, what) in [
            ("8.8.8.8", "public"),
            ("100.128.0.1", "public"),
            ("172.32.0.1", "public"),
            ("198.20.0.1", "public"),
            ("2a00:1450::1", "public"),
            ("3fff:ffff::1", "public"),
            ("127.0.0.1", "loopback"),
            ("127.9.9.9", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("169.254.169.254", "metadata"),
            ("fd00:ec2::254", "metadata"),
            ("255.255.255.255", "broadcast"),
            ("250.1.2.3", "reserved"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "this network"),
            ("::", "unspecified"),
        ] {
            let why = check(&rule, address).expect_err(address);
            assert!(why.contains(what), "{why}");
        }
    }

    #[test]
    fn prefixes_have_the_last_word() {
        let prefixes =
            ["10.0.0.0/8", "127.0.0.0/8"].map(|prefix| prefix.parse().expect("a prefix"));
        let rule = AddressRule::new(prefixes.to_vec(), false);
        assert_eq!(check(&rule, "10.1.0.1"), Ok(()));
        assert_eq!(check(&rule, "127.0.0.2"), Ok(()));
        let why = check(&rule, "10.255.255.255").expect_err("broadcast");
        assert!(why.contains("broadcast address of 10.0.0.0/8"), "{why}");
        for address in ["8.8.8.8", "fe80::1", "fd00::1"] {
            let why = check(&rule, address).expect_err(address);
            assert!(
                why.contains("agents.prefixes (10.0.0.0/8, 127.0.0.0/8)"),
                "{why}"
            );
        }
        let public = ["203.0.112.0/24", "2a00:1450::/32"];
        let public = public.map(|prefix| prefix.parse().expect("a prefix"));
        let rule = AddressRule::new(public.to_vec(), false);
        assert_eq!(check(&rule, "203.0.112.9"), Ok(()));
        assert_eq!(check(&rule, "2a00:1450::1"), Ok(()));
        let all = AddressRule::new(
            ["0.0.0.0/0", "::/0"]
                .map(|prefix| prefix.parse().expect("a prefix"))
                .to_vec(),
            false,
        );
        assert!(check(&all, "255.255.255.255").is_err());
        assert!(check(&all, "ff02::1").is_err());
    }

    #[test]
    fn where_all_agents_are_on_this_machine_its_loopback_is_theirs() {
        let rule = AddressRule::new(Vec::new(), true);
        assert_eq!(check(&rule, "127.0.0.2"), Ok(()));
        assert!(check(&rule, "169.254.169.254").is_err());
    }
}
