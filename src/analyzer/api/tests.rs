use super::answer::Described;
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

/// Set it to write the tables instead of comparing them.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";

/// The table of an answer's fields.
fn table<T: Described>() -> String {
    let mut rows = Vec::new();
    T::members("", &mut rows);
    let mut table = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    for (path, kind, text) in rows {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        table += &["| `", &path, "` | ", &kind, " | ", &text, " |\n"].concat();
    }
    table
}

#[test]
fn the_documented_fields_are_those_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let written = std::fs::read_to_string(file).expect("docs/api.md");
    let mut made = written.clone();
    for (resource, table) in [
        ("paths", table::<PathsAnswer>()),
        ("agents", table::<AgentsAnswer>()),
        ("traces", table::<traces::TracesAnswer>()),
        ("incidents", table::<incidents::IncidentsAnswer>()),
        ("status", table::<incidents::StatusAnswer>()),
        ("matrix", table::<matrix::MatrixAnswer>()),
        ("topology", table::<topology::TopologyAnswer>()),
    ] {
        let marker = format!("<!-- fields: /api/v1/{resource} -->\n");
        let (before, rest) = made.split_once(&marker).expect("a marker");
        let (_, after) = rest.split_once("\n\n").expect("text behind the table");
        made = format!("{before}{marker}{table}\n{after}");
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(file, made).expect("written");
        return;
    }
    let differs = written
        .lines()
        .zip(made.lines())
        .find(|(written, made)| written != made);
    assert!(
        written == made,
        "docs/api.md is stale ({UPDATE}=1 writes its tables): {differs:?}"
    );
}
