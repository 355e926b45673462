//! What further probes are asked for: those that would tell most about what a run leaves possible.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::counts::Horizon;
use super::crossed::{Crossings, Observed};
use super::effort::Effort;
use super::{Asked, Category, Finding, Judge, Judgement, Question};
use crate::analysis::focus::{Ask, Candidate, FLOOR, Focus, rank};
use crate::analysis::localize::{Alternatives, Component, ComponentId, Possible, Posterior};
use crate::id::{Gid, UdpSourcePort};
use crate::probe::ProbeKind;

/// The horizon whose losses decide what is asked for: long enough for gray loss, short enough to see that it is over.
pub(super) const ASKED_OVER: Horizon = Horizon::Middle;
/// Its length in seconds, on average over the slot that is being filled.
const SECONDS: f64 = 22.5;
/// Probes of a 5-tuple that are expected in [`Horizon::Short`], on average over its RNIC's, from which on none means that it is not in
/// the list any more: each keeps at least a quarter of its rate.
const EXPECTED: f64 = 2.0 / FLOOR;
/// A 5-tuple tells two components apart whose shares of its packets differ by more.
const SPLITS: f64 = 0.1;
/// A hazard is infinite where everything is lost.
const MOST_LOST: f64 = 0.999;
/// Questions that are listed.
const MOST_QUESTIONS: usize = 100;

/// What makes a 5-tuple the same one: RNIC that probes, RNIC that answers, UDP source port.
type Flow = (Gid, Gid, UdpSourcePort);

/// Numbers for things, from 0.
struct Numbers<T>(HashMap<T, usize>);

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, thing: T) -> usize {
        let next = self.0.len();
        *self.0.entry(thing).or_insert(next)
    }
}

/// The 5-tuples that may be asked for, with their places among the observed: those between ToRs of which the port is known, and that
/// are still probed. When a pinglist changes, the 5-tuples that are not in it any more keep their counts for two minutes: to ask for
/// them would bring nothing. Such a 5-tuple is recognised by its silence, while its RNIC goes on with others.
fn flows(observed: &[Observed<'_>]) -> Vec<(usize, Flow)> {
    let flow = |seen: &Observed<'_>| {
        let port = seen.port.filter(|_| seen.kind == ProbeKind::InterTor)?;
        let is_probed = seen.counts(ASKED_OVER).sent > 0;
        is_probed.then_some((seen.source.gid, seen.target.gid, port))
    };
    let lately = |at: usize| observed[at].counts(Horizon::Short).sent;
    let probed = observed.iter().enumerate();
    let mut flows: Vec<(usize, Flow)> = probed
        .filter_map(|(at, seen)| Some((at, flow(seen)?)))
        .collect();
    let mut sums: HashMap<Gid, (u64, u64)> = HashMap::new();
    for (at, (source, ..)) in &flows {
        let sum = sums.entry(*source).or_default();
        *sum = (sum.0.saturating_add(lately(*at)), sum.1 + 1);
    }
    flows.retain(|(at, (source, ..))| {
        let (sent, tuples) = sums[source];
        lately(*at) > 0 || (sent as f64) < EXPECTED * tuples as f64
    });
    flows
}

fn candidates<'a>(
    observed: &[Observed<'_>],
    crossings: &'a Crossings,
    flows: &[(usize, Flow)],
) -> Vec<Candidate<'a>> {
    // The rate of an RNIC stays the same whatever is asked for, so its mean over the 5-tuples is that of its list.
    let mut sent: HashMap<Gid, (u64, f64)> = HashMap::new();
    for (at, (source, ..)) in flows {
        let sum = sent.entry(*source).or_default();
        sum.0 = sum.0.saturating_add(observed[*at].counts(ASKED_OVER).sent);
        sum.1 += 1.0;
    }
    let (mut probers, mut targets) = (Numbers(HashMap::new()), Numbers(HashMap::new()));
    flows
        .iter()
        .map(|(at, (source, target, _))| {
            let (probes, tuples) = sent[source];
            let (crossing, links) = crossings.of_path(*at);
            Candidate {
                prober: probers.of(*source),
                target: targets.of(*target),
                base: probes as f64 / tuples / SECONDS,
                crossing,
                links,
            }
        })
        .collect()
}

/// Alternatives that the findings leave open and that are no question yet: a horizon that is not [`ASKED_OVER`] has shown them.
fn add_undecided(posterior: &mut Posterior, findings: &[Finding], crossings: &Crossings) {
    for finding in findings {
        if finding.category != Category::Undecided {
            continue;
        }
        let ids: Vec<ComponentId> = std::iter::once(&finding.subject)
            .chain(&finding.or)
            .filter_map(|component| crossings.id(component))
            .collect();
        let is_among = |alternatives: &Alternatives| {
            let components = alternatives.components.iter();
            components
                .filter(|possible| ids.contains(&possible.component))
                .count()
                > 1
        };
        if ids.len() < 2 || posterior.suspects.iter().any(is_among) {
            continue;
        }
        let probability = 1.0 / ids.len() as f64;
        let hazard = -(-finding.share.clamp(0.0, MOST_LOST)).ln_1p();
        posterior.suspects.push(Alternatives {
            components: ids
                .into_iter()
                .map(|component| Possible {
                    component,
                    probability,
                    hazard,
                })
                .collect(),
        });
    }
}

/// Says of each finding that cannot tell whether probes are asked for that will: some cross one of its alternatives and not another.
pub(super) fn mark_deciding(findings: &mut [Finding], observed: &[Observed<'_>], asked: &[Asked]) {
    let is_open =
        |finding: &&mut Finding| finding.category == Category::Undecided && !finding.or.is_empty();
    let mut open: Vec<&mut Finding> = findings.iter_mut().filter(is_open).collect();
    if open.is_empty() || asked.is_empty() {
        return;
    }
    let asked: HashSet<Flow> = asked
        .iter()
        .map(|asked| (asked.source, asked.target, asked.port))
        .collect();
    let flows = flows(observed);
    let of_focus = flows.iter().filter(|(_, flow)| asked.contains(flow));
    for (at, _) in of_focus {
        let seen = &observed[*at];
        for finding in &mut open {
            let share = seen.share(&finding.subject);
            let differs = |other: &Component| (seen.share(other) - share).abs() > SPLITS;
            finding.deciding = finding.deciding || finding.or.iter().any(differs);
        }
    }
}

/// What is asked about, most probes first.
fn questions(posterior: &Posterior, focus: &Focus, crossings: &Crossings) -> Vec<Question> {
    let mut questions: Vec<Question> = posterior
        .suspects
        .iter()
        .zip(&focus.questions)
        .filter(|(_, question)| question.tuples > 0)
        .map(|(suspects, question)| Question {
            suspects: suspects
                .components
                .iter()
                .map(|possible| {
                    let component = crossings.component(possible.component).clone();
                    (component, possible.probability)
                })
                .collect(),
            entropy: question.entropy,
            information: question.information,
            tuples: question.tuples,
            rate: question.rate,
        })
        .collect();
    questions.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    questions.truncate(MOST_QUESTIONS);
    questions
}

impl Judge {
    /// What to probe more, by what the run leaves possible, and why. The 5-tuples of one RNIC share one rate.
    pub(super) fn ask(
        &mut self,
        observed: &[Observed<'_>],
        crossings: &Crossings,
        (losses, judgement): (&[Finding], &mut Judgement),
        effort: &mut Effort,
    ) {
        let before = std::mem::take(&mut self.asked);
        let Some(bounds) = self.focus else {
            return;
        };
        add_undecided(&mut self.posterior, losses, crossings);
        if self.posterior.suspects.is_empty() || !effort.has(crossings.work()) {
            return;
        }
        effort.spend(crossings.work());
        let flows = flows(observed);
        let candidates = candidates(observed, crossings, &flows);
        let held = held(&before, &flows, &candidates);
        let focus = rank(&self.posterior, &candidates, &held, &bounds);
        self.asked = focus
            .asks
            .iter()
            .map(|ask| {
                let (_, (source, target, port)) = flows[ask.candidate];
                Asked {
                    source,
                    target,
                    port,
                    portions: ask.portions,
                }
            })
            .collect();
        judgement.asked.clone_from(&self.asked);
        judgement.questions = questions(&self.posterior, &focus, crossings);
    }
}

/// What was asked for before, among the candidates of this run.
fn held(before: &[Asked], flows: &[(usize, Flow)], candidates: &[Candidate<'_>]) -> Vec<Ask> {
    let held: HashMap<Flow, u32> = before
        .iter()
        .map(|asked| ((asked.source, asked.target, asked.port), asked.portions))
        .collect();
    let ask = |(candidate, (_, flow)): (usize, &(usize, Flow))| {
        let portions = *held.get(flow)?;
        Some(Ask {
            candidate,
            portions,
            rate: f64::from(portions) * candidates[candidate].base,
            about: 0,
        })
    };
    flows.iter().enumerate().filter_map(ask).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::counts::Counts;
    use super::*;
    use crate::analysis::report::End;

    /// The 5-tuple from one RNIC to another.
    pub(in super::super) fn asked_for(source: &End, target: &End) -> Asked {
        Asked {
            source: source.gid,
            target: target.gid,
            port: UdpSourcePort(50_000),
            portions: 1,
        }
    }

    /// A finding that cannot tell what it is about.
    pub(in super::super) fn undecided(subject: Component, or: Vec<Component>) -> Finding {
        Finding {
            subject,
            category: Category::Undecided,
            horizon: Horizon::Middle,
            confidence: 0.5,
            nats: 20.0,
            recent: None,
            both_directions: false,
            shares: Vec::new(),
            or,
            deciding: false,
            share: 0.01,
            loss_interval: None,
            probes: Counts::default(),
            hard: false,
            services: BTreeMap::new(),
            evidence: Vec::new(),
        }
    }
}
