use super::*;
use crate::analysis::windows::Sums;
use crate::time::WallTime;

fn point(sent: u64, lost: u64, rtt: i64) -> Point {
    let mut sums = Sums {
        sent,
        lost,
        ..Sums::default()
    };
    for _ in lost..sent {
        sums.network_rtt.add(Nanos(rtt));
    }
    Point::from(&sums)
}

/// Hours that are kept, each with as many probes.
fn hours(kept: impl IntoIterator<Item = i64>, lost: u64, rtt: i64) -> Values {
    let hour = |number: i64| {
        let at = WallTime::from_nanos(number * Step::Hour.nanos().0);
        (at, Some(point(100, lost, rtt)))
    };
    kept.into_iter().map(hour).collect()
}

fn said(values: Values, before: Values) -> String {
    let weeks = Weeks {
        values,
        before,
        ..Weeks::none(Step::Hour)
    };
    weeks.baseline()
}

#[test]
fn only_hours_of_both_weeks_are_compared() {
    let mut now = hours(0..19, 0, 20_000);
    // Hour 19 is bad, but the week before has none to compare it with.
    now.extend(hours(19..20, 90, 9_000_000));
    let all = said(now.clone(), hours(0..20, 0, 20_000));
    assert!(
        all.starts_with("p99 is as it was") && !all.contains("kept"),
        "{all}"
    );
    let most = said(now.clone(), hours(0..19, 0, 10_000));
    assert!(
        most.starts_with("p99 is 2.0 times that of the same time a week before (")
            && most.ends_with("only 19 of 20 hours of the week before are kept."),
        "{most}"
    );
    assert_eq!(
        said(now, hours(0..17, 0, 10_000)),
        "Not compared with the week before: only 17 of 20 hours of the week before are kept."
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    assert_eq!(
        said(hours(0..3, 0, 1), Values::new()),
        "Nothing is kept of the same time a week before."
    );
    assert_eq!(
        said(Values::new(), hours(0..3, 0, 1)),
        "No hours of this range can be compared with the week before yet."
    );
    let lost = said(hours(0..3, 100, 1), hours(0..3, 0, 1));
    assert!(
        lost.starts_with("No RTT can be compared with the week before; lost 100"),
        "{lost}"
    );
}

/// Minutes now, hours a week ago: the hours of both are compared, not minutes with hours.
#[test]
fn steps_of_one_length_are_compared() {
    let minutes = (30..90).map(|minute| {
        let at = WallTime::from_nanos(minute * Step::Minute.nanos().0);
        (at, Some(point(1, 0, 92_000)))
    });
    let weeks = Weeks {
        values: minutes.collect(),
        before_step: Step::Hour,
        before: hours(0..2, 1, 10_000),
        ..Weeks::none(Step::Minute)
    };
    let said = weeks.baseline();
    assert!(
        said.starts_with("p99 is 9.") && !said.contains("kept"),
        "{said}"
    );
}
