use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

#[test]
fn what_is_packed_is_unpacked_and_no_more() {
    let content = Bytes::from(b"leaf3-r0 spine1 ".repeat(1_000));
    let request = UploadRequest::of_packed(content.clone());
    let Some(Message::ZstdBatch(packed)) = request.message else {
        panic!("{request:?}");
    };
    assert!(packed.len() < 200);
    let size = unpacked_size(&packed).expect("a size");
    assert_eq!(size, content.len());
    assert_eq!(unpack(&packed, size).expect("whole"), content);
    // A frame that lies about its size is not unpacked beyond it.
    assert!(matches!(
        unpack(&packed, size - 1),
        Err(PackError::Damaged(_))
    ));
    let small = Bytes::from_static(b"x");
    assert_eq!(
        UploadRequest::of_packed(small.clone()),
        UploadRequest::of_batch(small)
    );
}

#[test]
fn what_is_too_large_or_damaged_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; MAX_MESSAGE_BYTES + 1], LEVEL).expect("compressed");
    assert!(bomb.len() < 10_000);
    assert!(matches!(
        unpacked_size(&bomb),
        Err(PackError::TooLarge { .. })
    ));
    assert!(matches!(
        unpacked_size(b"hello, world"),
        Err(PackError::NoSize)
    ));
    assert!(matches!(unpacked_size(b""), Err(PackError::NoSize)));
    let mut packed = zstd::bulk::compress(&[7; 5_000], LEVEL).expect("compressed");
    let cut = packed.len() - 4;
    packed.truncate(cut);
    let size = unpacked_size(&packed).expect("the beginning is whole");
    assert!(matches!(unpack(&packed, size), Err(PackError::Damaged(_))));
}

/// The report of one probe of a large fabric: names as they are in one, numbers that nothing can foresee.
fn one_probe(source: u32, random: &mut ChaCha8Rng) -> v1::PathReport {
    let peer = |rnic: u32, random: &mut ChaCha8Rng| {
        let mut gid = vec![0; 10];
        gid.extend([0xff, 0xff, 10]);
        gid.extend(&rnic.to_be_bytes()[1..]);
        v1::Peer {
            gid: gid.into(),
            qpn: random.random_range(64..1 << 24),
            host: format!("gpu-{:05}.pod{}.example.net", rnic / 8, rnic / 512),
            tor: format!("leaf{}-r{}", rnic / 512, rnic % 8),
            device: format!("mlx5_{}", rnic % 8),
        }
    };
    let target = random.random_range(0..12_500) * 8 + source % 8;
    let mut nanos = |most: i64| vec![random.random_range(most / 2..most)];
    let (rtt, prober, responder) = (nanos(9_000), nanos(4_000), nanos(3_000));
    v1::PathReport {
        // An RNIC has the same queue pair all the time.
        source: Some(peer(source, &mut ChaCha8Rng::seed_from_u64(source.into()))),
        target: Some(peer(target, &mut ChaCha8Rng::seed_from_u64(target.into()))),
        kind: v1::ProbeKind::InterTor.into(),
        source_port: random.random_range(0xc000..=0xffff),
        sent: 1,
        network_rtt_ns: rtt,
        prober_delay_ns: prober,
        responder_delay_ns: responder,
        clock: v1::CompletionClock::HardwareWall.into(),
        ..v1::PathReport::default()
    }
}

/// Bytes of a batch of so many reports of one probe each, and of the request that carries it.
fn sizes(reports: u32) -> (usize, usize) {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(reports));
    let batch = v1::ResultBatch {
        sequence: 7,
        start_unix_ns: 1_800_000_000_000_000_000,
        end_unix_ns: 1_800_000_001_000_000_000,
        paths: (0..reports)
            .map(|number| one_probe(8_000 + number % 8, &mut random))
            .collect(),
        ..v1::ResultBatch::default()
    };
    let encoded = batch.encode_to_vec();
    let request = UploadRequest::of_packed(encoded.clone().into());
    (encoded.len(), request.encoded_len())
}

/// A host with 8 RNICs of a fabric of 100 000 uploads some 100 reports in a second, nearly all of one probe; one with 2 RNICs 25
/// (docs/figures.md).
#[test]
fn a_report_of_one_probe_takes_at_most_forty_bytes_on_the_wire() {
    for (reports, most) in [(25, 50.0), (100, 40.0), (235, 40.0)] {
        let (encoded, wire) = sizes(reports);
        let each = |bytes: usize| bytes as f64 / f64::from(reports);
        println!(
            "{reports} reports: {:.1} bytes each as encoded, {:.1} on the wire",
            each(encoded),
            each(wire)
        );
        assert!(each(encoded) > 120.0, "{reports}: {}", each(encoded));
        assert!(each(wire) <= most, "{reports}: {}", each(wire));
    }
}
