//! Links, switches and RNICs that explain lost and slow probes.

use std::collections::{BTreeMap, HashMap};

use super::coarse::Coarse;
use super::counts::{Counts, Horizon};
use super::effort::Effort;
use super::flows::ASKED_OVER;
use super::gather::{Counted, Problems, gather, lossy_work, work};
use super::path_counts::{PathCounts, most_weight};
use super::stalled::against_stall;
use super::sums::{DOWN, STILL, Sums, TELLING, category, describe_dead};
use super::view::{View, is_fabric};
use super::{
    AVOIDED, Category, Finding, HARD, Hard, Judge, LEAST_CONFIDENCE, LEAST_SLOW, REMEMBERED,
};
use crate::analysis::localize::explain::{SuspectText, explain};
use crate::analysis::localize::{
    Component, Diagnosis, Problem, ProblemError, Settings, Signal, Suspect, Symptom, localize,
    localize_with_posterior,
};
use crate::id::{RnicName, ServiceName};
use crate::time::WallTime;

/// Probes that a suspect must explain. Fewer are chance.
const LEAST_LOST: f64 = 3.0;
/// Losses on paths apart from hard faults that a mild suspect must have, as a share of what its rate promises.
const ALONE: f64 = 0.3;
/// A fault is harder than another from this ratio of their losses on: what it spills may look like the other.
const HARDER: f64 = 1.5;
/// A link of a lossy switch is an incident of its own only if it loses more than so many times the switch's share: by chance
/// some of its links show more than others.
const INSIDE: f64 = 3.0;
/// Evidence from which on a fault that is not hard may spill as well.
const PLAIN_NATS: f64 = 15.0;

/// Whether a ToR is suspected for what some of its RNICs lose: there is another under it that loses nothing with RNICs
/// elsewhere, though at the suspect's rate it would.
fn is_of_few_rnics(view: &View<'_>, finding: &Finding) -> bool {
    let Component::Switch { name } = &finding.subject else {
        return false;
    };
    let paths = view.under(name);
    let mut rnics: HashMap<&RnicName, Counts> = HashMap::new();
    for seen in paths.iter().filter(|seen| !seen.is_under_one_tor()) {
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
fn is_rnic_under(tor: &Component, finding: &Finding, rnics: &HashMap<RnicName, &str>) -> bool {
    match (tor, &finding.subject) {
        (Component::Switch { name }, Component::Rnic { host, device }) => {
            let rnic = RnicName {
                host: host.clone(),
                device: device.clone(),
            };
            finding.share < DOWN && rnics.get(&rnic).is_some_and(|tor| tor == name)
        }
        _ => false,
    }
}

/// What was found, and whether the work ran out before the search came to its end.
#[derive(Debug, Default)]
pub(super) struct Located {
    pub(super) findings: Vec<Finding>,
    pub(super) is_cut: bool,
}

impl Located {
    const fn cut(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            is_cut: true,
        }
    }
}

/// Evidence from which on an event of the whole fabric is as plain as a dead link.
const FABRIC_NATS: f64 = 100.0;

/// Whether the fabric as a whole loses packets, beyond doubt.
fn is_fabric_wide(suspect: &Suspect) -> bool {
    is_fabric(&suspect.component) && suspect.evidence_nats >= FABRIC_NATS
}

impl Judge {
    /// What explains the losses of one horizon.
    pub(super) fn locate_losses(
        &mut self,
        view: &View<'_>,
        problems: &mut Problems,
        horizon: Horizon,
        effort: &mut Effort,
    ) -> Result<Located, ProblemError> {
        if view.lossy.len_over(horizon) == 0 {
            return Ok(Located::default());
        }
        let Some(gathered) = problems.take(view, horizon, effort)? else {
            return Ok(Located::cut(Vec::new()));
        };
        let problem = &gathered.problem;
        let settings = self.settings_within(effort);
        let diagnosis = if self.focus.is_some() && horizon == ASKED_OVER {
            let (diagnosis, posterior) = localize_with_posterior(problem, &settings);
            self.posterior = gathered.on_board(posterior);
            diagnosis
        } else {
            localize(problem, &settings)
        };
        let counts = |seen: &PathCounts| Counted::Lost(horizon).of(seen);
        Ok(self.located(view, (problem, diagnosis), horizon, effort, &counts))
    }

    const fn settings_within(&self, effort: &Effort) -> Settings {
        Settings {
            most_work: effort.left(),
            ..self.settings
        }
    }

    /// The same of sums over the paths between two ToRs: a first look at very many paths.
    pub(super) fn locate_coarsely(
        &mut self,
        view: &View<'_>,
        coarse: &Coarse,
        horizon: Horizon,
        effort: &mut Effort,
    ) -> Result<Vec<Finding>, ProblemError> {
        let counts = |seen: &PathCounts| seen.weighed(horizon);
        let sums = coarse.sums(view.iter().map(|seen| counts(&seen)));
        if sums.iter().all(|sum| sum.lost == 0) {
            return Ok(Vec::new());
        }
        effort.spend(coarse.work());
        let problem = coarse.problem(&sums)?;
        let diagnosis = localize(&problem, &self.settings_within(effort));
        let found = self.located(view, (&problem, diagnosis), horizon, effort, &counts);
        Ok(found.findings)
    }

    /// What explains the slow round trips of 20 s.
    pub(super) fn locate_slow(
        &mut self,
        view: &View<'_>,
        effort: &mut Effort,
    ) -> Result<Located, ProblemError> {
        if view.lossy.slow.is_empty() {
            return Ok(Located::default());
        }
        let most = most_weight(view.iter().map(|seen| seen.slow().sent));
        let counted = Counted::Slow { most };
        let work = work(view) + lossy_work(view.lossy.slow.len());
        if !effort.has(work) {
            return Ok(Located::cut(Vec::new()));
        }
        effort.spend(work);
        let Some(gathered) = gather(view, &[counted])?.pop() else {
            return Ok(Located::default());
        };
        let problem = &gathered.problem;
        let diagnosis = localize(problem, &self.settings_within(effort));
        let counts = |seen: &PathCounts| counted.of(seen);
        Ok(self.located(view, (problem, diagnosis), Horizon::Middle, effort, &counts))
    }

    /// Suspects of a problem as findings: those that were found in time.
    fn located(
        &mut self,
        view: &View<'_>,
        (problem, diagnosis): (&Problem, Diagnosis),
        horizon: Horizon,
        effort: &mut Effort,
        counts: &impl Fn(&PathCounts) -> Counts,
    ) -> Located {
        let slow = problem.signal() == Signal::Slow;
        effort.spend(diagnosis.work);
        let suspects: Vec<Suspect> = diagnosis
            .suspects
            .into_iter()
            .filter(|suspect| suspect.explains_lost >= LEAST_LOST)
            .filter(|suspect| !slow || suspect.loss_rate >= LEAST_SLOW)
            .collect();
        let explanations = explain(problem, &suspects);
        let mut findings = Vec::new();
        for (suspect, why) in suspects.iter().zip(&explanations) {
            effort.spend(view.len() as u64);
            let text = SuspectText { suspect, why }.to_string();
            if let Some(finding) = self.finding(view, suspect, horizon, &text, counts) {
                findings.push(finding);
            }
        }
        if diagnosis.complete {
            Located {
                findings,
                is_cut: false,
            }
        } else {
            Located::cut(findings)
        }
    }

    /// Takes out what the hard faults among the findings explain: their links where a switch is one, and mild suspects
    /// that lose nothing apart from them. If the reverse path is not traced, the losses of a hard fault also count for
    /// everything that shares candidate paths with it.
    pub(super) fn without_explained(
        &mut self,
        view: &View<'_>,
        findings: Vec<Finding>,
        now: WallTime,
    ) -> Vec<Finding> {
        let findings: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| !is_of_few_rnics(view, finding))
            .collect();
        for finding in &findings {
            if (finding.hard || finding.nats >= PLAIN_NATS) && finding.or.is_empty() {
                self.remember(finding, now);
            }
        }
        self.hard.retain(|hard| now.since(hard.last) < AVOIDED);
        let mut hard = self.hard.clone();
        hard.retain(|hard| now.since(hard.last) < REMEMBERED);
        let rnics = if hard.iter().any(|hard| hard.whole) {
            view.tors()
        } else {
            HashMap::new()
        };
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
            if harder.is_empty() || Self::stands_alone(view, &finding, &harder) {
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
    fn stands_alone(view: &View<'_>, finding: &Finding, hard: &[Component]) -> bool {
        let (mut expected, mut lost) = (0.0, 0.0);
        for (seen, share) in view.crossing(&finding.subject) {
            if hard.iter().all(|hard| seen.share(hard) <= 0.0) {
                let counts = seen.weighed(finding.horizon);
                expected += finding.share * share * counts.sent as f64;
                lost += counts.lost as f64;
            }
        }
        lost >= LEAST_LOST && lost >= ALONE * expected
    }

    fn finding(
        &mut self,
        view: &View<'_>,
        suspect: &Suspect,
        horizon: Horizon,
        text: &str,
        counts: &impl Fn(&PathCounts) -> Counts,
    ) -> Option<Finding> {
        let slow = suspect.symptom == Symptom::Slow;
        let sums = Sums::of(view, suspect, horizon);
        if !slow && sums.is_over(suspect, horizon) {
            return None;
        }
        let (category, or) = if suspect.confidence >= LEAST_CONFIDENCE {
            (category(suspect, &sums), Vec::new())
        } else if !suspect.or.is_empty() && suspect.group_confidence >= LEAST_CONFIDENCE {
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
            against_stall(view, suspect, counts)
        };
        let mut evidence: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if !slow && let Some(dead) = sums.dead() {
            let line = describe_dead(&suspect.component, dead);
            evidence.insert(0, line);
        }
        evidence.push(format!("over the last {}", horizon.name()));
        evidence.extend(sums.examples);
        evidence.extend(of_other_paths(&sums.perhaps));
        Some(Finding {
            subject: suspect.component.clone(),
            category,
            horizon,
            confidence: suspect.confidence.min(1.0),
            nats: suspect.evidence_nats.min(over_stall),
            recent: (!slow).then(|| sums.recent.in_slot(self.slot)),
            both_directions: false,
            deciding: false,
            shares: Vec::new(),
            or,
            share: suspect.loss_rate,
            loss_interval: Some(suspect.loss_interval),
            probes: sums.all,
            hard: !slow
                && (suspect.loss_rate >= HARD
                    || suspect.symptom != Symptom::Loss
                    || is_fabric_wide(suspect)),
            services: sums.services,
            perhaps: sums.perhaps,
            evidence,
        })
    }
}

/// Services that are named in a line of evidence.
const NAMED: usize = 5;

/// What it means that the probes of some services take other paths than their connections.
fn of_other_paths(perhaps: &BTreeMap<ServiceName, bool>) -> Option<String> {
    let named: Vec<&str> = perhaps
        .keys()
        .take(NAMED)
        .map(ServiceName::as_str)
        .collect();
    let more = if perhaps.len() > NAMED { ", …" } else { "" };
    (!named.is_empty()).then(|| {
        format!(
            "perhaps crossed by the connections of {}{more}: their RNICs do not let the agent choose the UDP source port, so that \
             their probes take other paths, or unknown ones",
            named.join(", ")
        )
    })
}
