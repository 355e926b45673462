use proptest::prelude::*;

use super::*;

/// 2027-01-15 08:00 UTC.
const START: i64 = 1_800_000_000_000_000_000;

fn range(minutes: i64) -> Range {
    let from = WallTime::from_nanos(START);
    Range {
        from,
        to: from + Nanos(minutes * MINUTE),
    }
}

/// Steps of this length, in minutes from the beginning of the range.
fn drawn(minutes: i64, length: i64, values: &[(i64, Option<f64>)]) -> Chart {
    let at = |minute: i64| WallTime::from_nanos(START + minute * MINUTE);
    let values: Vec<_> = values
        .iter()
        .map(|(minute, value)| (at(*minute), *value))
        .collect();
    let line = Line {
        class: "p99",
        title: "p99",
        values: &values,
        length: Nanos(length * MINUTE),
    };
    let href = |range: Range| format!("?from={}", (range.from.nanos() - START) / MINUTE);
    Chart::draw(
        "RTT",
        range(minutes),
        &[line],
        |value| format!("{value}"),
        &href,
    )
}

fn chart(minutes: i64, values: &[Option<f64>]) -> Chart {
    let values: Vec<_> = (0..).step_by(15).zip(values.iter().copied()).collect();
    drawn(minutes, 15, &values)
}

#[test]
fn a_line_has_level_pieces_and_gaps() {
    let chart = chart(60, &[Some(10.0), Some(20.0), None, Some(0.0)]);
    insta::assert_snapshot!(chart.lines[0].path, @"M70.0 103.0H275.0V12.0H480.0M685.0 194.0H890.0");
    let labels: Vec<_> = chart.rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["0", "5", "10", "15", "20"]);
    assert_eq!(
        chart.summary,
        "RTT from 2027-01-15 08:00:00 UTC to 2027-01-15 09:00:00 UTC, at most 20"
    );
}

/// The plot begins at 70 and ends at 890: 820 for the hour.
#[test]
fn a_step_stands_where_its_time_is() {
    let path = |values: &[(i64, Option<f64>)]| drawn(60, 10, values).lines[0].path.clone();
    assert_eq!(
        path(&[(-5, Some(1.0)), (5, Some(1.0)), (55, Some(1.0))]),
        "M70.0 12.0H138.3V12.0H275.0M821.7 12.0H890.0",
        "what is outside of the range is cut off"
    );
    assert_eq!(path(&[(30, Some(1.0))]), "M480.0 12.0H616.7");
    assert_eq!(
        path(&[(0, Some(1.0)), (30, Some(1.0))]),
        "M70.0 12.0H206.7M480.0 12.0H616.7",
        "a step that is left out is a gap"
    );
    assert_eq!(path(&[(-10, Some(1.0)), (60, Some(1.0))]), "");
}

#[test]
fn ticks_are_whole_spans_and_parts_lead_into_the_chart() {
    let labels = |minutes: i64| {
        let chart = chart(minutes, &[]);
        let labels: Vec<_> = chart
            .columns
            .iter()
            .map(|tick| tick.label.clone())
            .collect();
        labels.join(" ")
    };
    assert_eq!(labels(60), "08:00 08:10 08:20 08:30 08:40 08:50 09:00");
    assert_eq!(
        labels(24 * 60),
        "09:00 12:00 15:00 18:00 21:00 01-16 03:00 06:00"
    );
    assert_eq!(
        labels(7 * 24 * 60),
        "01-16 01-17 01-18 01-19 01-20 01-21 01-22"
    );
    let parts = chart(120, &[]).parts;
    assert_eq!((parts.len(), parts[3].href.as_str()), (12, "?from=30"));
    assert_eq!(chart(50, &[]).parts, [], "too short to divide");
}

proptest! {
    /// Whatever the values and the range: lines stay inside the plot, and nothing is too long.
    #[test]
    fn a_chart_stays_in_its_frame(
        minutes in 1..1_000_000i64,
        values in prop::collection::vec(prop::option::of(0.0..1e15f64), 0..400),
    ) {
        let chart = chart(minutes, &values);
        prop_assert!(chart.columns.len() <= 10 && chart.rows.len() == 5);
        prop_assert!(chart.lines[0].path.len() <= 32 * 400);
        for number in chart.lines[0].path.split(['M', 'V', 'H', ' ']).filter(|text| !text.is_empty()) {
            let number: f64 = number.parse().expect("a number");
            prop_assert!((TOP - 0.1..=WIDTH).contains(&number), "{number}");
        }
        prop_assert!(values.iter().flatten().all(|value| nice(*value) >= *value * 0.999));
    }
}
