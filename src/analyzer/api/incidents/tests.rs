use super::*;
use crate::analysis::incident::{Severity, Subjects};
use crate::analysis::judge::Category;
use crate::api::query::Choice;

#[test]
fn one_more_is_read_than_is_answered() {
    let query = IncidentsQuery {
        state: Some(Choice(Wanted::Open)),
        before: Some(7.into()),
        limit: IncidentPageSize::new(3),
        ..IncidentsQuery::default()
    };
    let expected = Query {
        open: Some(true),
        before: Some(7),
        limit: 4,
    };
    assert_eq!(to_store(&query), expected);
    let one = to_store(&IncidentsQuery {
        id: Some(7.into()),
        ..IncidentsQuery::default()
    });
    assert_eq!((one.before, one.limit), (Some(8), 1));
}

fn fields(prefix: &str, value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{prefix}{name}");
                found.insert(path.clone());
                if !path.ends_with(".subject") {
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
        subject: localize::Component::Switch {
            name: "spine1".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
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
        perhaps: BTreeMap::new(),
        evidence: vec!["why".to_owned()],
        openings: 1,
        interval: Some([0.9, 1.0]),
        explains: vec![Known {
            subject: localize::Component::Link {
                from: "spine1".to_owned(),
                to: "tor3".to_owned(),
            },
            category: Category::LinkLoss,
            title: "link spine1->tor3 loses 10 %".to_owned(),
            incident: Some(6),
            seen_unix_ns: 2,
        }],
        subjects: Subjects::default(),
        cause: None,
    };
    let query = IncidentsQuery::default();
    let answer = incidents(&query, &View::default(), vec![incident]);
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
