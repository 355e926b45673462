//! Probes between emulated RNICs, with every kind of completion stamps.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::Rnics;

const PAIR: &str = "\
dev mlx5_0 0 0 0
port 1 4 2 5 256 0
gid 1 3 10.0.0.1 2 1
CLOCK
dev mlx5_1 0 0 0
port 1 4 2 5 256 0
gid 1 5 10.0.0.2 2 1
CLOCK
";

/// A responder that ends with this value.
struct Responder(Child);

impl Drop for Responder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that `ping` prints from the second RNIC to a responder on the first.
fn ping(rnics: &Rnics, arguments: &[&str]) -> Vec<Value> {
    let respond = ["respond", "--transport", "verbs", "--devices", "mlx5_0"];
    let mut child = rnics
        .agent(&respond)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("pipe")).lines();
    let _responder = Responder(child);
    let target = lines.next().expect("a line").expect("text");
    let common = [
        "ping",
        &target,
        "--transport",
        "verbs",
        "--devices",
        "mlx5_1",
        "--json",
        "--count",
        "5",
        "--interval",
        "5ms",
    ];
    let output = rnics
        .agent(&[&common[..], arguments].concat())
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

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
        let rnics = Rnics::new(&PAIR.replace("CLOCK", clock));
        let lines = ping(&rnics, &[]);
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
    let rnics = Rnics::new(&PAIR.replace("CLOCK", "clock 64 1000000"));
    let arguments = ["--steering", "flow-label", "--flow-label", "4711"];
    let lines = ping(&rnics, &arguments);
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
    let rnics = Rnics::new(&PAIR.replace("CLOCK", "clock 64 1000000\nrefuse qp wall 12"));
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
