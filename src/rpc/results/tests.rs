use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::analysis::hardware::MOST_PORTS;
use crate::analysis::report::{AgentCounters, Batch, End, Path, PathReport};
use crate::id::{DeviceName, Gid, HostName, Qpn, ServiceName, TorId, UdpSourcePort};
use crate::measure::{Invalid, Measurement};
use crate::probe::{PathFidelity, ProbeKind};
use crate::rpc::v1;
use crate::time::{Nanos, WallTime};
use crate::transport::{Class, CompletionClock};

mod reading;

fn received(message: &v1::ResultBatch) -> Result<Received, BatchError> {
    Received::read(&message.encode_to_vec(), &Ends::default())
}

fn any_end() -> impl Strategy<Value = End> {
    (any::<[u8; 16]>(), 0u32..1 << 24, "[a-z0-9]{0,12}").prop_map(|(mut gid, qpn, name)| {
        gid[0] |= 1;
        End {
            gid: Gid::from_bytes(gid),
            qpn: Qpn::from_lower_bits(qpn),
            host: HostName::new(name.clone()),
            tor: TorId::new(format!("tor-{name}")),
            device: DeviceName::new("rxe0"),
        }
    })
}

fn any_class() -> impl Strategy<Value = Option<Class>> {
    prop::option::of(
        (any::<u8>(), Class::LEVELS).prop_map(|(traffic_class, service_level)| Class {
            traffic_class,
            service_level,
        }),
    )
}

fn any_report() -> impl Strategy<Value = PathReport> {
    let path = (
        any_end(),
        any_end(),
        prop_oneof![
            Just((ProbeKind::TorMesh, None)),
            Just((ProbeKind::InterTor, None)),
            Just((ProbeKind::Focus, None)),
            Just((
                ProbeKind::ServiceTracing,
                Some(ServiceName::new("training"))
            )),
        ],
        prop::option::of(1u16..),
        any_class(),
    )
        .prop_map(|(source, target, (kind, service), port, class)| Path {
            source: Arc::new(source),
            target: Arc::new(target),
            kind,
            source_port: port.map(UdpSourcePort),
            fidelity: class
                .filter(|_| service.is_some())
                .map(|_| PathFidelity::UnknownPort),
            service,
            class,
        });
    let spans = (0i64.., 0i64.., 0i64..).prop_map(|(a, b, c)| Measurement {
        network_rtt: Nanos(a),
        prober_delay: Nanos(b),
        responder_delay: Nanos(c),
    });
    (
        path,
        0u64..1000,
        prop::collection::vec((0..Invalid::ALL.len(), 1u64..1000), 0..5),
        prop::collection::vec(spans, 0..10),
        prop_oneof![
            Just(CompletionClock::HardwareWall),
            Just(CompletionClock::HardwareRaw),
            Just(CompletionClock::Kernel),
            Just(CompletionClock::Software),
            Just(CompletionClock::Emulated),
        ],
    )
        .prop_map(|(path, lost, invalid, samples, clock)| {
            let mut report = PathReport::empty(path, clock);
            report.lost = lost;
            report.samples = samples;
            for (reason, count) in invalid {
                report.add_invalid(Invalid::ALL[reason], count);
            }
            report
        })
}

pub(in crate::rpc) fn any_batch() -> impl Strategy<Value = Batch> {
    (
        1..=i64::MAX.cast_unsigned(),
        0i64..1 << 62,
        1i64..120_000_000_000,
        prop::collection::vec(any_report(), 0..5),
        any::<[u64; 7]>(),
    )
        .prop_map(|(sequence, start, length, paths, counts)| Batch {
            sequence,
            interval: WallTime::from_nanos(start)..WallTime::from_nanos(start + length),
            paths,
            traces: Vec::new(),
            hardware: Vec::new(),
            counters: AgentCounters {
                results_dropped: counts[0],
                batches_dropped: counts[1],
                malformed_packets: counts[2],
                unmatched_acks: counts[3],
                probes_answered: counts[4],
                source_ports_as_meant: counts[5],
                source_ports_otherwise: counts[6],
            },
        })
}

fn peer(number: u8) -> v1::Peer {
    let mut gid = vec![0; 16];
    gid[15] = number;
    v1::Peer {
        gid: gid.into(),
        qpn: 17,
        host: "host".to_owned(),
        tor: "tor".to_owned(),
        device: "rxe0".to_owned(),
    }
}

fn good() -> v1::PathReport {
    v1::PathReport {
        source: Some(peer(1)),
        target: Some(peer(2)),
        kind: v1::ProbeKind::TorMesh.into(),
        source_port: 50_000,
        sent: 3,
        lost: 1,
        network_rtt_ns: vec![1, 2],
        prober_delay_ns: vec![1, 2],
        responder_delay_ns: vec![1, 2],
        clock: v1::CompletionClock::Software.into(),
        ..Default::default()
    }
}

#[test]
fn contradictions_are_refused_by_name_and_the_rest_counts() {
    type Change = fn(&mut v1::PathReport);
    let changes: [Change; 15] = [
        |report| report.lost = 4,
        |report| report.sent = 4,
        |report| report.prober_delay_ns.push(1),
        |report| report.network_rtt_ns[1] = -3,
        |report| {
            report.invalid = vec![
                v1::InvalidCount {
                    reason: 4,
                    count: u64::MAX,
                },
                v1::InvalidCount {
                    reason: 5,
                    count: u64::MAX,
                },
            ];
        },
        |report| report.sent = u64::MAX,
        |report| report.kind = 0,
        |report| report.clock = 99,
        |report| {
            report.invalid = vec![v1::InvalidCount {
                reason: 77,
                count: 1,
            }];
        },
        |report| report.source = None,
        |report| report.target.as_mut().unwrap().gid = vec![1, 2].into(),
        |report| report.target.as_mut().unwrap().qpn = 1 << 24,
        |report| report.source_port = 70_000,
        |report| report.service = "training".to_owned(),
        |report| report.focused = true,
    ];
    let mut paths = vec![good()];
    for change in changes {
        let mut report = good();
        change(&mut report);
        paths.push(report);
    }
    let mut long = good();
    long.source.as_mut().unwrap().host = "h".repeat(257);
    paths.push(long);
    let message = v1::ResultBatch {
        sequence: 1,
        start_unix_ns: 0,
        end_unix_ns: 1,
        paths,
        counters: None,
        traces: Vec::new(),
        hardware: Vec::new(),
    };
    let received = received(&message).unwrap();
    assert_eq!(received.batch.paths.len(), 1);
    assert_eq!(received.batch.paths[0].sent(), 3);
    let lines: Vec<_> = received
        .refused
        .kept()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_class_is_taken_whole_and_a_degree_of_fidelity_that_is_not_known_is_none() {
    let read_of = |kind: v1::ProbeKind, traffic_class, service_level, fidelity| {
        let batch = v1::ResultBatch {
            sequence: 1,
            start_unix_ns: 0,
            end_unix_ns: 1,
            paths: vec![v1::PathReport {
                kind: kind.into(),
                traffic_class,
                service_level,
                fidelity,
                ..good()
            }],
            ..Default::default()
        };
        let received = received(&batch).unwrap();
        let path = received
            .batch
            .paths
            .first()
            .map(|report| report.path.clone());
        path.map(|path| (path.class, path.fidelity))
            .ok_or_else(|| received.refused.kept()[0].to_string())
    };
    let read = |traffic_class, service_level, fidelity| {
        let kind = v1::ProbeKind::ServiceTracing;
        read_of(kind, traffic_class, service_level, fidelity)
    };
    let class = Some(Class {
        traffic_class: 106,
        service_level: 3,
    });
    let other = Some(PathFidelity::OtherPath);
    assert_eq!(read(Some(106), Some(3), 3), Ok((class, other)));
    // Of an older agent, of one that says half, of a newer one.
    assert_eq!(read(None, None, 0), Ok((None, None)));
    assert_eq!(read(Some(106), None, 0), Ok((None, None)));
    assert_eq!(read(None, None, 99), Ok((None, None)));
    // Of a probe that follows no service it says nothing.
    let of_mesh = read_of(v1::ProbeKind::TorMesh, None, None, 3);
    assert_eq!(of_mesh, Ok((None, None)));
    for (traffic_class, service_level) in [(256, 0), (0, 8), (u32::MAX, u32::MAX)] {
        let refused = read(Some(traffic_class), Some(service_level), 0).unwrap_err();
        assert!(refused.contains("is too large"), "{refused}");
    }
}

/// An analyzer that does not know the field skips it, and counts what focus sent as inter-ToR probes.
#[test]
fn what_focus_sent_is_an_inter_tor_report_for_who_does_not_know_focus() {
    let path = Path {
        source: Arc::new(message::end(peer(1)).unwrap()),
        target: Arc::new(message::end(peer(2)).unwrap()),
        kind: ProbeKind::Focus,
        source_port: Some(UdpSourcePort(50_000)),
        service: None,
        class: None,
        fidelity: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Software);
    report.lost = 2;
    let message = v1::PathReport::from(report);
    assert_eq!(message.kind, i32::from(v1::ProbeKind::InterTor));
    assert_eq!((message.focused, message.sent), (true, 2));
    let without = v1::PathReport {
        focused: false,
        ..message.clone()
    };
    let kinds = [message, without].map(|report| {
        let batch = v1::ResultBatch {
            sequence: 1,
            start_unix_ns: 0,
            end_unix_ns: 1,
            paths: vec![report],
            ..Default::default()
        };
        received(&batch).unwrap().batch.paths[0].path.kind
    });
    assert_eq!(kinds, [ProbeKind::Focus, ProbeKind::InterTor]);
}

#[test]
fn a_batch_without_a_usable_interval_counts_nothing() {
    for (start, end) in [
        (5, 5),
        (5, 4),
        (0, 120_000_000_001),
        (i64::MIN, i64::MAX),
        (i64::MAX, i64::MIN),
    ] {
        let message = v1::ResultBatch {
            sequence: 1,
            start_unix_ns: start,
            end_unix_ns: end,
            paths: vec![good()],
            counters: None,
            traces: Vec::new(),
            hardware: Vec::new(),
        };
        let received = received(&message).unwrap();
        assert!(received.batch.paths.is_empty());
        assert!(matches!(
            received.refused.kept()[0].error,
            ReportError::Interval(_)
        ));
    }
}

/// Empty reports, traces and counters take two bytes of a message each.
#[test]
fn many_refusals_are_counted_and_few_are_kept() {
    let (many, traces) = (100_000, MAX_TRACES + 1000);
    let message = v1::ResultBatch {
        sequence: 1,
        start_unix_ns: 0,
        end_unix_ns: 1,
        paths: vec![v1::PathReport::default(); many],
        traces: vec![v1::PathTrace::default(); traces],
        hardware: vec![v1::PortRise::default(); 1000],
        ..Default::default()
    };
    let received = received(&message).unwrap();
    // Of the counters each port that may be there, and that there are more.
    assert_eq!(received.refused.len(), many + traces + MOST_PORTS + 1);
    assert_eq!(received.refused.kept().len(), Refusals::MOST);
}

#[test]
fn sequences_begin_at_one() {
    for sequence in [0, 1 << 63, u64::MAX] {
        let message = v1::ResultBatch {
            sequence,
            ..Default::default()
        };
        assert_eq!(received(&message), Err(BatchError::Sequence(sequence)));
    }
}

proptest! {
    #[test]
    fn batches_survive_the_way_there_and_back(batch in any_batch()) {
        let received = received(&v1::ResultBatch::from(batch.clone())).unwrap();
        prop_assert_eq!(received.batch, batch);
        prop_assert!(received.refused.is_empty());
    }

    /// Any bytes that decode are taken or refused, and every report is accounted for.
    #[test]
    fn any_message_is_accounted_for(
        counts in any::<(u64, u64, u64)>(),
        columns in prop::collection::vec(any::<i64>(), 0..4),
        numbers in any::<(i32, i32, i32, u32, u32)>(),
        gid in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut report = good();
        (report.sent, report.lost) = (counts.0, counts.1);
        report.invalid = vec![v1::InvalidCount { reason: numbers.0, count: counts.2 }];
        report.network_rtt_ns.clone_from(&columns);
        report.prober_delay_ns = columns;
        (report.kind, report.clock, report.source_port) = (numbers.1, numbers.2, numbers.3);
        report.target = Some(v1::Peer { gid: gid.into(), qpn: numbers.4, ..Default::default() });
        let message = v1::ResultBatch { sequence: 1, start_unix_ns: 0, end_unix_ns: 1, paths: vec![report, good()], counters: None, traces: Vec::new(), hardware: Vec::new() };
        let received = received(&message).unwrap();
        prop_assert_eq!(received.batch.paths.len() + received.refused.len(), 2);
        prop_assert!(!received.batch.paths.is_empty());
    }
}
