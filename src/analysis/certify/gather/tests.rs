use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::analysis::report::{AgentCounters, Batch, Path, PathReport};
use crate::analysis::windows::Limits;
use crate::id::{DeviceName, HostName, Qpn, UdpSourcePort};
use crate::measure::Measurement;
use crate::transport::CompletionClock;

fn end(number: u8) -> Arc<End> {
    Arc::new(End {
        gid: Ipv4Addr::new(10, 0, 0, number).into(),
        qpn: Qpn::from_lower_bits(u32::from(number)),
        host: HostName::new(format!("h{number}")),
        tor: TorId::new(format!("tor{}", number / 3)),
        device: DeviceName::new("mlx5_0"),
    })
}

fn report(source: u8, target: u8) -> PathReport {
    let path = Path {
        source: end(source),
        target: end(target),
        kind: ProbeKind::InterTor,
        source_port: Some(UdpSourcePort(50_000 + u16::from(source))),
        service: None,
        class: None,
        fidelity: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Software);
    report.lost = u64::from(source == 1 && target == 5);
    report.samples = vec![
        Measurement {
            network_rtt: Nanos(5_000),
            prober_delay: Nanos(1_000),
            responder_delay: Nanos(1_000),
        };
        3
    ];
    report
}

#[test]
fn portions_count_the_same_as_all_at_once() {
    let at = |second: i64| WallTime::from_nanos(1_800_000_000_000_000_000 + second * 1_000_000_000);
    let mut windows = Windows::new(Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1_000,
        bytes: usize::MAX,
    });
    let mut host_filter = HostFilter::default();
    for (second, source) in (1..=20).flat_map(|second| (0..6).map(move |source| (second, source))) {
        let batch = Batch {
            sequence: 1,
            interval: at(second - 1)..at(second),
            paths: (0..6)
                .filter(|target| *target != source)
                .map(|target| report(source, target))
                .collect(),
            traces: Vec::new(),
            hardware: Vec::new(),
            counters: AgentCounters::default(),
        };
        windows.ingest(&batch, at(second));
        host_filter.ingest(&HostName::new(format!("h{source}")), &batch, at(second));
    }
    let switches = |tuple: &Tuple| {
        let tor = |gid| host_filter.end(gid).map(|end| end.tor.to_string());
        Some(vec![
            tor(tuple.source)?,
            "spine".to_owned(),
            tor(tuple.target)?,
        ])
    };
    let known = Known {
        host_filter: &host_filter,
        wiring: None,
        routes: &Routes::default(),
        traced: &switches,
        first: &|_| Some("tor0".to_owned()),
    };
    let (slots, now) = (Slot::of(at(0))..Slot::of(at(20)), at(20));
    let without = BTreeSet::from(["h4/mlx5_0".to_owned()]);
    let whole = gather(&windows, &known, slots.clone(), without.clone(), now);
    assert!(
        whole.counted.lost > 0 && whole.left_out.sent > 0,
        "{whole:?}"
    );
    for places in [1, 7, 29, 30, 31] {
        let mut gathering = Gathering::new(slots.clone(), without.clone(), now);
        let mut portions = 1;
        while gathering.take(&windows, &known, places) {
            portions += 1;
        }
        assert_eq!(portions, 30_usize.div_ceil(places));
        assert_eq!(gathering.finish(), whole, "{places}");
    }
}
