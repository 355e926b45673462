//! What further probes are asked for: those that would tell most about what a run leaves possible.

use std::collections::HashMap;
use std::hash::Hash;

use super::board::Board;
use super::board::parts::Parts;
use super::effort::Effort;
use super::flows::{ASKED_OVER, Flow, flows};
use super::view::{Observed, View};
use super::{Asked, Category, Finding, Judge, Judgement, Question};
use crate::analysis::focus::{Ask, Candidate, Focus, rank};
use crate::analysis::localize::{Alternatives, ComponentId, Possible, Posterior};
use crate::id::Gid;

/// Length of [`ASKED_OVER`] in seconds, on average over the slot that is being filled.
const SECONDS: f64 = 22.5;
/// A hazard is infinite where everything is lost.
const MOST_LOST: f64 = 0.999;
/// Questions that are listed.
const MOST_QUESTIONS: usize = 100;

/// Numbers for things, from 0.
struct Numbers<T>(HashMap<T, usize>);

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, thing: T) -> usize {
        let next = self.0.len();
        *self.0.entry(thing).or_insert(next)
    }
}

/// What 5-tuples cross, one after the other.
#[derive(Default)]
struct Crossed {
    shares: Vec<(ComponentId, f64)>,
    /// Where each ends among these, and how many links it crosses.
    ends: Vec<(usize, f64)>,
}

impl Crossed {
    fn of(view: &View<'_>, flows: &[(Observed<'_>, Flow)]) -> Self {
        let mut crossed = Self::default();
        let mut parts = Parts::default();
        for (seen, _) in flows {
            view.board.parts(seen.at, view.with_fabric, &mut parts);
            crossed.shares.extend_from_slice(&parts.ends);
            crossed.shares.extend_from_slice(&parts.between);
            crossed.ends.push((crossed.shares.len(), parts.links));
        }
        crossed
    }

    fn get(&self, at: usize) -> (&[(ComponentId, f64)], f64) {
        let first = at.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, links) = self.ends[at];
        (&self.shares[first..end], links)
    }
}

fn candidates<'a>(crossed: &'a Crossed, flows: &[(Observed<'_>, Flow)]) -> Vec<Candidate<'a>> {
    // The rate of an RNIC stays the same whatever is asked for, so its mean over the 5-tuples is that of its list.
    let mut sent: HashMap<Gid, (u64, f64)> = HashMap::new();
    for (seen, (source, ..)) in flows {
        let sum = sent.entry(*source).or_default();
        sum.0 = sum.0.saturating_add(seen.counts(ASKED_OVER).sent);
        sum.1 += 1.0;
    }
    let (mut probers, mut targets) = (Numbers(HashMap::new()), Numbers(HashMap::new()));
    flows
        .iter()
        .enumerate()
        .map(|(at, (_, (source, target, _)))| {
            let (probes, tuples) = sent[source];
            let (crossing, links) = crossed.get(at);
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

/// Alternatives of undecided findings that are not among the questions yet. They come from other horizons than [`ASKED_OVER`].
fn add_undecided(posterior: &mut Posterior, findings: &[Finding], board: &Board) {
    for finding in findings {
        if finding.category != Category::Undecided {
            continue;
        }
        let ids: Vec<ComponentId> = std::iter::once(&finding.subject)
            .chain(&finding.or)
            .filter_map(|component| board.id(component))
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

/// What is asked about, most probes first.
fn questions(posterior: &Posterior, focus: &Focus, board: &Board) -> Vec<Question> {
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
                    let component = board.component(possible.component).clone();
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
        view: &View<'_>,
        (losses, judgement): (&[Finding], &mut Judgement),
        effort: &mut Effort,
    ) {
        let before = std::mem::take(&mut self.asked);
        let Some(bounds) = self.focus else {
            return;
        };
        add_undecided(&mut self.posterior, losses, view.board);
        let work = super::gather::work(view);
        if self.posterior.suspects.is_empty() || !effort.has(work) {
            return;
        }
        effort.spend(work);
        let flows = flows(view);
        let crossed = Crossed::of(view, &flows);
        let candidates = candidates(&crossed, &flows);
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
        judgement.questions = questions(&self.posterior, &focus, view.board);
    }
}

/// What was asked for before, among the candidates of this run.
fn held(
    before: &[Asked],
    flows: &[(Observed<'_>, Flow)],
    candidates: &[Candidate<'_>],
) -> Vec<Ask> {
    let held: HashMap<Flow, u32> = before
        .iter()
        .map(|asked| ((asked.source, asked.target, asked.port), asked.portions))
        .collect();
    let ask = |(candidate, (_, flow)): (usize, &(Observed<'_>, Flow))| {
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

    use super::super::Horizon;
    use super::super::counts::Counts;
    use super::*;
    use crate::analysis::localize::Component;
    use crate::analysis::report::End;
    use crate::id::UdpSourcePort;

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
            perhaps: BTreeMap::new(),
            evidence: Vec::new(),
        }
    }
}
