//! Batches as other encoders may write them: what prost makes of the bytes is what counts.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;

/// Appends a length-delimited field.
fn put(bytes: &mut Vec<u8>, tag: u32, value: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(value.len() as u64, bytes);
    bytes.extend_from_slice(value);
}

fn put_number(bytes: &mut Vec<u8>, tag: u32, value: u64) {
    encode_key(tag, WireType::Varint, bytes);
    encode_varint(value, bytes);
}

/// A batch with these reports.
fn batch(reports: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for report in reports {
        put(&mut bytes, 4, report);
    }
    // What identifies it may come last.
    let message = v1::ResultBatch {
        sequence: 1,
        start_unix_ns: 0,
        end_unix_ns: 1,
        ..v1::ResultBatch::default()
    };
    bytes.extend(message.encode_to_vec());
    bytes
}

/// Reads the bytes, and what prost makes of them: both are the same.
fn read(bytes: &[u8]) -> Result<Received, BatchError> {
    let read = Received::read(bytes, &Ends::default());
    match v1::ResultBatch::decode(bytes) {
        Ok(message) => assert_eq!(read, received(&message)),
        Err(error) => assert!(read.is_err(), "prost: {error}"),
    }
    read
}

fn only(received: Received) -> PathReport {
    assert!(received.refused.is_empty());
    let [report] = received.batch.paths.try_into().expect("one report");
    report
}

#[test]
fn columns_may_come_as_single_spans_and_in_parts() {
    let message = v1::PathReport {
        sent: 4,
        lost: 1,
        network_rtt_ns: Vec::new(),
        prober_delay_ns: vec![4, 5],
        responder_delay_ns: vec![7, 8, 9],
        ..good()
    };
    let mut report = message.encode_to_vec();
    put(&mut report, 9, &[2, 4]);
    put_number(&mut report, 9, 6);
    put_number(&mut report, 10, 12);
    let report = only(read(&batch(&[report])).unwrap());
    let spans = |sample: &Measurement| {
        let Measurement {
            network_rtt,
            prober_delay,
            responder_delay,
        } = *sample;
        [network_rtt.0, prober_delay.0, responder_delay.0]
    };
    let samples: Vec<_> = report.samples.iter().map(spans).collect();
    assert_eq!(samples, [[1, 4, 7], [2, 5, 8], [3, 6, 9]]);
}

#[test]
fn an_end_may_come_in_parts_and_the_last_of_a_number_counts() {
    let mut report = good().encode_to_vec();
    let more = v1::Peer {
        qpn: 99,
        tor: "elsewhere".to_owned(),
        ..v1::Peer::default()
    };
    put(&mut report, 2, &more.encode_to_vec());
    put(&mut report, 2, &[]);
    put_number(&mut report, 4, 50_001);
    let path = only(read(&batch(&[report])).unwrap()).path;
    assert_eq!(path.source_port, Some(UdpSourcePort(50_001)));
    let target = (path.target.qpn.get(), path.target.tor.as_str());
    assert_eq!(target, (99, "elsewhere"));
    assert_eq!(path.target.host.as_str(), "host");
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut report = good().encode_to_vec();
    put(&mut report, 47, b"of a later version");
    put_number(&mut report, 44, 7);
    encode_key(45, WireType::SixtyFourBit, &mut report);
    report.extend([0; 8]);
    encode_key(46, WireType::StartGroup, &mut report);
    put_number(&mut report, 1, 1);
    encode_key(46, WireType::EndGroup, &mut report);
    let mut bytes = batch(&[report]);
    put_number(&mut bytes, 77, 1);
    assert_eq!(only(read(&bytes).unwrap()).sent(), 3);
}

#[test]
fn bytes_that_are_no_message_are_refused_as_a_whole() {
    let of = |tag, value: &[u8]| {
        let mut report = good().encode_to_vec();
        put(&mut report, tag, value);
        report
    };
    let number = |tag| {
        let mut report = good().encode_to_vec();
        put_number(&mut report, tag, 1);
        report
    };
    let mut cut = good().encode_to_vec();
    cut.pop();
    let mut longer = good().encode_to_vec();
    longer.extend([5 << 3 | 2, 200]);
    let bad = [
        cut,
        longer,
        // No UTF-8, in a service and in a host.
        of(5, &[0xff]),
        of(1, &[3 << 3 | 2, 1, 0xff]),
        // A varint that does not end, and an end of a path that ends early.
        of(9, &[0x80]),
        of(2, &[3 << 3 | 2, 9]),
        // Numbers for texts and messages, bytes for numbers.
        number(1),
        number(5),
        number(8),
        of(3, &[1]),
        of(12, &[1]),
        // An end without its group, and tag 0.
        vec![13 << 3 | 4],
        vec![0],
    ];
    for report in bad {
        let bytes = batch(&[good().encode_to_vec(), report]);
        read(&bytes).unwrap_err();
    }
    read(&[4 << 3]).unwrap_err();
    read(&[4 << 3 | 2, 9]).unwrap_err();
}

#[test]
fn what_is_said_alike_is_one_end_as_long_as_somebody_holds_it() {
    let ends = Ends::default();
    let bytes = batch(&[good().encode_to_vec(), good().encode_to_vec()]);
    let first = Received::read(&bytes, &ends).unwrap();
    let second = Received::read(&bytes, &ends).unwrap();
    let targets: Vec<_> = (first.batch.paths.iter().chain(&second.batch.paths))
        .map(|report| &report.path.target)
        .collect();
    assert_eq!(targets.len(), 4);
    assert!(targets.iter().all(|end| Arc::ptr_eq(end, targets[0])));
    assert_eq!((ends.len(), Arc::strong_count(targets[0])), (2, 4));
}

#[test]
fn ends_that_nobody_holds_are_forgotten_and_long_ones_not_kept() {
    let ends = Ends::default();
    for number in 0..20_000u32 {
        let mut report = good();
        report.source.as_mut().unwrap().host = format!("host{number}");
        let bytes = batch(&[report.encode_to_vec()]);
        Received::read(&bytes, &ends).unwrap();
    }
    assert!(ends.len() < 2_000, "{}", ends.len());
    let mut report = good().encode_to_vec();
    let mut long = peer(1).encode_to_vec();
    put(&mut long, 99, &[0; 2_000]);
    put(&mut report, 1, &long);
    let known = ends.len();
    let kept = only(Received::read(&batch(&[report]), &ends).unwrap());
    assert_eq!(kept.path.source.host.as_str(), "host");
    assert!(ends.len() <= known);
}

/// A batch that somebody has damaged, with all kinds of reports in it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 0..6);
    (any_batch(), changes).prop_map(|(batch, changes)| {
        let mut bytes = v1::ResultBatch::from(batch).encode_to_vec();
        for (place, byte, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                2 => bytes[at] ^= 1 << (byte % 8),
                _ => bytes[at] = byte,
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever prost makes of damaged bytes is made of them.
    #[test]
    fn damaged_batches_are_read_as_prost_reads_them(bytes in damaged()) {
        let _ = read(&bytes);
    }
}
