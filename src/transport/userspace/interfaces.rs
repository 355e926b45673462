//! Which local addresses stand for RNIC ports.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::id::Gid;
use crate::transport::{RnicName, RnicPort, TransportError};

use super::endpoint::is_local;
use super::packet::MAX_DATAGRAM;

/// The longest headers below the datagram: IPv6 and UDP.
const HEADERS: usize = 40 + 8;

/// A local address that stands for an RNIC port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPort {
    /// The interface's name, and the number of the address among those in use on it, from 1.
    pub name: RnicName,
    /// The address, with its scope if it is link-local; its port has no meaning.
    pub address: SocketAddr,
    /// The interface, where one has this very address.
    pub interface: Option<String>,
}

impl From<LocalPort> for RnicPort {
    fn from(port: LocalPort) -> Self {
        Self {
            gid: Gid::from(port.address.ip()),
            gid_index: u32::from(port.name.port) - 1,
            name: port.name,
            interface: port.interface,
        }
    }
}

struct InterfaceAddress {
    interface: String,
    address: SocketAddr,
    loopback: bool,
}

fn interface_addresses() -> Result<Vec<InterfaceAddress>, TransportError> {
    let all = getifaddrs()
        .map_err(|error| TransportError::NoDevice(format!("getifaddrs failed: {error}")))?;
    Ok(all
        .filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|entry| {
            let storage = entry.address?;
            let address = storage
                .as_sockaddr_in()
                .map(|v4| SocketAddr::from(*v4))
                .or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))?;
            Some(InterfaceAddress {
                interface: entry.interface_name,
                address,
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            })
        })
        .collect())
}

/// The wanted addresses, or the best one of every interface that is up and no loopback: IPv4, else IPv6; no link-local
/// one, which every interface has and few fabrics use.
pub(super) fn local_ports(wanted: &[IpAddr]) -> Result<Vec<LocalPort>, TransportError> {
    let present = interface_addresses()?;
    let chosen = if wanted.is_empty() {
        best_of_each(&present)
    } else {
        wanted
            .iter()
            .map(|ip| find(&present, *ip))
            .collect::<Result<_, _>>()?
    };
    if chosen.is_empty() {
        return Err(TransportError::NoDevice(
            "no interface but loopback is up with an IP address: bring one up, or name an address with \
             --userspace-addresses"
                .to_owned(),
        ));
    }
    let mut used = HashMap::<String, u8>::new();
    chosen
        .into_iter()
        .map(|(device, address, interface)| {
            let port = used.entry(device.clone()).or_default();
            *port = port.checked_add(1).ok_or_else(|| {
                TransportError::NoDevice(format!("more than 255 addresses of {device} are named"))
            })?;
            Ok(LocalPort {
                name: RnicName {
                    device: device.into(),
                    port: *port,
                },
                address,
                interface,
            })
        })
        .collect()
}

type Chosen = (String, SocketAddr, Option<String>);

/// IPv4 before IPv6, as operators name hosts.
fn best_of_each(present: &[InterfaceAddress]) -> Vec<Chosen> {
    let mut best = Vec::<Chosen>::new();
    let usable = present
        .iter()
        .filter(|one| !one.loopback && !Gid::from(one.address.ip()).is_link_local());
    for one in usable {
        match best.iter_mut().find(|known| known.0 == one.interface) {
            Some(known) if one.address.is_ipv4() && known.1.is_ipv6() => known.1 = one.address,
            Some(_) => {}
            None => best.push((
                one.interface.clone(),
                one.address,
                Some(one.interface.clone()),
            )),
        }
    }
    best
}

fn find(present: &[InterfaceAddress], ip: IpAddr) -> Result<Chosen, TransportError> {
    let ip = ip.to_canonical();
    if let Some(one) = present.iter().find(|one| one.address.ip() == ip) {
        let name = one.interface.clone();
        return Ok((name.clone(), one.address, Some(name)));
    }
    let address = match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, 0),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, 0).into(),
    };
    if !is_local(address) {
        return Err(TransportError::NoDevice(format!(
            "{ip} is not an address of this host (or its interface is down)"
        )));
    }
    // An address out of a prefix that is routed to this host, as all of 127.0.0.0/8 is.
    let interface = present
        .iter()
        .find(|one| one.loopback)
        .map(|one| one.interface.clone());
    let device = interface.clone().unwrap_or_else(|| ip.to_string());
    Ok((device, address, interface))
}

/// Fails when the interface's MTU is known and too small for a probe.
pub(super) fn check_mtu(port: &LocalPort) -> Result<(), String> {
    let Some(interface) = &port.interface else {
        return Ok(());
    };
    // Where there is no such file the MTU is not known, and a send that does not fit fails by itself.
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"))
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok());
    match mtu {
        Some(mtu) if mtu < HEADERS + MAX_DATAGRAM => Err(mtu_error(interface, mtu)),
        _ => Ok(()),
    }
}

fn mtu_error(interface: &str, mtu: usize) -> String {
    format!(
        "MTU {mtu} of {interface} is too small: a probe needs {} bytes; set it with `ip link set {interface} mtu 1500`",
        HEADERS + MAX_DATAGRAM
    )
}

#[cfg(test)]
mod tests;
