//! What drivers do wrong, and devices that fail, go away and come back: every row of what the agent has to survive.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::gids::{Fabric, with};
use super::ping::{ping, ping_while, probe, respond};
use super::{PAIR, Rnics};

const ADDRESS: [&str; 1] = ["3 10.0.0.5 2 1"];

/// The table of the agent's RNIC with more lines about it.
fn agents(more: &str) -> String {
    with(&ADDRESS).replacen("port", &format!("{more}\nport"), 1)
}

/// The two RNICs, with more lines about prober and responder.
fn pair(prober: &str, responder: &str) -> String {
    let (first, second) = PAIR.split_once("OWN").expect("two devices");
    format!("{first}{responder}{}", second.replacen("OWN", prober, 1))
}

fn outcomes(lines: &[Value], outcome: &str) -> usize {
    lines
        .iter()
        .filter(|line| line["outcome"] == outcome)
        .count()
}

/// Whether each context that was closed had nothing left.
fn left_nothing(log: &str) {
    let closed: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("close "))
        .collect();
    assert!(!closed.is_empty(), "{log}");
    for line in closed {
        assert!(line.ends_with(" objects 0"), "{line}");
    }
}

/// The agent's patience is longer than any stall of the machine that runs the test: what is lost then was lost by an error.
#[test]
fn a_queue_pair_in_error_is_started_anew_under_its_number() {
    thread::scope(|scope| {
        for (prober, responder) in [
            // Retries exhausted; a status that no version knows; a receive with a protection error; both sides.
            ("error send 5 12", ""),
            ("error send 4 77", ""),
            ("error receive 7 4", ""),
            ("", "error receive 4 4"),
            ("", "error send 7 13"),
            ("error send 6 9", "error receive 5 11"),
        ] {
            scope.spawn(move || goes_on_behind_errors(prober, responder));
        }
    });
}

fn goes_on_behind_errors(prober: &str, responder: &str) {
    let rnics = Rnics::new(&pair(prober, responder));
    let lines = ping(&rnics, ("24", "20ms"), &["--probe-timeout", "5s"]);
    let (summary, probes) = lines.split_last().expect("a summary");
    assert_eq!(probes.len(), 24, "{summary}");
    let complete = outcomes(probes, "complete");
    assert!(complete >= 6, "{prober}/{responder}: {summary}");
    // There were several.
    let failed = probes.len() - complete;
    assert!(failed >= 2, "{prober}/{responder}: {summary}");
    let log = rnics.log();
    let opened = log.lines().filter(|line| line.starts_with("qp mlx5_1"));
    assert_eq!(opened.count(), 1, "{log}");
}

#[test]
fn a_port_that_goes_down_and_comes_back_is_noticed_by_its_events() {
    let up = pair("", "");
    let rnics = Rnics::new(&up);
    let (before, after) = up.split_once("dev mlx5_1").expect("two devices");
    let down = format!(
        "{before}dev mlx5_1{}",
        after.replacen("port 1 4", "port 1 1", 1)
    );
    let lines = ping_while(&rnics, ("150", "20ms"), &[], || {
        thread::sleep(Duration::from_millis(800));
        rnics.become_(&down);
        thread::sleep(Duration::from_millis(800));
        rnics.become_(&up);
    });
    let (summary, probes) = lines.split_last().expect("a summary");
    // What cannot be sent is no loss.
    let failed = probes.iter().filter(|line| line["reason"] == "send_failed");
    assert!(failed.count() >= 10, "{summary}");
    let of = |outcome: &str| probes.iter().rposition(|line| line["outcome"] == outcome);
    let (complete, invalid) = (of("complete"), of("invalid"));
    assert_eq!(probes[0]["outcome"], "complete", "{}", probes[0]);
    assert!(complete > invalid, "{complete:?} {invalid:?} {summary}");
}

#[test]
fn a_device_that_is_removed_and_comes_back_is_used_again() {
    let mut fabric = Fabric::start(&agents(""));
    fabric.is_at("10.0.0.5");
    for _ in 0..2 {
        fabric.is_reached_at("10.0.0.5", "probe0");
        let whole = agents("");
        let probers = whole.find("dev probe0").expect("probers");
        fabric.rnics.become_(&whole[probers..]);
        fabric.agent.wait_for(&["fatal error or was removed"]);
        fabric
            .agent
            .wait_for(&["cannot open an endpoint", "there is no such device"]);
        fabric.rnics.become_(&whole);
        fabric.is_at("10.0.0.5");
    }
    fabric.is_reached_at("10.0.0.5", "probe0");
    left_nothing(&fabric.rnics.log());
    fabric.agent.stop();
}

#[test]
fn a_completion_queue_that_overruns_and_a_queue_pair_that_dies_cost_the_endpoint_only() {
    // A queue pair in error flushes all its receives, which are more than there is room for.
    let overrun = "entries 4\nerror receive 2 4";
    let mut fabric = Fabric::start(&agents(""));
    fabric.is_at("10.0.0.5");
    fabric.rnics.become_(&agents("event 1 1 0"));
    fabric.agent.wait_for(&["fatal error of a queue pair"]);
    fabric.is_at("10.0.0.5");
    // For a new completion queue.
    fabric
        .rnics
        .become_(&agents(&format!("{overrun}\nevent 2 8 0")));
    fabric.is_at("10.0.0.5");
    let mut tries = fabric.tries("probe0");
    fabric.agent.wait_for(&["its completion queue overran"]);
    tries.end();
    fabric.rnics.become_(&agents(""));
    fabric.is_reached_at("10.0.0.5", "probe0");
    left_nothing(&fabric.rnics.log());
    fabric.agent.stop();
}

#[test]
fn events_that_nobody_knows_and_those_of_other_ports_change_nothing() {
    let mut fabric = Fabric::start(&agents(""));
    fabric.is_at("10.0.0.5");
    let events = [
        "77 0",
        "4000000000 -9",
        "7 0",
        "15 0",
        "19 0",
        "10 2",
        "18 1",
        "9 1",
    ];
    // Unknown types, paths migrated, an SRQ, a work queue; port 2 went down; the own GID table changed in nothing.
    for count in 1..=events.len() {
        let lines: Vec<_> = events[..count]
            .iter()
            .enumerate()
            .map(|(number, event)| format!("event {number} {event}"))
            .collect();
        fabric.rnics.become_(&agents(&lines.join("\n")));
        thread::sleep(Duration::from_millis(30));
    }
    fabric.is_reached_at("10.0.0.5", "probe0");
    let log = fabric.rnics.log();
    let opened = log.lines().filter(|line| *line == "qp mlx5_0 Some(None)");
    assert_eq!(opened.count(), 1, "{log}");
    fabric.agent.stop();
}

/// Every call by which an endpoint is opened. The code is one that no advice knows.
const CALLS: [(&str, &str); 9] = [
    ("ibv_open_device", "ibv_open_device"),
    ("ibv_query_device_ex", "ibv_query_device"),
    ("ibv_query_port", "ibv_query_port"),
    ("ibv_alloc_pd", "ibv_alloc_pd"),
    ("ibv_create_comp_channel", "ibv_create_comp_channel"),
    ("ibv_create_cq", "ibv_create_cq"),
    ("ibv_reg_mr", "ibv_reg_mr"),
    ("ibv_create_qp", "ibv_create_qp"),
    ("ibv_modify_qp", "ibv_modify_qp"),
];

#[test]
fn a_call_that_fails_is_named_and_leaves_nothing_behind() {
    for (call, named) in CALLS {
        for code in ["71", "12", "9999", "-5"] {
            let only = PAIR.split_once("OWN").expect("two devices").0;
            let rnics = Rnics::new(&format!("{only}fail {call} {code}\n"));
            let output = rnics
                .agent(&["respond", "--transport", "verbs", "--devices", "mlx5_0"])
                .output()
                .expect("runs");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{call} {code}: {text}");
            assert!(text.contains(named), "{call} {code}: {text}");
            if call != "ibv_open_device" {
                left_nothing(&rnics.log());
            }
        }
    }
}

#[test]
fn opening_backs_off_whatever_fails() {
    thread::scope(|scope| {
        for (call, _) in CALLS {
            scope.spawn(move || opens_seldom(call));
        }
        // These fail in an endpoint that is open.
        for call in [
            "ibv_get_async_event",
            "ibv_req_notify_cq",
            "ibv_get_cq_event",
        ] {
            scope.spawn(move || opens_seldom(call));
        }
    });
}

/// An RNIC on which this call fails is opened with growing waits, and used once the call works.
fn opens_seldom(call: &str) {
    let mut fabric = Fabric::start(&agents(""));
    fabric.is_at("10.0.0.5");
    let calls = |rnics: &Rnics| {
        let log = rnics.log();
        log.lines()
            .filter(|line| line.starts_with("open mlx5_0"))
            .count()
    };
    let before = calls(&fabric.rnics);
    // Fatal, so that it is opened again.
    let failing = agents(&format!("fail {call} 71\nevent 1 8 0"));
    fabric.rnics.become_(&failing);
    let began = Instant::now();
    let mut tries = fabric.tries("probe0");
    thread::sleep(Duration::from_secs(6));
    tries.end();
    let opened = calls(&fabric.rnics) - before;
    // The waits double from at most 0.1 s, and the agent looks at all RNICs every ten seconds.
    assert!(
        opened <= 24,
        "{call}: opened {opened} times in {:?}",
        began.elapsed()
    );
    fabric.rnics.become_(&agents(""));
    fabric.is_reached_at("10.0.0.5", "probe0");
    fabric.agent.stop();
}

/// What the emulated RNICs have seen leave.
#[test]
fn what_is_sent_has_the_class_that_is_configured_and_the_port_of_its_label() {
    let rnics = Rnics::new(&pair("steer label", "steer label"));
    let (_responder, target) = respond(&rnics);
    let arguments = [
        "--steering",
        "flow-label",
        "--flow-label",
        "0x41267",
        "--traffic-class",
        "106",
        "--service-level",
        "3",
    ];
    let output = probe(&rnics, &target, ("3", "5ms"), &arguments, || ());
    assert!(output.status.success());
    // 0x41267 folds to 0x1267 ^ 0x10.
    let port = 0xc000 | 0x1267 ^ 0x10;
    let line = format!(
        "sent mlx5_1 label {} class 106 level 3 port 1 source {port} to ",
        0x41267
    );
    assert!(rnics.log().contains(&line), "{}", rnics.log());
    // The responder has a configuration of its own.
    assert!(
        rnics.log().contains("class 0 level 0 port 1"),
        "{}",
        rnics.log()
    );
}

/// Names as drivers and udev give them: bonds, VLANs, virtual and scalable functions, and the longest that there can be.
#[test]
fn devices_of_any_name_are_used() {
    let longest = "r".repeat(63);
    for name in [
        "mlx5_bond_0",
        "rocep24s0f1v7",
        "roceo1.100",
        "mlx5_12",
        "irdma-mkp2",
        &longest,
    ] {
        let table = PAIR.replace("OWN", "").replace("mlx5_0", name);
        let found = Rnics::new(&table).doctor(&[]);
        assert!(
            found.contains(&format!("{name}/1: active, Ethernet")),
            "{found}"
        );
        assert!(found.contains("2 usable RNIC ports"), "{found}");
    }
}
