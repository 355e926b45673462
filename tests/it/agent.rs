//! The whole chain in one process: two agents on an in-memory network, a real controller and a real analyzer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rpingmesh::agent::Agent;
use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::agent::{AgentConfig, AgentSettings};
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::ControllerSettings;
use rpingmesh::controller::Controller;
use rpingmesh::events::Publisher;
use rpingmesh::id::Gid;
use rpingmesh::service::trace::{TRACE_DEPTH, TraceMessage};
use rpingmesh::store::open;
use rpingmesh::time::{Clock, SystemClock};
use rpingmesh::transport::memory::{MemoryProvider, Network};
use rpingmesh::transport::{Endpoint, Provider, RnicName, RnicPort, TransportError};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here waits longer for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
/// Between two looks at the analyzer's API.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    /// Ends it as a host that loses power.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("stops within 5 s")
            .expect("no panic");
    }
}

/// Ports that servers can come back to.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    listener.local_addr().expect("address")
}

pub(crate) struct Chain {
    pub(crate) folder: tempfile::TempDir,
    network: Network,
    pub(crate) controller: SocketAddr,
    analyzer: SocketAddr,
    web: SocketAddr,
    /// That of the servers.
    clock: Arc<dyn Clock>,
    /// TOML beside what the tests need.
    controller_settings: String,
}

impl Chain {
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(SystemClock), "").await
    }

    /// With servers that take their time from `clock`, and settings of the controller.
    pub(crate) async fn with(clock: Arc<dyn Clock>, controller: &str) -> Self {
        Self {
            clock,
            controller_settings: controller.to_owned(),
            folder: tempfile::tempdir().expect("folder"),
            network: Network::new(),
            controller: free_address().await,
            analyzer: free_address().await,
            web: free_address().await,
        }
    }

    pub(crate) fn web_address(&self) -> SocketAddr {
        self.web
    }

    pub(crate) fn analyzer_address(&self) -> SocketAddr {
        self.analyzer
    }

    pub(crate) async fn controller(&self) -> Running {
        self.controller_with_metrics().await.0
    }

    pub(crate) async fn controller_with_metrics(&self) -> (Running, Arc<Registry>) {
        let store = self.folder.path().join("controller.sqlite");
        let settings: ControllerSettings = toml::from_str(&format!(
            "listen = '{}'\nstore = 'sqlite:{}'\n{}",
            self.controller,
            store.display(),
            self.controller_settings
        ))
        .expect("settings");
        let config = settings.validate().expect("valid");
        let registry = open::registry(&config.store).await.expect("store");
        let controller = Controller::start(config, registry, Arc::clone(&self.clock))
            .await
            .expect("started");
        let metrics = controller.registry();
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { controller.run(stop).await.expect("clean stop") }
        });
        (Running { stop, task }, metrics)
    }

    pub(crate) async fn analyzer(&self) -> Running {
        let store = self.folder.path().join("analyzer.sqlite");
        let settings: AnalyzerSettings = toml::from_str(&format!(
            "listen = '{}'\nweb = '{}'\nstore = 'sqlite:{}'",
            self.analyzer,
            self.web,
            store.display()
        ))
        .expect("settings");
        let stop = CancellationToken::new();
        let analyzer = Analyzer::start(
            settings.validate().expect("valid"),
            Arc::clone(&self.clock),
            Publisher::default(),
        )
        .await
        .expect("started");
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { analyzer.run(stop).await.expect("clean stop") }
        });
        Running { stop, task }
    }

    /// Host `hN` with two RNICs, each under its own ToR, so that each has the other host's to probe.
    pub(crate) fn agent(&self, number: u8) -> Running {
        self.agent_with(number, None)
    }

    /// The same with a tracer, which is the sender.
    pub(crate) fn traced_agent(&self, number: u8) -> (Running, mpsc::Sender<TraceMessage>) {
        let (tracer, messages) = mpsc::channel(TRACE_DEPTH);
        (self.agent_with(number, Some(messages)), tracer)
    }

    fn agent_with(&self, number: u8, tracing: Option<mpsc::Receiver<TraceMessage>>) -> Running {
        let state = self.folder.path().join(format!("h{number}"));
        let config = settings(number, &state, self.controller, self.analyzer)
            .validate()
            .expect("valid");
        let ports = (0..2_u8).map(|rail| {
            let name = RnicName {
                device: format!("mem{rail}").as_str().into(),
                port: 1,
            };
            (name, Gid::from(Ipv4Addr::new(10, 0, rail, number)))
        });
        let provider = MemoryProvider::new(self.network.clone(), ports);
        start(config, Arc::new(provider), tracing)
    }

    /// A host of another network.
    pub(crate) fn agent_on(&self, provider: Arc<dyn Provider>, host: &str, tor: &str) -> Running {
        start(self.agent_config(host, tor), provider, None)
    }

    pub(crate) fn agent_config(&self, host: &str, tor: &str) -> AgentConfig {
        let state = self.folder.path().join(host);
        let settings: AgentSettings = toml::from_str(&format!(
            "host = '{host}'\ncontroller = 'http://{}'\nanalyzer = 'http://{}'\ntor = '{tor}'\nstate_dir = '{}'",
            self.controller,
            self.analyzer,
            state.display()
        ))
        .expect("settings");
        settings.validate().expect("valid")
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.web).await.ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.web
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// Waits until the analyzer's answer satisfies `condition`.
    pub(crate) async fn wait(
        &self,
        path: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let looking = async {
            loop {
                if let Some(answer) = self.get(path).await.filter(|answer| condition(answer)) {
                    return answer;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| panic!("{what} did not come"))
    }
}

pub(crate) fn start(
    config: AgentConfig,
    provider: Arc<dyn Provider>,
    tracing: Option<mpsc::Receiver<TraceMessage>>,
) -> Running {
    let agent = Agent {
        spool: Agent::spool_location(&config),
        config: Arc::new(config),
        provider: Some(provider),
        tracer: None,
        clock: Arc::new(SystemClock),
        off: Vec::new(),
        tracing,
        hardware: None,
        metrics: Arc::default(),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { agent.run(stop).await.expect("clean stop") }
    });
    Running { stop, task }
}

fn settings(
    number: u8,
    state: &Path,
    controller: SocketAddr,
    analyzer: SocketAddr,
) -> AgentSettings {
    toml::from_str(&format!(
        "host = 'h{number}'\ncontroller = 'http://{controller}'\nanalyzer = 'http://{analyzer}'\n\
         device_tors = ['mem0=tor0', 'mem1=tor1']\nstate_dir = '{}'",
        state.display()
    ))
    .expect("settings")
}

/// The ToR-mesh path between two hosts on one rail.
pub(crate) fn path<'a>(answer: &'a Value, from: &str, to: &str, device: &str) -> Option<&'a Value> {
    answer["paths"].as_array()?.iter().find(|path| {
        path["kind"] == "tor_mesh"
            && path["source"]["host"] == from
            && path["target"]["host"] == to
            && path["source"]["device"] == device
    })
}

pub(crate) fn count(path: Option<&Value>, field: &str) -> u64 {
    path.and_then(|path| path[field].as_u64()).unwrap_or(0)
}

pub(crate) const PATHS: &str = "/api/v1/paths?window=120s&limit=1000";

#[tokio::test]
async fn every_rnic_probes_in_both_directions_although_the_servers_come_later() {
    let chain = Chain::new().await;
    let agents = [chain.agent(1), chain.agent(2)];
    let servers = [chain.controller().await, chain.analyzer().await];
    let answer = chain
        .wait(PATHS, "results of all four paths", |answer| {
            ["mem0", "mem1"].iter().all(|device| {
                count(path(answer, "h1", "h2", device), "sent") > 0
                    && count(path(answer, "h2", "h1", device), "sent") > 0
            })
        })
        .await;
    let one = path(&answer, "h1", "h2", "mem0").expect("path");
    assert_eq!(one["lost"], 0);
    assert!(one["network_rtt"]["count"].as_u64() > Some(0), "{one}");
    for running in agents.into_iter().chain(servers) {
        running.stop().await;
    }
}

#[tokio::test]
async fn a_restarted_analyzer_has_every_batch_once() {
    let chain = Chain::new().await;
    let controller = chain.controller().await;
    let analyzer = chain.analyzer().await;
    let (one, two) = (chain.agent(1), chain.agent(2));
    let agents = "/api/v1/agents";
    let batches = |answer: &Value, host: &str| {
        let agents = answer["agents"].as_array().expect("agents");
        let agent = agents.iter().find(|agent| agent["host"] == host);
        agent.map_or(0, |agent| agent["sequence"].as_u64().expect("sequence"))
    };
    chain
        .wait(agents, "batches", |answer| {
            batches(answer, "h1") >= 2 && batches(answer, "h2") >= 2
        })
        .await;
    analyzer.stop().await;
    // An agent that restarts meanwhile keeps what the analyzer does not have yet.
    two.stop().await;
    let two = chain.agent(2);
    let analyzer = chain.analyzer().await;
    let answer = chain
        .wait(agents, "batches after the restart", |answer| {
            batches(answer, "h1") >= 5 && batches(answer, "h2") >= 5
        })
        .await;
    for agent in answer["agents"].as_array().expect("agents") {
        assert_eq!(agent["lost_batches"], 0, "{agent}");
        assert_eq!(agent["duplicate_batches"], 0, "{agent}");
        assert_eq!(agent["counters"]["results_dropped"], 0, "{agent}");
        assert_eq!(agent["counters"]["batches_dropped"], 0, "{agent}");
    }
    for running in [one, two, controller, analyzer] {
        running.stop().await;
    }
}

#[tokio::test]
async fn the_new_queue_pair_of_a_restarted_responder_is_followed() {
    let chain = Chain::new().await;
    let controller = chain.controller().await;
    let analyzer = chain.analyzer().await;
    let (one, two) = (chain.agent(1), chain.agent(2));
    let qpn = |answer: &Value| {
        let path = path(answer, "h1", "h2", "mem0")?;
        path["target"]["qpn"].as_u64()
    };
    let before = chain
        .wait(PATHS, "a first result", |answer| qpn(answer).is_some())
        .await;
    two.stop().await;
    let two = chain.agent(2);
    let after = chain
        .wait(PATHS, "results of the new queue pair", |answer| {
            qpn(answer).is_some() && qpn(answer) != qpn(&before)
        })
        .await;
    let complete = |answer: &Value| {
        count(
            path(answer, "h1", "h2", "mem0").map(|path| &path["network_rtt"]),
            "count",
        )
    };
    chain
        .wait(PATHS, "complete probes of the new queue pair", |answer| {
            complete(answer) > complete(&after)
        })
        .await;
    for running in [one, two, controller, analyzer] {
        running.stop().await;
    }
}

#[tokio::test]
async fn a_stored_pinglist_serves_while_the_controller_is_away() {
    let chain = Chain::new().await;
    let controller = chain.controller().await;
    let analyzer = chain.analyzer().await;
    let (one, two) = (chain.agent(1), chain.agent(2));
    chain
        .wait(PATHS, "a first result", |answer| {
            path(answer, "h1", "h2", "mem0").is_some()
        })
        .await;
    controller.stop().await;
    one.stop().await;
    let sent = |answer: &Value| count(path(answer, "h1", "h2", "mem0"), "sent");
    let before = chain.get(PATHS).await.expect("an answer");
    let one = chain.agent(1);
    chain
        .wait(PATHS, "results without a controller", |answer| {
            sent(answer) > sent(&before) + 5
        })
        .await;
    // The agent says what it does without.
    chain
        .wait("/api/v1/agents", "what the agent lacks", |answer| {
            let agents = answer["agents"].as_array().into_iter().flatten();
            let lacks = |agent: &Value| agent["degraded"].to_string().contains("registration: ");
            agents.filter(|agent| lacks(agent)).count() == 2
        })
        .await;
    for running in [one, two, analyzer] {
        running.stop().await;
    }
}

/// A driver whose calls to open an RNIC do not return.
struct Hanging {
    called: watch::Sender<bool>,
    /// Until the test is over.
    over: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Provider for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        Ok(vec![RnicPort {
            name: RnicName {
                device: "mem0".into(),
                port: 1,
            },
            gid: Gid::from(Ipv4Addr::LOCALHOST),
            gid_index: 0,
            interface: None,
        }])
    }

    fn open(&self, _: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        self.called.send_replace(true);
        // Ends with an error when the test drops its end.
        let _ = self.over.lock().expect("one caller").recv();
        Err(TransportError::NoDevice("the test is over".to_owned()))
    }
}

#[tokio::test]
async fn an_open_that_hangs_does_not_hold_up_the_stop() {
    let chain = Chain::new().await;
    let (called, mut calls) = watch::channel(false);
    let (release, over) = std::sync::mpsc::channel();
    let hanging = Hanging {
        called,
        over: std::sync::Mutex::new(over),
    };
    let agent = chain.agent_on(Arc::new(hanging), "h9", "tor0");
    tokio::time::timeout(PATIENCE, calls.wait_for(|called| *called))
        .await
        .expect("opened")
        .expect("the agent lives");
    // On a runtime of one thread: the agent goes on while the call hangs.
    agent.stop().await;
    drop(release);
}
