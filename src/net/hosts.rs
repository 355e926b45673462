//! By which names a web server may be asked for: the check of the `Host` header.
//!
//! A page of another site that a user has open can make its own name resolve to this server's address (DNS rebinding), and
//! then read the answers. Such requests name the other site in `Host`.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Stands for every name in a configuration.
const EVERY: &str = "*";
/// Top-level names of loopback (RFC 6761, section 6.3).
const LOCALHOST: &str = "localhost";

/// The names and addresses that requests may have in `Host`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    every: bool,
    /// In lower case, without a dot at the end.
    names: BTreeSet<String>,
}

impl AllowedHosts {
    /// These names beside loopback's names and the server's own addresses.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut allowed = Self::default();
        for name in names {
            if name == EVERY {
                allowed.every = true;
            } else {
                allowed.names.insert(plain(name));
            }
        }
        allowed
    }

    /// Whether a request with this `Host` (a name or address, with or without a port) may be answered, by a server that was
    /// reached at `local`.
    pub fn allows(&self, host: &str, local: Option<IpAddr>) -> bool {
        if self.every {
            return true;
        }
        let Some(host) = without_port(host) else {
            return false;
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || local.is_some_and(|local| local.to_canonical() == address)
                || self.names.contains(host);
        }
        let name = plain(host);
        name == LOCALHOST || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

/// Names do not depend on case, and may end with the root's dot.
fn plain(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// The name or address without port and brackets; `None` where it has not this form.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let rest_is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    (!name.is_empty() && rest_is_port).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_own_address_and_configured_names_are_answered() {
        let allowed = AllowedHosts::new(["analyzer.example", "Pings.Example."]);
        let local = Some("192.0.2.7".parse().expect("an address"));
        for host in [
            "localhost",
            "localhost:7472",
            "LOCALHOST.",
            "lab.localhost:7472",
            "127.0.0.1:7472",
            "127.3.2.1",
            "[::1]:7472",
            "192.0.2.7",
            "192.0.2.7:7472",
            "[::ffff:192.0.2.7]:1",
            "analyzer.example:7472",
            "ANALYZER.example.",
            "pings.example",
        ] {
            assert!(allowed.allows(host, local), "{host}");
        }
        for host in [
            "",
            ":7472",
            "evil.example",
            "evil.example:7472",
            "localhost.evil.example",
            "notlocalhost",
            "analyzer.example.evil.example",
            "192.0.2.8:7472",
            "0.0.0.0:7472",
            "[2001:db8::1]:7472",
            "[::1",
            "::1",
            "localhost:7472:1",
            "localhost:evil",
            "user@localhost",
        ] {
            assert!(!allowed.allows(host, local), "{host}");
        }
        assert!(AllowedHosts::new(["*"]).allows("evil.example", None));
    }
}
