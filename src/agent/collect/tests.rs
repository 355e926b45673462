use prost::Message as _;

use super::*;
use crate::id::{DeviceName, Gid, MAX_NAME, Qpn, ServiceName, TorId, UdpSourcePort};
use crate::measure::{Measurement, Outcome};
use crate::probe::ProbeKind;
use crate::rpc::MAX_MESSAGE_BYTES;
use crate::transport::CompletionClock;

/// A report with the longest names and numbers.
fn largest(port: u16, samples: usize) -> PathReport {
    let name = "n".repeat(MAX_NAME);
    let end = || {
        Arc::new(End {
            gid: Gid::from_bytes([0xfe; 16]),
            qpn: Qpn::from_lower_bits(u32::MAX),
            host: HostName::new(name.clone()),
            tor: TorId::new(name.clone()),
            device: DeviceName::new(name.clone()),
        })
    };
    let path = Path {
        source: end(),
        target: end(),
        kind: ProbeKind::ServiceTracing,
        source_port: Some(UdpSourcePort(port)),
        service: Some(ServiceName::new(name.clone())),
        class: None,
        fidelity: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Emulated);
    // A minute in nanoseconds, longer than any measurement.
    let span = Nanos(60_000_000_000);
    for _ in 0..samples {
        report.add(&Outcome::Complete(Measurement {
            network_rtt: span,
            prober_delay: span,
            responder_delay: span,
        }));
    }
    report
}

#[test]
fn what_does_not_fit_one_message_goes_into_several_batches() {
    let paths: Vec<_> = (0..12_001).map(|port| largest(port, 1)).collect();
    let parts = parts(paths.clone());
    let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
    assert_eq!(sizes, [5_000, 5_000, 2_001]);
    assert_eq!(parts.concat(), paths);
    assert_eq!(super::parts(Vec::new()), [Vec::new()]);
}

#[test]
fn the_largest_batch_fits_a_message() {
    let each = MAX_RESULTS / MAX_PATHS;
    let paths = (0..5_000).map(|port| largest(port, each)).collect();
    let batch = Batch {
        sequence: u64::MAX,
        interval: WallTime::from_nanos(0)..WallTime::from_nanos(i64::MAX),
        paths,
        traces: Vec::new(),
        hardware: Vec::new(),
        counters: AgentCounters::default(),
    };
    let size = v1::ResultBatch::from(batch).encoded_len();
    assert!(size + 64 < MAX_MESSAGE_BYTES, "{size} bytes");
}
