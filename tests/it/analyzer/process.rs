//! The program itself: killed and started again, stopped by a signal, given impossible configurations.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpingmesh::net::client::channel;
use rpingmesh::net::tls::Security;
use rpingmesh::net::url::Url;
use rpingmesh::rpc::v1;
use rpingmesh::time::{Clock as _, SystemClock};
use serde_json::Value;

use super::harness::{http, report, upload_to};
use crate::support::program::{ANALYZER, own};

struct Program {
    child: Child,
    grpc: SocketAddr,
    web: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = own(ANALYZER);
    command
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--web",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ])
        .arg(format!(
            "--store=sqlite:{}",
            folder.join("analyzer.db").display()
        ))
        .stderr(Stdio::piped());
    command
}

/// Starts the program and waits for the line that says that it is ready.
fn start(folder: &Path) -> Program {
    let mut child = command(folder).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let ready = lines
        .by_ref()
        .map(|line| line.expect("a line"))
        .find(|line| line.contains("the analyzer is ready"))
        .expect("it is ready");
    // Keep reading, or the program blocks when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    let fields: Value = serde_json::from_str(&ready).expect("JSON");
    let address = |name: &str| {
        let text = fields[name].as_str().expect("an address");
        text.parse().expect("an address")
    };
    Program {
        grpc: address("grpc"),
        web: address("web"),
        child,
    }
}

fn now() -> i64 {
    SystemClock.wall().nanos()
}

#[tokio::test]
async fn a_killed_analyzer_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let begin = now();
    // Two slots ago: over, and within the longest window for as long as this test takes.
    let batch = |sequence: u64| v1::ResultBatch {
        sequence,
        start_unix_ns: begin - 10_000_000_000,
        end_unix_ns: begin - 9_000_000_000,
        paths: vec![report(1, 2, 10, 1)],
        counters: None,
        traces: Vec::new(),
        hardware: Vec::new(),
    };
    let mut program = start(folder.path());
    for round in 0..3u64 {
        let url = Url::server(&format!("http://{}", program.grpc)).expect("url");
        let channel = channel(&url, &Security::loopback_plaintext()).expect("channel");
        // One that was stored before the kill, two that are new.
        let batches = (2 * round..=2 * round + 2)
            .filter(|number| *number > 0)
            .map(batch)
            .collect();
        let (acknowledged, end) = upload_to(channel, "agent-1", 7, batches).await;
        assert_eq!((acknowledged, end), (2 * round + 2, None));
        program.child.kill().expect("SIGKILL");
        program.child.wait().expect("ended");
        program = start(folder.path());
    }
    let (status, body) = http(program.web, "/api/v1/paths?window=120s").await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (&answer["paths"][0]["sent"], &answer["paths"][0]["lost"]),
        (&60.into(), &6.into())
    );
}

#[test]
fn a_signal_ends_it_with_status_0_and_a_second_owner_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let mut program = start(folder.path());
    let second = command(folder.path()).output().expect("it ends");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("is locked by another process"), "{text}");
    let begin = Instant::now();
    let pid = rustix::process::Pid::from_child(&program.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    assert_eq!(program.child.wait().expect("ended").code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn impossible_configurations_end_with_status_2() {
    let run = |arguments: &[&str]| {
        let output = own(ANALYZER).args(arguments).output().expect("it ends");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (arguments, name) in [
        (["check-config", "--listen", "0.0.0.0:1"], "listen"),
        (["check-config", "--store", "postgres://x"], "store"),
        (["check-config", "--max-paths", "0"], "max_paths"),
        (["check-config", "--web", "8.8.8.8:1"], "web"),
        (
            ["check-config", "--config", "/nonexistent/analyzer.toml"],
            "/nonexistent/analyzer.toml",
        ),
        (["run", "--lateness", "2h"], "lateness"),
    ] {
        let (status, text) = run(&arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(name), "{arguments:?}: {text}");
    }
    assert_eq!(run(&["check-config"]).0, Some(0));
    assert_eq!(run(&["print-config"]).0, Some(0));
    assert_eq!(run(&["fly"]).0, Some(2));
}
