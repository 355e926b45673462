use std::fmt::Write as _;

use axum::extract::Query;
use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};

use super::agents::{Agents, AgentsQuery};
use super::component::Component;
use super::evidence::EvidenceQuery;
use super::focus::FocusQuery;
use super::incidents::{Incidents, IncidentsQuery, Wanted};
use super::matrix::MatrixQuery;
use super::paths::PathsQuery;
use super::query::{Choice, PageSize, Port, explain};
use super::read::{ReadError, read};
use super::status::StatusQuery;
use super::topology::TopologyQuery;
use super::traces::TracesQuery;
use super::trends::TrendsQuery;
use super::withdrawn::WithdrawnQuery;
use super::*;
use crate::analysis::judge::Category;
use crate::analysis::windows::WindowLength;

/// A query as the analyzer takes it.
fn asked<Q: Request>(query: &str) -> Result<Q, String> {
    let uri = format!("{}?{query}", Q::PATH).parse().expect("an address");
    match Query::try_from_uri(&uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(explain(&rejection)),
    }
}

fn refusals<Q: Request>(queries: &[&str]) -> String {
    let mut text = format!("{}\n", Q::PATH);
    for query in queries {
        let message = asked::<Q>(query).err().expect("a refusal");
        writeln!(text, "  {query}\n    {message}").expect("a string takes all");
    }
    text
}

#[test]
fn a_wrong_query_is_refused_with_what_is_allowed() {
    let long = format!("window={}", "x".repeat(100));
    let text = [
        refusals::<PathsQuery>(&[
            "window=10s",
            &long,
            "kind=x",
            "limit=0",
            "limit=10001",
            "limit=",
            "offset=-1",
            "offset=18446744073709551616",
            "colour=red",
            "source=a&source=b",
            "window=%zz",
        ]),
        refusals::<TracesQuery>(&[
            "source_port=0",
            "source_port=65536",
            "changed=maybe",
            "hop=x",
            "node=a&node=b",
        ]),
        refusals::<IncidentsQuery>(&["state=new", "id=x", "limit=1001", "id=1&id=2"]),
        refusals::<MatrixQuery>(&["window=7s", "colour=red"]),
        refusals::<TopologyQuery>(&["detail=ports"]),
        refusals::<StatusQuery>(&["colour=red"]),
        refusals::<AgentsQuery>(&["agent=a"]),
        refusals::<FocusQuery>(&["colour=red"]),
        refusals::<WithdrawnQuery>(&["rnic=a", "host=a&host=b"]),
        refusals::<EvidenceQuery>(&["since_unix_ns=-1", "with=a"]),
    ]
    .concat();
    insta::assert_snapshot!(text);
}

#[test]
fn a_query_is_written_as_it_is_read() {
    let paths = PathsQuery {
        window: Some(Choice(WindowLength::Long)),
        source: Some("a b&c=ü".to_owned()),
        kind: Some(Choice(crate::probe::ProbeKind::InterTor)),
        limit: PageSize::new(7),
        offset: Some(3.into()),
        ..PathsQuery::default()
    };
    let target = paths.target();
    assert_eq!(
        target,
        "/api/v1/paths?window=120s&source=a+b%26c%3D%C3%BC&kind=inter_tor&limit=7&offset=3"
    );
    let (_, query) = target.split_once('?').expect("a query");
    assert_eq!(asked(query), Ok(paths));
    let traces = TracesQuery {
        source_port: Port::new(50_000),
        changed: Some(Choice(true)),
        ..TracesQuery::default()
    };
    assert_eq!(asked("source_port=50000&changed=true"), Ok(traces));
    let closed = IncidentsQuery {
        state: Some(Choice(Wanted::Closed)),
        ..IncidentsQuery::default()
    };
    assert_eq!(closed.target(), "/api/v1/incidents?state=closed");
    assert_eq!(StatusQuery::default().target(), "/api/v1/status");
    assert_eq!(asked(""), Ok(StatusQuery::default()));
    assert_eq!((PageSize::new(0), PageSize::new(10_001)), (None, None));
}

/// An answer of a newer analyzer.
fn newer() -> serde_json::Value {
    json!({
        "next_before": null,
        "since": "a newer version",
        "incidents": [{
            "id": 7, "state": "muted", "severity": "P1", "category": "optics_dirty", "title": "t",
            "subject": {"kind": "plane", "name": "2"}, "or": [{"kind": "switch", "name": "s", "rack": 3}],
            "opened_unix_ns": 1, "seen_unix_ns": 2, "closed_unix_ns": null, "confidence": 1, "share": 0.5,
            "sent": 3, "lost": 1, "openings": 1, "services": [], "evidence": [], "plane": 2,
        }],
    })
}

#[test]
fn what_a_newer_analyzer_adds_is_no_obstacle() {
    let answer: Incidents = read(newer().to_string().as_bytes()).expect("read");
    let incident = &answer.incidents[0];
    assert_eq!(incident.category, Name::Unknown("optics_dirty".to_owned()));
    assert_eq!(incident.state.as_str(), "muted");
    assert_eq!(incident.subject, Component::Other);
    assert_eq!(
        incident.or,
        [Component::Switch {
            name: "s".to_owned()
        }]
    );
    let known: Name<Category> = serde_json::from_str("\"link_loss\"").expect("a name");
    assert!(known.is(Category::LinkLoss));
}

#[test]
fn an_answer_in_another_form_is_an_error_that_names_the_field() {
    let said = |body: &str| {
        let error = read::<Incidents>(body.as_bytes()).expect_err("an error");
        let place = matches!(error, ReadError::Form { .. });
        let cause = std::error::Error::source(&error).expect("a cause");
        (place, format!("{error}: {cause}"))
    };
    let mut lines = Vec::new();
    for (pointer, value) in [
        ("/incidents/0/severity", None),
        ("/incidents/0/lost", Some(json!("many"))),
        ("/incidents/0/subject/name", None),
        ("/incidents", Some(json!(null))),
    ] {
        let mut answer = newer();
        answer["incidents"][0]["subject"]["kind"] = json!("host");
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = answer.pointer_mut(parent).expect("it is there");
        match value {
            Some(value) => parent[name] = value,
            None => drop(parent.as_object_mut().expect("an object").remove(name)),
        }
        let (is_form, text) = said(&answer.to_string());
        assert!(is_form, "{text}");
        lines.push(text);
    }
    for body in ["<html>", "{} {}", ""] {
        lines.push(said(body).1);
    }
    let text = lines
        .join("\n")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

/// Set it to write the tables instead of comparing them.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";

/// Rows of a table of fields.
struct Table<'a> {
    document: &'a OpenApi,
    rows: String,
}

impl<'a> Table<'a> {
    fn resolved<'b>(&self, schema: &'b RefOr<Schema>) -> &'b Schema
    where
        'a: 'b,
    {
        match schema {
            RefOr::T(schema) => schema,
            RefOr::Ref(reference) => {
                let name = reference.ref_location.rsplit('/').next().expect("a name");
                let components = self.document.components.as_ref().expect("components");
                match &components.schemas[name] {
                    RefOr::T(schema) => schema,
                    RefOr::Ref(_) => panic!("{name} refers to another"),
                }
            }
        }
    }

    /// What a value is in JSON; of several with an s.
    fn kind(&self, schema: &RefOr<Schema>, s: &str) -> String {
        let nullable = |types: &SchemaType| match types {
            SchemaType::Array(types) if types.contains(&Type::Null) => format!(" or null{s}"),
            _ => String::new(),
        };
        match self.resolved(schema) {
            Schema::Array(array) => {
                let ArrayItems::RefOrSchema(items) = &array.items else {
                    panic!("a list of nothing");
                };
                let items = self.kind(items, "s");
                format!("list{s} of {items}{}", nullable(&array.schema_type))
            }
            Schema::Object(object) => {
                let types = match &object.schema_type {
                    SchemaType::Type(one) => vec![one.clone()],
                    SchemaType::Array(types) => types.clone(),
                    SchemaType::AnyValue => panic!("a value of any type"),
                };
                let name = match types.iter().find(|one| **one != Type::Null) {
                    Some(Type::String) => "string",
                    Some(Type::Integer) => "integer",
                    Some(Type::Number) => "number",
                    Some(Type::Boolean) => "boolean",
                    Some(Type::Object) => "object",
                    _ => panic!("a value of no type"),
                };
                let of = match object.additional_properties.as_deref() {
                    Some(AdditionalProperties::RefOr(values)) => {
                        format!(" of {}", self.kind(values, "s"))
                    }
                    _ => String::new(),
                };
                format!("{name}{s}{of}{}", nullable(&object.schema_type))
            }
            Schema::OneOf(choice) => match value_or_null(&choice.items) {
                Some(value) => format!("{} or null{s}", self.kind(value, s)),
                None => format!("object{s}"),
            },
            _ => panic!("a schema of no table"),
        }
    }

    fn members(&mut self, prefix: &str, schema: &RefOr<Schema>) {
        match self.resolved(schema).clone() {
            Schema::Array(array) => {
                if let ArrayItems::RefOrSchema(items) = &array.items {
                    self.members(prefix, items);
                }
            }
            Schema::Object(object) => {
                for (name, field) in &object.properties {
                    let path = format!("{prefix}{name}");
                    let text = meaning(field);
                    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                    assert!(!text.is_empty(), "{path} has no description");
                    let kind = self.kind(field, "");
                    writeln!(self.rows, "| `{path}` | {kind} | {text} |")
                        .expect("a string takes all");
                    self.members(&format!("{path}."), field);
                }
                if let Some(AdditionalProperties::RefOr(values)) =
                    object.additional_properties.as_deref()
                {
                    self.members(&format!("{prefix}*."), values);
                }
            }
            Schema::OneOf(choice) => {
                if let Some(value) = value_or_null(&choice.items) {
                    self.members(prefix, value);
                }
            }
            _ => panic!("a schema of no table"),
        }
    }
}

/// The other choice beside null.
fn value_or_null(items: &[RefOr<Schema>]) -> Option<&RefOr<Schema>> {
    match (items.iter().any(openapi::is_null), items.len()) {
        (true, 2) => items.iter().find(|item| !openapi::is_null(item)),
        _ => None,
    }
}

/// A field's description.
fn meaning(field: &RefOr<Schema>) -> String {
    let text = match field {
        RefOr::Ref(reference) => Some(reference.description.clone()),
        RefOr::T(Schema::Array(array)) => array.description.clone(),
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(Schema::OneOf(choice)) => value_or_null(&choice.items).map(meaning),
        RefOr::T(_) => None,
    };
    text.unwrap_or_default()
}

fn table<Q: Request>(document: &OpenApi) -> (&'static str, String) {
    let components = document.components.as_ref().expect("components");
    let mut table = Table {
        document,
        rows: "| field | type | meaning |\n|---|---|---|\n".to_owned(),
    };
    table.members("", &components.schemas[&*Q::Answer::name()]);
    (Q::PATH, table.rows)
}

#[test]
fn the_documented_fields_are_those_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let written = std::fs::read_to_string(file).expect("docs/api.md");
    let mut made = written.clone();
    let document = openapi::document();
    for (path, table) in [
        table::<PathsQuery>(&document),
        table::<AgentsQuery>(&document),
        table::<TracesQuery>(&document),
        table::<IncidentsQuery>(&document),
        table::<StatusQuery>(&document),
        table::<MatrixQuery>(&document),
        table::<TopologyQuery>(&document),
        table::<FocusQuery>(&document),
        table::<WithdrawnQuery>(&document),
        table::<EvidenceQuery>(&document),
        table::<TrendsQuery>(&document),
    ] {
        let marker = format!("<!-- fields: {path} -->\n");
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

fn parameters<Q: Request>() -> (&'static str, Vec<String>) {
    let parameters = openapi::parameters::<Q>();
    let names = parameters.into_iter().map(|parameter| parameter.name);
    (Q::PATH, names.collect())
}

/// Each resource's table of parameters in `docs/api.md`, or the one parameter that its text names.
#[test]
fn the_documented_parameters_are_those_of_the_code() {
    let document = include_str!("../../docs/api.md");
    for (path, expected) in [
        parameters::<PathsQuery>(),
        parameters::<AgentsQuery>(),
        parameters::<TracesQuery>(),
        parameters::<IncidentsQuery>(),
        parameters::<StatusQuery>(),
        parameters::<MatrixQuery>(),
        parameters::<TopologyQuery>(),
        parameters::<FocusQuery>(),
        parameters::<WithdrawnQuery>(),
        parameters::<EvidenceQuery>(),
        parameters::<TrendsQuery>(),
    ] {
        let heading = format!("## `GET {path}`\n");
        let marker = format!("<!-- fields: {path} -->\n");
        let section = document
            .split_once(&heading)
            .and_then(|(_, rest)| rest.split_once(&marker))
            .expect("a section")
            .0;
        let documented: Vec<String> = section
            .split_once("|---|---|---|\n")
            .map(|(_, rows)| rows)
            .unwrap_or_default()
            .lines()
            .map_while(|row| Some(row.strip_prefix("| ")?.split(' ').next()?.to_owned()))
            .collect();
        assert_eq!(documented, expected, "{path}");
    }
}

#[test]
fn evidence_is_read_as_it_was_written_and_contradictions_are_refused() {
    use super::evidence::Evidence;
    use crate::analysis::certify;
    let answer = json!({
        "start_unix_ns": 5, "end_unix_ns": 10, "covered_ns": 5, "has_file": true,
        "counted": {"sent": 9, "lost": 1}, "untraced": {"sent": 2, "lost": 0},
        "set_aside": {"sent": 3, "lost": 3}, "left_out": {"sent": 0, "lost": 0},
        "links": [
            {"from": "h0/mlx5_0", "to": "leaf0", "cables": 0, "paths": 2, "sent": 9, "lost": 1},
            {"from": "leaf0", "to": "spine0", "cables": 1, "paths": 0, "sent": 0, "lost": 0},
        ],
        "lossy": [{"links": [0], "sent": 9, "lost": 1}], "lossy_left_out": 0,
        "rnics": [{
            "name": "h0/mlx5_0", "gid": "10.0.0.1", "tor": "leaf0", "file_tors": ["leaf0"],
            "first_switches": {"leaf0": 2}, "sent": 9, "lost": 1,
            "rtt": {"count": 1, "median_ns": 4}, "prober_delay": {"count": 0, "median_ns": 0},
            "responder_delay": {"count": 2, "median_ns": 7},
        }],
        "missing": ["h9"], "differences": ["a"],
    });
    let evidence: Evidence = read(answer.to_string().as_bytes()).expect("an answer");
    let domain = certify::Evidence::try_from(&evidence).expect("it fits");
    assert_eq!(Evidence::from(&domain), evidence);
    for (place, wrong, said) in [
        (
            "/links/0/lost",
            json!(10),
            "h0/mlx5_0->leaf0: more probes lost than sent",
        ),
        (
            "/lossy/0/links/0",
            json!(2),
            "lossy: link 2 is not in the list of links",
        ),
        (
            "/lossy/0/lost",
            json!(99),
            "lossy: more probes lost than sent",
        ),
        (
            "/rnics/0/name",
            json!("h0"),
            "rnics: `h0` is not the name of an RNIC, or its GID cannot be read",
        ),
        (
            "/rnics/0/gid",
            json!("x"),
            "rnics: `h0/mlx5_0` is not the name of an RNIC, or its GID cannot be read",
        ),
    ] {
        let mut answer = answer.clone();
        *answer.pointer_mut(place).expect(place) = wrong;
        let evidence: Evidence = read(answer.to_string().as_bytes()).expect("an answer");
        let error = certify::Evidence::try_from(&evidence).expect_err(place);
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn the_document_has_every_resource_and_every_type() {
    let text = openapi::document().to_json().expect("JSON");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 11);
    let forget = &paths["/api/v1/withdrawn"]["delete"];
    assert!(forget["responses"]["409"].is_object(), "{forget}");
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("types");
    for (at, _) in text.match_indices("#/components/schemas/") {
        let rest = &text[at + "#/components/schemas/".len()..];
        let name = rest.split('"').next().expect("a name");
        assert!(schemas.contains_key(name), "{name} is not defined");
    }
    let kinds = schemas["Component"]["oneOf"].as_array().expect("kinds");
    let kinds: Vec<_> = kinds
        .iter()
        .map(|kind| &kind["properties"]["kind"]["enum"][0])
        .collect();
    assert_eq!(kinds, ["link", "switch", "host", "rnic", "group"]);
    let read: Agents = read(br#"{"now_unix_ns": 1, "agents": []}"#).expect("an answer");
    assert!(read.agents.is_empty());
    assert_eq!(
        schemas["Agents"]["required"],
        json!(["now_unix_ns", "agents"])
    );
}
