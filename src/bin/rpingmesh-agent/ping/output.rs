//! What `ping` prints: lines for people, or one JSON object per line.

use std::io::{self, Write as _};

use rpingmesh::id::{FlowLabel, UdpSourcePort};
use rpingmesh::measure::{Invalid, Measurement, Outcome, Ratio, Summary};
use rpingmesh::probe::steering::{LabelEffect, LearnedSteering};
use rpingmesh::probe::{ProbePath, ProbeResult};
use rpingmesh::time::{Nanos, NicTime};
use rpingmesh::transport::{CompletionClock, Endpoint};
use serde::Serialize;

/// Collects results and prints them.
pub(crate) struct Output {
    json: bool,
    source: String,
    target: String,
    flow_label: FlowLabel,
    source_port: Option<UdpSourcePort>,
    clock: CompletionClock,
    sent: u64,
    lost: u64,
    invalid: u64,
    complete: Vec<Measurement>,
    learned: LearnedSteering,
}

/// One probe as JSON. T3 and T4 stay on the responder, only their difference travels; the estimates put them in the
/// middle of the round trip, on the clock of T2 and T5.
#[derive(Serialize)]
struct ProbeLine<'a> {
    r#type: &'static str,
    number: u64,
    source: &'a str,
    target: &'a str,
    flow_label: u32,
    source_port: Option<u16>,
    source_port_seen: Option<u16>,
    clock: CompletionClock,
    outcome: &'static str,
    reason: Option<Invalid>,
    t1_ns: i64,
    t2_ns: Option<i64>,
    t3_estimated_ns: Option<i64>,
    t4_estimated_ns: Option<i64>,
    t5_ns: Option<i64>,
    t6_ns: Option<i64>,
    network_rtt_ns: Option<i64>,
    prober_delay_ns: Option<i64>,
    responder_delay_ns: Option<i64>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    r#type: &'static str,
    source: &'a str,
    target: &'a str,
    flow_label: u32,
    source_port: Option<u16>,
    /// Whether the flow label decides the source port; null when no responder has told.
    flow_label_steers: Option<bool>,
    clock: CompletionClock,
    sent: u64,
    complete: usize,
    lost: u64,
    invalid: u64,
    loss_ratio: f64,
    network_rtt: Option<Spans>,
    prober_delay: Option<Spans>,
    responder_delay: Option<Spans>,
}

#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names of the output's fields"
)]
struct Spans {
    min_ns: i64,
    p50_ns: i64,
    p90_ns: i64,
    p99_ns: i64,
    max_ns: i64,
}

impl From<Summary> for Spans {
    fn from(summary: Summary) -> Self {
        Self {
            min_ns: summary.min.0,
            p50_ns: summary.p50.0,
            p90_ns: summary.p90.0,
            p99_ns: summary.p99.0,
            max_ns: summary.max.0,
        }
    }
}

impl Output {
    pub(crate) fn new(json: bool, endpoint: &dyn Endpoint, path: &ProbePath) -> Self {
        let capabilities = endpoint.capabilities();
        Self {
            json,
            source: endpoint.address().to_string(),
            target: path.target.address.to_string(),
            flow_label: path.flow_label,
            source_port: capabilities.steering.source_port(path.flow_label),
            clock: capabilities.clock,
            sent: 0,
            lost: 0,
            invalid: 0,
            complete: Vec::new(),
            learned: LearnedSteering::default(),
        }
    }

    /// Takes what has been learned by now of the endpoint's source ports.
    pub(crate) fn learned(&mut self, learned: LearnedSteering) {
        self.learned = learned;
    }

    /// How many probes came back.
    pub(crate) fn completed(&self) -> usize {
        self.complete.len()
    }

    /// The first line, for people.
    pub(crate) fn begin(&self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let port = self
            .source_port
            .map_or_else(|| "unknown".to_owned(), |port| port.to_string());
        print_line(&format!(
            "{} -> {}, flow label {}, UDP source port {port}, completions stamped by {}",
            self.source, self.target, self.flow_label, self.clock
        ))
    }

    /// Counts and prints one probe.
    pub(crate) fn probe(&mut self, result: &ProbeResult) -> io::Result<()> {
        self.sent += 1;
        match result.outcome {
            Outcome::Complete(measurement) => self.complete.push(measurement),
            Outcome::Lost => self.lost += 1,
            Outcome::Invalid(_) => self.invalid += 1,
        }
        let line = if self.json {
            serde_json::to_string(&self.probe_line(result))?
        } else {
            self.probe_text(result)
        };
        print_line(&line)
    }

    /// The summary.
    pub(crate) fn end(&self) -> io::Result<()> {
        let line = if self.json {
            serde_json::to_string(&self.summary_line())?
        } else {
            self.summary_text()
        };
        print_line(&line)
    }

    fn spans(&self, of: impl Fn(&Measurement) -> Nanos) -> Option<Summary> {
        Summary::of(self.complete.iter().map(of))
    }

    fn loss_ratio(&self) -> Ratio {
        Ratio::of(self.lost, self.sent)
    }

    fn probe_line(&self, result: &ProbeResult) -> ProbeLine<'_> {
        let stamps = &result.timestamps;
        let measurement = result.outcome.measurement();
        let (outcome, reason) = match result.outcome {
            Outcome::Complete(_) => ("complete", None),
            Outcome::Lost => ("lost", None),
            Outcome::Invalid(reason) => ("invalid", Some(reason)),
        };
        let middle = estimate(stamps.sent, measurement);
        ProbeLine {
            r#type: "probe",
            number: self.sent,
            source: &self.source,
            target: &self.target,
            flow_label: self.flow_label.get(),
            source_port: result.source_port.map(|port| port.0),
            source_port_seen: result.seen_port.map(|port| port.0),
            clock: result.clock,
            outcome,
            reason,
            t1_ns: stamps.posted.nanos(),
            t2_ns: stamps.sent.map(NicTime::nanos),
            t3_estimated_ns: middle.map(|(t3, _)| t3),
            t4_estimated_ns: middle.map(|(_, t4)| t4),
            t5_ns: stamps.acknowledged.map(NicTime::nanos),
            t6_ns: stamps.handled.map(rpingmesh::time::HostTime::nanos),
            network_rtt_ns: measurement.map(|measurement| measurement.network_rtt.0),
            prober_delay_ns: measurement.map(|measurement| measurement.prober_delay.0),
            responder_delay_ns: stamps.responder_delay.map(|delay| delay.0),
        }
    }

    fn probe_text(&self, result: &ProbeResult) -> String {
        let number = self.sent;
        let measurement = match &result.outcome {
            Outcome::Complete(measurement) => measurement,
            Outcome::Lost => return format!("probe {number}: lost, no ACK in time"),
            Outcome::Invalid(reason) => return format!("probe {number}: invalid, {reason}"),
        };
        let stamps = &result.timestamps;
        let nic = |at: Option<NicTime>| at.map_or(0, NicTime::nanos);
        format!(
            "probe {number}: network RTT {}, prober delay {}, responder delay {} (ns: T1 {} T6 {}, T2 {} T5 {}, \
             T4-T3 {})",
            measurement.network_rtt,
            measurement.prober_delay,
            measurement.responder_delay,
            stamps.posted.nanos(),
            stamps.handled.map_or(0, rpingmesh::time::HostTime::nanos),
            nic(stamps.sent),
            nic(stamps.acknowledged),
            measurement.responder_delay.0,
        )
    }

    fn summary_line(&self) -> SummaryLine<'_> {
        SummaryLine {
            r#type: "summary",
            source: &self.source,
            target: &self.target,
            flow_label: self.flow_label.get(),
            source_port: self.source_port.map(|port| port.0),
            flow_label_steers: match self.learned.flow_label() {
                LabelEffect::NotSeen => None,
                LabelEffect::Steers => Some(true),
                LabelEffect::Ignored => Some(false),
            },
            clock: self.clock,
            sent: self.sent,
            complete: self.complete.len(),
            lost: self.lost,
            invalid: self.invalid,
            loss_ratio: self.loss_ratio().get(),
            network_rtt: self
                .spans(|measurement| measurement.network_rtt)
                .map(Into::into),
            prober_delay: self
                .spans(|measurement| measurement.prober_delay)
                .map(Into::into),
            responder_delay: self
                .spans(|measurement| measurement.responder_delay)
                .map(Into::into),
        }
    }

    fn summary_text(&self) -> String {
        let row = |name: &str, summary: Option<Summary>| {
            summary.map_or_else(String::new, |spans| {
                format!(
                    "\n{name}: min {}, p50 {}, p90 {}, p99 {}, max {}",
                    spans.min, spans.p50, spans.p90, spans.p99, spans.max
                )
            })
        };
        let steering = match self.learned.flow_label() {
            LabelEffect::Steers => "\nthe responder saw the flow label's UDP source port",
            LabelEffect::Ignored => {
                "\nthe responder saw another UDP source port than the flow label's: this driver does not steer by labels"
            }
            LabelEffect::NotSeen => "",
        };
        format!(
            "{} sent, {} complete, {} lost ({:.1} %), {} invalid{}{}{}{steering}",
            self.sent,
            self.complete.len(),
            self.lost,
            self.loss_ratio().get() * 100.0,
            self.invalid,
            row(
                "network RTT",
                self.spans(|measurement| measurement.network_rtt)
            ),
            row(
                "prober delay",
                self.spans(|measurement| measurement.prober_delay)
            ),
            row(
                "responder delay",
                self.spans(|measurement| measurement.responder_delay)
            ),
        )
    }
}

/// T3 and T4 if both ways took the same time.
fn estimate(sent: Option<NicTime>, measurement: Option<&Measurement>) -> Option<(i64, i64)> {
    let measurement = measurement?;
    let t3 = sent? + Nanos(measurement.network_rtt.0 / 2);
    Some((t3.nanos(), (t3 + measurement.responder_delay).nanos()))
}

/// At once, so that a reader of the pipe sees each probe when it comes in.
fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
