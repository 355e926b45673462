use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<TraceQuery, String> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    TraceQuery::parse(&pairs)
}

#[test]
fn a_query_is_read_completely_or_refused() {
    let query = parse(&[
        ("source", "host1"),
        ("target", "10.0.0.2"),
        ("source_port", "50000"),
        ("node", "10.1.0.1"),
        ("changed", "true"),
        ("limit", "7"),
        ("offset", "3"),
    ])
    .unwrap();
    assert_eq!((query.port, query.changed), (Some(50_000), Some(true)));
    assert_eq!((query.limit, query.offset), (7, 3));
    let faults = [
        parse(&[("source_port", "0")]),
        parse(&[("source_port", "65536")]),
        parse(&[("changed", "maybe")]),
        parse(&[("limit", "10001")]),
        parse(&[("hop", "x")]),
        parse(&[("node", "a"), ("node", "b")]),
    ];
    let lines: Vec<_> = faults.into_iter().map(Result::unwrap_err).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
