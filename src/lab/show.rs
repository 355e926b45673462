//! What the lab prints: a line per interval for people, an object per line for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::check::Check;
use super::lines::{IncidentLine, LocatedJson, MissedJson};
use super::observed::{Counts, Pair, Stats};
use super::verdict::{Overall, Verdict};
use crate::fabric::truth::Totals;
use crate::id::ServiceName;
use crate::time::Nanos;

/// A pair of ToRs that stands out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlier {
    /// From this ToR.
    pub from: String,
    /// To this one.
    pub to: String,
    /// Probes concluded.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Network RTT, 99th percentile.
    pub rtt_p99_ns: Option<i64>,
}

/// What happened on the links of one fault in an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultProgress {
    /// The fault as text.
    pub fault: String,
    /// Packets that came to it in this interval.
    pub exposed: u64,
    /// And that it lost.
    pub lost: u64,
}

/// One interval of a running lab.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Since the start.
    pub elapsed_ns: u64,
    /// Agents that have reported results so far.
    pub agents_reporting: usize,
    /// All agents.
    pub agents: usize,
    /// Probes concluded in this interval.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Probes not measured.
    pub invalid: u64,
    /// Median network RTT.
    pub rtt_p50_ns: Option<i64>,
    /// 99th percentile of the slowest pair of ToRs.
    pub slowest: Option<Outlier>,
    /// The pair of ToRs that lost the largest share, if any did.
    pub worst: Option<Outlier>,
    /// Ground truth of the faults.
    pub faults: Vec<FaultProgress>,
}

fn outlier(pair: Pair, stats: &Stats, tor: &dyn Fn(u32) -> String) -> Outlier {
    Outlier {
        from: tor(pair.0),
        to: tor(pair.1),
        sent: stats.counts.sent,
        lost: stats.counts.lost,
        rtt_p99_ns: stats.rtts.quantile(0.99).map(|rtt| rtt.0),
    }
}

impl Progress {
    /// Of what was observed per pair of ToRs in an interval; `tor` names a ToR by its number.
    pub fn new(
        elapsed: Duration,
        agents: (usize, usize),
        pairs: &BTreeMap<Pair, Stats>,
        tor: &dyn Fn(u32) -> String,
        faults: Vec<FaultProgress>,
    ) -> Self {
        let mut total = Counts::default();
        for stats in pairs.values() {
            total.add(stats.counts);
        }
        let worst = pairs
            .iter()
            .filter(|(_, stats)| stats.counts.lost > 0)
            .max_by_key(|(_, stats)| stats.counts.loss());
        let slowest = pairs
            .iter()
            .max_by_key(|(_, stats)| stats.rtts.quantile(0.99));
        Self {
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            agents_reporting: agents.0,
            agents: agents.1,
            sent: total.sent,
            lost: total.lost,
            invalid: total.invalid,
            rtt_p50_ns: median(pairs),
            slowest: slowest
                .filter(|(_, stats)| stats.rtts.count() > 0)
                .map(|(pair, stats)| outlier(*pair, stats, tor)),
            worst: worst.map(|(pair, stats)| outlier(*pair, stats, tor)),
            faults,
        }
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:>5.1} s  {:>6} probes  lost {:<14}",
            self.elapsed_ns as f64 / 1e9,
            self.sent,
            share(self.lost, self.sent),
        );
        let _ = write!(line, "  RTT p50 {:>9}", time(self.rtt_p50_ns));
        if let Some(slowest) = &self.slowest {
            let p99 = time(slowest.rtt_p99_ns);
            let _ = write!(line, "  p99 {p99:>9} ({}→{})", slowest.from, slowest.to);
        }
        if let Some(worst) = &self.worst {
            let lost = share(worst.lost, worst.sent);
            let _ = write!(line, "  worst {}→{}: {lost}", worst.from, worst.to);
        }
        if self.agents_reporting < self.agents {
            let _ = write!(
                line,
                "  [{} of {} agents report]",
                self.agents_reporting, self.agents
            );
        }
        for fault in self.faults.iter().filter(|fault| fault.exposed > 0) {
            let _ = write!(
                line,
                "\n         truth: {} took {} packets",
                fault.fault,
                share(fault.lost, fault.exposed)
            );
        }
        line
    }
}

/// The median of all pairs' times: weighted by their number, of the pairs' medians.
fn median(pairs: &BTreeMap<Pair, Stats>) -> Option<i64> {
    let mut medians: Vec<_> = pairs
        .values()
        .filter_map(|stats| Some((stats.rtts.quantile(0.5)?.0, stats.rtts.count())))
        .collect();
    medians.sort_unstable();
    let half = medians.iter().map(|(_, count)| count).sum::<u64>() / 2;
    let mut seen = 0;
    medians
        .into_iter()
        .find(|(_, count)| {
            seen += count;
            seen > half
        })
        .map(|(median, _)| median)
}

fn time(nanos: Option<i64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |nanos| Nanos(nanos).to_string())
}

/// `12 of 300 (4 %)`.
fn share(part: u64, whole: u64) -> String {
    if part == 0 {
        return format!("0 of {whole}");
    }
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    format!("{part} of {whole} ({percent:.2} %)")
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How long it ran.
    pub duration_ns: u64,
    /// Hosts, each with an agent.
    pub hosts: usize,
    /// RNICs.
    pub rnics: usize,
    /// When the first results had arrived at the analyzer.
    pub first_results_ns: Option<u64>,
    /// Processor time that the whole process took.
    pub cpu_ns: u64,
    /// All probes beside the ground truth of all 5-tuples.
    pub overall: Overall,
    /// Ground truth: all packets.
    pub packets: Totals,
    /// The injected faults.
    pub faults: Vec<Verdict>,
    /// What the services' probes saw; absent where the scenario has no services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceSummary>,
    /// Whether observation and ground truth agree everywhere.
    pub agrees: bool,
    /// The incidents that the analyzer opened, and whether they are right; those that it found to be part of another stand in
    /// that one's `explains`.
    pub located: Vec<LocatedJson>,
    /// The faults that nothing names.
    pub missed: Vec<MissedJson>,
    /// Hosts of the lab that this machine starved of processor time. Results of those times were set aside, so that faults
    /// are located later, or not at all.
    pub starved_hosts: usize,
    /// Whether every incident names a fault and every fault that must show has one; `null` where the run was too short.
    pub locations_right: Check,
}

/// What the probes on the paths of a service's connections saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceSummary {
    /// The service, as results name it.
    pub service: ServiceName,
    /// Probes concluded.
    pub sent: u64,
    /// Those without an answer in time.
    pub lost: u64,
}

impl Summary {
    /// Whether every comparison that could be made came out well.
    pub fn all_agree(overall: &Overall, faults: &[Verdict]) -> bool {
        overall.agrees && faults.iter().all(|fault| fault.agrees != Check::Wrong)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{} hosts, {} RNICs, {:.1} s, {:.1} s of processor time",
            self.hosts,
            self.rnics,
            self.duration_ns as f64 / 1e9,
            self.cpu_ns as f64 / 1e9,
        );
        let _ = write!(
            text,
            "\nprobes   {} lost; comparable {}, {:.1} ± {:.1} expected by the ground truth: {}",
            share(self.overall.lost, self.overall.sent),
            share(self.overall.compared.lost, self.overall.compared.sent),
            self.overall.expected_lost,
            self.overall.tolerance,
            agreement(self.overall.agrees.into()),
        );
        if self.overall.invalid > 0 {
            let _ = write!(text, "; {} not measured", self.overall.invalid);
        }
        let _ = write!(
            text,
            "\npackets  {} lost",
            share(self.packets.lost, self.packets.sent)
        );
        for service in &self.services {
            let _ = write!(
                text,
                "\nservice  {}: {} lost",
                service.service,
                share(service.lost, service.sent)
            );
        }
        for fault in &self.faults {
            add_fault(&mut text, fault);
        }
        let mut nothing = true;
        for located in self.located.iter().filter(|located| !located.is_starved()) {
            nothing = false;
            located.add_to(&mut text);
        }
        if nothing {
            text.push_str("\n\nlocated  nothing");
        }
        for missed in &self.missed {
            missed.add_to(&mut text);
        }
        if self.starved_hosts > 0 {
            let _ = write!(
                text,
                "\n\nnote     this machine was too busy for {} of the lab's {} hosts: what they measured then was set aside, and \
                 faults are located later or not at all. Try again when it is idle, or with fewer hosts (--tors, --hosts).",
                self.starved_hosts, self.hosts
            );
        }
        text
    }
}

fn agreement(agrees: Check) -> &'static str {
    match agrees {
        Check::Right => "agrees",
        Check::Wrong => "DISAGREES",
        Check::NotComparable => "not comparable",
    }
}

fn add_fault(text: &mut String, verdict: &Verdict) {
    let _ = write!(
        text,
        "\n\nfault    {}\n  truth     {} packets lost",
        verdict.fault,
        share(verdict.truth.lost, verdict.truth.exposed)
    );
    for link in verdict.links.iter().filter(|link| link.truth.lost() > 0) {
        let _ = write!(
            text,
            "\n            {}: {}",
            link.link,
            share(link.truth.lost(), link.truth.sent)
        );
    }
    let observed = &verdict.observed;
    let _ = write!(
        text,
        "\n  observed  {} probes lost on the {} paths that cross it; comparable {}, {:.1} ± {:.1} expected: {}",
        share(observed.lost, observed.sent),
        observed.paths,
        share(verdict.compared.lost, verdict.compared.sent),
        verdict.expected_lost,
        verdict.tolerance,
        agreement(verdict.agrees),
    );
    let _ = write!(
        text,
        "\n            RTT p50 {}, p99 {}",
        time(observed.rtt_p50_ns),
        time(observed.rtt_p99_ns)
    );
}

/// The beginning of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Started {
    /// Where the analyzer's API is.
    pub web: SocketAddr,
    /// Where the metrics of controller and agents are, if they are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Hosts, each with an agent.
    pub hosts: usize,
    /// RNICs.
    pub rnics: usize,
    /// Directed links.
    pub links: usize,
    /// What will go wrong.
    pub faults: Vec<String>,
}

impl Started {
    /// For people.
    fn text(&self) -> String {
        let mut text = format!(
            "{} agents with {} RNICs on an emulated fabric of {} directed links; dashboard at http://{}/",
            self.hosts, self.rnics, self.links, self.web
        );
        if let Some(metrics) = self.metrics {
            let _ = write!(
                text,
                "\nmetrics at http://{metrics}/controller/metrics and /agents/HOST/metrics"
            );
        }
        for fault in &self.faults {
            let _ = write!(text, "\nfault: {fault}");
        }
        text
    }
}

/// Something to print.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The first line.
    Started(&'a Started),
    /// One interval.
    Progress(&'a Progress),
    /// An incident was opened, changed or closed.
    Incident(&'a IncidentLine),
    /// The last line.
    Summary(&'a Summary),
}

impl Line<'_> {
    /// For people; several lines at the end.
    pub fn text(&self) -> String {
        match self {
            Self::Started(started) => started.text(),
            Self::Progress(progress) => progress.line(),
            Self::Incident(incident) => incident.text(),
            Self::Summary(summary) => summary.text(),
        }
    }

    /// One line of JSON, with a `type`.
    pub fn json(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| format!("{{\"type\":\"error\",\"error\":\"{error}\"}}"))
    }
}

#[cfg(test)]
mod tests;
