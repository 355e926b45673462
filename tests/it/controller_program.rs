//! `rpingmesh-controller` as a process: exit statuses, messages, signals.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::program::{CONTROLLER, command};

fn program() -> Command {
    command(CONTROLLER, &[])
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program().args(arguments).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn wrong_configuration_is_status_2_and_names_the_key() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("controller.toml");
    std::fs::write(&file, "[pinglist]\nlink_speed = 1\n").expect("write");
    let file = file.to_str().expect("UTF-8");
    for (arguments, word) in [
        (&["check-config", "--config", file][..], "link_speed"),
        (
            &["check-config", "--config", "/nonexistent/c.toml"],
            "/nonexistent/c.toml",
        ),
        (
            &["run", "--store", "postgres://db"],
            "`postgres://…` cannot be used: it names no user",
        ),
        (&["run", "--listen", "0.0.0.0:0"], "tls.allow_plaintext"),
        (&["run", "--no-such-flag"], "--no-such-flag"),
    ] {
        let (status, _, error) = output(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn printed_configuration_is_accepted_again() {
    let (status, text, _) = output(&["print-config", "--pinglist-parallel-paths", "4"]);
    assert_eq!(status, Some(0));
    assert!(text.contains("parallel_paths = 4"), "{text}");
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("controller.toml");
    std::fs::write(&file, text).expect("write");
    let (status, text, error) =
        output(&["check-config", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(
        (status, text.trim()),
        (Some(0), "the configuration is valid"),
        "{error}"
    );
}

#[test]
fn runs_names_its_address_refuses_a_second_owner_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().expect("folder");
    let store = format!(
        "sqlite:{}",
        folder.path().join("state/registry.db").display()
    );
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--store",
        &store,
        "--log-format",
        "json",
    ];
    let mut child = program()
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let line = lines
        .find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains("controller listens"))
        })
        .expect("a line")
        .expect("readable");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let address = line["address"].as_str().expect("address");
    std::net::TcpStream::connect(address).expect("it listens where it says");

    let (status, _, error) = output(&arguments);
    assert_eq!(status, Some(1));
    assert!(
        error.contains("locked by another process") && error.contains("registry.db"),
        "{error}"
    );

    let asked = Instant::now();
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("signal");
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}
