//! What each fault really did, beside what was observed on the paths that cross it, and whether the two agree.
//!
//! A probe is lost when its packet or the first ACK's is. The ground truth has the share of packets that each 5-tuple
//! lost; from the two shares of a probe's way there and back follows how many of the probes that were observed should
//! have been lost. The observed number may differ from the expected one by what a binomial distribution allows.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::check::Check;
use super::observed::{Counts, Observed, answer};
use crate::analysis::sketch::Sketch;
use crate::fabric::Engine;
use crate::fabric::fault::{Place, Resolved};
use crate::fabric::topology::{Flow, RnicId};
use crate::fabric::truth::{FaultTruth, LinkTruth};
use crate::fault::Effect;

/// How many standard deviations observation and expectation may be apart.
const SIGMAS: f64 = 4.0;

/// And so many probes more: those at the edges of the run, concluded on one side only.
const SLACK: f64 = 3.0;

/// A directed link with its ground truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkReport {
    /// `spine1->tor3`.
    pub link: String,
    /// Packets over the whole run.
    #[serde(flatten)]
    pub truth: LinkTruth,
}

/// What was observed on the paths that cross a fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crossing {
    /// How many 5-tuples.
    pub paths: usize,
    /// Probes concluded.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Probes not measured.
    pub invalid: u64,
    /// Median network RTT.
    pub rtt_p50_ns: Option<i64>,
    /// Its 99th percentile.
    pub rtt_p99_ns: Option<i64>,
}

/// Probes whose loss the ground truth explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Compared {
    /// Probes concluded.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
}

impl Compared {
    fn of(flows: impl Iterator<Item = (Flow, Counts)>) -> Self {
        flows.fold(Self::default(), |sum, (_, counts)| Self {
            sent: sum.sent + counts.sent,
            lost: sum.lost + counts.lost,
        })
    }
}

/// One fault: the truth, the observation, and whether they agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The fault as text.
    pub fault: String,
    /// Packets that came to it while it was active, and those that it lost.
    pub truth: FaultTruth,
    /// The links that it hits, over the whole run; at most [`MOST_LINKS`].
    pub links: Vec<LinkReport>,
    /// What was observed on the paths that cross it.
    pub observed: Crossing,
    /// Those of them that can be compared: no stalled or restarted host and no narrow queue is involved.
    pub compared: Compared,
    /// How many of these should have been lost by the ground truth of their 5-tuples.
    pub expected_lost: f64,
    /// How far the observation may be off that.
    pub tolerance: f64,
    /// Whether it is within that; `null` where loss does not tell.
    pub agrees: Check,
}

/// The most links of a fault that a verdict lists.
pub const MOST_LINKS: usize = 32;

fn nanos(rtts: &Sketch, q: f64) -> Option<i64> {
    rtts.quantile(q).map(|rtt| rtt.0)
}

/// What is late by this much may have timed out: the probe timeout of 500 ms, less what a busy host takes.
const LATE: Duration = Duration::from_millis(400);

/// Whether loss cannot be compared where this acts: probes time out that the fabric carries, or a full queue takes the
/// two ACKs, which come at once, more often than the probes, which come one by one.
fn hides_loss(effect: Effect) -> bool {
    match effect {
        Effect::Rate(_) | Effect::Queue(_) | Effect::Restart => true,
        Effect::Stall(pulse) | Effect::Pause(pulse) => pulse.length >= LATE,
        Effect::Delay(late) | Effect::Jitter(late) => late >= LATE,
        Effect::Down
        | Effect::Loss(_)
        | Effect::Corrupt(_)
        | Effect::Blackhole(_)
        | Effect::Load(_)
        | Effect::Flap(_)
        | Effect::ClockStep(_) => false,
    }
}

/// RNICs whose probes end for other reasons than packets lost.
#[derive(Debug, Default)]
struct Disturbed {
    /// Those that answer late or under another address.
    both_ways: BTreeSet<RnicId>,
    /// Those of hosts that are down: they do not probe, and losing what is sent to them is right.
    as_source: BTreeSet<RnicId>,
    /// Faults, by number, whose loss cannot be compared on the paths that cross them.
    faults: BTreeSet<usize>,
}

impl Disturbed {
    fn of(engine: &Engine) -> Self {
        let mut it = Self::default();
        for (number, (resolved, _)) in engine.fault_truth().enumerate() {
            for (place, effect) in &resolved.places {
                match place {
                    Place::Link(_) if hides_loss(*effect) => {
                        it.faults.insert(number);
                    }
                    Place::Host(host) if hides_loss(*effect) => {
                        it.both_ways.extend(engine.topology().rnics_of(*host));
                    }
                    Place::Host(host) if *effect == Effect::Down => {
                        let rnics = engine.topology().rnics_of(*host);
                        // A host that comes back has other queue pairs, of which its peers learn a little later.
                        match resolved.fault.lasts {
                            Some(_) => it.both_ways.extend(rnics),
                            None => it.as_source.extend(rnics),
                        }
                    }
                    Place::Rnic(rnic) if hides_loss(*effect) => {
                        it.both_ways.insert(*rnic);
                    }
                    Place::Link(_) | Place::Host(_) | Place::Rnic(_) | Place::Switch(_) => {}
                }
            }
        }
        it
    }

    fn spares(&self, flow: Flow, met: &[usize]) -> bool {
        met.iter().all(|fault| !self.faults.contains(fault))
            && !self.both_ways.contains(&flow.source)
            && !self.both_ways.contains(&flow.target)
            && !self.as_source.contains(&flow.source)
    }
}

/// Expected losses and their variance over some flows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Expectation {
    lost: f64,
    variance: f64,
}

fn share(engine: &Engine, flow: Flow) -> f64 {
    engine
        .flow_truth(flow)
        .map_or(0.0, |truth| truth.lost as f64 / truth.sent.max(1) as f64)
}

fn expect(engine: &Engine, flows: impl Iterator<Item = (Flow, Counts)>) -> Expectation {
    let mut sum = Expectation::default();
    for (flow, counts) in flows {
        let survives = (1.0 - share(engine, flow)) * (1.0 - share(engine, answer(flow)));
        // With those that are invalid: either they got through, or they were never sent and met no loss.
        let sent = counts.sent as f64;
        sum.lost += sent * (1.0 - survives);
        sum.variance += sent * survives * (1.0 - survives);
    }
    sum
}

/// The verdict over one fault, the `number`-th.
fn judge(
    engine: &Engine,
    observed: &Observed,
    number: usize,
    resolved: &Resolved,
    truth: FaultTruth,
    disturbed: &Disturbed,
) -> Verdict {
    let meeting = || {
        observed
            .flows()
            .filter(|(flow, _, met)| met.contains(&number) && disturbed.spares(*flow, met))
            .map(|(flow, counts, _)| (flow, counts))
    };
    let expectation = expect(engine, meeting());
    let tolerance = SIGMAS * expectation.variance.sqrt() + SLACK;
    let compared = Compared::of(meeting());
    let stats = observed.crossing(number);
    let links = resolved.links();
    let judged = !links.is_empty()
        && compared.sent > 0
        && !resolved
            .places
            .iter()
            .any(|(_, effect)| hides_loss(*effect));
    Verdict {
        fault: resolved.fault.to_string(),
        truth,
        links: links
            .iter()
            .take(MOST_LINKS)
            .map(|link| LinkReport {
                link: engine.topology().link_name(*link),
                truth: engine.link_truth(*link),
            })
            .collect(),
        observed: Crossing {
            paths: observed
                .flows()
                .filter(|(_, _, met)| met.contains(&number))
                .count(),
            sent: stats.counts.sent,
            lost: stats.counts.lost,
            invalid: stats.counts.invalid,
            rtt_p50_ns: nanos(&stats.rtts, 0.5),
            rtt_p99_ns: nanos(&stats.rtts, 0.99),
        },
        compared,
        expected_lost: expectation.lost,
        tolerance,
        agrees: if judged {
            Check::from((compared.lost as f64 - expectation.lost).abs() <= tolerance)
        } else {
            Check::NotComparable
        },
    }
}

/// The verdicts over all faults, in the order in which they were injected.
pub fn verdicts(engine: &Engine, observed: &Observed) -> Vec<Verdict> {
    let disturbed = Disturbed::of(engine);
    engine
        .fault_truth()
        .enumerate()
        .map(|(number, (resolved, truth))| {
            judge(engine, observed, number, resolved, truth, &disturbed)
        })
        .collect()
}

/// The whole run: what was observed on all paths, and what should have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overall {
    /// Probes concluded.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Probes not measured.
    pub invalid: u64,
    /// Those of them that can be compared: no stalled or restarted host and no narrow queue is involved.
    pub compared: Compared,
    /// How many of these should have been lost by the ground truth.
    pub expected_lost: f64,
    /// How far the observation may be off that.
    pub tolerance: f64,
    /// Whether it is within that.
    pub agrees: bool,
}

/// The verdict over all paths together.
pub fn overall(engine: &Engine, observed: &Observed) -> Overall {
    let disturbed = Disturbed::of(engine);
    let comparable = || {
        observed
            .flows()
            .filter(|(flow, _, met)| disturbed.spares(*flow, met))
            .map(|(flow, counts, _)| (flow, counts))
    };
    let compared = Compared::of(comparable());
    let expectation = expect(engine, comparable());
    let tolerance = SIGMAS * expectation.variance.sqrt() + SLACK;
    let total = observed.total();
    Overall {
        sent: total.sent,
        lost: total.lost,
        invalid: total.invalid,
        compared,
        expected_lost: expectation.lost,
        tolerance,
        agrees: (compared.lost as f64 - expectation.lost).abs() <= tolerance,
    }
}

#[cfg(test)]
mod tests;
