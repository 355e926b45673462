use super::*;

fn rise(device: &str, port: u8, counters: &[(&str, u64)]) -> PortRise {
    PortRise {
        device: device.into(),
        port,
        counters: counters
            .iter()
            .map(|(name, by)| (CounterName::new(name).expect("a name"), *by))
            .collect(),
    }
}

fn at(seconds: i64) -> WallTime {
    WallTime::from_nanos(seconds * 1_000_000_000)
}

fn host(name: &str) -> Component {
    Component::Host { name: name.into() }
}

#[test]
fn names_of_counters_are_plain_and_short() {
    assert!(CounterName::new("VL15_dropped").is_some());
    for bad in ["", "a b", "a/b", "{}", "é", &"x".repeat(65)] {
        assert!(CounterName::new(bad).is_none(), "{bad:?}");
    }
    for (name, _) in FAULTS {
        assert!(CounterName::new(name).is_some(), "{name}");
    }
}

#[test]
fn rises_are_summed_and_told_of_the_rnic_its_host_and_its_link() {
    let mut hardware = Hardware::default();
    let name = HostName::new("h1");
    hardware.ingest(
        &name,
        &[rise("mlx5_0", 1, &[("rx_icrc_encapsulated", 40)])],
        at(10),
    );
    hardware.ingest(
        &name,
        &[
            rise(
                "mlx5_0",
                1,
                &[("rx_icrc_encapsulated", 2), ("new_in_firmware_9", 7)],
            ),
            rise("mlx5_1", 2, &[("link_downed", 1)]),
        ],
        at(20),
    );
    let risen = hardware.risen(at(30));
    let of_rnic = [
        "hardware counter rx_icrc_encapsulated of h1/mlx5_0 port 1 rose by 42 within 300 s: packets came with a wrong \
         ICRC: they were damaged on their way to it",
        "hardware counter new_in_firmware_9 of h1/mlx5_0 port 1 rose by 7 within 300 s",
    ];
    let rnic = Component::rnic(RnicName::new("h1", "mlx5_0"));
    assert_eq!(risen.evidence(&rnic), of_rnic);
    assert_eq!(risen.evidence(&host("h1")).len(), 3);
    let link = Component::Link {
        from: "tor0".into(),
        to: "h1/mlx5_0".into(),
    };
    assert_eq!(risen.evidence(&link), of_rnic);
    assert!(risen.evidence(&host("h2")).is_empty());
    assert!(
        risen
            .evidence(&Component::Switch { name: "h1".into() })
            .is_empty()
    );
}

#[test]
fn what_is_old_says_nothing_and_takes_no_room() {
    let mut hardware = Hardware::default();
    let name = HostName::new("h1");
    hardware.ingest(&name, &[rise("mlx5_0", 1, &[("symbol_error", 5)])], at(10));
    let host = Component::Host { name: "h1".into() };
    assert!(!hardware.risen(at(309)).evidence(&host).is_empty());
    assert!(hardware.risen(at(310)).evidence(&host).is_empty());
    hardware.expire(at(310));
    assert!(hardware.hosts.is_empty());
}

#[test]
fn an_agent_that_invents_counters_and_ports_stays_within_bounds() {
    let mut hardware = Hardware::default();
    let name = HostName::new("h1");
    for round in 0..300u32 {
        let counter = format!("c{round}");
        let device = format!("d{round}");
        hardware.ingest(&name, &[rise("d0", 1, &[(&counter, u64::MAX)])], at(10));
        hardware.ingest(
            &name,
            &[rise(&device, 1, &[("symbol_error", u64::MAX)])],
            at(10),
        );
        hardware.ingest(
            &name,
            &[rise("d0", 1, &[("symbol_error", u64::MAX)])],
            at(10),
        );
    }
    let ports = &hardware.hosts[&name];
    assert_eq!(ports.len(), MOST_PORTS);
    let counters = &ports[&("d0".into(), 1)];
    assert_eq!(counters.len(), MOST_COUNTERS);
    assert!(counters.values().all(|rises| rises.len() <= MOST_RISES));
    assert_eq!(
        hardware.risen(at(20)).evidence(&host("h1")).len(),
        MOST_LINES
    );
}
