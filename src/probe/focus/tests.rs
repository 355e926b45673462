use proptest::prelude::*;

use super::*;
use crate::id::{DeviceName, HostName, QKey, Qpn, TorId, UdpSourcePort};
use crate::topology::Peer;
use crate::transport::Address;

fn path(number: u16) -> Arc<ProbePath> {
    let mut gid = [0; 16];
    gid[0] = 0xfd;
    gid[14..].copy_from_slice(&number.to_be_bytes());
    Arc::new(ProbePath {
        target: Arc::new(Peer {
            address: Address {
                gid: Gid::from_bytes(gid),
                qpn: Qpn::new(17).expect("24 bits"),
                q_key: QKey(1),
            },
            tor: TorId::new("tor1"),
            host: HostName::new("host1"),
            device: DeviceName::new("mlx5_0"),
        }),
        flow_label: UdpSourcePort(UdpSourcePort::FIRST + 1 + number)
            .flow_label()
            .expect("in range"),
        service: None,
        traffic_class: None,
        fidelity: None,
    })
}

fn group(kind: ProbeKind, rate: f64, numbers: std::ops::Range<u16>) -> Group {
    Group {
        kind,
        rate: Rate::per_second(rate).expect("in range"),
        paths: numbers.map(path).collect(),
    }
}

fn rate_of(groups: &[Group], number: u16) -> f64 {
    let wanted = flow(&path(number));
    let holds = |group: &&Group| group.paths.iter().any(|path| flow(path) == wanted);
    let of = groups.iter().filter(holds);
    of.map(|group| group.rate.get() / group.paths.len() as f64)
        .sum()
}

fn all(groups: &[Group]) -> f64 {
    groups.iter().map(|group| group.rate.get()).sum()
}

#[test]
fn nothing_asked_changes_nothing() {
    let groups = [
        group(ProbeKind::TorMesh, 10.0, 100..104),
        group(ProbeKind::InterTor, 90.0, 0..30),
    ];
    let (changed, refused) = focused(&groups, &HashMap::new(), &FocusBounds::default());
    assert_eq!((changed, refused), (groups.to_vec(), Refused::default()));
}

#[test]
fn what_is_asked_for_comes_out_of_the_others() {
    let groups = [
        group(ProbeKind::TorMesh, 10.0, 100..104),
        group(ProbeKind::InterTor, 90.0, 0..30),
    ];
    let asked = HashMap::from([(flow(&path(3)), 3), (flow(&path(5)), 1)]);
    let (changed, refused) = focused(&groups, &asked, &FocusBounds::default());
    assert_eq!(refused, Refused::default());
    assert!((all(&changed) - 100.0).abs() < 1e-6);
    assert_eq!(changed[0], groups[0]);
    // The list keeps its groups, and focus has a group for each rate.
    let kinds: Vec<_> = changed
        .iter()
        .map(|group| (group.kind, group.paths.len()))
        .collect();
    let expected = [
        (ProbeKind::TorMesh, 4),
        (ProbeKind::InterTor, 30),
        (ProbeKind::Focus, 1),
        (ProbeKind::Focus, 1),
    ];
    assert_eq!(kinds, expected);
    // 4 portions of 3/s are moved: every 5-tuple gives up 4 of 30 parts.
    let kept = 3.0 * (1.0 - 4.0 / 30.0);
    for (number, rate) in [(0, kept), (3, kept + 9.0), (5, kept + 3.0), (29, kept)] {
        let now = rate_of(&changed, number);
        assert!((now - rate).abs() < 1e-6, "{number}: {now}, not {rate}");
    }
}

#[test]
fn what_is_not_in_the_list_is_refused_and_counted() {
    let groups = [
        group(ProbeKind::TorMesh, 10.0, 100..104),
        group(ProbeKind::InterTor, 90.0, 0..30),
    ];
    // 200 is nobody's, 101 is under the own ToR.
    let asked = HashMap::from([(flow(&path(200)), 1), (flow(&path(101)), 1)]);
    let (changed, refused) = focused(&groups, &asked, &FocusBounds::default());
    assert_eq!(changed, groups);
    assert_eq!(refused.unknown, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_asked_the_rate_stays_and_each_5_tuple_keeps_its_floor(
        asked in prop::collection::hash_map(0_u16..60, 0_u32..1_000_000, 0..60), share in 0.0..2.0_f64, portions in 0_u32..20,
    ) {
        let groups = [
            group(ProbeKind::InterTor, 30.0, 0..10),
            group(ProbeKind::TorMesh, 10.0, 50..54),
            group(ProbeKind::InterTor, 60.0, 10..40),
        ];
        let asked: HashMap<FlowKey, u32> = asked.into_iter().map(|(number, portions)| (flow(&path(number)), portions)).collect();
        let bounds = FocusBounds { share, portions };
        let (changed, refused) = focused(&groups, &asked, &bounds);
        prop_assert!((all(&changed) - 100.0).abs() < 1e-6, "{} probes/s", all(&changed));
        for number in 0..40 {
            let each = if number < 10 { 3.0 } else { 2.0 };
            let now = rate_of(&changed, number);
            let floor = each * (1.0 - share.min(MOST_SHARE));
            prop_assert!(now >= floor - 1e-6 && now <= each * (1.0 + f64::from(portions)) + 1e-6, "{number}: {now}");
        }
        let unknown = asked.keys().filter(|asked| (40..60).any(|number| flow(&path(number)) == **asked)).count();
        prop_assert_eq!(refused.unknown, unknown as u64);
    }
}
