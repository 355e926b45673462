//! The agent's program as people use it: help texts, exit statuses, error messages, `ping` between two processes.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::{AGENT, command};

const PATIENCE: Duration = Duration::from_secs(30);

/// Without the variables of the machine that runs the test.
fn agent(arguments: &[&str]) -> Command {
    let mut command = command(AGENT, arguments);
    command.env("COLUMNS", "120");
    command
}

fn output(arguments: &[&str]) -> Output {
    agent(arguments).output().expect("the program runs")
}

/// Exit status and standard error.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = output(arguments);
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), text.trim_end().to_owned())
}

fn help(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn help_of_run() {
    insta::assert_snapshot!(help(&["run", "--help"]));
}

/// Every subcommand has the same configuration; what each has beside it.
#[test]
fn help_of_the_others() {
    let own = |name: &str| {
        let text = help(&[name, "--help"]);
        let end = text
            .find("\nConfiguration:")
            .expect("the configuration's part");
        format!("{}\n----\n", &text[..end])
    };
    let texts: String = [
        "ping",
        "trace",
        "respond",
        "doctor",
        "check-config",
        "print-config",
    ]
    .into_iter()
    .map(own)
    .collect();
    insta::assert_snapshot!(texts);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "tor = 'a'\ntrasport = 'none'\n").expect("write");
    let path = file.to_str().expect("path");
    let (status, text) = refused(&["check-config", "--config", path]);
    assert_eq!(status, Some(2));
    assert!(
        text.contains(path) && text.contains("line 2") && text.contains("`trasport`"),
        "{text}"
    );
}

#[test]
fn wrong_usage_and_values_end_with_status_2() {
    for (arguments, part) in [
        (
            &["check-config", "--config", "/nonexistent/agent.toml"][..],
            "cannot read the configuration file /nonexistent/agent.toml: No such file",
        ),
        (&["check-config"], "tor: is missing: name the ToR switch"),
        (
            &["check-config", "--tor", "a", "--queue-pairs", "0"],
            "queue_pairs: 0 is not possible",
        ),
        (
            &[
                "run",
                "--transport",
                "none",
                "--controller",
                "http://192.0.2.1:7470",
            ],
            "controller: `http://192.0.2.1:7470`: plaintext goes to loopback only",
        ),
        (
            &[
                "run",
                "--transport",
                "none",
                "--tls-cert",
                "/nonexistent.pem",
            ],
            "tls.key: is missing",
        ),
        (
            &["run", "--log-level", "=?"],
            "log.level: `=?` is not a filter",
        ),
        (&["ping", "10.0.0.1%x"], "`x` is not a QPN"),
        (
            &["ping", "10.0.0.1%5", "--interval", "1ns"],
            "interval: 1ns is too short",
        ),
        (
            &["ping", "10.0.0.1%5", "--flow-label", "0"],
            "`0` is not a flow label",
        ),
        (&["trace"], "<TARGET>"),
        (
            &["trace", "10.0.0.1", "--source-port", "0"],
            "0 is not in 1..=65535",
        ),
        (
            &[
                "trace",
                "10.0.0.1",
                "--source-port",
                "1",
                "--flow-label",
                "1",
            ],
            "cannot be used with",
        ),
        (&["teleport"], "unrecognized subcommand 'teleport'"),
    ] {
        let (status, text) = refused(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn variables_are_settings_and_flags_win() {
    let print = |arguments: &[&str]| {
        let output = agent(arguments)
            .env("RPINGMESH_TOR", "from-variable")
            .output()
            .expect("runs");
        assert!(output.status.success());
        toml::from_str::<toml::Table>(&String::from_utf8(output.stdout).expect("text"))
            .expect("TOML")
    };
    assert_eq!(
        print(&["print-config"])["tor"].as_str(),
        Some("from-variable")
    );
    assert_eq!(
        print(&["print-config", "--tor", "flag"])["tor"].as_str(),
        Some("flag")
    );
}

#[test]
fn a_name_cannot_be_resolved_without_the_controller() {
    let (status, text) = refused(&["ping", "host-b", "--controller", "http://127.0.0.1:1"]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("cannot connect to http://127.0.0.1:1: Connection refused"),
        "{text}"
    );
}

/// A process that is stopped with SIGTERM at the end, whatever happens.
struct Process(Child);

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let child = agent(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    /// Stops it and gives status, seconds that it took, and standard error.
    fn stop(mut self) -> (Option<i32>, Duration, String) {
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let status = self.0.wait().expect("ends");
        let took = began.elapsed();
        let mut text = String::new();
        if let Some(mut pipe) = self.0.stderr.take() {
            std::io::Read::read_to_string(&mut pipe, &mut text).expect("text");
        }
        (status.code(), took, text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A UDP port that is free on 127.0.0.1.
fn free_port() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
    socket.local_addr().expect("address").port().to_string()
}

#[test]
fn an_rnic_measures_itself() {
    let port = free_port();
    let (target, lines) = ping("self", &port, "127.0.0.1");
    assert!(target.starts_with("127.0.0.1%"), "{target}");
    three_complete_probes(&target, &lines);
}

/// Selected by the profile `root`.
mod root {
    use super::*;

    #[test]
    #[ignore = "needs 127.0.0.2, which Linux has: cargo xtask test --only root"]
    fn two_user_space_processes_measure_each_other() {
        let port = free_port();
        let common = ["--transport", "userspace", "--userspace-port", &port];
        let address = ["--userspace-addresses", "127.0.0.1"];
        let mut responder = Process::start(&[&["respond"], &common[..], &address].concat());
        let mut lines = BufReader::new(responder.0.stdout.take().expect("pipe")).lines();
        let target = lines.next().expect("a line").expect("text");

        let (shown, lines) = ping(&target, &port, "127.0.0.2");
        assert_eq!(shown, target);
        three_complete_probes(&target, &lines);

        let (status, took, _) = responder.stop();
        assert_eq!(status, Some(0));
        assert!(took < Duration::from_secs(5));
    }
}

/// Probes `target` three times from `address`. Returns the target as the first line names it, and all lines.
fn ping(target: &str, port: &str, address: &str) -> (String, Vec<Value>) {
    let probes = ["--count", "3", "--interval", "5ms", "--flow-label", "4711"];
    let transport = ["--transport", "userspace", "--userspace-port", port];
    let local = ["--userspace-addresses", address];
    let ping = output(&[&["ping", target, "--json"], &probes[..], &transport, &local].concat());
    let errors = String::from_utf8_lossy(&ping.stderr).into_owned();
    assert!(ping.status.success(), "{errors}");
    let lines: Vec<Value> = String::from_utf8(ping.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let shown = lines[0]["target"].as_str().expect("a target").to_owned();
    (shown, lines)
}

/// The lines of `ping --json` for three probes with flow label 4711, all answered, and their summary.
fn three_complete_probes(target: &str, lines: &[Value]) {
    assert_eq!(lines.len(), 4);
    for line in &lines[..3] {
        let at = |name: &str| {
            line[name]
                .as_i64()
                .unwrap_or_else(|| panic!("{name} in {line}"))
        };
        assert_eq!(line["outcome"], "complete");
        assert_eq!(line["target"], target);
        assert_eq!(at("source_port"), 49152 + 4711);
        assert_eq!(at("source_port_seen"), 49152 + 4711);
        assert!(at("t1_ns") < at("t6_ns"));
        assert!(
            at("t2_ns") <= at("t3_estimated_ns") && at("t3_estimated_ns") <= at("t4_estimated_ns")
        );
        assert!(at("t4_estimated_ns") <= at("t5_ns"));
        assert_eq!(
            at("network_rtt_ns"),
            at("t5_ns") - at("t2_ns") - at("responder_delay_ns")
        );
        assert_eq!(
            at("prober_delay_ns"),
            at("t6_ns") - at("t1_ns") - (at("t5_ns") - at("t2_ns"))
        );
    }
    assert_eq!(lines[3]["type"], "summary");
    assert_eq!(
        (&lines[3]["sent"], &lines[3]["complete"], &lines[3]["lost"]),
        (&3.into(), &3.into(), &0.into())
    );
}

#[test]
fn nothing_that_comes_back_is_a_failure() {
    let port = free_port();
    let (status, text) = refused(&[
        "ping",
        "127.0.0.1%0x77",
        "--count",
        "1",
        "--probe-timeout",
        "50ms",
        "--transport",
        "userspace",
        "--userspace-port",
        &port,
        "--userspace-addresses",
        "127.0.0.1",
    ]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("nothing came back from 127.0.0.1%0x77"),
        "{text}"
    );
}

#[test]
fn an_agent_without_transport_says_what_is_off_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().expect("folder");
    let state = folder.path().to_str().expect("path");
    let mut process = Process::start(&[
        "run",
        "--transport",
        "none",
        "--tracing",
        "off",
        "--state-dir",
        state,
        "--controller",
        "http://127.0.0.1:1",
        "--analyzer",
        "http://127.0.0.1:1",
    ]);
    let mut lines = BufReader::new(process.0.stderr.take().expect("pipe")).lines();
    let began = Instant::now();
    let mut seen = String::new();
    while !(seen.contains("not registered with the controller")
        && seen.contains("the analyzer takes no results"))
    {
        assert!(began.elapsed() < PATIENCE, "{seen}");
        seen += &lines.next().expect("a line").expect("text");
        seen.push('\n');
    }
    let first = seen.lines().next().expect("a line");
    assert!(
        first.contains("transport none: as configured, this agent neither probes nor answers"),
        "{first}"
    );
    assert!(
        first.contains("; off: service tracing: as configured"),
        "{first}"
    );
    let (status, took, _) = process.stop();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(5));
}

#[test]
fn a_port_or_an_address_that_cannot_be_had_is_named() {
    let holder = UdpSocket::bind("127.0.0.1:0").expect("socket");
    let port = holder.local_addr().expect("address").port().to_string();
    let on = |address: &str, port: &str, command: &[&str]| {
        refused(
            &[
                command,
                &["--transport", "userspace", "--userspace-port", port],
                &["--userspace-addresses", address],
            ]
            .concat(),
        )
    };
    for command in [&["respond"][..], &["ping", "127.0.0.1%5"]] {
        let (status, text) = on("127.0.0.1", &port, command);
        assert_eq!(status, Some(1), "{text}");
        assert!(
            text.contains(&port) && text.contains("is in use") && text.contains("rdma_rxe"),
            "{text}"
        );
        // TEST-NET-1, RFC 5737: nobody has it.
        let (status, text) = on("192.0.2.1", "4791", command);
        assert_eq!(status, Some(1), "{text}");
        assert!(
            text.contains("192.0.2.1 is not an address of this host"),
            "{text}"
        );
    }
    let output = output(&[
        "doctor",
        "--transport",
        "userspace",
        "--userspace-port",
        &port,
        "--userspace-addresses",
        "127.0.0.1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("is in use"), "{text}");
}

/// The dynamic loader finds a file of that name that is no library; where there are no verbs at all, it is not looked for.
#[test]
fn a_missing_libibverbs_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("libibverbs.so.1"), "no library").expect("write");
    let said = |arguments: &[&str]| {
        let output = agent(arguments)
            .env("LD_LIBRARY_PATH", folder.path())
            .output()
            .expect("runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8(text).expect("text").trim_end().to_owned(),
        )
    };
    let (cause, advice) = if std::env::consts::OS == "linux" {
        ("cannot load libibverbs.so.1: ", "libibverbs1")
    } else {
        ("libibverbs exists on Linux only", "--transport userspace")
    };
    let state = folder.path().to_str().expect("path");
    for arguments in [
        &["ping", "10.0.0.1%5", "--transport", "verbs"][..],
        &["respond", "--transport", "verbs"],
        &["doctor", "--transport", "verbs"],
        &[
            "run",
            "--transport",
            "verbs",
            "--tor",
            "a",
            "--state-dir",
            state,
        ],
    ] {
        let (status, text) = said(arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {text}");
        assert!(
            text.contains(cause) && text.contains(advice),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn doctor_names_what_is_missing_and_fails() {
    let output = output(&[
        "doctor",
        "--json",
        "--transport",
        "none",
        "--controller",
        "http://127.0.0.1:1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let finding = |check: &str| {
        lines
            .iter()
            .find(|line| line["check"] == check)
            .unwrap_or_else(|| panic!("{check}"))
    };
    assert_eq!(finding("transport")["status"], "problem");
    assert!(finding("transport")["advice"].is_string());
    assert_eq!(finding("controller")["status"], "note");
    let verdict = lines.last().expect("a verdict");
    assert_eq!(
        (&verdict["type"], &verdict["can_probe"]),
        (&"verdict".into(), &false.into())
    );
}
