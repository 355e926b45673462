//! Metrics of the running programs: endpoints, push by OTLP, hardware counters as evidence.

mod exposition;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;
use rpingmesh::net::http::get;
use rpingmesh::net::url::Url;
use tokio::sync::mpsc;

use crate::support::lab::Lab;
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, Program};

use exposition::Family;

const PATIENCE: Duration = Duration::from_mins(1);

/// Arguments with which a role runs alone on loopback.
fn alone(role: &str, folder: &Path) -> (&'static str, Vec<String>) {
    let folder = folder.display();
    let (program, arguments) = match role {
        "agent" => (
            AGENT,
            format!("--transport none --tracing off --tor tor0 --state-dir {folder}"),
        ),
        "controller" => (
            CONTROLLER,
            "--listen 127.0.0.1:0 --store sqlite::memory:".to_owned(),
        ),
        _ => (
            ANALYZER,
            format!("--listen 127.0.0.1:0 --web 127.0.0.1:0 --store sqlite:{folder}/analyzer.db"),
        ),
    };
    let mut all = vec![
        "run".to_owned(),
        "--log-format".to_owned(),
        "json".to_owned(),
    ];
    all.extend(arguments.split(' ').map(str::to_owned));
    (program, all)
}

fn start(role: &str, folder: &Path, more: &[&str]) -> Program {
    let (program, mut arguments) = alone(role, folder);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Program::start(program, &arguments)
}

async fn scrape(address: &str) -> Vec<Family> {
    let url = Url::parse(&format!("http://{address}/metrics")).expect("a URL");
    let body = get(&url, Duration::from_secs(10)).await.expect("an answer");
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    exposition::read(&text).expect("OpenMetrics")
}

#[tokio::test]
async fn every_role_serves_its_metrics() {
    for (role, flag, line, field) in [
        ("agent", "--metrics", "metrics are served", "address"),
        ("controller", "--metrics", "metrics are served", "address"),
        (
            "analyzer",
            "--otlp-interval",
            "the analyzer is ready",
            "web",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let value = if role == "analyzer" {
            "1s"
        } else {
            "127.0.0.1:0"
        };
        let mut program = start(role, folder.path(), &[flag, value]);
        let line = program.wait_for(&[line]);
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let families = scrape(line[field].as_str().expect("an address")).await;
        let build = format!("rpingmesh_{role}_build");
        let build = families
            .iter()
            .find(|family| family.name == build)
            .expect("its version");
        assert_eq!(
            build.samples[0].labels["version"],
            env!("CARGO_PKG_VERSION")
        );
        program.stop();
    }
}

#[tokio::test]
async fn every_role_pushes_its_metrics_to_a_collector() {
    let (sender, mut received) = mpsc::channel::<Bytes>(64);
    let take = |State(got): State<mpsc::Sender<Bytes>>, body: Bytes| async move {
        // When the test has seen enough nobody takes it.
        let _ = got.try_send(body);
    };
    let router = Router::new()
        .route("/v1/metrics", post(take))
        .with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = tempfile::tempdir().expect("a folder");
    let roles = ["agent", "controller", "analyzer"];
    let programs = roles.map(|role| {
        let state = folder.path().join(role);
        std::fs::create_dir(&state).expect("a folder");
        start(
            role,
            &state,
            &["--otlp-endpoint", &endpoint, "--otlp-interval", "200ms"],
        )
    });
    let mut wanted: BTreeSet<_> = roles
        .iter()
        .map(|role| format!("rpingmesh-{role}"))
        .collect();
    while !wanted.is_empty() {
        let body = tokio::time::timeout(PATIENCE, received.recv())
            .await
            .expect("a push")
            .expect("open");
        let request = ExportMetricsServiceRequest::decode(body).expect("OTLP");
        let resource = request.resource_metrics[0]
            .resource
            .as_ref()
            .expect("a resource");
        let name = resource
            .attributes
            .iter()
            .find(|attribute| attribute.key == "service.name")
            .and_then(|attribute| attribute.value.as_ref()?.value.clone());
        let Some(Any::StringValue(name)) = name else {
            panic!("{resource:?}")
        };
        let build = format!("{}_build_info", name.replace('-', "_"));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        assert!(
            metrics.iter().any(|metric| metric.name == build),
            "{name}: {metrics:?}"
        );
        wanted.remove(&name);
    }
    for program in programs {
        program.stop();
    }
}

#[tokio::test]
async fn hardware_counters_are_evidence_in_incidents_of_their_rnic() {
    let lab = Lab::start(&[
        "--spines",
        "2",
        "--tors",
        "2",
        "--hosts",
        "3",
        "--rnics",
        "1",
        "--duration",
        "2m",
        "--fault",
        "rnic host0/0 corrupt=15%",
    ]);
    let url = Url::parse(&format!("http://{}", lab.web))
        .expect("a URL")
        .join("/api/v1/incidents?state=all");
    let end = Instant::now() + PATIENCE;
    loop {
        let body = get(&url, Duration::from_secs(10)).await.expect("an answer");
        let text = String::from_utf8(body.to_vec()).expect("text");
        if text.contains("hardware counter rx_icrc_encapsulated of host0/rnic0 port 1 rose by") {
            break;
        }
        assert!(Instant::now() < end, "no counter is named: {text}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    lab.stop();
}
