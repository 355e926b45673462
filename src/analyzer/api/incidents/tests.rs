use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<IncidentQuery, String> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    IncidentQuery::parse(&pairs)
}

#[test]
fn a_query_is_read_completely_or_refused() {
    let query = parse(&[("state", "open"), ("before", "7"), ("limit", "3")]).expect("fine");
    let expected = Query {
        open: Some(true),
        before: Some(7),
        limit: 4,
    };
    assert_eq!(query.to_store(), expected);
    let one = parse(&[("id", "7")]).expect("fine").to_store();
    assert_eq!((one.before, one.limit), (Some(8), 1));
    for (pairs, expected) in [
        (
            vec![("state", "new")],
            "`state` must be open, closed or all, not `new`",
        ),
        (
            vec![("id", "x")],
            "`id` must be the number of an incident, not `x`",
        ),
        (
            vec![("limit", "0")],
            "`limit` must be a number from 1 to 1000, not `0`",
        ),
        (vec![("id", "1"), ("id", "2")], "`id` is given twice"),
        (
            vec![("colour", "red")],
            "`colour` is unknown: expected state, before, id or limit",
        ),
    ] {
        assert_eq!(parse(&pairs), Err(expected.to_owned()));
    }
}

fn fields(prefix: &str, value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{prefix}{name}");
                found.insert(path.clone());
                if path != "incidents.subject" {
                    fields(&format!("{path}."), member, found);
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                fields(prefix, item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_documentation_names_exactly_the_fields() {
    let incident = Incident {
        id: 7,
        subject: Component::Switch {
            name: "spine1".to_owned(),
        },
        or: Vec::new(),
        category: Category::SwitchDown,
        severity: Severity::P0,
        opened_unix_ns: 1,
        seen_unix_ns: 2,
        closed_unix_ns: None,
        confidence: 1.0,
        share: 1.0,
        sent: 10,
        lost: 10,
        services: [("train".to_owned(), true)].into(),
        evidence: vec!["why".to_owned()],
        openings: 1,
    };
    let query = parse(&[]).expect("fine");
    let answer = answer(&query, &View::default(), vec![incident]);
    let mut emitted = std::collections::BTreeSet::new();
    let value = serde_json::to_value(answer).expect("JSON");
    fields("", &value, &mut emitted);
    let document = include_str!("../../../../docs/api.md");
    let table = document
        .split("<!-- fields: /api/v1/incidents -->")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("a table");
    let documented = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(emitted, documented);
}
