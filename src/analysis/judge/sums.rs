//! What the paths across a suspect counted, and what category of fault that makes it.

use std::collections::BTreeMap;

use super::counts::{Counts, Horizon};
use super::finding::{Category, Finding, LEAST_SLOW};
use super::recent::Newest;
use super::view::{Observed, View};
use crate::analysis::localize::{Component, Suspect, Symptom, Trials};
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
/// One of so many probes may pass something that is down: by a route that is out of date.
const STRAYS: u64 = 20;
/// So many losses, and at least this share of the probes, are more than the loss that is always there.
const LEAST_EARLIER: u64 = 3;
const PARTLY: f64 = 0.02;
/// A row of losses that is less probable than this is not chance.
const CHANCE: f64 = 1e-3;
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

    /// Whether packets pass something of which a short time would say that it is down.
    fn passes(&self, trials: Trials) -> bool {
        let newest = self.sure.iter().find(|counts| counts.sent >= SURE);
        // Whole 5-tuples that pass nothing say so themselves; a rate is only as good as its probes.
        let is_rate = trials == Trials::Probes;
        lost_in_part(&self.sure) || is_rate && newest.is_some_and(|newest| !is_dead(*newest))
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
    (is_dead(*newest) && !lost_in_part(sure)).then_some(*newest)
}

/// Whether probes lost nearly everything, but for strays.
fn is_dead(probes: Counts) -> bool {
    let passed = probes.sent.saturating_sub(probes.lost);
    probes.share() >= DOWN && passed <= probes.sent / STRAYS
}

/// Whether the newest losses are what it lost before, all of them by chance: what is down from some time on passes a part of its packets in
/// no more than one horizon, that in which it went down.
fn lost_in_part(sure: &[Counts; 4]) -> bool {
    let Some(at) = sure.iter().position(|counts| counts.sent >= SURE) else {
        return false;
    };
    let mut before = sure[at..].windows(2).map(|pair| Counts {
        sent: pair[1].sent.saturating_sub(pair[0].sent),
        lost: pair[1].lost.saturating_sub(pair[0].lost),
    });
    let (Some(then), Some(earlier)) = (before.next(), before.next()) else {
        return false;
    };
    let is_partly = then.sent >= SURE && !is_dead(then);
    // Something that flaps is down now: its share of before would not take so many in a row.
    let is_alike = then.share().powf(sure[at].lost as f64) >= CHANCE;
    is_partly && is_alike && earlier.lost >= LEAST_EARLIER && earlier.share() >= PARTLY
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
    let sure = surely_crossed(view, &finding.subject);
    if finding.share >= DOWN && !lost_in_part(&sure) || dead(&sure).is_some() {
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
    let dead = sums.dead().is_some() || suspect.loss_rate >= DOWN && !sums.passes(suspect.trials);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts over each horizon, from those of the slots between them, newest first.
    fn sure(slots: [(u64, u64); 4]) -> [Counts; 4] {
        let mut all = Counts::default();
        slots.map(|(sent, lost)| {
            all.add(Counts { sent, lost });
            all
        })
    }

    #[test]
    fn what_went_down_is_dead_from_the_slot_on_in_which_nothing_passed() {
        let down_since_this_slot = sure([(20, 20), (60, 0), (180, 0), (1_200, 0)]);
        assert!(dead(&down_since_this_slot).is_some());
        let down_since_the_last = sure([(20, 20), (60, 30), (180, 0), (1_200, 0)]);
        assert!(dead(&down_since_the_last).is_some());
        let down_since_long = sure([(20, 20), (60, 60), (180, 150), (1_200, 0)]);
        assert!(dead(&down_since_long).is_some());
        // A route that is out of date: one probe did not cross it.
        let with_strays = sure([(20, 19), (60, 59), (180, 178), (1_200, 1_190)]);
        assert!(dead(&with_strays).is_some());
        let few_probes = sure([(5, 5), (4, 4), (10, 5), (60, 0)]);
        assert_eq!(dead(&few_probes), None);
    }

    #[test]
    fn what_loses_most_of_its_packets_is_not_dead() {
        // 85 %, and by chance all of the newest.
        let lossy = sure([(12, 12), (60, 52), (180, 152), (1_200, 1_020)]);
        assert_eq!(dead(&lossy), None);
        assert!(lost_in_part(&lossy));
        // Nine of ten, by chance more than its rate.
        let newest = sure([(80, 72), (60, 0), (180, 0), (1_200, 0)]);
        assert_eq!(dead(&newest), None);
    }

    #[test]
    fn what_flaps_is_down_again() {
        let down_again = sure([(12, 12), (60, 12), (180, 36), (1_200, 240)]);
        assert!(dead(&down_again).is_some());
    }
}
