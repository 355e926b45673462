//! The real Alertmanager: it holds the alert of an incident, lets it go with the incident, and is not flooded after it was
//! away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rpingmesh::net::http::get;
use rpingmesh::net::url::Url;
use serde_json::{Value, json};

use super::hook::Hook;
use super::rnics::Agents;
use super::server::Server;
use crate::support::program::{ANALYZER, Program};

/// What must come comes long before this, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);

/// Notifies `hook` at once of what fires and of what is resolved, each alert by itself.
fn configuration(hook: SocketAddr) -> String {
    format!(
        "route: {{receiver: hook, group_by: ['...'], group_wait: 1ms, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://{hook}/', send_resolved: true}}]}}]\n"
    )
}

/// The analyzer's program.
struct Analyzer {
    program: Program,
    grpc: SocketAddr,
    web: SocketAddr,
}

impl Analyzer {
    fn start(folder: &Path, listen: &str, further: &[&str]) -> Self {
        let store = format!("--store=sqlite:{}", folder.join("analyzer.db").display());
        let listen = format!("--listen={listen}");
        let mut arguments = vec![
            "run",
            &listen,
            "--web=127.0.0.1:0",
            &store,
            "--log-format=json",
            "--judge-interval=200ms",
            "--alerts-resend-interval=10s",
        ];
        arguments.extend(further);
        let mut program = Program::start(ANALYZER, &arguments);
        let ready = program.wait_for(&["the analyzer is ready"]);
        let fields: Value = serde_json::from_str(&ready).expect("JSON");
        let address = |name: &str| fields[name].as_str().expect("an address").parse();
        Self {
            grpc: address("grpc").expect("an address"),
            web: address("web").expect("an address"),
            program,
        }
    }

    async fn text(&self, path: &str) -> String {
        read(self.web, path).await
    }

    async fn incidents(&self, state: &str) -> Vec<Value> {
        let text = self.text(&format!("/api/v1/incidents?state={state}")).await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["incidents"].as_array().expect("a list").clone()
    }
}

async fn read(address: SocketAddr, path: &str) -> String {
    let url = Url::parse(&format!("http://{address}")).expect("url");
    let body = get(&url.join(path), Duration::from_secs(10))
        .await
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(body.to_vec()).expect("text")
}

/// Looks until `look` finds what it wants; it says what it has seen instead.
async fn wait<T, F: Future<Output = Result<T, String>>>(what: &str, look: impl Fn() -> F) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < end, "{what}: {seen}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Alerts that Alertmanager holds.
async fn alerts(server: SocketAddr) -> Vec<Value> {
    let text = read(server, "/api/v2/alerts").await;
    serde_json::from_str(&text).expect("a list")
}

/// What the incidents are in the end; one that has just begun may look milder.
const NAME: &str = "RpingmeshRnicDown";

/// Name, status and subject of each alert about an RNIC that Alertmanager has notified of.
fn notified(hook: &Hook) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    hook.bodies()
        .iter()
        .flat_map(|(_, body)| body["alerts"].as_array().expect("alerts").clone())
        .map(|alert| {
            let labels = &alert["labels"];
            [&labels["alertname"], &alert["status"], &labels["subject"]].map(text)
        })
        .filter(|[name, ..]| name.starts_with("RpingmeshRnic"))
        .collect()
}

/// Whether this is the only subject, and each of its alerts was notified of exactly twice: when it fired and when it ended.
/// One that has just begun may look milder, and so have an alert of another name before.
fn ended(notified: &[[String; 3]], subject: &str) -> bool {
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for [name, status, about] in notified {
        if about != subject {
            return false;
        }
        told.entry(name).or_default().push(status);
    }
    !told.is_empty() && told.values().all(|told| *told == ["firing", "resolved"])
}

/// `subject` is an RNIC, `HOST/DEVICE`.
async fn open_about(analyzer: &Analyzer, subject: &str) -> Value {
    let (host, device) = subject.split_once('/').expect("an RNIC");
    let rnic = json!({"kind": "rnic", "host": host, "device": device});
    wait(subject, || async {
        let open = analyzer.incidents("open").await;
        match open.iter().find(|one| one["subject"] == rnic) {
            Some(incident) => Ok(incident.clone()),
            None => Err(format!("{open:#?}")),
        }
    })
    .await
}

async fn none_open(analyzer: &Analyzer) {
    wait("the incident closes", || async {
        let open = analyzer.incidents("open").await;
        open.is_empty().then_some(()).ok_or(format!("{open:#?}"))
    })
    .await;
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's Alertmanager and Prometheus: cargo xtask test --only external"]
async fn an_incident_is_an_alert_until_it_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hook, hook_address) = Hook::listen(any()).await;
    let server = Server::alertmanager(folder.path(), &configuration(hook_address), 0);
    let receiver = format!("--alerts-alertmanagers=http://{}", server.address);
    let further = [&*receiver, "--alerts-labels=cluster=a"];
    let analyzer = Analyzer::start(folder.path(), "127.0.0.1:0", &further);
    let agents = Agents::start(analyzer.grpc);
    agents.kill(3);
    let incident = open_about(&analyzer, "host3/mlx5_0").await;
    let alert = wait("the alert", || async {
        let alerts = alerts(server.address).await;
        let down = alerts
            .iter()
            .find(|alert| alert["labels"]["alertname"] == NAME);
        down.cloned().ok_or(format!("{alerts:#?}"))
    })
    .await;
    let labels = json!({
        "alertname": NAME, "severity": "info", "impact": "P2", "kind": "rnic",
        "subject": "host3/mlx5_0", "cluster": "a",
    });
    assert_eq!(alert["labels"], labels);
    let id = incident["id"].as_u64().expect("a number");
    assert_eq!(alert["annotations"]["incident"], id.to_string());
    assert_eq!(alert["annotations"]["summary"], "RNIC host3/mlx5_0 is down");
    assert_eq!(
        alert["generatorURL"],
        format!("http://{}/incidents/{id}", analyzer.web)
    );
    wait("the notification", || async {
        let notified = notified(&hook);
        let first = notified
            .first()
            .map(|[_, status, about]| (&**status, &**about));
        (first == Some(("firing", "host3/mlx5_0")))
            .then_some(())
            .ok_or(format!("{notified:?}"))
    })
    .await;

    agents.kill(0);
    none_open(&analyzer).await;
    wait("the alert goes", || async {
        let left = alerts(server.address).await;
        left.is_empty().then_some(()).ok_or(format!("{left:#?}"))
    })
    .await;
    wait("the end is notified", || async {
        let notified = notified(&hook);
        ended(&notified, "host3/mlx5_0")
            .then_some(())
            .ok_or(format!("{notified:?}"))
    })
    .await;
    analyzer.program.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's Alertmanager and Prometheus: cargo xtask test --only external"]
async fn receivers_that_were_down_are_told_how_things_stand_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").expect("a file");
    // Ports on which nobody listens yet.
    let free = [(); 2].map(|()| {
        let listener = std::net::TcpListener::bind(any()).expect("a port");
        listener.local_addr().expect("an address")
    });
    let further = [
        format!("--alerts-alertmanagers=http://{}", free[0]),
        format!("--alerts-webhooks=http://{}/", free[1]),
        format!("--alerts-webhook-secret-file={}", secret.display()),
    ];
    let further = further.each_ref().map(String::as_str);
    let analyzer = Analyzer::start(folder.path(), "127.0.0.1:0", &further);
    let grpc = analyzer.grpc.to_string();
    let agents = Agents::start(analyzer.grpc);

    // One incident comes and goes, another one stays, while nobody listens.
    agents.kill(3);
    let first = open_about(&analyzer, "host3/mlx5_0").await;
    agents.kill(0);
    none_open(&analyzer).await;
    agents.kill(2);
    let second = open_about(&analyzer, "host2/mlx5_0").await;
    let ids = [&first, &second].map(|one| one["id"].as_u64().expect("a number"));
    let metrics = analyzer.text("/metrics").await;
    for (kind, receiver) in [("alertmanager", free[0]), ("webhook", free[1])] {
        let line = format!(r#"alerts_waiting{{kind="{kind}",receiver="{receiver}"}} 2"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains(r#"reason="unreachable"} "#), "{metrics}");

    // The analyzer itself is restarted before they come back: nothing is lost by that either.
    analyzer.program.stop();
    let analyzer = Analyzer::start(folder.path(), &grpc, &further);
    let (notifications, address) = Hook::listen(any()).await;
    let server = Server::alertmanager(folder.path(), &configuration(address), free[0].port());
    let (hook, _) = Hook::listen(free[1]).await;
    let told = [("closed".to_owned(), ids[0]), ("opened".to_owned(), ids[1])];
    wait("the webhook is told", || async {
        let changes = hook.changes();
        (changes == told)
            .then_some(())
            .ok_or(format!("{changes:?}"))
    })
    .await;
    assert_eq!(hook.bodies().len(), 1, "one request for all");
    let signature = hook.bodies()[0].0.clone().expect("a signature");
    assert_eq!(signature.len(), "sha256=".len() + 64, "{signature}");
    wait("the alert", || async {
        let alerts = alerts(server.address).await;
        let subjects: Vec<_> = alerts
            .iter()
            .map(|alert| &alert["labels"]["subject"])
            .collect();
        (subjects == ["host2/mlx5_0"])
            .then_some(())
            .ok_or(format!("{alerts:#?}"))
    })
    .await;

    // After a restart nothing of it is told again; then comes the end, and that is all.
    analyzer.program.stop();
    let analyzer = Analyzer::start(folder.path(), &grpc, &further);
    agents.kill(0);
    none_open(&analyzer).await;
    wait("the end is told", || async {
        let changes = hook.changes();
        let all = [&told[..], &[("closed".to_owned(), ids[1])]].concat();
        (changes == all).then_some(()).ok_or(format!("{changes:?}"))
    })
    .await;
    wait("the end is notified", || async {
        let notified = notified(&notifications);
        ended(&notified, "host2/mlx5_0")
            .then_some(())
            .ok_or(format!("{notified:?}"))
    })
    .await;
    analyzer.program.stop();
}
