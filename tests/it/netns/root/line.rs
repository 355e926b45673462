//! `rpingmesh-agent trace` along a line of two routers, IPv4 and IPv6: h0 - r1 - r2 - h3.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::netns::lab::Namespaces;
use crate::support::program::AGENT;

const PATIENCE: Duration = Duration::from_secs(30);
/// From h0 to h3: the source, the interfaces that packets come in by, the target.
const FAMILIES: [[&str; 4]; 2] = [
    ["10.1.0.2", "10.1.0.1", "10.2.0.2", "10.3.0.2"],
    ["fd00:1::2", "fd00:1::1", "fd00:2::2", "fd00:3::2"],
];

fn line(test: &str) -> Namespaces {
    let names: Vec<_> = ["h0", "r1", "r2", "h3"].map(str::to_owned).into();
    let line = Namespaces::new(test, &names);
    line.make_router("r1");
    line.make_router("r2");
    line.cable(
        ("h0", &["10.1.0.2/24", "fd00:1::2/64"]),
        ("r1", &["10.1.0.1/24", "fd00:1::1/64"]),
    );
    line.cable(
        ("r1", &["10.2.0.1/24", "fd00:2::1/64"]),
        ("r2", &["10.2.0.2/24", "fd00:2::2/64"]),
    );
    line.cable(
        ("r2", &["10.3.0.1/24", "fd00:3::1/64"]),
        ("h3", &["10.3.0.2/24", "fd00:3::2/64"]),
    );
    line.batch(
        "h0",
        "route add default via 10.1.0.1\nroute add default via fd00:1::1\n",
    );
    line.batch(
        "r1",
        "route add 10.3.0.0/24 via 10.2.0.2\nroute add fd00:3::/64 via fd00:2::2\n",
    );
    line.batch(
        "r2",
        "route add 10.1.0.0/24 via 10.2.0.1\nroute add fd00:1::/64 via fd00:2::1\n",
    );
    line.batch(
        "h3",
        "route add default via 10.3.0.1\nroute add default via fd00:3::1\n",
    );
    line
}

fn script(source: &str, target: &str) -> String {
    format!("{AGENT} trace {target} --source {source} --source-port 50000 --transport none --json")
}

/// Whether a trace from `h0` reaches its target.
fn is_answered(line: &Namespaces, source: &str, target: &str) -> bool {
    let output = line.try_shell("h0", &script(source, target));
    let text = String::from_utf8(output.stdout).expect("text");
    let last = text
        .lines()
        .last()
        .and_then(|last| serde_json::from_str(last).ok());
    last.is_some_and(|last: Value| last["end"] == "answered")
}

/// The hops of a trace from `h0`, and what is behind them.
fn trace(line: &Namespaces, source: &str, target: &str) -> (Vec<Option<String>>, Value) {
    let text = line.shell("h0", &script(source, target));
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let last = lines.pop().expect("a last line");
    assert_eq!(last["type"], "trace");
    assert_eq!(last["source_port"], 50_000);
    let hops = lines
        .iter()
        .map(|hop| hop["node"].as_str().map(str::to_owned))
        .collect();
    (hops, last)
}

fn names(nodes: &[&str]) -> Vec<Option<String>> {
    nodes.iter().map(|node| Some((*node).to_owned())).collect()
}

#[test]
#[ignore = "needs root on Linux: cargo xtask test --only root"]
fn a_trace_sees_the_routers_and_says_how_it_knows_the_end() {
    let line = line("line");
    // Until all interfaces are up and all neighbours have found each other: a kernel keeps only a few packets while it looks. A trace that
    // nobody answers fails.
    let begin = Instant::now();
    while FAMILIES
        .iter()
        .any(|[source, .., target]| !is_answered(&line, source, target))
    {
        assert!(begin.elapsed() < PATIENCE, "the line is not whole");
    }
    // Nobody listens on port 4791 of h3: its system says so, which an RNIC would not.
    for [source, first, second, target] in FAMILIES {
        let (hops, last) = trace(&line, source, target);
        assert_eq!(hops, names(&[first, second]), "{last}");
        assert_eq!(last["end"], "answered", "{last}");
    }
    // As an RNIC: packets to port 4791 are swallowed.
    line.shell(
        "h3",
        "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }; \
         add rule inet t c udp dport 4791 drop'",
    );
    for [source, first, second, target] in FAMILIES {
        let (hops, last) = trace(&line, source, target);
        assert_eq!(hops, names(&[first, second]), "{last}");
        assert_eq!(last["end"], "inferred", "{last}");
    }
    // A switch that keeps silent is a gap.
    line.shell(
        "r1",
        "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; }; \
         add rule inet t c icmp type time-exceeded drop; \
         add rule inet t c icmpv6 type time-exceeded drop'",
    );
    for [source, _, second, target] in FAMILIES {
        let (hops, last) = trace(&line, source, target);
        assert_eq!(hops, [None, Some(second.to_owned())], "{last}");
    }
}

#[test]
#[ignore = "needs root on Linux: cargo xtask test --only root"]
fn without_the_privilege_it_is_said_what_to_do() {
    let line = line("priv");
    let script = format!(
        "setpriv --bounding-set -net_raw --inh-caps -net_raw {AGENT} trace 10.3.0.2 --source 10.1.0.2 --transport none"
    );
    let output = line.try_shell("h0", &script);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("CAP_NET_RAW"), "{text}");
}
