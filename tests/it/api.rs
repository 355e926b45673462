//! The JSON API against its OpenAPI document, and the operator's commands against answers of another version.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use rpingmesh::api::OPENAPI;
use rpingmesh::net::http::get as read;
use rpingmesh::net::url::Url;
use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::program::{OPERATOR, command};

const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// Resources and queries whose answers have every kind of value between them.
const QUERIES: [&str; 17] = [
    "/api/v1/paths?window=120s&limit=10000",
    "/api/v1/paths?kind=inter_tor&limit=1",
    "/api/v1/paths?source=nobody",
    "/api/v1/agents",
    "/api/v1/traces?limit=10000",
    "/api/v1/incidents",
    "/api/v1/incidents?state=open&limit=1",
    "/api/v1/incidents?state=closed",
    "/api/v1/status",
    "/api/v1/matrix?window=5s",
    "/api/v1/topology",
    "/api/v1/topology?detail=switches",
    "/api/v1/paths?kind=focus",
    "/api/v1/focus",
    "/api/v1/withdrawn",
    "/api/v1/evidence?without=host0",
    "/api/v1/trends?kind=tor",
];

async fn json_of(base: &Url, path: &str) -> Value {
    let body = read(&base.join(path), Duration::from_secs(10))
        .await
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&body).expect("JSON")
}

/// The document's schema of the answer to a query.
fn validator(document: &Value, query: &str) -> jsonschema::Validator {
    let path = query.split('?').next().expect("a path");
    let answer = &document["paths"][path]["get"]["responses"]["200"];
    let schema = &answer["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{path} is not in the document");
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test]
async fn every_answer_of_a_lab_is_as_the_document_says() {
    let lab = Lab::start(&[
        "--spines",
        "2",
        "--tors",
        "2",
        "--hosts",
        "2",
        "--rnics",
        "1",
        "--duration",
        "2m",
        "--fault",
        "rnic host0/0 corrupt=50%",
    ]);
    let base = Url::parse(&format!("http://{}", lab.web)).expect("a URL");
    let document = json_of(&base, OPENAPI).await;
    assert_eq!(document["openapi"], "3.1.0");
    let end = Instant::now() + PATIENCE;
    loop {
        let incidents = json_of(&base, "/api/v1/incidents").await;
        let traces = json_of(&base, "/api/v1/traces").await;
        if incidents["incidents"][0].is_object() && traces["traces"][0].is_object() {
            break;
        }
        assert!(Instant::now() < end, "{incidents}, {traces}");
        tokio::time::sleep(LOOK).await;
    }
    for query in QUERIES {
        let answer = json_of(&base, query).await;
        let errors: Vec<_> = validator(&document, query)
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{query}: {errors:#?}");
    }
    // The validator finds what is wrong.
    let mut status = json_of(&base, "/api/v1/status").await;
    status["judge"]["runs"] = json!("many");
    assert!(!validator(&document, "/api/v1/status").is_valid(&status));
    status["judge"] = json!({});
    assert!(!validator(&document, "/api/v1/status").is_valid(&status));
    lab.stop();
}

/// What a command prints on standard error about an analyzer that answers this to every request for the status.
async fn said_of(status: &'static str, version: Option<&'static str>) -> (String, String) {
    let mut router = Router::new().route("/api/v1/status", get(move || async move { status }));
    if let Some(version) = version {
        let document = json!({ "info": { "version": version } }).to_string();
        router = router.route(OPENAPI, get(move || async move { document }));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let arguments = url.clone();
    let output = tokio::task::spawn_blocking(move || {
        command(OPERATOR, &["top", "--count", "1", "--analyzer", &arguments]).output()
    })
    .await
    .expect("it ends")
    .expect("it runs");
    server.abort();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    (url, String::from_utf8(output.stderr).expect("text"))
}

#[tokio::test]
async fn an_answer_of_another_version_is_an_error_that_says_so() {
    let own = env!("CARGO_PKG_VERSION");
    let old = r#"{"now_unix_ns": 1, "agents": 2, "agent_versions": []}"#;
    let (url, said) = said_of(old, Some("9.0.0")).await;
    for part in [
        &format!("{url}/api/v1/status"),
        "`hosts`",
        &format!("the versions differ: the analyzer is version 9.0.0, this program {own}"),
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let (_, said) = said_of(old, None).await;
    assert!(
        said.contains("it is no analyzer, or one older than"),
        "{said}"
    );
    let page =
        "<!doctype html><html><head><title>Another  service</title></head><body>long</body></html>";
    let (_, said) = said_of(page, None).await;
    let found = "is no answer of an analyzer: an HTML page with the title `Another service`";
    assert!(said.contains(found), "{said}");
    assert!(!said.contains("<html>"), "{said}");
}
