//! The real Prometheus and Alertmanager with the files of `monitoring/`, scraping a running lab: every query of the rules
//! and dashboards gives data, and what an injected fault sets off fires and resolves.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rpingmesh::net::http::get;
use rpingmesh::net::url::Url;
use rpingmesh::time::Clock as _;
use serde_json::Value;

use super::server::Server;
use crate::support::lab::Lab;

/// How long a query may take to give data: two scrapes after the first results, rates over a minute.
const DATA: Duration = Duration::from_mins(1);
/// How long an alert may take to fire, and to resolve after its fault has ended.
const FIRES: Duration = Duration::from_mins(1);
const RESOLVES: Duration = Duration::from_mins(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

const ALERTMANAGER: &str =
    "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n";

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring")
}

/// Expressions of all panels of the dashboards, with every variable meaning all.
fn dashboard_queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(monitoring().join("grafana")).expect("dashboards") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let board: Value = serde_json::from_str(&text).expect("JSON");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let panels = board["panels"].as_array().expect("panels");
        for panel in panels {
            let title = panel["title"].as_str().expect("a title");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let mut expression = target["expr"].as_str().expect("an expression").to_owned();
                for (variable, meaning) in [
                    ("$__rate_interval", "30s"),
                    ("$source_tor", ".*"),
                    ("$target_tor", ".*"),
                    ("$instance", ".*"),
                ] {
                    expression = expression.replace(variable, meaning);
                }
                assert!(!expression.contains('$'), "{name}, {title}: {expression}");
                queries.push((format!("{name}, {title}"), expression));
            }
        }
    }
    assert!(queries.len() > 25, "{}", queries.len());
    queries
}

/// What is scraped, every second: all the lab's roles.
fn configuration(lab: &Lab, alertmanager: std::net::SocketAddr) -> String {
    let rules = monitoring().join("prometheus/rpingmesh.rules.yml");
    let (rules, web, metrics) = (rules.display(), lab.web, lab.metrics);
    let mut text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}
scrape_configs:
- job_name: rpingmesh-analyzer
  static_configs: [{{targets: ['{web}']}}]
- job_name: rpingmesh-controller
  metrics_path: /controller/metrics
  static_configs: [{{targets: ['{metrics}']}}]
- job_name: rpingmesh-agent
  static_configs:
"
    );
    for host in 0..lab.hosts {
        let path = format!("__metrics_path__: /agents/host{host}/metrics");
        let _ = writeln!(
            text,
            "  - targets: ['{metrics}']\n    labels: {{{path}, instance: host{host}}}"
        );
    }
    text
}

async fn ask(server: &Server, path: &str) -> Value {
    let url = Url::parse(&format!("http://{}", server.address))
        .expect("a URL")
        .join(path);
    let body = get(&url, Duration::from_secs(10))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_slice(&body).expect("JSON")
}

async fn query(prometheus: &Server, expression: &str) -> usize {
    let mut encoded = String::new();
    for byte in expression.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    let answer = ask(prometheus, &format!("/api/v1/query?query={encoded}")).await;
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

/// Names and categories of the alerts that Alertmanager has as active.
async fn active(alertmanager: &Server) -> Vec<(String, String)> {
    let answer = ask(alertmanager, "/api/v2/alerts?active=true").await;
    let label = |alert: &Value, name: &str| {
        alert["labels"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    answer
        .as_array()
        .expect("a list")
        .iter()
        .map(|alert| (label(alert, "alertname"), label(alert, "category")))
        .collect()
}

/// What a lossy link may be taken for; on a busy machine the lab also sees starved hosts.
fn of_the_fault(category: &str) -> bool {
    ["link_", "switch_", "undecided", "blackhole"]
        .iter()
        .any(|part| category.starts_with(part))
}

async fn wait_until(
    patience: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> Result<(), String>,
) {
    let end = Instant::now() + patience;
    loop {
        match is_so().await {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's Alertmanager and Prometheus: cargo xtask test --only external"]
async fn rules_and_dashboards_work_against_a_lab_with_a_fault() {
    // Long enough for a loaded machine; the test ends it.
    let fault = "link spine0-tor1 loss=60% at=10s for=40s";
    let lab = Lab::start(&[
        "--spines",
        "2",
        "--tors",
        "3",
        "--hosts",
        "2",
        "--rnics",
        "2",
        "--duration",
        "5m",
        "--fault",
        fault,
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let alertmanager = Server::alertmanager(folder.path(), ALERTMANAGER, 0);
    let prometheus = Server::prometheus(folder.path(), &configuration(&lab, alertmanager.address));

    wait_until(FIRES, "the fault's alert fires", async || {
        let active = active(&alertmanager).await;
        let fires = active
            .iter()
            .any(|(alert, category)| alert == "RpingmeshNetworkIncident" && of_the_fault(category));
        fires
            .then_some(())
            .ok_or_else(|| format!("active are {active:?}"))
    })
    .await;

    wait_until(DATA, "every query gives data", async || {
        let mut empty = Vec::new();
        for (place, expression) in dashboard_queries() {
            if query(&prometheus, &expression).await == 0 {
                empty.push(format!("{place}: {expression}"));
            }
        }
        empty
            .is_empty()
            .then_some(())
            .ok_or_else(|| empty.join("\n"))
    })
    .await;

    // The counter of incidents names the last one: a way from a panel to the dashboard.
    let now = rpingmesh::time::SystemClock.wall().nanos() / 1_000_000_000;
    let (start, end) = (now - 600, now + 60);
    let exemplars = format!(
        "/api/v1/query_exemplars?query=rpingmesh_incidents_opened_total&start={start}&end={end}"
    );
    let exemplars = ask(&prometheus, &exemplars).await;
    let number = exemplars["data"][0]["exemplars"][0]["labels"]["incident"].as_str();
    let number = number.unwrap_or_else(|| panic!("no exemplar: {exemplars}"));
    let url = Url::parse(&format!("http://{}/incidents/{number}", lab.web)).expect("a URL");
    get(&url, Duration::from_secs(10)).await.expect("its page");

    let rules = ask(&prometheus, "/api/v1/rules").await;
    let mut seen = 0;
    for group in rules["data"]["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            seen += 1;
            assert_eq!(rule["health"], "ok", "{rule:#}");
            if rule["type"] == "recording" {
                let name = rule["name"].as_str().expect("a name");
                assert!(query(&prometheus, name).await > 0, "{name}");
            } else if let Some(metrics) = rule["query"].as_str() {
                // A threshold that is not reached gives nothing; what it compares must be there.
                for metric in metrics_of(metrics) {
                    assert!(
                        query(&prometheus, &metric).await > 0,
                        "{metric} of {metrics}"
                    );
                }
            }
        }
    }
    assert!(seen >= 16, "{seen} rules");

    wait_until(RESOLVES, "the fault's alert resolves", async || {
        let active = active(&alertmanager).await;
        let still = active.iter().any(|(_, category)| of_the_fault(category));
        (!still)
            .then_some(())
            .ok_or_else(|| format!("active are {active:?}"))
    })
    .await;
    lab.stop();
}

/// Names of the metrics in an expression that do not only exist when something is wrong.
fn metrics_of(expression: &str) -> Vec<String> {
    let mut names: Vec<String> = expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains("rpingmesh_") && !word.starts_with("rpingmesh-"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
#[ignore = "needs Debian's Alertmanager and Prometheus: cargo xtask test --only external"]
fn promtool_accepts_rules_their_tests_and_the_example() {
    let folder = monitoring().join("prometheus");
    for arguments in [
        ["check", "rules", "rpingmesh.rules.yml"],
        ["test", "rules", "rpingmesh.rules.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&folder)
            .output()
            .expect("promtool; `cargo xtask test --only packages` installs it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
    }
}

/// Every alert has a test of its own beside the rules, or is set off by the test above.
#[test]
#[ignore = "needs Debian's Alertmanager and Prometheus: cargo xtask test --only external"]
fn every_alert_is_tested() {
    let folder = monitoring().join("prometheus");
    let rules = std::fs::read_to_string(folder.join("rpingmesh.rules.yml")).expect("rules");
    let tests = std::fs::read_to_string(folder.join("rpingmesh.rules.test.yml")).expect("tests");
    let mut alerts = 0;
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        alerts += 1;
        assert!(
            tests.contains(&format!("alertname: {alert}")),
            "{alert} has no test"
        );
    }
    assert!(alerts >= 10, "{alerts}");
}
