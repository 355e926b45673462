use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::*;
use crate::id::{NodeName, Qpn};

fn end(number: u8, tor: &str) -> End {
    End {
        gid: Ipv4Addr::new(10, 0, 0, number).into(),
        qpn: Qpn::from_lower_bits(1),
        host: format!("h{number}").into(),
        tor: tor.into(),
        device: "mlx5_0".into(),
    }
}

fn route(hops: &str) -> Route {
    let hop = |name: &str| (name != "?").then(|| NodeName::new(name));
    Route::new(hops.split(' ').map(hop).collect())
}

fn wiring() -> Wiring {
    Wiring::parse(
        r#"{"links":[{"a":"t0","b":"s0"},{"a":"t1","b":"s0"},{"a":"t1","b":"s1"},{"a":"s0","b":"c0"},{"a":"h1","b":"t0"}],
            "hosts":[{"name":"h1","tor":"t0"},{"name":"h9","tor":"t1"}],
            "switches":[{"name":"s0","addresses":["10.2.0.2"]}]}"#,
    )
    .expect("a topology")
}

fn text(map: Map<'_>) -> String {
    let mut text = String::new();
    let differences: Vec<String> = map.differences().map(str::to_owned).collect();
    let sources = |sources: &BTreeSet<Source>| {
        let names: Vec<_> = sources.iter().map(|source| source.name()).collect();
        names.join("+")
    };
    let Finished { nodes, links } = map.finish();
    for (name, node) in &nodes {
        let tier = node.tier.map_or("?".to_owned(), |tier| tier.to_string());
        let _ = writeln!(
            text,
            "{} {name} tier {tier} by {} {:?} {:?}",
            node.kind.name(),
            sources(&node.sources),
            node.tors,
            node.addresses,
        );
    }
    for ((a, b), link) in &links {
        let _ = writeln!(
            text,
            "{a} - {b} by {}: {} cables, {} there, {} back",
            sources(&link.sources),
            link.cables,
            link.paths[0],
            link.paths[1]
        );
    }
    text + &differences.join("\n")
}

#[test]
fn file_reports_and_traces_make_one_map_and_differences_show() {
    let (wiring, first, second) = (wiring(), end(1, "t0"), end(2, "t1"));
    let names = wiring.names().clone();
    let routes = [
        route("10.1.1.1 10.2.0.2 10.2.1.1"),
        route("10.1.1.1 10.2.9.2 10.2.1.1"),
        route("10.1.1.1 ? 10.2.1.1"),
        route("10.1.1.1 s1 10.2.1.1"),
        // The last switch kept silent: nothing to learn from.
        route("10.1.1.1 10.2.0.2"),
    ];
    let plan = Routes::new(Some(&wiring));
    let mut map = Map::new(Some(&wiring));
    map.report(&first);
    map.report(&second);
    for route in &routes {
        map.trace(
            (Some(&first), Some(&second)),
            route,
            (&names, &plan),
            WallTime::from_nanos(7),
        );
    }
    insta::assert_snapshot!(text(map));
}

#[test]
fn without_a_file_traces_and_reports_are_the_map() {
    let (first, second) = (end(1, "t0"), end(2, "t1"));
    let (there, back) = (route("t0 s0 t1"), route("t1 s0 t0"));
    let names = Names::default();
    let mut map = Map::new(None);
    map.report(&first);
    map.report(&second);
    map.trace(
        (Some(&first), Some(&second)),
        &there,
        (&names, &Routes::default()),
        WallTime::from_nanos(7),
    );
    map.trace(
        (Some(&second), Some(&first)),
        &back,
        (&names, &Routes::default()),
        WallTime::from_nanos(9),
    );
    insta::assert_snapshot!(text(map));
}

#[test]
fn differences_are_bounded() {
    let wiring = wiring();
    let names = Names::default();
    let routes: Vec<_> = (0..1_000).map(|n| route(&format!("x{n}"))).collect();
    let mut map = Map::new(Some(&wiring));
    for route in &routes {
        map.trace(
            (None, None),
            route,
            (&names, &Routes::default()),
            WallTime::from_nanos(0),
        );
    }
    assert_eq!(map.differences().count(), MOST_DIFFERENCES);
}
