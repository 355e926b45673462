use proptest::prelude::*;

use super::block::{BlockError, Points, encode, find, merge_into};
use super::*;
use crate::analysis::sketch::Sketch;
use crate::time::Nanos;

fn point(sent: u64, lost: u64, spans: &[i64]) -> Point {
    let mut sums = Sums {
        sent,
        lost,
        ..Sums::default()
    };
    for span in spans {
        sums.network_rtt.add(Nanos(*span));
    }
    Point::from(&sums)
}

/// As an RNIC has it.
fn with_delays(point: Point, prober: &[i64], responder: &[i64]) -> Point {
    let spans = |all: &[i64]| {
        let mut sketch = Sketch::default();
        for span in all {
            sketch.add(Nanos(*span));
        }
        Spans::from(&sketch)
    };
    Point {
        prober_delay: spans(prober),
        responder_delay: spans(responder),
        ..point
    }
}

fn read(bytes: &[u8]) -> Result<Points, BlockError> {
    let mut points = Points::new();
    merge_into(&mut points, bytes).map(|()| points)
}

#[test]
fn steps_begin_at_whole_hours_and_end_with_the_range() {
    let at = |minutes: i64| WallTime::from_nanos(minutes * 60_000_000_000);
    assert_eq!(Step::Hour.begin(at(119)), at(60));
    assert_eq!(Step::TenMinutes.begin(at(-1)), at(-10));
    assert_eq!(
        steps(Step::TenMinutes, at(5), at(30), 9),
        [at(0), at(10), at(20)]
    );
    assert_eq!(
        steps(Step::Minute, at(5), at(5_000), 2),
        [at(5), at(6)],
        "bounded"
    );
    assert_eq!(steps(Step::Minute, at(5), at(5), 9), []);
    for step in Step::ALL {
        assert_eq!(Step::from_minutes(step.minutes()), Some(step));
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind.number()), Some(kind));
    }
}

#[test]
fn nothing_is_kept_longer_than_hours_are() {
    let day = Duration::from_hours(24);
    let kept = |retention: Duration| Step::ALL.map(|step| step.kept(retention).as_secs() / 3_600);
    assert_eq!(kept(8 * day), [6, 48, 192]);
    assert_eq!(kept(day), [6, 24, 24]);
    assert_eq!(kept(Duration::from_hours(1)), [1, 1, 1]);
}

#[test]
fn a_block_of_a_large_fabric_is_small() {
    // A bucket of 256 ToRs: pairs from one ToR, each with 100 round trips within a factor of two.
    let spans: Vec<i64> = (0..100).map(|number| 12_000 + 120 * number).collect();
    let points: Points = (0..256)
        .map(|tor| {
            (
                ("tor17".to_owned(), format!("tor{tor}")),
                point(100, 1, &spans),
            )
        })
        .collect();
    let bytes = encode(&points);
    assert_eq!(read(&bytes), Ok(points));
    let each = bytes.len() / 256;
    assert!(each <= 32, "{each} bytes for each point");
}

#[test]
fn what_is_no_block_is_refused() {
    assert_eq!(read(&[]), Err(BlockError::Damaged(0)));
    assert_eq!(read(&[9]), Err(BlockError::Version(9)));
    assert_eq!(read(&[1]), Ok(Points::new()));
    assert_eq!(read(&[2]), Ok(Points::new()));
    // A key that shares more than there is, lengths beyond the end, a bin twice, a count of zero.
    for damaged in [
        &[1, 1, 0, 0][..],
        &[1, 0, 200, 1],
        &[1, 0, 1, 0, 5, 1],
        &[1, 0, 1, 0, 6, 1, 0, 3, 1, 0, 1],
        &[1, 0, 1, 0, 4, 1, 0, 3, 0],
        &[1, 0, 1, 0, 6, 1, 0, 3, 1, 0, 0],
        // More than three kinds of spans.
        &[2, 0, 1, 0, 5, 1, 0, 0, 0, 0],
        &[2, 0, 1, 0, 4, 1, 0, 3, 0],
        &[
            1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
    ] {
        assert!(
            matches!(read(damaged), Err(BlockError::Damaged(_))),
            "{damaged:?}"
        );
    }
}

#[test]
fn blocks_of_earlier_programs_are_read() {
    // One series `a`, `b`: 5 probes, 1 lost, two round trips in bin 0 and one in bin 40.
    let mut block = vec![1, 0, 3, 1, b'a', b'b', 6, 5, 1, 0, 2, 40, 1];
    let found = find(&block, "a", "b").expect("a block").expect("there");
    assert_eq!((found.sent, found.lost), (5, 1));
    assert_eq!(found.rtt.bins, [(0, 2), (40, 1)]);
    assert!(found.prober_delay.is_empty());
    // Written anew it is the same in as many bytes.
    let points = read(&block).expect("a block");
    block[0] = 2;
    block[9] = 1;
    assert_eq!(encode(&points), block);
}

#[test]
fn delays_are_kept_apart_and_merged() {
    let mut rnic = with_delays(point(2, 0, &[5_000, 5_100]), &[1_000], &[]);
    rnic.merge(&with_delays(point(1, 1, &[]), &[], &[90_000]));
    let points = Points::from([(("h".to_owned(), "d".to_owned()), rnic.clone())]);
    assert_eq!(read(&encode(&points)), Ok(points));
    for (spans, expected) in [
        (&rnic.rtt, 5_100),
        (&rnic.prober_delay, 1_000),
        (&rnic.responder_delay, 90_000),
    ] {
        let median = spans.quantile(0.5).expect("some").0;
        assert!(
            (median - expected).abs() <= expected / 14,
            "{median} {expected}"
        );
    }
}

prop_compose! {
    fn any_spans()(spans in prop::collection::vec(0..1i64 << 40, 0..20)) -> Vec<i64> { spans }
}

prop_compose! {
    fn any_point()(sent in 0..1_000_000u64, lost in 0..100u64, rtt in any_spans(), prober in any_spans(), responder in any_spans()) -> Point {
        with_delays(point(sent, lost, &rtt), &prober, &responder)
    }
}

proptest! {
    #[test]
    fn a_point_is_right_to_a_sixteenth(spans in prop::collection::vec(64..1i64 << 40, 1..200), q in 0.0..=1.0f64) {
        let mut exact = Sketch::default();
        for span in &spans {
            exact.add(Nanos(*span));
        }
        let (coarse, fine) = (point(0, 0, &spans).quantile(q), exact.quantile(q));
        let (coarse, fine) = (coarse.expect("some").0 as f64, fine.expect("some").0 as f64);
        prop_assert!((coarse - fine).abs() <= fine / 16.0 + fine / 100.0, "{coarse} {fine}");
    }

    #[test]
    fn merging_is_the_same_as_counting_together(a in prop::collection::vec(0..1i64 << 40, 0..50), b in prop::collection::vec(0..1i64 << 40, 0..50)) {
        let mut merged = point(3, 1, &a);
        merged.merge(&point(4, 2, &b));
        prop_assert_eq!(merged, point(7, 3, &[a, b].concat()));
    }

    #[test]
    fn blocks_survive_and_each_series_is_found(points in prop::collection::btree_map(("[a-c\u{0}ä]{0,4}", "[a-c0-9]{0,4}"), any_point(), 0..30)) {
        let mut points: Points = points;
        points.retain(|_, point| !point.is_empty());
        let bytes = encode(&points);
        prop_assert_eq!(read(&bytes), Ok(points.clone()));
        for ((first, second), point) in &points {
            prop_assert_eq!(find(&bytes, first, second), Ok(Some(point.clone())));
        }
        prop_assert_eq!(find(&bytes, "none", "none"), Ok(None));
    }

    #[test]
    fn any_bytes_are_a_block_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![if bytes.len() % 2 == 0 { 1 } else { 2 }];
        versioned.extend(&bytes);
        let _ = read(&bytes);
        if let Ok(points) = read(&versioned) {
            prop_assert_eq!(read(&encode(&points)).map(|again| again.len() <= points.len()), Ok(true));
        }
        let _ = find(&versioned, "a", "b");
    }
}
