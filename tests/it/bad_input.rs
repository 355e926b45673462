//! What the running programs say of a peer or a file that they must not accept, and that nothing is lost by it.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use rpingmesh::net::tls::TlsFiles;
use serde_json::Value;

use crate::support::certs::{Authority, Validity};
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, Program, refused};

const NAME: &str = "127.0.0.1";
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
/// Nothing here waits longer for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at an API.
const LOOK: Duration = Duration::from_millis(100);

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn tls(files: &TlsFiles) -> [&str; 6] {
    [
        "--tls-cert",
        text(&files.cert),
        "--tls-key",
        text(&files.key),
        "--tls-ca",
        text(&files.ca),
    ]
}

/// A controller whose log lines are JSON, and its address.
fn controller(folder: &Path, more: &[&str]) -> (Program, String) {
    let store = format!("sqlite:{}", text(&folder.join("registry.db")));
    let common = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--store",
        &store,
        "--log-format",
        "json",
    ];
    let mut program = Program::start(CONTROLLER, &[&common, more].concat());
    let line: Value =
        serde_json::from_str(&program.wait_for(&["controller listens"])).expect("JSON");
    let address = line["address"].as_str().expect("an address").to_owned();
    (program, address)
}

/// An agent without analyzer.
fn agent(state: &Path, controller: &str, more: &[&str]) -> Program {
    // Plaintext or TLS as with the controller: one without the other is refused.
    let analyzer = if controller.starts_with("https:") {
        "https://127.0.0.1:1"
    } else {
        NOWHERE
    };
    let common = [
        "run",
        "--log-format",
        "json",
        "--analyzer",
        analyzer,
        "--controller",
        controller,
        "--state-dir",
        text(state),
    ];
    Program::start(AGENT, &[&common, more].concat())
}

/// An agent with `agent_files` at a controller with `controller_files`: what each says, and that the agent is let in as
/// soon as its files are those of `good`, without a restart.
fn refused_until_mended(
    folder: &Path,
    good: &Authority,
    agent_says: &str,
    controller_says: &str,
    spoil: impl FnOnce(&Path) -> TlsFiles,
) {
    let servers = good.issue(&folder.join("controller"), NAME, Validity::Now);
    let (mut controller, address) = controller(folder, &tls(&servers));
    let files = spoil(&folder.join("agent"));
    let url = format!("https://{address}");
    let more = [
        &["--transport", "none", "--host", "stranger"][..],
        &tls(&files),
    ]
    .concat();
    let mut agent = agent(&folder.join("state"), &url, &more);
    agent.wait_for(&[
        "not registered with the controller, trying again",
        &url,
        agent_says,
    ]);
    // More than once: it keeps trying.
    for _ in 0..2 {
        controller.wait_for(&["refused a connection", "127.0.0.1:", controller_says]);
    }
    good.issue(&folder.join("agent"), "stranger", Validity::Now);
    controller.wait_for(&["\"registered\"", "stranger"]);
    agent.wait_for(&["registered with the controller again"]);
    let lines = agent.stop();
    let told = lines.iter().filter(|line| line.contains(agent_says));
    assert_eq!(told.count(), 1, "{lines:#?}");
    controller.stop();
}

#[test]
fn a_controller_of_another_ca_is_refused_by_the_agent_and_both_say_so() {
    let folder = tempfile::tempdir().expect("folder");
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    refused_until_mended(
        folder.path(),
        &good,
        "it is signed by another CA than those in tls.ca",
        "it is signed by another CA than the peer trusts",
        |agent| other.issue(agent, NAME, Validity::Now),
    );
}

#[test]
fn an_agent_of_another_ca_is_refused_by_the_controller_and_both_say_so() {
    let folder = tempfile::tempdir().expect("folder");
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    refused_until_mended(
        folder.path(),
        &good,
        "our certificate (tls.cert) was refused by the peer",
        "it is signed by another CA than those in tls.ca",
        |agent| {
            let files = other.issue(agent, NAME, Validity::Now);
            crate::support::certs::put(agent, "ca.pem", &good.pem());
            files
        },
    );
}

/// An agent that its controller takes and its analyzer does not: the results wait, and all come when the analyzer has
/// certificates of the right CA. The agent's two RNICs probe each other.
#[test]
fn results_wait_until_an_analyzer_of_another_ca_is_mended() {
    let folder = tempfile::tempdir().expect("folder");
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    let issue = |name: &str| good.issue(&folder.path().join(name), NAME, Validity::Now);
    let files = issue("controller");
    let addresses = ["--agents-prefixes", "127.0.0.0/8"];
    let (controller, address) = controller(folder.path(), &[&tls(&files), &addresses[..]].concat());
    let files = other.issue(&folder.path().join("analyzer"), NAME, Validity::Now);
    let store = format!("sqlite:{}", text(&folder.path().join("analyzer.db")));
    let servers = ["--listen", "127.0.0.1:0", "--web", "127.0.0.1:0"];
    let rest = ["--store", &store, "--log-format", "json"];
    let mut analyzer = Program::start(
        ANALYZER,
        &[&["run"], &servers[..], &rest, &tls(&files)].concat(),
    );
    let ready: Value =
        serde_json::from_str(&analyzer.wait_for(&["the analyzer is ready"])).expect("JSON");
    let at = |name: &str| ready[name].as_str().expect("an address").to_owned();

    let port = free_port();
    let state = folder.path().join("state");
    let mut arguments = vec!["run", "--log-format", "json", "--state-dir", text(&state)];
    arguments.extend(["--transport", "userspace", "--userspace-port", &port]);
    arguments.extend(["--userspace-addresses", "127.0.0.1"]);
    arguments.extend(["--tor", "tor0", "--host", "patient"]);
    let urls = [&address, &at("grpc")].map(|address| format!("https://{address}"));
    arguments.extend(["--controller", &urls[0], "--analyzer", &urls[1]]);
    let files = good.issue(&folder.path().join("agent"), "patient", Validity::Now);
    arguments.extend(tls(&files));
    let mut agent = Program::start(AGENT, &arguments);
    agent.wait_for(&[
        "the analyzer takes no results, they are kept",
        "it is signed by another CA than those in tls.ca",
    ]);
    agent.wait_for(&["new pinglist"]);
    // It keeps trying, about once per interval of results.
    for _ in 0..3 {
        analyzer.wait_for(&["refused a connection", "another CA than the peer trusts"]);
    }
    issue("analyzer");
    agent.wait_for(&["the analyzer takes results again"]);

    let agents = || -> Value {
        let body = get(&at("web"), "/api/v1/agents");
        serde_json::from_str(&body).expect("JSON")
    };
    let end = Instant::now() + PATIENCE;
    let shown = loop {
        let answer = agents();
        // What the agent tells of itself is uploaded also where there is nobody to probe.
        if answer["agents"][0]["batches"].as_u64() > Some(0) {
            break answer["agents"][0].clone();
        }
        assert!(Instant::now() < end, "no results came: {answer}");
        std::thread::sleep(LOOK);
    };
    assert_eq!(shown["agent"], "patient");
    // From the first batch on, which was made while the analyzer was refused.
    assert_eq!(shown["batches"], shown["sequence"], "{shown}");
    assert_eq!(shown["lost_batches"], 0, "{shown}");
    assert_eq!(shown["duplicate_batches"], 0, "{shown}");
    assert_eq!(shown["counters"]["batches_dropped"], 0, "{shown}");
    assert_eq!(shown["counters"]["source_ports_otherwise"], 0, "{shown}");
    for program in [agent, controller, analyzer] {
        program.stop();
    }
}

/// The body of an HTTP answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the analyzer listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    body.to_owned()
}

/// A UDP port that is free.
fn free_port() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
    socket.local_addr().expect("address").port().to_string()
}

#[test]
fn the_second_agent_with_a_gid_is_told_whose_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    let lease = ["--registry-lease", "3s"];
    let (mut controller, address) = controller(folder.path(), &lease);
    let url = format!("http://{address}");
    let start = |id: &str| {
        let port = free_port();
        let more = [
            "--transport",
            "userspace",
            "--userspace-port",
            &port,
            "--userspace-addresses",
            "127.0.0.1",
            "--tor",
            "tor0",
            "--agent-id",
            id,
            "--host",
            id,
        ];
        agent(&folder.path().join(id), &url, &more)
    };
    let first = start("first");
    controller.wait_for(&["\"registered\"", "first", "\"rnics\":1"]);
    let mut second = start("second");
    let line = second.wait_for(&["not registered with the controller", "GID 127.0.0.1"]);
    for part in [
        "is registered by agent `first` on host `first`",
        "agent `second` on host `second` cannot register it too",
        "give one of the two RNICs another address",
    ] {
        assert!(line.contains(part), "{line}");
    }
    controller.wait_for(&["an announcement was refused", "`first`", "`second`"]);
    // It keeps trying: it gets the GID when the first is no longer alive.
    first.stop();
    controller.wait_for(&["\"registered\"", "second", "\"rnics\":1"]);
    second.wait_for(&["registered with the controller again"]);
    let lines = second.stop();
    let told = lines.iter().filter(|line| line.contains("GID 127.0.0.1"));
    assert_eq!(told.count(), 1, "{lines:#?}");
    controller.stop();
}

/// One program with its database.
struct Stored {
    program: &'static str,
    arguments: Vec<String>,
    file: &'static str,
    /// Written once the database is open.
    ready: &'static str,
}

/// An agent has no database: its spool has tests of its own, `damaged.rs`.
fn programs_with_databases(folder: &Path) -> [Stored; 2] {
    let owned = |arguments: &[&str]| arguments.iter().map(|&text| text.to_owned()).collect();
    let store = |name: &str| format!("sqlite:{}", text(&folder.join(name)));
    [
        Stored {
            program: CONTROLLER,
            arguments: owned(&[
                "run",
                "--listen",
                "127.0.0.1:0",
                "--store",
                &store("registry.db"),
            ]),
            file: "registry.db",
            ready: "controller listens",
        },
        Stored {
            program: ANALYZER,
            arguments: owned(&[
                "run",
                "--listen",
                "127.0.0.1:0",
                "--web",
                "127.0.0.1:0",
                "--store",
                &store("analyzer.db"),
            ]),
            file: "analyzer.db",
            ready: "the analyzer is ready",
        },
    ]
}

#[test]
fn databases_in_use_or_of_a_newer_version_are_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    for stored in programs_with_databases(folder.path()) {
        let arguments: Vec<_> = stored.arguments.iter().map(String::as_str).collect();
        let file = folder.path().join(stored.file);
        let mut first = Program::start(stored.program, &arguments);
        first.wait_for(&[stored.ready]);
        let (status, error) = refused(stored.program, &arguments);
        assert_eq!(status, Some(1), "{error}");
        let expected = format!(
            "database {} is locked by another process: stop the other one",
            file.display()
        );
        assert!(error.contains(&expected), "{error}");
        first.stop();

        let version = |set: Option<i64>| {
            let database = rusqlite::Connection::open(&file).expect("database");
            if let Some(version) = set {
                database
                    .pragma_update(None, "user_version", version)
                    .expect("written");
            }
            database
                .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
                .expect("read")
        };
        let own = version(None);
        version(Some(99));
        let before = std::fs::read(&file).expect("bytes");
        let (status, error) = refused(stored.program, &arguments);
        assert_eq!(status, Some(1), "{error}");
        let expected = format!("database {} has layout version 99", file.display());
        assert!(
            error.contains(&expected) && error.contains("use the newer program"),
            "{error}"
        );
        assert_eq!(std::fs::read(&file).expect("bytes"), before);
        // The newer program has come to an agreement: everything is still there.
        version(Some(own));
        let mut again = Program::start(stored.program, &arguments);
        again.wait_for(&[stored.ready]);
        again.stop();
    }
}
