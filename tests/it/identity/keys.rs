//! The cluster's key: to whom it is handed out, how it changes while agents probe, and what is shown of it. And goodbyes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use rpingmesh::cluster_key::rotation::Spans;
use rpingmesh::config::agent::AgentSettings;
use rpingmesh::controller::rotate;
use rpingmesh::id::Gid;
use rpingmesh::transport::RnicName;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use serde_json::Value;

use super::*;
use crate::agent::{Running, start};

const SPANS: Spans = Spans {
    settle: Duration::from_millis(200),
    overlap: Duration::from_millis(500),
    interval: Duration::from_hours(1),
};

/// A controller with its store in a file that hands out keys over TLS.
async fn controller(security: Security, folder: &Path, keys: Option<Spans>) -> Registry {
    let store = Location::File(folder.join("registry.db"));
    controller_on(&store, security, keys).await
}

async fn controller_on(store: &Location, security: Security, keys: Option<Spans>) -> Registry {
    let settings = ControllerSettings {
        listen: loopback(),
        metrics: Some(loopback()),
        store: store.to_string(),
        ..ControllerSettings::default()
    };
    let config = ControllerConfig {
        security,
        keys,
        ..settings.validate().expect("valid settings")
    };
    let store = open::registry(&config.store).await.expect("store");
    let controller = Controller::start(config, store, Arc::new(SystemClock))
        .await
        .expect("start");
    let stop = CancellationToken::new();
    let registry = Registry {
        address: controller.address(),
        metrics: controller.metrics_address().expect("metrics"),
        stop: stop.clone(),
    };
    tokio::spawn(async move { controller.run(stop).await.expect("clean stop") });
    registry
}

/// What the controller says of the key, once it is so.
async fn key_when(registry: &Registry, is_so: impl Fn(&Value) -> bool) -> (Value, String) {
    let looking = async {
        loop {
            let (_, text) = http(registry.metrics, "/cluster-key").await;
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if is_so(&answer) {
                return (answer, text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("the key gets there")
}

fn is_at(answer: &Value, generation: u64, phase: &str) -> bool {
    answer["key"]["generation"] == generation && answer["key"]["phase"] == phase
}

fn able(agent: &str, gid: &str, report: v1::KeyReport) -> v1::Announcement {
    v1::Announcement {
        keys: Some(report),
        ..announcement(agent, agent, 1, &[gid])
    }
}

/// A client that says what it holds; gives the stream and the key that it gets with its registration.
async fn join(
    registry: &Registry,
    security: &Security,
    announcement: v1::Announcement,
) -> (Session, Option<v1::ClusterKeys>) {
    let (requests, stream) = mpsc::channel(8);
    let first = Request::Announcement(announcement);
    let message = v1::RegisterRequest {
        message: Some(first),
    };
    requests.send(message).await.expect("queue");
    let mut client = registry.client(security);
    let answers = client.register(ReceiverStream::new(stream)).await;
    let answers = answers.expect("a stream").into_inner();
    let mut session = Session { requests, answers };
    match session.next().await.expect("registered") {
        Answer::Registered(registered) => (session, registered.keys),
        other @ (Answer::Changed(_)
        | Answer::Focused(_)
        | Answer::Keys(_)
        | Answer::Analyzer(_)) => {
            panic!("{other:?} before the registration")
        }
    }
}

#[tokio::test]
async fn a_key_is_handed_to_those_who_take_it_and_only_over_tls() {
    let logs = Logs::collect();
    let (pki, folder) = (Pki::new(), tempfile::tempdir().expect("folder"));
    let registry = controller(pki.servers(IdentityRule::San), folder.path(), Some(SPANS)).await;
    let (text, _) = key_when(&registry, |answer| is_at(answer, 1, "offered")).await;
    let fingerprint = text["key"]["fingerprint"]
        .as_str()
        .expect("text")
        .to_owned();
    let own = v1::KeyReport {
        own: true,
        ..v1::KeyReport::default()
    };
    // Streams that stay open.
    let (a, b, c) = (pki.client(&["a"]), pki.client(&["b"]), pki.client(&["c"]));
    let (_old, none) = join(&registry, &a, announcement("a", "a", 1, &["10.1.0.1"])).await;
    assert_eq!(none, None, "an older version");
    let (_own, none) = join(&registry, &b, able("b", "10.1.0.2", own)).await;
    assert_eq!(none, None, "keys of its own");
    let (_able, key) = join(
        &registry,
        &c,
        able("c", "10.1.0.3", v1::KeyReport::default()),
    )
    .await;
    let key = key.expect("a key");
    assert_eq!(
        (key.generation, key.key.len(), key.previous.len()),
        (1, 32, 0)
    );
    let waits = |answer: &Value| answer["waits_for"] == serde_json::json!(["a", "c"]);
    let (_, page) = key_when(&registry, waits).await;
    let digits = |mut text: String, byte: &u8| {
        let _ = write!(text, "{byte:02x}");
        text
    };
    let hexadecimal = key.key.iter().fold(String::new(), digits);
    let logged = logs.text();
    assert!(logged.contains(&fingerprint), "{logged}");
    for shown in [&page, &logged, &format!("{key:?}")] {
        assert!(!shown.contains(&hexadecimal), "{shown}");
        assert!(!shown.contains(&format!("{:?}", key.key)), "{shown}");
    }
    // Without TLS nothing is handed out, whatever the agent says.
    let plain = Registry::start(Security::loopback_plaintext(), "").await;
    let report = v1::KeyReport::default();
    let (_able, none) = join(
        &plain,
        &Security::loopback_plaintext(),
        able("d", "10.1.0.4", report),
    )
    .await;
    assert_eq!(none, None, "no TLS");
    assert!(
        plain
            .counted("rpingmesh_controller_cluster_key_generation 0")
            .await
    );
}

#[tokio::test]
async fn once_agents_sign_one_that_knows_no_keys_is_told_to_be_updated() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().expect("folder"));
    let registry = controller(pki.servers(IdentityRule::San), folder.path(), Some(SPANS)).await;
    key_when(&registry, |answer| is_at(answer, 1, "offered")).await;
    let (a, b) = (pki.client(&["a"]), pki.client(&["b"]));
    let (mut session, key) = join(
        &registry,
        &a,
        able("a", "10.1.0.1", v1::KeyReport::default()),
    )
    .await;
    let key = key.expect("a key");
    let (answer, _) = key_when(&registry, |answer| is_at(answer, 1, "offered")).await;
    let text = answer["key"]["fingerprint"].as_str().expect("text");
    let fingerprint: Vec<u8> = (0..16)
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    let held = v1::KeyReport {
        lineage: key.lineage.clone(),
        generation: 1,
        phase: v1::KeyPhase::Offered.into(),
        verifies: vec![fingerprint.clone().into()],
        ..v1::KeyReport::default()
    };
    assert!(session.send(Request::Keys(held)).await);
    let told = loop {
        if let Answer::Keys(keys) = session.next().await.expect("an open stream") {
            break keys;
        }
    };
    assert_eq!(told.phase, i32::from(v1::KeyPhase::Signing));
    let refused = registry
        .register(&b, announcement("b", "b", 1, &["10.1.0.2"]))
        .await
        .err()
        .expect("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .contains("agent `b` knows nothing of that: update it"),
        "{refused}"
    );
    let line = "rpingmesh_controller_announcements_total{result=\"Keyless\"} 1";
    assert!(registry.counted(line).await);
    // A report that makes no sense ends the stream.
    let nonsense = v1::KeyReport {
        verifies: vec![fingerprint.into(); 9],
        ..v1::KeyReport::default()
    };
    assert!(session.send(Request::Keys(nonsense)).await);
    let end = loop {
        if let Err(status) = session.next().await {
            break status;
        }
    };
    assert_eq!(end.code(), Code::InvalidArgument);
}

/// A host with one RNIC that is registered and uploads over TLS.
fn host(
    pki: &Pki,
    (controller, analyzer): (SocketAddr, SocketAddr),
    network: &Network,
    number: u8,
) -> Running {
    let name = format!("h{number}");
    let folder = pki.folder.path().join(&name);
    let files = pki.authority.issue(&folder, &name, Validity::Now);
    let settings: AgentSettings = toml::from_str(&format!(
        "host = '{name}'\ncontroller = 'https://localhost:{}'\nanalyzer = 'https://localhost:{}'\ntor = 'tor0'\n\
         state_dir = '{}'\ntls = {{ cert = '{}', key = '{}', ca = '{}' }}",
        controller.port(),
        analyzer.port(),
        folder.join("state").display(),
        files.cert.display(),
        files.key.display(),
        files.ca.display(),
    ))
    .expect("settings");
    let port = RnicName {
        device: "mem0".into(),
        port: 1,
    };
    let gid = Gid::from(Ipv4Addr::new(10, 0, 0, number));
    let provider = MemoryProvider::new(network.clone(), [(port, gid)]);
    start(
        settings.validate().expect("valid"),
        Arc::new(provider),
        None,
    )
}

/// The analyzer's status once it is so.
async fn status_when(intake: &Intake, is_so: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let answer: Value =
                serde_json::from_str(&intake.get("/api/v1/status").await).expect("JSON");
            if is_so(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("the status gets there")
}

fn all_sign_with(status: &Value, agents: u64, fingerprint: &str) -> bool {
    let keys = status["cluster_keys"].as_array().expect("a list");
    keys.len() == 1
        && keys[0]["source"] == "controller"
        && keys[0]["phase"] == "steady"
        && keys[0]["agents"] == agents
        && keys[0]["fingerprint"] == fingerprint
}

#[tokio::test]
async fn agents_sign_change_over_on_command_and_no_probe_is_lost() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().expect("folder"));
    let registry = controller(pki.servers(IdentityRule::San), folder.path(), Some(SPANS)).await;
    let intake = Intake::start(pki.servers(IdentityRule::San)).await;
    let (network, servers) = (Network::new(), (registry.address, intake.grpc));
    let agents: Vec<_> = (1..4)
        .map(|number| host(&pki, servers, &network, number))
        .collect();
    let print = |answer: &Value| {
        answer["key"]["fingerprint"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let (first, _) = key_when(&registry, |answer| is_at(answer, 1, "steady")).await;
    let first = print(&first);
    status_when(&intake, |status| all_sign_with(status, 3, &first)).await;
    let store = Location::File(folder.path().join("registry.db"));
    let file = rotate::request(&store).await.expect("asked");
    let (second, _) = key_when(&registry, |answer| is_at(answer, 2, "steady")).await;
    let second = print(&second);
    assert_ne!(first, second);
    assert!(!Path::new(&file).exists(), "a request counts once");
    let status = status_when(&intake, |status| all_sign_with(status, 3, &second)).await;
    assert_eq!(status["probes"]["lost"], 0, "{status}");
    assert!(status["probes"]["judged"].as_u64() > Some(0), "{status}");
    {
        use std::os::unix::fs::PermissionsExt as _;
        let about = std::fs::metadata(folder.path().join("registry.db")).expect("a file");
        assert_eq!(about.permissions().mode() & 0o077, 0);
    }
    for agent in agents {
        agent.stop().await;
    }
    // Both were told that they stop.
    let left = "rpingmesh_controller_stale_agents 3";
    let told = async {
        while !registry.counted(left).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("they said goodbye");
}

/// A word about another host that it stops would hide that it is down.
#[tokio::test]
async fn nobody_says_goodbye_for_another() {
    let pki = Pki::new();
    let intake = Intake::start(pki.servers(IdentityRule::San)).await;
    let a = pki.client(&["hosta"]);
    let farewell = v1::AgentState {
        stopping: true,
        ..v1::AgentState::default()
    };
    let say = async |hello: v1::UploadHello| {
        let messages = vec![hello.into(), UploadRequest::of_state(farewell.clone())];
        let mut answers = AnalyzerServiceClient::new(connect(intake.grpc, &a))
            .upload(tokio_stream::iter(messages))
            .await?
            .into_inner();
        while answers.message().await?.is_some() {}
        Ok::<(), Status>(())
    };
    say(hello("hosta", "hosta")).await.expect("for itself");
    for (agent, host) in [("hosta", "hostb"), ("hostb", "hostb"), ("hostb", "hosta")] {
        let refused = say(hello(agent, host)).await.expect_err("for another");
        assert_eq!(refused.code(), Code::PermissionDenied, "{agent} on {host}");
    }
    // At the controller a stream speaks of the agent that it has announced, and of no other.
    let registry = Registry::start(pki.servers(IdentityRule::San), "").await;
    let (requests, stream) = mpsc::channel(8);
    let goodbye = v1::RegisterRequest {
        message: Some(Request::Goodbye(v1::Goodbye {})),
    };
    requests.send(goodbye).await.expect("queue");
    let answers = registry
        .client(&a)
        .register(ReceiverStream::new(stream))
        .await;
    let refused = answers
        .expect("a stream")
        .into_inner()
        .message()
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

/// Two controllers on one store, with agents at both: the key is one, and it changes over when the agents of both have followed.
pub(crate) async fn several_controllers_hand_out_one_key(store: &Location) {
    let pki = Pki::new();
    let security = || pki.servers(IdentityRule::San);
    let first = controller_on(store, security(), Some(SPANS)).await;
    let second = controller_on(store, security(), Some(SPANS)).await;
    let intake = Intake::start(security()).await;
    let network = Network::new();
    let agents: Vec<_> = (1..5)
        .map(|number| {
            let controller = if number % 2 == 0 { &first } else { &second };
            host(&pki, (controller.address, intake.grpc), &network, number)
        })
        .collect();
    let mut prints = Vec::new();
    for generation in 1..=3 {
        let at_both = async |registry| {
            let (answer, _) =
                key_when(registry, |answer| is_at(answer, generation, "steady")).await;
            answer["key"]["fingerprint"]
                .as_str()
                .expect("text")
                .to_owned()
        };
        let (print, other) = (at_both(&first).await, at_both(&second).await);
        assert_eq!(print, other);
        let status = status_when(&intake, |status| all_sign_with(status, 4, &print)).await;
        assert_eq!(status["probes"]["lost"], 0, "{status}");
        prints.push(print);
        rotate::request(store).await.expect("asked");
    }
    prints.dedup();
    assert_eq!(prints.len(), 3);
    for agent in agents {
        agent.stop().await;
    }
}
