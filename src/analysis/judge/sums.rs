//! What the paths across a suspect counted, and what category of fault that makes it.

use std::collections::BTreeMap;

use super::counts::{Counts, Horizon};
use super::finding::{Category, Finding, LEAST_SLOW};
use super::recent::Newest;
use super::view::{Observed, View};
use crate::analysis::localize::{Component, Suspect, Symptom};
use crate::analysis::routes::Leg;
use crate::id::ServiceName;

/// Losses that a suspect must still cause in the newest part of a horizon, as a share of what its rate promises.
pub(super) const STILL: f64 = 0.2;
/// Expected losses from which on their absence tells: e^-4.6 is 1 %.
pub(super) const TELLING: f64 = 4.6;
/// If this share of the slow round trips took too long for queueing, pauses are the cause.
const PAUSES: f64 = 0.2;
/// Share of the packets that surely cross a link or switch from which on it counts as down.
pub(super) const DOWN: f64 = 0.9;
/// Probes that surely cross it from which on that can be said.
const SURE: u64 = 10;
/// Share of a path from which on its probes surely cross a component.
const SURELY: f64 = 0.99;
/// Paths that are listed as evidence.
const EXAMPLES: usize = 3;

impl Sums {
    /// What the paths across a suspect counted.
    pub(super) fn of(view: &View<'_>, suspect: &Suspect, over: Horizon) -> Self {
        let mut sums = Self::default();
        let mut worst: Vec<(Counts, String)> = Vec::new();
        let slow = suspect.symptom == Symptom::Slow;
        for (seen, share) in view.crossing(&suspect.component) {
            let all = if slow { seen.slow() } else { seen.counts(over) };
            sums.all.add(all);
            sums.recent.add(seen.seen);
            sums.slow = sums.slow.saturating_add(seen.slow().lost);
            sums.paused = sums.paused.saturating_add(seen.paused());
            for (sum, horizon) in sums.by_horizon.iter_mut().zip(Horizon::ALL) {
                let counts = seen.weighed(horizon);
                sum.0 += share * counts.sent as f64;
                sum.1 += counts.lost as f64;
            }
            if share >= SURELY {
                for (sum, horizon) in sums.sure.iter_mut().zip(Horizon::ALL) {
                    sum.add(seen.weighed(horizon));
                }
            }
            // A service's own path must surely cross it. Where probes take another path, its ends are its own alone.
            if let Some(service) = &seen.service
                && share >= 0.5
            {
                let suffers = if slow {
                    seen.slow().share() >= LEAST_SLOW
                } else {
                    seen.counts(Horizon::Middle).lost > 0
                };
                let services = if seen.is_own || is_end(&seen, &suspect.component) {
                    &mut sums.services
                } else {
                    &mut sums.perhaps
                };
                *services.entry((**service).clone()).or_default() |= suffers;
            }
            if all.lost > 0 && share >= 0.5 {
                let least = worst.last().map_or(0, |(counts, _)| counts.lost);
                if worst.len() < EXAMPLES || all.lost > least {
                    worst.push((all, describe(&seen)));
                    worst.sort_by(|a, b| b.0.lost.cmp(&a.0.lost).then_with(|| a.1.cmp(&b.1)));
                    worst.truncate(EXAMPLES);
                }
            }
        }
        let verb = if slow { "slow" } else { "lost" };
        sums.examples = worst
            .into_iter()
            .map(|(counts, path)| format!("{path}: {} of {} {verb}", counts.lost, counts.sent))
            .collect();
        sums
    }
}

/// Whether all paths between the ends of this one cross a component: an end, or the cable of one.
fn is_end(seen: &Observed<'_>, component: &Component) -> bool {
    [&seen.source, &seen.target]
        .into_iter()
        .any(|end| match component {
            Component::Rnic { host, device } => (host, device) == (&end.host, &end.device),
            Component::Host { name } => *name == end.host.as_str(),
            Component::Switch { name } => *name == end.tor.as_str(),
            Component::Link { from, to } => {
                let rnic = end.rnic().to_string();
                let names = |node: &str| node == end.host.as_str() || node == rnic;
                names(from) || names(to)
            }
            Component::Group { .. } => false,
        })
}

fn describe(seen: &Observed<'_>) -> String {
    let port = seen
        .port
        .map_or_else(String::new, |port| format!(" port {port}"));
    let name = |leg: Option<&Leg>| leg?.path.as_ref().map(|path| path.join(" "));
    let route = match (name(seen.there()), name(seen.back())) {
        (Some(there), Some(back)) => format!(" by {there}, back by {back} (traced)"),
        (Some(there), None) => format!(" by {there} (traced), reverse path not traced"),
        (None, Some(back)) => format!(", back by {back} (traced)"),
        (None, None) if seen.there().is_some() => ", not traced".to_owned(),
        (None, None) => format!(" under {}", seen.source.tor),
    };
    format!("{} to {}{port}{route}", seen.source_name, seen.target_name)
}

/// Sums over the paths that cross a suspect.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) all: Counts,
    /// Losses that the next run may see again.
    pub(super) recent: Newest,
    /// Probes across it by share, and losses, over each horizon.
    by_horizon: [(f64, f64); 4],
    /// Probes that surely cross it, over each horizon.
    sure: [Counts; 4],
    /// Slow round trips, and those that were held up by pauses.
    slow: u64,
    paused: u64,
    pub(super) services: BTreeMap<ServiceName, bool>,
    pub(super) perhaps: BTreeMap<ServiceName, bool>,
    pub(super) examples: Vec<String>,
}

impl Sums {
    /// Probes that surely crossed it, if it passes nothing any more.
    pub(super) fn dead(&self) -> Option<Counts> {
        dead(&self.sure)
    }

    /// Whether slow round trips took too long for queueing.
    fn are_pauses(&self) -> bool {
        self.paused as f64 > PAUSES * self.slow as f64
    }

    /// Whether the newest part of a horizon says that it has passed: its rate promises losses there that did not come.
    pub(super) fn is_over(&self, suspect: &Suspect, horizon: Horizon) -> bool {
        self.by_horizon
            .iter()
            .zip(Horizon::ALL)
            .filter(|(_, shorter)| *shorter < horizon)
            .any(|((sent, lost), _)| {
                let expected = suspect.loss_rate * sent;
                expected >= TELLING && *lost < STILL * expected
            })
    }
}

/// The newest of these counts that can tell, if it lost everything.
fn dead(sure: &[Counts; 4]) -> Option<Counts> {
    let newest = sure.iter().find(|counts| counts.sent >= SURE)?;
    (newest.share() >= DOWN).then_some(*newest)
}

/// What a dead component is said to do, at the end of a line of evidence.
const PASSES_NOTHING: &str = "it passes nothing";

/// The line of evidence on a component that lost all of these probes.
pub(super) fn describe_dead(component: &Component, dead: Counts) -> String {
    format!(
        "of the last {} probes that surely crossed {component} {} were lost: {PASSES_NOTHING}",
        dead.sent, dead.lost
    )
}

/// A finding of an earlier run, as it is to be read now: a link that was down may pass packets again.
pub(super) fn revised(finding: &Finding, view: &View<'_>) -> Finding {
    let mut finding = finding.clone();
    let (down, lossy) = match &finding.subject {
        Component::Link { .. } => (Category::LinkDown, Category::LinkLoss),
        Component::Switch { .. } => (Category::SwitchDown, Category::SwitchLoss),
        Component::Host { .. } | Component::Rnic { .. } => (Category::RnicDown, Category::RnicLoss),
        Component::Group { .. } => return finding,
    };
    if finding.category != down {
        return finding;
    }
    if finding.share >= DOWN || dead(&surely_crossed(view, &finding.subject)).is_some() {
        return finding;
    }
    finding.category = lossy;
    finding
        .evidence
        .retain(|line| !line.ends_with(PASSES_NOTHING));
    finding
}

/// Probes that surely cross a component, over each horizon.
fn surely_crossed(view: &View<'_>, component: &Component) -> [Counts; 4] {
    let mut sure = [Counts::default(); 4];
    let across = view.crossing(component);
    for (seen, _) in across.iter().filter(|(_, share)| *share >= SURELY) {
        for (sum, horizon) in sure.iter_mut().zip(Horizon::ALL) {
            sum.add(seen.weighed(horizon));
        }
    }
    sure
}

pub(super) fn category(suspect: &Suspect, sums: &Sums) -> Category {
    let dead = suspect.loss_rate >= DOWN || sums.dead().is_some();
    match (&suspect.component, suspect.symptom) {
        (_, Symptom::Slow) if sums.are_pauses() => Category::PauseStorm,
        (Component::Host { .. } | Component::Rnic { .. }, Symptom::Slow) => Category::RnicSlow,
        (_, Symptom::Slow) => Category::Congestion,
        (_, Symptom::Blackhole) if !dead => Category::Blackhole,
        (Component::Host { .. } | Component::Rnic { .. }, _) if dead => Category::RnicDown,
        (Component::Host { .. } | Component::Rnic { .. }, _) => Category::RnicLoss,
        (Component::Link { .. }, _) if dead => Category::LinkDown,
        (Component::Link { .. }, _) => Category::LinkLoss,
        (Component::Switch { .. }, _) if dead => Category::SwitchDown,
        (Component::Switch { .. }, _) => Category::SwitchLoss,
        (Component::Group { .. }, _) => Category::Undecided,
    }
}
