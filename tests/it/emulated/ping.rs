//! `ping` from one emulated RNIC to a responder on another.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use super::Rnics;

/// A responder that ends with this value.
pub(super) struct Responder(pub(super) Child);

impl Drop for Responder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A responder on the RNIC `mlx5_0`, and its name for probers.
pub(super) fn respond(rnics: &Rnics) -> (Responder, String) {
    let respond = ["respond", "--transport", "verbs", "--devices", "mlx5_0"];
    let mut child = rnics
        .agent(&respond)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("pipe")).lines();
    let target = lines.next().expect("a line").expect("text");
    (Responder(child), target)
}

/// Probes from the RNIC `mlx5_1`: so many, so far apart. What happens meanwhile is up to `meanwhile`.
pub(super) fn probe(
    rnics: &Rnics,
    target: &str,
    (count, interval): (&str, &str),
    arguments: &[&str],
    meanwhile: impl FnOnce(),
) -> Output {
    let common = [
        "ping",
        target,
        "--transport",
        "verbs",
        "--devices",
        "mlx5_1",
        "--json",
        "--count",
        count,
        "--interval",
        interval,
    ];
    let child = rnics
        .agent(&[&common[..], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    meanwhile();
    child.wait_with_output().expect("ends")
}

/// The lines that `ping` prints, the summary last, from the RNIC `mlx5_1` to a responder on `mlx5_0`.
pub(super) fn ping(rnics: &Rnics, probes: (&str, &str), arguments: &[&str]) -> Vec<Value> {
    ping_while(rnics, probes, arguments, || ())
}

/// The same, while something happens.
pub(super) fn ping_while(
    rnics: &Rnics,
    probes: (&str, &str),
    arguments: &[&str],
    meanwhile: impl FnOnce(),
) -> Vec<Value> {
    let (_responder, target) = respond(rnics);
    let output = probe(rnics, &target, probes, arguments, meanwhile);
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
