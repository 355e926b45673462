//! A running `rpingmesh lab` with its API and metrics on loopback.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::program::{OPERATOR, command};

/// A running lab, killed when this value goes away.
pub(crate) struct Lab {
    child: Child,
    /// Where the analyzer's API and metrics are.
    pub(crate) web: SocketAddr,
    /// Where the metrics of controller and agents are.
    pub(crate) metrics: SocketAddr,
    /// How many hosts there are: `host0`, …
    pub(crate) hosts: u64,
}

impl Lab {
    /// Starts it with more options; returns when everything listens.
    pub(crate) fn start(options: &[&str]) -> Self {
        let common = [
            "lab",
            "--json",
            "--web",
            "127.0.0.1:0",
            "--metrics",
            "127.0.0.1:0",
        ];
        let mut child = command(OPERATOR, &[&common, options].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the lab starts");
        let mut lines = BufReader::new(child.stdout.take().expect("pipe")).lines();
        let first = lines.next().expect("a line").expect("text");
        // Reads on, or the lab would end.
        std::thread::spawn(move || lines.for_each(drop));
        let started: Value = serde_json::from_str(&first).expect("JSON");
        let address = |name: &str| {
            started[name]
                .as_str()
                .expect(name)
                .parse()
                .expect("an address")
        };
        Self {
            web: address("web"),
            metrics: address("metrics"),
            hosts: started["hosts"].as_u64().expect("hosts"),
            child,
        }
    }

    /// Ends it as systemd would.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let status = self.child.wait().expect("ended");
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
