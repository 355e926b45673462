use proptest::prelude::*;

use super::file::{File, HostEntry};
use super::*;

fn wiring(links: &[(&str, &str)], tors: &[&str]) -> Wiring {
    let hosts = tors
        .iter()
        .map(|tor| HostEntry::new(format!("h-{tor}"), *tor))
        .collect();
    let named = tors.iter().map(|tor| Switch {
        name: (*tor).to_owned(),
        addresses: Vec::new(),
    });
    File {
        links: links.iter().map(|(a, b)| Link::new(*a, *b)).collect(),
        hosts,
        switches: named.collect(),
    }
    .check()
    .expect("a topology")
}

/// Rails of two leaves, a bond, and an address.
const RAILS: &str = r#"{
    "links":[{"a":"s0","b":"l0"},{"a":"s0","b":"l1"},{"a":"h1/mlx5_1","b":"l1"},{"a":"h0","b":"l0"}],
    "hosts":[{"name":"h0","tor":"l0"},
             {"name":"h1","rnics":[{"device":"mlx5_0","tor":"l0"},{"device":"mlx5_1","tor":"l1"},
                                   {"device":"bond","tors":["l0","l1"]}]}],
    "switches":[{"name":"s0","addresses":["10.2.0.2","FD00:0::1","lo.s0"]}]}"#;

fn names(tors: &[TorId]) -> Vec<&str> {
    tors.iter().map(TorId::as_str).collect()
}

#[test]
fn each_rnic_is_under_its_own_tors() {
    let wiring = Wiring::parse(RAILS).expect("a topology");
    let host = |name: &str| wiring.host(&name.into()).expect("listed");
    let tors = |name: &str, device: &str| names(host(name).tors_of(&device.into())).join("+");
    assert_eq!(tors("h0", "any"), "l0");
    assert_eq!(tors("h1", "mlx5_0"), "l0");
    assert_eq!(tors("h1", "mlx5_1"), "l1");
    assert_eq!(tors("h1", "bond"), "l0+l1");
    assert_eq!(tors("h1", "mlx5_9"), "");
    assert_eq!(wiring.tors().len(), 2);
    assert_eq!(wiring.paths().between(&"l0".into(), &"l1".into()), Some(1));
    assert_eq!(wiring.links().len(), 2, "cables of hosts are apart");
}

#[test]
fn an_older_file_lists_rnics_as_hosts() {
    let old = r#"{"links":[{"a":"s0","b":"l0"},{"a":"s0","b":"l1"}],
        "hosts":[{"name":"h1/mlx5_0","tor":"l0"},{"name":"h2","tor":"l0"},{"name":"h1/mlx5_1","tor":"l1"}]}"#;
    let new = r#"{"links":[{"a":"s0","b":"l0"},{"a":"s0","b":"l1"}],
        "hosts":[{"name":"h1","rnics":[{"device":"mlx5_0","tor":"l0"},{"device":"mlx5_1","tor":"l1"}]},
                 {"name":"h2","tor":"l0"}]}"#;
    assert_eq!(Wiring::parse(old), Wiring::parse(new));
    assert_eq!(Wiring::parse(old).expect("a topology").hosts().len(), 2);
}

#[test]
fn what_cannot_be_is_named_with_its_place() {
    let with = |links: &str, hosts: &str, switches: &str| {
        let text = format!(r#"{{"links":[{links}],"hosts":[{hosts}],"switches":[{switches}]}}"#);
        Wiring::parse(&text).expect_err(&text).to_string()
    };
    let links = r#"{"a":"s0","b":"l0"},{"a":"s0","b":"l1"}"#;
    let (h0, h1) = (r#"{"name":"h0","tor":"l0"}"#, r#"{"name":"h1","tor":"l0"}"#);
    let host = |hosts: &str| with(links, hosts, "");
    let rnics = |rnics: &str| host(&format!(r#"{{"name":"h1","rnics":[{rnics}]}}"#));
    let link = |link: &str| with(&format!("{links},{link}"), h0, "");
    let switch = |switches: &str| with(links, h0, switches);
    let lines = [
        Wiring::parse(" ").expect_err("empty").to_string(),
        Wiring::parse(r#"{"links":[],"cables":[]}"#)
            .expect_err("unknown")
            .to_string(),
        Wiring::parse(r#"{"links":[]}"#)
            .expect_err("no hosts")
            .to_string(),
        link(r#"{"a":"l0","b":"l0"}"#),
        link(r#"{"a":"","b":"l0"}"#),
        link(r#"{"a":"h0","b":"l1"}"#),
        link(r#"{"a":"h0","b":"h0/mlx5_0"}"#),
        link(r#"{"a":"h0","b":"l0"},{"a":"l0","b":"h0"}"#),
        host(&format!("{h0},{h1},{h0}")),
        host(&format!(r#"{h1},{{"name":"h1/mlx5_0","tor":"l1"}}"#)),
        host(r#"{"name":"h0","tor":"l9"}"#),
        host(r#"{"name":"l0","tor":"l0"}"#),
        host(&format!(r#"{h1},{{"name":"h2","tor":"h1"}}"#)),
        host(r#"{"name":"h0"}"#),
        host(r#"{"name":"h0","tor":"l0","rnics":[]}"#),
        rnics(""),
        rnics(r#"{"device":"mlx5_0"}"#),
        rnics(r#"{"device":"mlx5_0","tor":"l0","tors":["l0","l1"]}"#),
        rnics(r#"{"device":"mlx5_0","tor":"l0"},{"device":"mlx5_0","tor":"l1"}"#),
        rnics(r#"{"device":"mlx5_0","tor":"l7"}"#),
        rnics(r#"{"device":"a/b","tor":"l0"}"#),
        rnics(r#"{"device":"","tor":"l0"}"#),
        rnics(r#"{"device":"bond","tors":["l0"]}"#),
        rnics(r#"{"device":"bond","tors":["l0","l0"]}"#),
        rnics(r#"{"device":"bond","tors":["l0","leaf0-r9"]}"#),
        switch(r#"{"name":"s9","addresses":["10.0.0.1"]}"#),
        switch(r#"{"name":"s0","addresses":["10.0.0.1","10.0.0.300"]}"#),
        switch(r#"{"name":"s0","addresses":["10.0.0.1/24"]}"#),
        switch(r#"{"name":"s0","addresses":["a b"]}"#),
        switch(
            r#"{"name":"s0","addresses":["fd00::1"]},{"name":"l0","addresses":["1.1.1.1","fd00:0::1"]}"#,
        ),
        switch(r#"{"name":"s0","addresses":["l1"]}"#),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn switches_are_found_by_their_addresses() {
    let wiring = Wiring::parse(RAILS).expect("a topology");
    for known in ["10.2.0.2", "fd00::1", "lo.s0", "s0"] {
        assert_eq!(wiring.names().of(known), "s0");
    }
    assert_eq!(wiring.names().of("10.2.0.3"), "10.2.0.3");
}

#[test]
fn two_tiers_and_three() {
    let flat = wiring(
        &[
            ("s0", "t0"),
            ("s1", "t0"),
            ("s0", "t1"),
            ("s1", "t1"),
            ("s1", "t1"),
            ("h-t0", "t0"),
        ],
        &["t0", "t1"],
    );
    assert_eq!(
        flat.paths().between(&"t0".into(), &"t1".into()),
        Some(3),
        "a doubled cable counts twice"
    );

    let mut links = Vec::new();
    for (pod, tor) in [(0, "t0"), (0, "t1"), (1, "t2")] {
        for agg in 0..2 {
            links.push((format!("agg{pod}-{agg}"), tor.to_owned()));
        }
    }
    for pod in 0..2 {
        for core in 0..4 {
            links.push((format!("c{core}"), format!("agg{pod}-{}", core / 2)));
        }
    }
    let links: Vec<_> = links
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let paths = wiring(&links, &["t0", "t1", "t2", "alone"]).paths();
    assert_eq!(paths.between(&"t0".into(), &"t1".into()), Some(2));
    assert_eq!(paths.between(&"t0".into(), &"t2".into()), Some(4));
    assert_eq!(paths.between(&"t0".into(), &"alone".into()), Some(0));
    assert_eq!(paths.between(&"t0".into(), &"unknown".into()), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~]{0,120}") {
        let _ = Wiring::parse(&text);
    }

    /// Names that collide in every way: a checked wiring keeps what users of it count on.
    #[test]
    fn what_is_read_is_whole(
        links in prop::collection::vec(("[abh](/x)?", "[abh](/x)?"), 0..4),
        hosts in prop::collection::vec(("[abh](/x)?", "[abh]"), 0..4),
    ) {
        let file = File {
            links: links.iter().map(|(a, b)| Link::new(a.as_str(), b.as_str())).collect(),
            hosts: hosts.iter().map(|(name, tor)| HostEntry::new(name.as_str(), tor.as_str())).collect(),
            switches: Vec::new(),
        };
        if let Ok(wiring) = file.check() {
            for host in wiring.hosts() {
                prop_assert_eq!(wiring.host(&host.name), Some(host));
                prop_assert!(!host.tors().is_empty());
                for link in wiring.links() {
                    prop_assert!(link.a != host.name.as_str() && link.b != host.name.as_str());
                    prop_assert!(link.a != link.b);
                }
            }
        }
    }
}
