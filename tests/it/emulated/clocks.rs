//! Probes between emulated RNICs, with every kind of completion stamps.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::ping::{Responder, ping, ping_while};
use super::{PAIR, Rnics};

/// The completion queues and queue pairs that were asked for on the prober's RNIC, in order.
fn asked(rnics: &Rnics) -> Vec<String> {
    let log = rnics.log();
    let own = log.lines().filter(|line| line.contains("mlx5_1"));
    own.filter(|line| line.starts_with("cq") || line.starts_with("qp"))
        .map(|line| line.replace(" mlx5_1", ""))
        .collect()
}

#[test]
fn each_format_of_stamps_is_tried_down_to_software() {
    for (clock, tried) in [
        ("clock 64 1000000", &["cq Some(Wall)", "qp Some(Wall)"][..]),
        // Refused when the completion queue is made, or only when a queue pair is.
        (
            "clock 48 156250\nrefuse cq wall 95",
            &["cq Some(Wall)", "cq Some(Raw)", "qp Some(Raw)"],
        ),
        (
            "clock 48 156250\nrefuse qp wall 95",
            &[
                "cq Some(Wall)",
                "qp Some(Wall)",
                "cq Some(Raw)",
                "qp Some(Raw)",
            ],
        ),
        (
            "clock 32 250000\nrefuse qp wall 95\nrefuse qp raw 22",
            &[
                "cq Some(Wall)",
                "qp Some(Wall)",
                "cq Some(Raw)",
                "qp Some(Raw)",
                "cq Some(None)",
                "qp Some(None)",
            ],
        ),
        ("", &["cq Some(None)", "qp Some(None)"]),
        (
            "refuse qp none 95",
            &["cq Some(None)", "qp Some(None)", "cq None", "qp None"],
        ),
    ] {
        let rnics = Rnics::new(&PAIR.replace("OWN", clock));
        let lines = ping(&rnics, ("5", "5ms"), &[]);
        let summary = lines.last().expect("a summary");
        assert_eq!(
            (&summary["sent"], &summary["complete"]),
            (&5.into(), &5.into()),
            "{clock}"
        );
        // A queue pair that is refused is asked for once more, without inline sends.
        let mut asked = asked(&rnics);
        asked.dedup();
        assert_eq!(asked, tried, "{clock}");
        for line in &lines[..5] {
            let rtt = line["network_rtt_ns"].as_i64().expect("a number");
            assert!(rtt >= 0, "{clock}: {line}");
        }
    }
}

#[test]
fn the_flow_label_reaches_the_address_handle_where_it_steers() {
    let rnics = Rnics::new(&PAIR.replace("OWN", "clock 64 1000000"));
    let arguments = ["--steering", "flow-label", "--flow-label", "4711"];
    let lines = ping(&rnics, ("5", "5ms"), &arguments);
    assert_eq!(lines[0]["outcome"], "complete");
    let log = rnics.log();
    // From the prober's own entry, and back from the responder's.
    assert!(
        log.contains("ah label 4711 class 0 level 0 index 5 port 1"),
        "{log}"
    );
    assert!(log.contains("index 3 port 1"), "{log}");
}

#[test]
fn what_concerns_all_formats_is_reported_at_once() {
    let rnics = Rnics::new(&PAIR.replace("OWN", "clock 64 1000000\nrefuse qp wall 12"));
    let output = rnics
        .agent(&["respond", "--transport", "verbs", "--devices", "mlx5_0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut responder = Responder(output);
    let pipe = responder.0.stderr.take().expect("pipe");
    let line = BufReader::new(pipe)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("ibv_create_qp"))
        .expect("a line");
    assert!(line.contains("Cannot allocate memory"), "{line}");
    assert!(!rnics.log().contains("Raw"), "{}", rnics.log());
}

/// How long what the emulated RNICs send is under way, there and back.
const PATH: i64 = 2 * 2_000_000;

/// The two RNICs with clocks that run apart, a path of a known delay, and what else is said of prober and responder.
fn apart(clock: &str, prober: &str, responder: &str) -> String {
    let own = |drift, more: &str| format!("{clock}\npath 2000000\ndrift {drift}\n{more}");
    let (first, second) = PAIR.split_once("OWN").expect("two devices");
    let rest = second.replacen("OWN", &own(40, prober), 1);
    format!("{first}{}{rest}", own(-35, responder))
}

/// The longest responder delay with which a round trip counts, as in the analyzer's windows: beyond, clocks that run apart
/// falsify it.
const TRUSTED: i64 = 10_000_000;

/// Every round trip that counts is the path's, to 1 %, and there are many.
fn are_exact(lines: &[Value], what: &str) {
    let (summary, probes) = lines.split_last().expect("a summary");
    let trusted: Vec<i64> = probes
        .iter()
        .filter(|line| line["responder_delay_ns"].as_i64() <= Some(TRUSTED))
        .filter_map(|line| line["network_rtt_ns"].as_i64())
        .collect();
    assert!(trusted.len() >= 20, "{what}: {summary}");
    for rtt in &trusted {
        let off = (rtt - PATH).abs();
        assert!(off * 100 <= PATH, "{what}: {rtt} ns on a path of {PATH} ns");
    }
}

#[test]
fn round_trips_are_those_of_the_path_whatever_stamps_while_clocks_drift_and_wrap() {
    thread::scope(|scope| {
        for (clock, stamps) in [
            ("clock 64 1000000", "hardware_wall"),
            ("clock 48 156250\nrefuse cq wall 95", "hardware_raw"),
            // Wraps every 2.1 s and every 2.5 s, the latter with the frequency of ConnectX-3.
            ("clock 31 1000000\nrefuse qp wall 95", "hardware_raw"),
            ("clock 30 427000\nrefuse cq wall 95", "hardware_raw"),
        ] {
            scope.spawn(move || {
                let rnics = Rnics::new(&apart(clock, "", ""));
                let lines = ping(&rnics, ("250", "10ms"), &[]);
                assert_eq!(lines.last().expect("a summary")["clock"], stamps, "{clock}");
                are_exact(&lines, clock);
                let negative = lines
                    .iter()
                    .find(|line| line["reason"] == "negative_network_rtt");
                assert_eq!(negative, None, "{clock}");
            });
        }
    });
}

/// A clock that is set falsifies the probe that is under way at this moment. It is not valid, which is no loss; all others are
/// as before.
#[test]
fn a_step_of_a_clock_costs_the_probe_under_way_and_falsifies_none() {
    thread::scope(|scope| {
        for clock in [
            "clock 64 1000000",
            "clock 33 1000000\nrefuse cq wall 95",
            "clock 48 156250\nrefuse cq wall 95",
        ] {
            scope.spawn(move || {
                let rnics = Rnics::new(&apart(clock, "", ""));
                let lines = ping_while(&rnics, ("200", "10ms"), &[], || {
                    for (prober, responder) in [
                        ("step 1000000000", ""),
                        ("step 1000000000", "step -700000000"),
                        ("step -900000000", "step -700000000"),
                        ("step -900000000", "step 1000000000"),
                    ] {
                        thread::sleep(Duration::from_millis(300));
                        rnics.become_(&apart(clock, prober, responder));
                    }
                });
                are_exact(&lines, clock);
            });
        }
    });
}

/// The period of such a counter is shorter than what is measured: two stamps do not tell how often it has wrapped between them.
#[test]
fn a_counter_that_wraps_within_a_probe_is_not_used() {
    // Linux' irdma tells of 17 bits.
    for clock in ["clock 17 1000", "clock 24 1000000", "clock 30 1000000"] {
        let rnics = Rnics::new(&PAIR.replace("OWN", &format!("{clock}\nrefuse cq wall 95")));
        let lines = ping(&rnics, ("3", "5ms"), &[]);
        assert_eq!(
            lines.last().expect("a summary")["clock"],
            "software",
            "{clock}"
        );
        assert!(!rnics.log().contains("Raw"), "{}", rnics.log());
    }
}

#[test]
fn what_stamps_and_what_was_refused_is_told_by_doctor() {
    for (clock, told) in [
        (
            "clock 64 1000000",
            "ok      clocks: mlx5_0/1: completions are stamped by the RNIC (wall clock)",
        ),
        (
            "clock 48 156250\nrefuse qp wall 95",
            "ok      clocks: mlx5_0/1: completions are stamped by the RNIC (its own counter); refused before: the RNIC (wall \
             clock): ibv_create_qp (UD) failed: Operation not supported (os error 95)",
        ),
        (
            "clock 48 156250\nrefuse cq wall 95\nrefuse qp raw 22",
            "note    clocks: mlx5_0/1: completions are stamped by software; refused before: the RNIC (wall clock): ibv_create_cq \
             failed: Operation not supported (os error 95), the RNIC (its own counter): ibv_create_qp (UD) failed: Invalid \
             argument (os error 22)",
        ),
    ] {
        let found = Rnics::new(&PAIR.replace("OWN", clock)).doctor(&[]);
        assert!(found.contains(told), "{told} is not in {found}");
    }
}
