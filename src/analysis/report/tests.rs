use proptest::prelude::*;

use super::*;
use crate::time::Nanos;

fn end(number: u8) -> End {
    End {
        gid: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, number)),
        qpn: Qpn::from_lower_bits(17),
        host: HostName::new("host"),
        tor: TorId::new("tor"),
        device: DeviceName::new("rxe0"),
    }
}

fn path(target: u8, port: u16) -> Path {
    Path {
        source: Arc::new(end(1)),
        target: Arc::new(end(target)),
        kind: ProbeKind::InterTor,
        source_port: Some(UdpSourcePort(port)),
        service: None,
        class: None,
        fidelity: None,
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Lost),
        (0..Invalid::ALL.len()).prop_map(|at| Outcome::Invalid(Invalid::ALL[at])),
        (0i64..1_000_000).prop_map(|span| Outcome::Complete(Measurement {
            network_rtt: Nanos(span),
            prober_delay: Nanos(span / 2),
            responder_delay: Nanos(span / 3),
        })),
    ]
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.source.gid == other.source.gid
        && one.target.gid == other.target.gid
        && one.kind == other.kind
        && one.source_port == other.source_port
        && one.service == other.service
}

#[test]
fn results_beyond_the_limit_are_counted() {
    let mut collector = Collector::new(2);
    for _ in 0..5 {
        collector.add(&path(2, 50_000), CompletionClock::Software, &Outcome::Lost);
    }
    assert_eq!((collector.len(), collector.dropped()), (2, 3));
    let reports = collector.take();
    assert_eq!((reports.len(), reports[0].sent()), (1, 2));
    collector.add(&path(2, 50_000), CompletionClock::Software, &Outcome::Lost);
    assert_eq!(collector.take()[0].sent(), 1);
    assert_eq!(collector.dropped(), 3);
}

#[test]
fn a_path_reads_as_its_ends_and_port() {
    assert_eq!(
        path(2, 50_000).to_string(),
        "10.0.0.1 -> 10.0.0.2 port 50000"
    );
}

proptest! {
    #[test]
    fn each_result_is_in_the_report_of_its_path(
        results in prop::collection::vec((2u8..5, 50_000u16..50_003, any_outcome()), 0..80),
    ) {
        let mut collector = Collector::new(1000);
        for (target, port, outcome) in &results {
            collector.add(&path(*target, *port), CompletionClock::Kernel, outcome);
        }
        let reports = collector.take();
        prop_assert!(collector.is_empty());
        for report in &reports {
            let mut expected = PathReport::empty(report.path.clone(), CompletionClock::Kernel);
            for (target, port, outcome) in &results {
                if is_same(&path(*target, *port), &report.path) {
                    expected.add(outcome);
                }
            }
            prop_assert_eq!(report, &expected);
        }
        let sum: u64 = reports.iter().map(PathReport::sent).sum();
        prop_assert_eq!(sum, results.len() as u64);
    }
}
