use proptest::prelude::*;

use super::*;

fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
    text.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn what_is_malformed_is_named() {
    let cases: &[&[(&str, &str)]] = &[
        &[("metric", "beauty")],
        &[("window", "7s")],
        &[("colour", "red")],
        &[("window", "5s"), ("window", "5s")],
        &[("rows_from", "a")],
        &[("at", "yesterday")],
        &[("at", "99999999999999999999")],
        &[("at", "9999999999999")],
        &[("at", "2026-13-40T99:99")],
        &[(
            "metric",
            "a very long one, longer than anybody wants to read again in a message",
        )],
    ];
    let lines: Vec<String> = cases
        .iter()
        .map(|case| View::parse(&pairs(case)).expect_err("malformed"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn times_are_seconds_or_what_a_form_sends() {
    let seconds = |text: &str| {
        at(text)
            .expect("a time")
            .map(|at| at.nanos() / 1_000_000_000)
    };
    assert_eq!(seconds(""), None);
    assert_eq!(seconds("1800000000"), Some(1_800_000_000));
    assert_eq!(seconds("2027-01-15T08:00"), Some(1_800_000_000));
    assert_eq!(seconds("2027-01-15T08:00:01"), Some(1_800_000_001));
}

proptest! {
    /// Links lead where they say: what is written is read again as it was.
    #[test]
    fn views_survive_their_address(
        metric in 0..Metric::ALL.len(), window in 0..WindowLength::ALL.len(), first in ".{0,8}", last in ".{0,8}", at in proptest::option::of(0..4_000_000_000i64),
    ) {
        let view = View {
            metric: Metric::ALL[metric],
            window: WindowLength::ALL[window],
            rows: Some((first, last)),
            columns: None,
            at: at.map(|seconds| WallTime::from_nanos(seconds * 1_000_000_000)),
        };
        let uri: axum::http::Uri = format!("/{}", view.query()).parse().expect("an address");
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).expect("pairs");
        prop_assert_eq!(View::parse(&pairs), Ok(view));
    }
}
