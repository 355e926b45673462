use std::net::Ipv4Addr;

use super::*;

fn on(interface: &str, address: &str, loopback: bool) -> InterfaceAddress {
    InterfaceAddress {
        interface: interface.to_owned(),
        address: SocketAddr::new(address.parse().expect("address"), 0),
        loopback,
    }
}

#[test]
fn discovery_takes_the_best_address_of_each_interface() {
    let present = [
        on("lo", "127.0.0.1", true),
        on("eth0", "fe80::1", false),
        on("eth0", "fd00::1", false),
        on("eth0", "10.0.0.1", false),
        on("eth1", "fe80::2", false),
        on("eth1", "fd00::2", false),
        on("eth2", "fe80::3", false),
    ];
    let names: Vec<_> = best_of_each(&present)
        .into_iter()
        .map(|(device, address, _)| format!("{device} {}", address.ip()))
        .collect();
    assert_eq!(names, ["eth0 10.0.0.1", "eth1 fd00::2"]);
}

#[test]
fn addresses_are_numbered_on_their_interface() {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ports = local_ports(&[loopback, loopback]).expect("loopback is up");
    let interface = ports[0].interface.clone().expect("has one");
    let names: Vec<_> = ports.iter().map(|port| port.name.to_string()).collect();
    assert_eq!(names, [format!("{interface}/1"), format!("{interface}/2")]);
    let rnic = RnicPort::from(ports[1].clone());
    assert_eq!(rnic.gid, Gid::from(loopback));
    assert_eq!(rnic.gid_index, 1);
}

#[test]
fn a_small_mtu_names_the_interface_and_the_need() {
    insta::assert_snapshot!(
        mtu_error("eth0", 100),
        @"MTU 100 of eth0 is too small: a probe needs 136 bytes; set it with `ip link set eth0 mtu 1500`"
    );
}
