//! An endpoint follows the best entry of its port's GID table, and tells the controller.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Rnics;
use crate::support::program::{CONTROLLER, Program};

/// RNICs are looked at every ten seconds: what comes sooner came by an event.
const BEFORE_A_LOOK: Duration = Duration::from_secs(8);

/// The agent's RNIC with these GIDs, and one to probe from.
fn table(gids: &[&str]) -> String {
    let gids: Vec<_> = gids.iter().map(|gid| format!("gid 1 {gid}")).collect();
    format!(
        "dev mlx5_0 0 0 0\nport 1 4 2 5 256 0\n{}\n\
         dev probe0 0 0 0\nport 1 4 2 5 256 0\ngid 1 0 10.0.0.99 2 1\n\
         dev probe1 0 0 0\nport 1 4 2 5 256 0\ngid 1 0 2001:db8::99 2 1\n",
        gids.join("\n")
    )
}

const LINK_LOCAL: [&str; 2] = [
    "0 fe80::ac0:ebff:feda:1cfb 1 1",
    "1 fe80::ac0:ebff:feda:1cfb 2 1",
];

pub(super) fn with(gids: &[&str]) -> String {
    table(&[&LINK_LOCAL[..], gids].concat())
}

/// An agent on emulated RNICs, and its controller.
pub(super) struct Fabric {
    pub(super) rnics: Rnics,
    url: String,
    pub(super) agent: Program,
    _controller: Program,
}

/// Somebody who probes the agent again and again, until this value goes away.
pub(super) struct Tries {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tries {
    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

impl Drop for Tries {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Fabric {
    /// The agent uses the RNIC `mlx5_0`.
    pub(super) fn start(table: &str) -> Self {
        Self::start_with(table, "mlx5_0")
    }

    /// The agent uses these RNICs.
    pub(super) fn start_with(table: &str, devices: &str) -> Self {
        let rnics = Rnics::new(table);
        let mut controller = Program::start(
            CONTROLLER,
            &[
                "run",
                "--listen",
                "127.0.0.1:0",
                "--store",
                "sqlite::memory:",
                "--log-format",
                "json",
            ],
        );
        let line: Value =
            serde_json::from_str(&controller.wait_for(&["controller listens"])).expect("JSON");
        let url = format!("http://{}", line["address"].as_str().expect("an address"));
        let agent = rnics.run(&url, &["--devices", devices]);
        Self {
            rnics,
            url,
            agent,
            _controller: controller,
        }
    }

    /// Waits until the agent's endpoint is at this GID.
    pub(super) fn is_at(&mut self, gid: &str) {
        self.agent.wait_for(&["endpoint is open", gid]);
    }

    /// Probes the agent by its host's name, whether it answers or not.
    pub(super) fn tries(&self, from: &'static str) -> Tries {
        let stop = Arc::new(AtomicBool::new(false));
        let mut command = self.rnics.agent(&[
            "ping",
            "a1",
            "--transport",
            "verbs",
            "--devices",
            from,
            "--controller",
            &self.url,
            "--count",
            "20",
            "--interval",
            "10ms",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let ended = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                command.status().expect("it runs");
            }
        });
        Tries {
            stop,
            thread: Some(thread),
        }
    }

    /// Changes the table and waits until the endpoint is at this GID, by an event.
    fn moves(&mut self, table: &str, gid: &str) {
        let began = Instant::now();
        self.rnics.become_(table);
        self.is_at(&format!("{gid}%"));
        assert!(began.elapsed() < BEFORE_A_LOOK, "{:?}", began.elapsed());
    }

    /// Probes the agent by its host's name, as the controller resolves it, until that leads to this GID.
    pub(super) fn is_reached_at(&self, gid: &str, from: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.rnics.printed(&[
                "ping",
                "a1",
                "--transport",
                "verbs",
                "--devices",
                from,
                "--controller",
                &self.url,
                "--count",
                "1",
                "--json",
            ]);
            let first: Option<Value> = text
                .lines()
                .next()
                .and_then(|line| serde_json::from_str(line).ok());
            let reached = first.as_ref().is_some_and(|line| {
                line["outcome"] == "complete"
                    && line["target"]
                        .as_str()
                        .is_some_and(|target| target.starts_with(&format!("{gid}%")))
            });
            if reached {
                return;
            }
            assert!(Instant::now() < end, "{gid} is not reached: {text}");
        }
    }
}

#[test]
fn after_a_flap_the_endpoint_returns_to_the_address_and_the_controller_knows() {
    let steady = with(&["2 10.0.0.5 1 1", "3 10.0.0.5 2 1"]);
    let mut fabric = Fabric::start(&steady);
    fabric.is_at("10.0.0.5");
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.moves(&with(&[]), "fe80::ac0:ebff:feda:1cfb");
    fabric.moves(&steady, "10.0.0.5");
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.agent.stop();
}

#[test]
fn an_agent_that_starts_before_the_address_moves_to_it() {
    let mut fabric = Fabric::start(&with(&[]));
    fabric.is_at("fe80::ac0:ebff:feda:1cfb");
    // IPv4 link-local comes first where DHCP is slow; it is no better. Then router advertisements, then DHCP.
    fabric.rnics.become_(&with(&["2 169.254.7.7 2 1"]));
    fabric.moves(
        &with(&["2 169.254.7.7 2 1", "3 2001:db8::5 2 1"]),
        "2001:db8::5",
    );
    fabric.is_reached_at("2001:db8::5", "probe1");
    fabric.moves(
        &with(&["2 169.254.7.7 2 1", "3 2001:db8::5 2 1", "5 10.0.0.5 2 1"]),
        "10.0.0.5",
    );
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.agent.stop();
}

#[test]
fn an_index_that_moves_and_a_v1_entry_in_its_place_are_noticed() {
    let mut fabric = Fabric::start(&with(&["2 10.0.0.5 1 1", "3 10.0.0.5 2 1"]));
    fabric.is_at("10.0.0.5");
    fabric.moves(&with(&["2 10.0.0.5 2 1", "3 10.0.0.5 1 1"]), "10.0.0.5");
    fabric.is_reached_at("10.0.0.5", "probe0");
    assert!(
        fabric.rnics.log().contains("index 2 port 1"),
        "{}",
        fabric.rnics.log()
    );
    fabric.agent.stop();
}

#[test]
fn an_rnic_without_any_gid_is_used_when_one_comes() {
    let mut fabric = Fabric::start(&table(&[]));
    fabric.agent.wait_for(&["no RNIC can be used"]);
    fabric.rnics.become_(&table(&["4 10.0.0.5 2 1"]));
    fabric.is_at("10.0.0.5");
    // All are gone, the port is down, and then as before.
    fabric
        .rnics
        .become_(&table(&[]).replace("port 1 4", "port 1 1"));
    fabric
        .agent
        .wait_for(&["cannot open an endpoint", "the port is down"]);
    fabric.moves(&table(&["4 10.0.0.5 2 1"]), "10.0.0.5");
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.agent.stop();
}

#[test]
fn without_an_event_a_look_at_the_rnics_finds_the_better_entry() {
    let quiet = |table: String| table.replacen("port", "quiet\nport", 1);
    let mut fabric = Fabric::start(&quiet(with(&[])));
    fabric.is_at("fe80::ac0:ebff:feda:1cfb");
    fabric
        .rnics
        .become_(&quiet(with(&["2 10.0.0.5 1 1", "3 10.0.0.5 2 1"])));
    fabric.is_at("10.0.0.5");
    // The same GID at another index.
    fabric.rnics.become_(&quiet(with(&["6 10.0.0.5 2 1"])));
    fabric.is_at("10.0.0.5");
    fabric.is_reached_at("10.0.0.5", "probe0");
    assert!(
        fabric.rnics.log().contains("index 6 port 1"),
        "{}",
        fabric.rnics.log()
    );
    fabric.agent.stop();
}

#[test]
fn a_device_that_fails_after_each_open_is_opened_with_back_off() {
    let broken = with(&["3 10.0.0.5 2 1"]).replacen("port", "broken 1\nport", 1);
    let mut fabric = Fabric::start(&broken);
    let began = Instant::now();
    let mut opened = 0;
    while began.elapsed() < Duration::from_secs(6) {
        fabric.is_at("10.0.0.5");
        opened += 1;
    }
    // The waits double from at most 0.1 s; without them it is opened seven times a second and more.
    assert!((3..=18).contains(&opened), "opened {opened} times");
    // Once it is whole it stays, whether it was open at this moment or not.
    fabric.rnics.become_(&with(&["3 10.0.0.5 2 1"]));
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.agent.stop();
}
