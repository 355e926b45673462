use std::time::Duration;

use super::*;
use crate::id::{QKey, Qpn, UdpSourcePort};
use crate::pinglist::focus::FocusedTuple;
use crate::probe::{ProbeKind, ProbePath, Rate};
use crate::topology::Peer;
use crate::transport::Address;

fn gid(last: u8) -> Gid {
    std::net::Ipv4Addr::new(10, 0, 0, last).into()
}

const PORT: UdpSourcePort = UdpSourcePort(50_000);

/// RNIC 1 probes RNICs 2 to 5, 8 probes/s.
fn groups() -> HashMap<Gid, Vec<Group>> {
    let path = |target| {
        Arc::new(ProbePath {
            target: Arc::new(Peer {
                address: Address {
                    gid: gid(target),
                    qpn: Qpn::from_lower_bits(17),
                    q_key: QKey(1),
                },
                tor: "tor1".into(),
                host: "host1".into(),
                device: "mlx5_0".into(),
            }),
            flow_label: PORT.flow_label().expect("in range"),
            service: None,
            traffic_class: None,
            fidelity: None,
        })
    };
    let group = Group {
        kind: ProbeKind::InterTor,
        rate: Rate::per_second(8.0).expect("in range"),
        paths: (2..=5).map(path).collect(),
    };
    HashMap::from([(gid(1), vec![group])])
}

fn focus() -> Focus {
    let mut focus = Focus::new(FocusBounds::default(), Arc::new(Metrics::new()));
    focus.follow(groups());
    focus
}

fn list(source: u8, target: u8) -> FocusList {
    let tuple = FocusedTuple {
        target: gid(target),
        port: PORT,
        portions: 1,
    };
    FocusList::from([(gid(source), vec![tuple])])
}

fn rate(groups: &HashMap<Gid, Vec<Group>>, target: u8) -> f64 {
    let of = groups[&gid(1)].iter().filter(|group| {
        let mut paths = group.paths.iter();
        paths.any(|path| path.target.address.gid == gid(target))
    });
    of.map(|group| group.rate.get() / group.paths.len() as f64)
        .sum()
}

#[test]
fn what_is_asked_for_is_probed_more_until_it_ends() {
    let mut focus = focus();
    assert_eq!(focus.groups(), groups());
    let until = Instant::now() + Duration::from_secs(5);
    focus.ask(&list(1, 3), until);
    assert_eq!(focus.until(), Some(until));
    let changed = focus.groups();
    assert!((rate(&changed, 3) - 3.5).abs() < 1e-6, "{changed:?}");
    assert!((rate(&changed, 2) - 1.5).abs() < 1e-6, "{changed:?}");
    focus.end();
    assert_eq!((focus.groups(), focus.until()), (groups(), None));
}

#[test]
fn a_new_pinglist_is_focused_too() {
    let mut focus = focus();
    focus.ask(&list(1, 3), Instant::now() + Duration::from_secs(5));
    let mut more = groups();
    more.insert(gid(9), Vec::new());
    focus.follow(more);
    let changed = focus.groups();
    assert!((rate(&changed, 3) - 3.5).abs() < 1e-6, "{changed:?}");
    assert!(changed.contains_key(&gid(9)));
}

#[test]
fn what_is_not_this_agents_is_counted_and_changes_nothing() {
    let mut focus = focus();
    for list in [list(7, 3), list(1, 77)] {
        focus.ask(&list, Instant::now() + Duration::from_secs(5));
        assert_eq!(focus.groups(), groups());
    }
    assert_eq!(
        focus.counted,
        FocusState {
            requests: 2,
            unknown: 2,
            ..FocusState::default()
        }
    );
}

#[test]
fn an_empty_request_ends_it() {
    let mut focus = focus();
    focus.ask(&list(1, 3), Instant::now() + Duration::from_secs(5));
    focus.ask(&FocusList::new(), Instant::now() + Duration::from_secs(5));
    assert_eq!((focus.groups(), focus.until()), (groups(), None));
}
