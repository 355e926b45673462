use proptest::prelude::*;

use super::*;

#[test]
fn kernel_folding_of_flow_labels() {
    // Computed from the C text of rdma_flow_label_to_udp_sport.
    for (label, port) in [
        (0x00001, 0xc001),
        (0x03fff, 0xffff),
        (0x04001, 0xc000),
        (0x12345, 0xe341),
        (0xfffff, 0xffc0),
    ] {
        let label = FlowLabel::new(label).expect("20 bits, not zero");
        assert_eq!(label.source_port(), UdpSourcePort(port), "label {label}");
    }
}

#[test]
fn every_reachable_port_has_a_label() {
    for port in UdpSourcePort::FIRST..=u16::MAX {
        let port = UdpSourcePort(port);
        let label = port.flow_label().expect("in range");
        assert_eq!(label.source_port(), port);
    }
    assert_eq!(UdpSourcePort(0xbfff).flow_label(), None);
}

#[test]
fn gid_text_forms() {
    let mapped: Gid = "10.0.0.1".parse().expect("IPv4");
    assert_eq!(mapped, "::ffff:10.0.0.1".parse().expect("mapped"));
    assert_eq!(mapped.to_string(), "10.0.0.1");
    assert!(mapped.is_ipv4());
    let local: Gid = "fe80::1".parse().expect("IPv6");
    assert!(local.is_link_local() && !local.is_ipv4());
    assert_eq!(
        "no".parse::<Gid>().expect_err("not a GID").to_string(),
        "`no` is not a GID: expected an IPv6 or IPv4 address, such as fe80::1 or 10.0.0.1"
    );
}

proptest! {
    #[test]
    fn target_names_round_trip(gid: [u8; 16], qpn in 0u32..1 << 24) {
        let name = TargetName { gid: Gid::from_bytes(gid), qpn: Qpn::new(qpn).expect("24 bits") };
        prop_assert_eq!(name.to_string().parse::<TargetName>(), Ok(name));
    }

    #[test]
    fn names_of_rnics_round_trip(host in ".+", device in "[^/]+") {
        let name = RnicName::new(host, device);
        prop_assert_eq!(name.to_string().parse::<RnicName>(), Ok(name));
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<RnicName>();
        let _ = text.parse::<TargetName>();
        let _ = text.parse::<FlowLabel>();
    }
}
