//! Service connections of a whole session: what they get beside the pinglist.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::harness::{Fate, Net, address, config, group, label, millis, path_to};
use crate::probe::{Config, PathId, ProbeKind, ProbePath};

fn service_path(node: usize, number: u32, service: &str) -> Arc<ProbePath> {
    let path = path_to(address(node), number);
    Arc::new(ProbePath {
        service: Some(service.into()),
        traffic_class: None,
        fidelity: None,
        ..ProbePath::clone(&path)
    })
}

#[test]
fn connections_come_and_go_beside_the_pinglist() {
    let mut net = Net::new(3, config(), |_| Fate::arrives());
    let groups = vec![
        group(ProbeKind::TorMesh, 10.0, vec![path_to(address(1), 1)]),
        group(ProbeKind::InterTor, 30.0, vec![path_to(address(2), 2)]),
    ];
    let now = net.now;
    net.nodes[0].session.set_groups(groups, now);
    let mut story = String::new();
    let mut tell = |net: &mut Net<_>, what: &str, span: Duration| {
        net.results.clear();
        let began = net.now;
        net.run_for(span);
        let _ = writeln!(story, "{what}:");
        for grant in net.nodes[0].session.grants() {
            let of_kind = |result: &&crate::probe::ProbeResult| result.kind == grant.kind;
            let mut results = net.results.iter().map(|(_, result)| result).filter(of_kind);
            let count = results.clone().count();
            let first = results
                .next()
                .map(|result| (result.sent_at() - began).to_string());
            let _ = writeln!(
                story,
                "  {:?} asked {:.0} granted {:.0}: {count} results, the first sent after {}",
                grant.kind,
                grant.asked,
                grant.granted,
                first.unwrap_or_default()
            );
        }
    };
    tell(&mut net, "no connection", millis(995));
    let now = net.now;
    let session = &mut net.nodes[0].session;
    session.set_connection(PathId(1), service_path(1, 77, "train"), now);
    tell(&mut net, "one connection", millis(1_000));
    let now = net.now;
    for id in 2..=9 {
        let path = service_path(2, 100 + u32::try_from(id).expect("small"), "store");
        net.nodes[0].session.set_connection(PathId(id), path, now);
    }
    tell(&mut net, "nine connections", millis(9_000));
    let per_label = |wanted: u32| {
        let of_label =
            |result: &&crate::probe::ProbeResult| result.path.flow_label == label(wanted);
        net.results
            .iter()
            .map(|(_, result)| result)
            .filter(of_label)
            .count()
    };
    let shares: Vec<_> = std::iter::once(77)
        .chain(102..=109)
        .map(per_label)
        .collect();
    let now = net.now;
    let slower = Config {
        service_interval: Duration::from_secs(1),
        ..config()
    };
    net.nodes[0].session.set_config(slower, now);
    tell(
        &mut net,
        "nine connections, each once a second",
        millis(5_000),
    );
    for id in 1..=9 {
        net.nodes[0].session.remove_connection(PathId(id));
    }
    tell(&mut net, "all gone", millis(1_000));
    let _ = writeln!(story, "shares of the nine: {shares:?}");
    let _ = write!(story, "{}", super::harness::counts(&net.nodes[0].session));
    insta::assert_snapshot!(story);
}
