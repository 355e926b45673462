//! Links, switches and RNICs that explain lost and slow probes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::recent::Newest;
use super::snapshot::{Counts, Horizon, PathCounts, most_weight, weighed};
use super::stalled::against_stall;
use super::{
    AVOIDED, Category, Finding, HARD, Hard, Judge, LEAST_CONFIDENCE, LEAST_SLOW, REMEMBERED,
};
use crate::analysis::localize::explain::{SuspectText, explain};
use crate::analysis::localize::{
    Component, ComponentId, Problem, ProblemError, Signal, Suspect, Symptom, localize,
};
use crate::analysis::report::End;
use crate::analysis::routes::{Leg, Origin};
use crate::id::{RnicName, ServiceName, TorId};
use crate::probe::trace::Tuple;
use crate::time::WallTime;

/// Links between an RNIC and its ToR that a probe and its ACK cross, at both ends together.
const HOST_LINKS: f64 = 4.0;
/// Probes that a suspect must explain. Fewer are chance.
const LEAST_LOST: f64 = 3.0;
/// Losses that a suspect must still cause in the newest part of a horizon, as a share of what its rate promises.
const STILL: f64 = 0.2;
/// Expected losses from which on their absence tells: e^-4.6 is 1 %.
const TELLING: f64 = 4.6;
/// If this share of the slow round trips took too long for queueing, pauses are the cause.
const PAUSES: f64 = 0.2;
/// Losses on paths apart from hard faults that a mild suspect must have, as a share of what its rate promises.
const ALONE: f64 = 0.3;
/// Share of the packets that surely cross a link or switch from which on it counts as down.
const DOWN: f64 = 0.9;
/// Probes that surely cross it from which on that can be said.
const SURE: u64 = 10;
/// A fault is harder than another from this ratio of their losses on: what it spills may look like the other.
const HARDER: f64 = 1.5;
/// A link of a lossy switch is an incident of its own only if it loses more than so many times the switch's share: by chance
/// some of its links show more than others.
const INSIDE: f64 = 3.0;
/// Evidence from which on a fault that is not hard may spill as well.
const PLAIN_NATS: f64 = 15.0;
/// Paths that are listed as evidence.
const EXAMPLES: usize = 3;

/// Whether a ToR is suspected for what some of its RNICs lose: there is another under it that loses nothing with RNICs
/// elsewhere, though at the suspect's rate it would.
fn is_of_few_rnics(seen: &[&PathCounts], finding: &Finding) -> bool {
    let Component::Switch { name } = &finding.subject else {
        return false;
    };
    let mut rnics: HashMap<&RnicName, Counts> = HashMap::new();
    for seen in seen.iter().filter(|seen| !seen.is_under_one_tor()) {
        let ends = [
            (&seen.source, &seen.source_name),
            (&seen.target, &seen.target_name),
        ];
        for (end, rnic) in ends {
            if end.tor.as_str() == name {
                rnics
                    .entry(rnic)
                    .or_default()
                    .add(seen.weighed(finding.horizon));
            }
        }
    }
    rnics.values().any(|counts| {
        let expected = finding.share * counts.sent as f64;
        expected >= TELLING && (counts.lost as f64) < STILL * expected
    })
}

/// Whether a finding is about an RNIC under a ToR, and not about one that is dead itself.
fn is_rnic_under(tor: &Component, finding: &Finding, rnics: &HashMap<&RnicName, &TorId>) -> bool {
    match (tor, &finding.subject) {
        (Component::Switch { name }, Component::Rnic { host, device }) => {
            let rnic = RnicName {
                host: host.clone(),
                device: device.clone(),
            };
            finding.share < DOWN && rnics.get(&rnic).is_some_and(|tor| tor.as_str() == name)
        }
        _ => false,
    }
}

/// What a path's probes and their ACKs cross.
struct Crossed {
    there: Option<Arc<Leg>>,
    back: Option<Arc<Leg>>,
}

impl Crossed {
    /// Share of the path's packets that cross a component above the RNICs.
    fn share(&self, seen: &PathCounts, component: &Component) -> f64 {
        match component {
            Component::Rnic { host, device } => {
                let is_it = |end: &End| end.host == *host && end.device == *device;
                f64::from(u8::from(is_it(&seen.source) || is_it(&seen.target)))
            }
            Component::Host { name } => {
                let is_in = |end: &End| end.host.as_str() == name;
                f64::from(u8::from(is_in(&seen.source) || is_in(&seen.target)))
            }
            Component::Switch { name }
                if seen.source.tor.as_str() == name || seen.target.tor.as_str() == name =>
            {
                1.0
            }
            Component::Group { .. } => 0.0,
            Component::Link { .. } | Component::Switch { .. } => [&self.there, &self.back]
                .into_iter()
                .flatten()
                .flat_map(|leg| &leg.shares)
                .filter(|(other, _)| other == component)
                .map(|(_, share)| share)
                .sum(),
        }
    }
}

impl Judge {
    fn crossed(&mut self, seen: &PathCounts) -> Crossed {
        if seen.is_under_one_tor() {
            return Crossed {
                there: None,
                back: None,
            };
        }
        let tuple = |source, target| {
            seen.port.map(|port| Tuple {
                source,
                target,
                port,
            })
        };
        let (source, target) = (&seen.source, &seen.target);
        Crossed {
            there: Some(
                self.routes
                    .leg(&source.tor, &target.tor, tuple(source.gid, target.gid)),
            ),
            // Responders answer with the probe's own source port.
            back: Some(
                self.routes
                    .leg(&target.tor, &source.tor, tuple(target.gid, source.gid)),
            ),
        }
    }

    /// Where the way there is known from.
    pub(super) fn origin(&mut self, seen: &PathCounts) -> Origin {
        self.crossed(seen)
            .there
            .map_or(Origin::Traced, |leg| leg.origin)
    }

    /// What explains the losses of one horizon.
    pub(super) fn locate_losses(
        &mut self,
        seen: &[&PathCounts],
        horizon: Horizon,
    ) -> Result<Vec<Finding>, ProblemError> {
        self.locate(seen, Problem::new(), horizon, |seen| seen.weighed(horizon))
    }

    /// What explains the slow round trips of 20 s.
    pub(super) fn locate_slow(
        &mut self,
        seen: &[&PathCounts],
    ) -> Result<Vec<Finding>, ProblemError> {
        let problem = Problem::of(Signal::Slow);
        let most = most_weight(seen.iter().map(|seen| seen.slow.sent));
        self.locate(seen, problem, Horizon::Middle, |seen| {
            weighed(seen.slow, most)
        })
    }

    fn locate(
        &mut self,
        seen: &[&PathCounts],
        mut problem: Problem,
        horizon: Horizon,
        counts: impl Fn(&PathCounts) -> Counts,
    ) -> Result<Vec<Finding>, ProblemError> {
        // Without losses there is nothing to blame.
        if seen.iter().all(|seen| counts(seen).lost == 0) {
            return Ok(Vec::new());
        }
        let mut ids = Ids::default();
        for seen in seen {
            let counts = counts(seen);
            if counts.sent == 0 {
                continue;
            }
            let crossed = self.crossed(seen);
            let (shares, links) = ids.shares(&mut problem, seen, &crossed)?;
            problem.add_shares(&shares, links, counts.sent, counts.lost)?;
        }
        let slow = problem.signal() == Signal::Slow;
        let suspects: Vec<Suspect> = localize(&problem, &self.settings)
            .suspects
            .into_iter()
            .filter(|suspect| suspect.explains_lost >= LEAST_LOST)
            .filter(|suspect| !slow || suspect.loss_rate >= LEAST_SLOW)
            .collect();
        let explanations = explain(&problem, &suspects);
        let mut findings = Vec::new();
        for (suspect, why) in suspects.iter().zip(&explanations) {
            let text = SuspectText { suspect, why }.to_string();
            if let Some(finding) = self.finding(seen, suspect, horizon, &text, &counts) {
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    /// Takes out what the hard faults among the findings explain: their links where a switch is one, and mild suspects
    /// that lose nothing apart from them. If the reverse path is not traced, the losses of a hard fault also count for
    /// everything that shares candidate paths with it.
    pub(super) fn without_explained(
        &mut self,
        seen: &[&PathCounts],
        findings: Vec<Finding>,
        now: WallTime,
    ) -> Vec<Finding> {
        let findings: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| !is_of_few_rnics(seen, finding))
            .collect();
        for finding in &findings {
            if (finding.hard || finding.nats >= PLAIN_NATS) && finding.or.is_empty() {
                self.remember(finding, now);
            }
        }
        self.hard.retain(|hard| now.since(hard.last) < AVOIDED);
        let mut hard = self.hard.clone();
        hard.retain(|hard| now.since(hard.last) < REMEMBERED);
        let rnics: HashMap<&RnicName, &TorId> = seen
            .iter()
            .flat_map(|seen| {
                [
                    (&*seen.source_name, &seen.source.tor),
                    (&*seen.target_name, &seen.target.tor),
                ]
            })
            .collect();
        let of_hard_switch = |finding: &Finding| {
            hard.iter().any(|hard| {
                let is_link_of = hard.subject.is_end_of(&finding.subject)
                    && (hard.whole || hard.share >= HARD || hard.share * INSIDE >= finding.share);
                is_link_of || hard.whole && is_rnic_under(&hard.subject, finding, &rnics)
            })
        };
        let mut kept = Vec::new();
        for finding in findings {
            if of_hard_switch(&finding) {
                continue;
            }
            let harder: Vec<Component> = hard
                .iter()
                .filter(|hard| {
                    hard.subject != finding.subject
                        && (hard.share > HARDER * finding.share
                            || finding.subject.is_end_of(&hard.subject))
                })
                .map(|hard| hard.subject.clone())
                .collect();
            if harder.is_empty() || self.stands_alone(seen, &finding, &harder) {
                kept.push(finding);
            }
        }
        kept
    }

    /// Keeps a fault with the most that it lost lately: horizons that begin before it show less.
    fn remember(&mut self, finding: &Finding, now: WallTime) {
        let whole = matches!(
            finding.category,
            Category::Blackhole | Category::SwitchDown | Category::LinkDown | Category::RnicDown
        );
        let known = self
            .hard
            .iter_mut()
            .find(|hard| hard.subject == finding.subject);
        match known {
            Some(hard) => {
                let lately = now.since(hard.last) < REMEMBERED;
                hard.share = if lately {
                    hard.share.max(finding.share)
                } else {
                    finding.share
                };
                hard.whole = whole || lately && hard.whole;
                hard.last = now;
            }
            None => self.hard.push(Hard {
                subject: finding.subject.clone(),
                share: finding.share,
                whole,
                last: now,
            }),
        }
    }

    /// Whether ECMP is uneven because it goes around something that is bad, or was lately.
    pub(super) fn is_detour(&self, finding: &Finding, now: WallTime) -> bool {
        finding.category == Category::UnevenEcmp
            && self.hard.iter().any(|hard| {
                now.since(hard.last) < AVOIDED
                    && match &hard.subject {
                        link @ Component::Link { .. } => finding.subject.is_end_of(link),
                        // Which next hops lead there is not looked at: an uneven hash will still be there when it is back.
                        Component::Switch { .. } => true,
                        Component::Host { .. }
                        | Component::Rnic { .. }
                        | Component::Group { .. } => false,
                    }
            })
    }

    /// Whether a mild suspect also loses probes on paths that no hard one may touch.
    fn stands_alone(
        &mut self,
        seen: &[&PathCounts],
        finding: &Finding,
        hard: &[Component],
    ) -> bool {
        let (mut expected, mut lost) = (0.0, 0.0);
        for seen in seen {
            let crossed = self.crossed(seen);
            let share = crossed.share(seen, &finding.subject);
            if share > 0.0 && hard.iter().all(|hard| crossed.share(seen, hard) <= 0.0) {
                let counts = seen.weighed(finding.horizon);
                expected += finding.share * share * counts.sent as f64;
                lost += counts.lost as f64;
            }
        }
        lost >= LEAST_LOST && lost >= ALONE * expected
    }

    fn finding(
        &mut self,
        seen: &[&PathCounts],
        suspect: &Suspect,
        horizon: Horizon,
        text: &str,
        counts: &impl Fn(&PathCounts) -> Counts,
    ) -> Option<Finding> {
        let slow = suspect.symptom == Symptom::Slow;
        let sums = self.sums(seen, suspect, horizon);
        if !slow && sums.is_over(suspect, horizon) {
            return None;
        }
        let together = suspect.confidence * (1 + suspect.or.len()) as f64;
        let (category, or) = if suspect.confidence >= LEAST_CONFIDENCE {
            (category(suspect, &sums), Vec::new())
        } else if !suspect.or.is_empty() && together >= LEAST_CONFIDENCE {
            let category = if slow {
                category(suspect, &sums)
            } else {
                Category::Undecided
            };
            (category, suspect.or.clone())
        } else {
            return None;
        };
        let over_stall = if slow {
            f64::INFINITY
        } else {
            against_stall(seen, suspect, counts)
        };
        let mut evidence: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if !slow && let Some(dead) = sums.dead() {
            let line = format!(
                "of the last {} probes that surely crossed {} {} were lost: it passes nothing",
                dead.sent, suspect.component, dead.lost
            );
            evidence.insert(0, line);
        }
        evidence.push(format!("over the last {}", horizon.name()));
        evidence.extend(sums.examples);
        Some(Finding {
            subject: suspect.component.clone(),
            category,
            horizon,
            confidence: suspect.confidence.min(1.0),
            nats: suspect.evidence_nats.min(over_stall),
            recent: (!slow).then(|| sums.recent.in_slot(self.slot)),
            both_directions: false,
            shares: Vec::new(),
            or,
            share: suspect.loss_rate,
            loss_interval: Some(suspect.loss_interval),
            probes: sums.all,
            hard: !slow && (suspect.loss_rate >= HARD || suspect.symptom != Symptom::Loss),
            services: sums.services,
            evidence,
        })
    }

    /// What the paths across a suspect counted.
    fn sums(&mut self, seen: &[&PathCounts], suspect: &Suspect, over: Horizon) -> Sums {
        let mut sums = Sums::default();
        let mut worst: Vec<(Counts, String)> = Vec::new();
        let slow = suspect.symptom == Symptom::Slow;
        for seen in seen {
            let crossed = self.crossed(seen);
            let share = crossed.share(seen, &suspect.component);
            if share <= 0.0 {
                continue;
            }
            let all = if slow { seen.slow } else { seen.counts(over) };
            sums.all.add(all);
            sums.recent.add(seen);
            sums.slow = sums.slow.saturating_add(seen.slow.lost);
            sums.paused = sums.paused.saturating_add(seen.paused);
            for (sum, horizon) in sums.by_horizon.iter_mut().zip(Horizon::ALL) {
                let counts = seen.weighed(horizon);
                sum.0 += share * counts.sent as f64;
                sum.1 += counts.lost as f64;
            }
            if share >= 0.99 {
                for (sum, horizon) in sums.sure.iter_mut().zip(Horizon::ALL) {
                    sum.add(seen.weighed(horizon));
                }
            }
            // A service's own path must surely cross it.
            if let Some(service) = &seen.service
                && share >= 0.5
            {
                let suffers = if slow {
                    seen.slow.share() >= LEAST_SLOW
                } else {
                    seen.counts(Horizon::Middle).lost > 0
                };
                *sums.services.entry(service.clone()).or_default() |= suffers;
            }
            if all.lost > 0 && share >= 0.5 {
                let least = worst.last().map_or(0, |(counts, _)| counts.lost);
                if worst.len() < EXAMPLES || all.lost > least {
                    worst.push((all, describe(seen, &crossed)));
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

fn describe(seen: &PathCounts, crossed: &Crossed) -> String {
    let port = seen
        .port
        .map_or_else(String::new, |port| format!(" port {port}"));
    let name = |leg: &Option<Arc<Leg>>| {
        let leg = leg.as_ref()?;
        leg.path.as_ref().map(|path| path.join(" "))
    };
    let route = match (name(&crossed.there), name(&crossed.back)) {
        (Some(there), Some(back)) => format!(" by {there}, back by {back} (traced)"),
        (Some(there), None) => format!(" by {there} (traced), reverse path not traced"),
        (None, Some(back)) => format!(", back by {back} (traced)"),
        (None, None) if crossed.there.is_some() => ", not traced".to_owned(),
        (None, None) => format!(" under {}", seen.source.tor),
    };
    format!("{} to {}{port}{route}", seen.source_name, seen.target_name)
}

/// Sums over the paths that cross a suspect.
#[derive(Default)]
struct Sums {
    all: Counts,
    /// Losses that the next run may see again.
    recent: Newest,
    /// Probes across it by share, and losses, over each horizon.
    by_horizon: [(f64, f64); 4],
    /// Probes that surely cross it, over each horizon.
    sure: [Counts; 4],
    /// Slow round trips, and those that were held up by pauses.
    slow: u64,
    paused: u64,
    services: BTreeMap<ServiceName, bool>,
    examples: Vec<String>,
}

impl Sums {
    /// Probes that surely crossed it, if it passes nothing any more.
    fn dead(&self) -> Option<Counts> {
        let newest = self.sure.iter().find(|counts| counts.sent >= SURE)?;
        (newest.share() >= DOWN).then_some(*newest)
    }

    /// Whether slow round trips took too long for queueing.
    fn are_pauses(&self) -> bool {
        self.paused as f64 > PAUSES * self.slow as f64
    }

    /// Whether the newest part of a horizon says that it has passed: its rate promises losses there that did not come.
    fn is_over(&self, suspect: &Suspect, horizon: Horizon) -> bool {
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

fn category(suspect: &Suspect, sums: &Sums) -> Category {
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

type Shares = Vec<(ComponentId, f64)>;

/// Components that a problem knows already: by leg, by RNIC and by ToR.
#[derive(Default)]
struct Ids {
    legs: HashMap<*const Leg, (Shares, Arc<Leg>)>,
    rnics: HashMap<Arc<RnicName>, ComponentId>,
    tors: HashMap<String, ComponentId>,
}

impl Ids {
    /// What a path's probes and their ACKs cross, and how many links that is.
    fn shares(
        &mut self,
        problem: &mut Problem,
        seen: &PathCounts,
        crossed: &Crossed,
    ) -> Result<(Shares, f64), ProblemError> {
        let mut shares = vec![
            (self.rnic(problem, &seen.source_name)?, 1.0),
            (self.rnic(problem, &seen.target_name)?, 1.0),
            (self.tor(problem, seen.source.tor.as_str())?, 1.0),
        ];
        let mut links = HOST_LINKS;
        if !seen.is_under_one_tor() {
            shares.push((self.tor(problem, seen.target.tor.as_str())?, 1.0));
        }
        for leg in [&crossed.there, &crossed.back].into_iter().flatten() {
            links += leg.links;
            for (id, share) in self.leg(problem, leg)? {
                match shares.iter_mut().find(|(known, _)| known == id) {
                    Some((_, sum)) => *sum += share,
                    None => shares.push((*id, *share)),
                }
            }
        }
        Ok((shares, links))
    }

    fn rnic(
        &mut self,
        problem: &mut Problem,
        name: &Arc<RnicName>,
    ) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.rnics.get(name) {
            return Ok(*id);
        }
        let id = problem.intern(Component::rnic((**name).clone()))?;
        self.rnics.insert(Arc::clone(name), id);
        Ok(id)
    }

    fn tor(&mut self, problem: &mut Problem, name: &str) -> Result<ComponentId, ProblemError> {
        if let Some(id) = self.tors.get(name) {
            return Ok(*id);
        }
        let name = name.to_owned();
        let id = problem.intern(Component::Switch { name: name.clone() })?;
        self.tors.insert(name, id);
        Ok(id)
    }

    fn leg(&mut self, problem: &mut Problem, leg: &Arc<Leg>) -> Result<&Shares, ProblemError> {
        match self.legs.entry(Arc::as_ptr(leg)) {
            Entry::Occupied(known) => Ok(&known.into_mut().0),
            Entry::Vacant(place) => {
                let mut shares = Vec::with_capacity(leg.shares.len());
                for (component, share) in &leg.shares {
                    shares.push((problem.intern(component.clone())?, *share));
                }
                // The leg is kept, so that its address stays its own.
                Ok(&place.insert((shares, Arc::clone(leg))).0)
            }
        }
    }
}
