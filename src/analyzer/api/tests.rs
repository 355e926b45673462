use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<PathQuery, String> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    PathQuery::parse(&pairs)
}

#[test]
fn a_query_is_read_completely_or_refused() {
    let query = parse(&[
        ("window", "120s"),
        ("kind", "inter_tor"),
        ("limit", "7"),
        ("offset", "3"),
    ])
    .unwrap();
    assert_eq!(
        (query.window, query.kind),
        (Span::Long, Some(Kind::InterTor))
    );
    assert_eq!((query.limit, query.offset), (7, 3));
    let faults = [
        parse(&[("window", "10s")]),
        parse(&[("kind", "x")]),
        parse(&[("limit", "0")]),
        parse(&[("limit", "10001")]),
        parse(&[("offset", "-1")]),
        parse(&[("colour", "red")]),
        parse(&[("source", "a"), ("source", "b")]),
    ];
    let lines: Vec<_> = faults.into_iter().map(Result::unwrap_err).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
