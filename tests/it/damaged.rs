//! Disks that fail under the programs: full, damaged, missing. Agents probe and answer, servers serve, nothing is lost.
//!
//! A limit on the size of files (`ulimit -f`) stands for a full disk: it needs no rights, and a write fails as on a full one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::time::{Clock as _, SystemClock};
use serde_json::Value;
use tonic::Code;

use crate::agent::{Chain, PATHS, count};
use crate::analyzer::harness::{batch, http, report, upload_to};
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, Program};

/// Nothing here waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at an API; nothing is decided by how long this is.
const LOOK: Duration = Duration::from_millis(100);
const NOWHERE: &str = "http://127.0.0.1:1";

/// The program with files of at most so many blocks of 512 bytes; a write beyond fails instead of ending it.
fn limited(program: &str, blocks: u32, arguments: &[&str]) -> Program {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    command.args(["-c", &script, "sh", program]).args(arguments);
    command.env_clear();
    Program::spawn(command)
}

fn store(folder: &Path, name: &str) -> String {
    format!("sqlite:{}", folder.join(name).display())
}

/// The fields of a line of the log.
fn fields(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

fn address(fields: &Value, name: &str) -> std::net::SocketAddr {
    let text = fields[name].as_str().expect("an address");
    text.parse().expect("an address")
}

/// Whatever is in the state folder, the agent probes and answers, and its results arrive.
#[tokio::test]
async fn agents_probe_and_answer_whatever_their_state_folder_is_like() {
    let chain = Chain::new().await;
    let state = |number: u8| chain.folder.path().join(format!("h{number}"));
    let write = |file: &Path, content: &[u8]| {
        fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
        fs::write(file, content).expect("file");
    };
    // 1: no folder can be made. 2: no file either. 3 to 5: garbage in the place of what is kept. 6: nothing at all.
    write(&state(1), b"");
    fs::create_dir_all(state(2).join("spool/lock")).expect("folder");
    fs::create_dir_all(state(2).join("pinglist.new")).expect("folder");
    write(&state(3).join("spool/0000000001.log"), &[7; 5_000]);
    write(&state(3).join("pinglist.pb"), b"garbage");
    write(&state(4).join("spool"), b"hi\n");
    write(&state(5).join("spool.sqlite"), b"hi\n");
    let agents: Vec<_> = (1..=6).map(|number| chain.agent(number)).collect();
    let (controller, analyzer) = (chain.controller().await, chain.analyzer().await);
    chain
        .wait(PATHS, "results between all agents", |answer| {
            (1..=6).all(|from| {
                (1..=6).filter(|to| *to != from).all(|to| {
                    let (from, to) = (format!("h{from}"), format!("h{to}"));
                    let path = crate::agent::path(answer, &from, &to, "mem0");
                    count(path, "sent") > count(path, "lost")
                })
            })
        })
        .await;
    let answer = chain.get("/api/v1/agents").await.expect("an answer");
    for agent in answer["agents"].as_array().expect("agents") {
        assert_eq!(agent["lost_batches"], 0, "{agent}");
        assert_eq!(agent["counters"]["results_dropped"], 0, "{agent}");
        assert_eq!(agent["counters"]["batches_dropped"], 0, "{agent}");
    }
    for running in agents.into_iter().chain([controller, analyzer]) {
        running.stop().await;
    }
    let renamed = |folder: &Path, name: &str| {
        fs::read_dir(folder)
            .expect("folder")
            .filter_map(|entry| entry.expect("entry").file_name().into_string().ok())
            .any(|found| found.starts_with(&format!("{name}.damaged-")))
    };
    assert!(renamed(&state(3).join("spool"), "0000000001.log"));
    assert!(renamed(&state(4), "spool"));
    assert!(renamed(&state(5), "spool.sqlite"));
}

/// The deed of a disk that fills: results arrive at the analyzer, and the controller is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_disk_is_full_drops_nothing_while_the_analyzer_is_there() {
    let folder = tempfile::tempdir().expect("folder");
    let mut controller = Program::start(
        CONTROLLER,
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--store",
            &store(folder.path(), "registry.db"),
        ],
    );
    let listens = fields(&controller.wait_for(&["controller listens"]));
    let mut analyzer = Program::start(
        ANALYZER,
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--web",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--store",
            &store(folder.path(), "analyzer.db"),
        ],
    );
    let ready = fields(&analyzer.wait_for(&["the analyzer is ready"]));
    let web = address(&ready, "web");
    let state = folder.path().join("state");
    // No byte goes to the disk.
    let mut agent = limited(
        AGENT,
        0,
        &[
            "run",
            "--transport",
            "none",
            "--agent-id",
            "full",
            "--log-format",
            "json",
            "--controller",
            &format!("http://{}", address(&listens, "address")),
            "--analyzer",
            &format!("http://{}", address(&ready, "grpc")),
            "--state-dir",
            &state.display().to_string(),
        ],
    );
    agent.wait_for(&["kept in memory until it works again", "spool"]);
    controller.wait_for(&[
        "what the agent cannot do has changed",
        "spool: results are kept in memory",
    ]);
    let end = Instant::now() + PATIENCE;
    let taken = loop {
        let (_, body) = http(web, "/api/v1/agents").await;
        let answer = fields(&body);
        let agent = answer["agents"][0].clone();
        if agent["sequence"].as_u64() > Some(3) {
            break agent;
        }
        assert!(Instant::now() < end, "{answer}");
        tokio::time::sleep(LOOK).await;
    };
    for (name, counters) in [
        ("lost_batches", &taken),
        ("batches_dropped", &taken["counters"]),
    ] {
        assert_eq!(counters[name], 0, "{taken}");
    }
    let lines = agent.stop();
    let said = lines.iter().filter(|line| line.contains("kept in memory"));
    assert_eq!(said.count(), 1, "{lines:#?}");
    controller.stop();
    analyzer.stop();
}

/// A file where the spool's folder should be, which cannot be renamed: said once, not with each batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_the_place_of_the_spool_that_stays_there_is_said_once() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("spool"), "hi\n").expect("file");
    // As many renamed files as are kept: one more is refused, as a read-only disk refuses it.
    for number in 0..64 {
        fs::write(folder.path().join(format!("x.damaged-{number}")), "").expect("file");
    }
    let mut agent = Program::start(
        AGENT,
        &[
            "run",
            "--transport",
            "none",
            "--controller",
            NOWHERE,
            "--analyzer",
            NOWHERE,
            "--metrics",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--state-dir",
            &folder.path().display().to_string(),
        ],
    );
    let served = fields(&agent.wait_for(&["metrics are served"]));
    let metrics = address(&served, "address");
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, text) = http(metrics, "/metrics").await;
        let waiting = text
            .lines()
            .find_map(|line| line.strip_prefix("rpingmesh_agent_batches_waiting "));
        let waiting: u64 = waiting.map_or(0, |count| count.parse().expect("a number"));
        if waiting >= 4 {
            break;
        }
        assert!(Instant::now() < end, "{text}");
        tokio::time::sleep(LOOK).await;
    }
    let lines = agent.stop();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("spool")).collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    for part in ["is a file, not a folder", "kept in memory", "remove them"] {
        assert!(said[0].contains(part), "{}", said[0]);
    }
}

/// A second agent of the same folder is a mistake: the first one probes.
#[test]
fn a_spool_that_another_agent_has_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let state = folder.path().display().to_string();
    let arguments = [
        "run",
        "--transport",
        "none",
        "--controller",
        NOWHERE,
        "--analyzer",
        NOWHERE,
        "--state-dir",
        &state,
    ];
    let mut first = Program::start(AGENT, &arguments);
    first.wait_for(&["the analyzer takes no results"]);
    let (status, error) = crate::support::program::refused(AGENT, &arguments);
    assert_eq!(status, Some(1), "{error}");
    let expected =
        format!("database {state}/spool is locked by another process: stop the other one");
    assert!(error.contains(&expected), "{error}");
    first.stop();
}

/// The deed of a controller's full disk: agents are served as before, restarted ones too.
#[test]
fn a_controller_whose_disk_is_full_registers_agents() {
    let folder = tempfile::tempdir().expect("folder");
    // Room for the tables and few agents.
    let mut controller = limited(
        CONTROLLER,
        160,
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--store",
            &store(folder.path(), "registry.db"),
        ],
    );
    let listens = fields(&controller.wait_for(&["controller listens"]));
    let url = format!("http://{}", address(&listens, "address"));
    let agent = |name: &str| {
        let state = folder.path().join(name).display().to_string();
        let arguments = [
            "run",
            "--transport",
            "none",
            "--controller",
            &url,
            "--analyzer",
            NOWHERE,
            "--agent-id",
            name,
            "--state-dir",
            &state,
        ];
        Program::start(AGENT, &arguments)
    };
    let names: Vec<_> = (0..12).map(|number| format!("a{number}")).collect();
    let agents: Vec<_> = names.iter().map(|name| agent(name)).collect();
    controller.wait_for(&["the registry cannot be stored: agents are served from memory"]);
    // One that comes later, and one that comes back.
    let later = agent("later");
    controller.wait_for(&["\"registered\"", "later"]);
    later.stop();
    let again = agent("later");
    controller.wait_for(&["\"registered\"", "later"]);
    for agent in agents.into_iter().chain([again]) {
        agent.stop();
    }
    let lines = controller.stop();
    let refused = lines.iter().filter(|line| line.contains("was refused"));
    assert_eq!(refused.count(), 0, "{lines:#?}");
}

/// `/healthz` says that the analyzer lives, `/readyz` whether it takes uploads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analyzer_that_refuses_uploads_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().expect("folder");
    let mut analyzer = limited(
        ANALYZER,
        800,
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--web",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--store",
            &store(folder.path(), "analyzer.db"),
        ],
    );
    let ready = fields(&analyzer.wait_for(&["the analyzer is ready"]));
    let web = address(&ready, "web");
    assert_eq!(http(web, "/healthz").await.0, 200);
    let (status, body) = http(web, "/readyz").await;
    assert_eq!(
        (status, fields(&body)["status"].as_str()),
        (200, Some("ready"))
    );
    let url = Url::server(&format!("http://{}", address(&ready, "grpc"))).expect("url");
    let now = SystemClock.wall().nanos();
    let end = Instant::now() + PATIENCE;
    // Values that compress badly.
    let varied = |sequence: u64, factor: u64| {
        let value = move |sample: u64| {
            let mixed = (sequence * 2_000 + sample).wrapping_mul(factor | 1) >> 20;
            10_000 + i64::try_from(mixed % 50_000).expect("small")
        };
        (0..2_000).map(value).collect::<Vec<_>>()
    };
    let mut first = 1;
    let (refused, body) = loop {
        let channel = channel(&url, &Security::loopback_plaintext()).expect("channel");
        let many = (first..first + 40)
            .map(|sequence| {
                let results = rpingmesh::rpc::v1::PathReport {
                    network_rtt_ns: varied(sequence, 0x9e37_79b9_7f4a_7c15),
                    prober_delay_ns: varied(sequence, 0xc2b2_ae3d_27d4_eb4f),
                    responder_delay_ns: varied(sequence, 0x1656_67b1_9e37_79f9),
                    ..report(1, 3, 2_000, 0)
                };
                rpingmesh::rpc::v1::ResultBatch {
                    start_unix_ns: now - 11_000_000_000,
                    end_unix_ns: now - 10_000_000_000,
                    ..batch(sequence, 1, vec![results])
                }
            })
            .collect();
        first += 40;
        let (_, end_of_stream) = upload_to(channel, "agent-1", 7, many).await;
        // The disk may refuse one group and take what of the next still fits: it is full when nothing fits any more.
        let (status, body) = http(web, "/readyz").await;
        match end_of_stream {
            Some(code) if status == 503 => break (code, body),
            _ => assert!(Instant::now() < end, "the disk takes everything"),
        }
    };
    assert!(
        matches!(refused, Code::Unavailable | Code::ResourceExhausted),
        "{refused:?}"
    );
    assert_eq!(http(web, "/healthz").await.0, 200);
    let answer = fields(&body);
    assert_eq!(answer["status"].as_str(), Some("not ready"));
    let reason = answer["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("uploads are refused") && reason.contains("analyzer.db"),
        "{reason}"
    );
    analyzer.stop();
}
