use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::destinations::{LOOKUP_DELAY, REFRESH};
use super::*;
use crate::id::{QKey, Qpn, ServiceName, UdpSourcePort};
use crate::service::flow::{Origin, Owner, QpState, QpType, Route};
use crate::service::pods::PodNames;
use crate::service::qp::Variables;
use crate::transport::{Address, RnicName, SourcePortSteering};

const MILLISECOND: Duration = Duration::from_millis(1);

fn at(millis: u64) -> HostTime {
    HostTime::from_nanos(0).after(MILLISECOND * u32::try_from(millis).expect("small"))
}

fn gid(node: u8) -> Gid {
    Gid::from(Ipv4Addr::new(10, 0, 0, node))
}

fn rnic(number: u8) -> RnicName {
    RnicName {
        device: format!("rxe{number}").into(),
        port: 1,
    }
}

fn local(number: u8, steering: SourcePortSteering) -> Local {
    Local {
        rnic: rnic(number),
        gid: gid(number),
        steering,
    }
}

fn target(node: u8, qpn: u32) -> Arc<Peer> {
    Arc::new(Peer {
        address: Address {
            gid: gid(node),
            qpn: Qpn::from_lower_bits(qpn),
            q_key: QKey(1),
        },
        tor: "tor1".into(),
        host: format!("h{node}").into(),
        device: "rxe0".into(),
    })
}

fn key(qpn: u32) -> QpKey {
    QpKey {
        device: "rxe1".into(),
        qpn: Qpn::from_lower_bits(qpn),
    }
}

/// A connection of `rxe1` to a node.
fn flow(qpn: u32, node: u8, label: u32) -> Flow {
    Flow {
        key: key(qpn),
        qp_type: Some(QpType::Rc),
        port: Some(1),
        state: Some(QpState::Rts),
        remote_qpn: Some(Qpn::from_lower_bits(9)),
        source: Some(gid(1)),
        route: Some(Route {
            destination: gid(node),
            flow_label: label,
            traffic_class: 0,
            sgid_index: 1,
        }),
        owner: Some(Owner {
            is_kernel: false,
            pid: 7,
            comm: "train".to_owned(),
            cgroup_id: None,
            cgroup: Some("/system.slice/train.service".into()),
            variables: Variables::default(),
        }),
        origin: Origin::Created,
        since: at(0),
    }
}

fn live(qpn: u32, node: u8, label: u32) -> FlowChange {
    FlowChange::Live(flow(qpn, node, label))
}

fn planner() -> Planner {
    let mut planner = Planner::default();
    planner.set_locals(vec![
        local(0, SourcePortSteering::FlowLabel),
        local(1, SourcePortSteering::FlowLabel),
    ]);
    planner
}

fn found(targets: &[Arc<Peer>]) -> HashMap<Gid, Arc<Peer>> {
    targets
        .iter()
        .map(|target| (target.address.gid, Arc::clone(target)))
        .collect()
}

fn drain(planner: &mut Planner) -> Vec<String> {
    planner
        .drain_changes()
        .map(|change| match change.path {
            Some(path) => format!(
                "{} {}: {} port {} for {}",
                change.rnic,
                change.id.0,
                path.target.address,
                path.flow_label.source_port(),
                path.service.as_ref().map_or("-", ServiceName::as_str),
            ),
            None => format!("{} {}: no more", change.rnic, change.id.0),
        })
        .collect()
}

#[test]
fn a_connection_is_probed_when_its_destination_is_known() {
    let mut planner = planner();
    planner.take(&live(5, 2, 0x12345), at(0));
    assert_eq!(planner.following(&key(5)), Some(&Following::Resolving));
    assert_eq!(planner.due_lookup(at(4)), None, "others may follow");
    planner.take(&live(6, 3, 0x12345), at(4));
    assert_eq!(planner.next_lookup(), Some(at(5)));
    assert_eq!(planner.due_lookup(at(9)), Some(vec![gid(2), gid(3)]));
    assert_eq!(planner.due_lookup(at(20)), None, "one call at a time");
    planner.answered(&[gid(2), gid(3)], &found(&[target(2, 0x11)]), at(21));
    assert_eq!(
        planner.following(&key(5)),
        Some(&Following::Probed {
            fidelity: Fidelity::OwnPath
        })
    );
    assert_eq!(
        planner.following(&key(6)),
        Some(&Following::UnknownDestination)
    );
    assert_eq!(
        drain(&mut planner),
        ["rxe1/1 1: 10.0.0.2%0x000011 port 58177 for train.service"]
    );
    // Known now: no question in between.
    planner.take(&live(7, 2, 0x777), at(30));
    assert_eq!(
        drain(&mut planner),
        ["rxe1/1 2: 10.0.0.2%0x000011 port 51063 for train.service"]
    );
    planner.take(&FlowChange::Ended(key(5)), at(40));
    planner.take(&FlowChange::Ended(key(6)), at(40));
    assert_eq!(drain(&mut planner), ["rxe1/1 1: no more"]);
    let census = planner.census();
    assert_eq!(
        (
            census.connections,
            census.probed,
            census.own_path,
            census.paths
        ),
        (1, 1, 1, 1)
    );
    assert!(census.unknown.is_empty());
}

#[test]
fn connections_on_one_path_share_it() {
    let mut planner = planner();
    planner.set_hints(found(&[target(2, 0x11)]));
    for qpn in 1..=3 {
        planner.take(&live(qpn, 2, 0x777), at(0));
    }
    assert_eq!(drain(&mut planner).len(), 1);
    planner.take(&FlowChange::Ended(key(1)), at(1));
    planner.take(&FlowChange::Ended(key(2)), at(1));
    assert_eq!(drain(&mut planner), Vec::<String>::new());
    // One that takes another path leaves the shared one.
    planner.take(&live(3, 2, 0x778), at(2));
    assert_eq!(
        drain(&mut planner),
        [
            "rxe1/1 2: 10.0.0.2%0x000011 port 51064 for train.service",
            "rxe1/1 1: no more"
        ]
    );
}

#[test]
fn a_responder_with_a_new_queue_pair_is_followed() {
    let mut planner = planner();
    planner.set_hints(found(&[target(2, 0x11)]));
    planner.take(&live(5, 2, 0x777), at(0));
    drain(&mut planner);
    let refresh = planner.next_lookup().expect("it is asked for again");
    assert!(refresh <= at(0).after(REFRESH + LOOKUP_DELAY));
    let asked = planner.due_lookup(refresh).expect("due");
    planner.answered(&asked, &found(&[target(2, 0x22)]), refresh);
    assert_eq!(
        drain(&mut planner),
        ["rxe1/1 1: 10.0.0.2%0x000022 port 51063 for train.service"],
        "the same path at another address"
    );
    // Pinglists tell sooner.
    planner.set_hints(found(&[target(2, 0x33)]));
    assert_eq!(drain(&mut planner).len(), 1);
    // Nobody has registered it any more.
    let refresh = planner.next_lookup().expect("it is asked for again");
    let asked = planner.due_lookup(refresh).expect("due");
    planner.answered(&asked, &HashMap::new(), refresh);
    assert_eq!(drain(&mut planner), ["rxe1/1 1: no more"]);
    assert_eq!(planner.census().unknown, BTreeSet::from([gid(2)]));
}

#[test]
fn unknown_destinations_are_asked_for_ever_more_rarely() {
    let mut planner = planner();
    planner.take(&live(5, 9, 0x777), at(0));
    let mut story = String::new();
    for _ in 0..7 {
        let next = planner.next_lookup().expect("again");
        let asked = planner.due_lookup(next).expect("due");
        planner.answered(&asked, &HashMap::new(), next);
        let _ = write!(story, "{} ", next - at(0));
    }
    assert_eq!(
        story,
        "5.00 ms 5.00 s 15.01 s 35.01 s 75.00 s 135.00 s 195.00 s "
    );
    // Whoever connects to it anew has reason to.
    planner.take(&FlowChange::Ended(key(5)), at(300_000));
    planner.take(&live(6, 9, 0x777), at(300_000));
    assert_eq!(planner.next_lookup(), Some(at(300_005)));
}

#[test]
fn a_controller_that_is_away_is_asked_again_and_nothing_stops() {
    let mut planner = planner();
    planner.set_hints(found(&[target(2, 0x11)]));
    planner.take(&live(5, 2, 0x777), at(0));
    planner.take(&live(6, 3, 0x777), at(0));
    let mut asked = planner.due_lookup(at(5)).expect("due");
    assert_eq!(asked, [gid(3)]);
    let mut waits = Vec::new();
    let mut now = at(5);
    for _ in 0..7 {
        planner.failed(&asked, now);
        let next = planner.next_lookup().expect("again");
        assert_eq!(planner.due_lookup(now), None);
        waits.push((next - now).0 / 1_000_000);
        now = next;
        asked = planner.due_lookup(now).expect("due");
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    assert!(asked.contains(&gid(2)), "its refresh was due meanwhile");
    assert_eq!(planner.census().probed, 1);
}

#[test]
fn connections_of_another_class_have_a_path_of_their_own() {
    let mut planner = planner();
    planner.set_hints(found(&[target(2, 0x11)]));
    for (qpn, traffic_class) in [(5, 0x6a), (6, 0), (7, 0x6a)] {
        let mut flow = flow(qpn, 2, 0x777);
        let route = flow.route.as_mut().expect("a route");
        route.traffic_class = traffic_class;
        planner.take(&FlowChange::Live(flow), at(0));
    }
    let classes: Vec<_> = planner
        .drain_changes()
        .filter_map(|change| change.path?.traffic_class)
        .collect();
    assert_eq!(classes, [0x6a, 0]);
}

#[test]
fn the_endpoint_says_how_far_it_takes_the_connections_path() {
    let own = flow(5, 2, 0x777).source_port().expect("a port");
    let other = UdpSourcePort(own.0 + 1);
    let cases = [
        (local(1, SourcePortSteering::FlowLabel), Fidelity::OwnPath),
        (
            local(1, SourcePortSteering::QueuePair(vec![other, own])),
            Fidelity::OwnPath,
        ),
        (
            local(1, SourcePortSteering::QueuePair(vec![other])),
            Fidelity::OtherPort(other),
        ),
        (local(1, SourcePortSteering::Driver), Fidelity::UnknownPort),
        (
            Local {
                gid: gid(77),
                ..local(1, SourcePortSteering::FlowLabel)
            },
            Fidelity::OtherSource,
        ),
    ];
    for (local, fidelity) in cases {
        let mut planner = Planner::default();
        planner.set_hints(found(&[target(2, 0x11)]));
        planner.take(&live(5, 2, 0x777), at(0));
        assert_eq!(planner.following(&key(5)), Some(&Following::NoEndpoint));
        planner.set_locals(vec![local]);
        let path = planner.drain_changes().find_map(|change| change.path);
        assert_eq!(path.expect("a path").fidelity, Some(fidelity.of_path()));
        assert_eq!(
            planner.following(&key(5)),
            Some(&Following::Probed { fidelity })
        );
        planner.set_locals(Vec::new());
        assert_eq!(drain(&mut planner).len(), 1);
    }
}

#[test]
fn what_cannot_be_probed_says_why() {
    let mut planner = planner();
    planner.set_hints(found(&[target(1, 0x11), target(2, 0x11)]));
    planner.take(&live(5, 1, 0x777), at(0));
    assert_eq!(planner.following(&key(5)), Some(&Following::Loopback));
    let mut other = flow(6, 2, 0x777);
    other.key.device = "mlx5_7".into();
    other.source = None;
    planner.take(&FlowChange::Live(other.clone()), at(0));
    assert_eq!(planner.following(&other.key), Some(&Following::NoEndpoint));
    // Without its own GID the device tells where it begins.
    let mut seeded = flow(7, 2, 0x777);
    seeded.source = None;
    planner.take(&FlowChange::Live(seeded), at(0));
    assert!(matches!(
        planner.following(&key(7)),
        Some(Following::Probed { .. })
    ));
}

#[test]
fn long_names_of_services_are_shortened() {
    let mut long = flow(5, 2, 0x777);
    if let Some(owner) = &mut long.owner {
        owner.cgroup = Some(format!("/{}/job", "ä".repeat(500)).into());
    }
    let name = Naming::default().decide(long.owner.as_ref()).name;
    assert!(name.as_str().len() <= 256 && name.as_str().len() > 250);
    assert!(name.as_str().starts_with('…') && name.as_str().ends_with("/job"));
}

#[test]
fn answers_are_kept_for_a_while() {
    let mut planner = planner();
    planner.take(&live(5, 2, 0x777), at(0));
    let asked = planner.due_lookup(at(5)).expect("due");
    planner.answered(&asked, &found(&[target(2, 0x11)]), at(6));
    planner.take(&FlowChange::Ended(key(5)), at(10));
    assert_eq!(planner.next_lookup(), None, "nobody needs it");
    drain(&mut planner);
    planner.take(&live(6, 2, 0x777), at(20_000));
    assert_eq!(drain(&mut planner).len(), 1, "at once");
    assert_eq!(planner.next_lookup(), Some(at(20_005)), "but it is old");
    planner.take(&FlowChange::Ended(key(6)), at(20_001));
    planner.take(&live(7, 3, 0x777), at(90_000));
    planner.take(&FlowChange::Ended(key(7)), at(90_000));
    planner.take(&live(8, 2, 0x777), at(90_001));
    assert_eq!(planner.following(&key(8)), Some(&Following::Resolving));
}

proptest! {
    /// Whatever happens, the paths given out are exactly those of the connections that are probed, each once, and every
    /// connection is accounted for.
    #[test]
    fn paths_given_out_are_those_of_connections(
        steps in proptest::collection::vec((0_u8..8, 1_u32..12, 1_u8..5, 1_u32..4, 0_u64..3_000), 1..120),
    ) {
        let mut planner = planner();
        let mut now = 0;
        let mut given = HashMap::new();
        let mut asking: Option<Vec<Gid>> = None;
        let mut alive = HashSet::new();
        for (what, qpn, node, label, wait) in steps {
            now += wait;
            match what {
                0..=2 => {
                    planner.take(&live(qpn, node, label), at(now));
                    alive.insert(qpn);
                }
                3 => {
                    planner.take(&FlowChange::Ended(key(qpn)), at(now));
                    alive.remove(&qpn);
                }
                4 => planner.set_locals(if node == 1 { Vec::new() } else {
                    vec![local(1, SourcePortSteering::FlowLabel)]
                }),
                5 => planner.set_hints(found(&[target(node, label)])),
                _ => match asking.take() {
                    Some(asked) if what == 6 => planner.failed(&asked, at(now)),
                    Some(asked) => {
                        planner.answered(&asked, &found(&[target(node, label), target(2, label)]), at(now));
                    }
                    None => asking = planner.due_lookup(at(now)),
                },
            }
            for change in planner.drain_changes() {
                match change.path {
                    Some(path) => { given.insert(change.id, (change.rnic, path)); }
                    None => prop_assert!(given.remove(&change.id).is_some()),
                }
            }
            let census = planner.census();
            prop_assert_eq!(census.connections, alive.len());
            prop_assert_eq!(census.paths, given.len());
            let mut wanted = HashSet::new();
            for qpn in &alive {
                let member = &planner.members[&key(*qpn)];
                prop_assert_eq!(
                    matches!(member.following, Following::Probed { .. }), member.path.is_some()
                );
                wanted.extend(member.path.clone());
            }
            prop_assert_eq!(wanted.len(), given.len());
            for (rnic, path) in given.values() {
                let key = PathKey {
                    traffic_class: 0,
                    fidelity: crate::probe::PathFidelity::OwnPath,
                    rnic: rnic.clone(),
                    destination: path.target.address.gid,
                    flow_label: path.flow_label,
                    service: path.service.clone().expect("a service"),
                };
                prop_assert!(wanted.contains(&key));
                let standing = planner.destinations.standing(key.destination);
                prop_assert_eq!(standing, Standing::Known(&path.target));
            }
        }
    }
}

#[test]
fn a_pod_gets_its_name_while_it_is_probed() {
    let mut planner = planner();
    let mut in_pod = flow(5, 2, 0x777);
    let uid = "a1b2c3d4-0000-1111-2222-333344445555";
    if let Some(owner) = &mut in_pod.owner {
        owner.cgroup = Some(format!("/kubepods/pod{uid}").into());
    }
    planner.set_hints(found(&[target(2, 0x11)]));
    planner.take(&FlowChange::Live(in_pod), at(0));
    assert!(planner.take_unnamed(), "its name is wanted");
    assert!(!planner.take_unnamed(), "once");
    let service = |planner: &mut Planner| -> Vec<Option<String>> {
        let changes = planner.drain_changes();
        changes
            .map(|change| Some(change.path?.service.as_ref()?.to_string()))
            .collect()
    };
    assert_eq!(service(&mut planner), [Some(format!("pod/{uid}"))]);

    let list = serde_json::json!({ "items": [{ "metadata": { "uid": uid, "name": "x", "namespace": "ml" } }] });
    let names = Arc::new(PodNames::read(list.to_string().as_bytes()).expect("a list"));
    planner.set_pods(Arc::clone(&names));
    let mut changes = service(&mut planner);
    changes.sort();
    assert_eq!(
        changes,
        [None, Some("k8s/ml/pod/x".to_owned())],
        "one path goes, one comes"
    );
    planner.set_pods(names);
    assert_eq!(service(&mut planner), [] as [Option<String>; 0]);
}
