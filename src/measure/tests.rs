use proptest::prelude::*;

use super::*;

const COMPLETE: Timestamps = Timestamps {
    posted: HostTime::from_nanos(1_000),
    sent: Some(NicTime::from_nanos(500_000)),
    responder_delay: Some(Nanos(300)),
    acknowledged: Some(NicTime::from_nanos(502_000)),
    handled: Some(HostTime::from_nanos(4_000)),
};

#[test]
fn differences_are_taken_within_one_clock() {
    assert_eq!(
        COMPLETE.conclude(),
        Outcome::Complete(Measurement {
            network_rtt: Nanos(1_700),
            prober_delay: Nanos(1_000),
            responder_delay: Nanos(300),
        })
    );
}

#[test]
fn what_is_missing_decides_the_outcome() {
    let cases = [
        (
            "nothing came",
            Timestamps {
                acknowledged: None,
                handled: None,
                responder_delay: None,
                ..COMPLETE
            },
        ),
        (
            "no send completion",
            Timestamps {
                sent: None,
                ..COMPLETE
            },
        ),
        (
            "nothing at all",
            Timestamps::posted(HostTime::from_nanos(0)),
        ),
        (
            "no first ACK",
            Timestamps {
                acknowledged: None,
                handled: None,
                ..COMPLETE
            },
        ),
        (
            "no second ACK",
            Timestamps {
                responder_delay: None,
                ..COMPLETE
            },
        ),
        (
            "responder's clock runs back",
            Timestamps {
                responder_delay: Some(Nanos(-1)),
                ..COMPLETE
            },
        ),
        (
            "responder slower than the round trip",
            Timestamps {
                responder_delay: Some(Nanos(2_001)),
                ..COMPLETE
            },
        ),
        (
            "host faster than the round trip",
            Timestamps {
                handled: Some(HostTime::from_nanos(2_999)),
                ..COMPLETE
            },
        ),
    ];
    let table: Vec<_> = cases
        .iter()
        .map(|(name, stamps)| format!("{name}: {:?}", stamps.conclude()))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let spans = (1..=200).rev().map(Nanos);
    assert_eq!(
        Summary::of(spans),
        Some(Summary {
            min: Nanos(1),
            p50: Nanos(100),
            p90: Nanos(180),
            p99: Nanos(198),
            max: Nanos(200)
        })
    );
    assert_eq!(Summary::of([]), None);
    assert_eq!(percentile(&[Nanos(4)], 0), Some(Nanos(4)));
    assert_eq!(percentile(&[Nanos(4)], 100), Some(Nanos(4)));
}

fn any_span() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -1_000_i64..1_000]
}

proptest! {
    #[test]
    fn no_timestamps_panic_and_no_negative_span_is_a_measurement(
        posted in any_span(),
        sent in proptest::option::of(any_span()),
        delay in proptest::option::of(any_span()),
        acknowledged in proptest::option::of(any_span()),
        handled in proptest::option::of(any_span()),
    ) {
        let stamps = Timestamps {
            posted: HostTime::from_nanos(posted),
            sent: sent.map(NicTime::from_nanos),
            responder_delay: delay.map(Nanos),
            acknowledged: acknowledged.map(NicTime::from_nanos),
            handled: handled.map(HostTime::from_nanos),
        };
        match stamps.conclude() {
            Outcome::Complete(measurement) => {
                prop_assert!(stamps.is_complete());
                prop_assert!(!measurement.network_rtt.is_negative());
                prop_assert!(!measurement.prober_delay.is_negative());
                prop_assert!(!measurement.responder_delay.is_negative());
            }
            Outcome::Lost => prop_assert!(acknowledged.is_none() || handled.is_none()),
            Outcome::Invalid(_) => {}
        }
    }
}
