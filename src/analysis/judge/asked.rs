//! What further probes are asked for: those that would tell most about what a run leaves possible.

use std::collections::HashMap;
use std::hash::Hash;

use super::counts::Horizon;
use super::crossed::{Crossings, Observed};
use super::effort::Effort;
use super::{Asked, Judge};
use crate::analysis::focus::{Ask, Candidate, rank};
use crate::id::{Gid, UdpSourcePort};
use crate::probe::ProbeKind;

/// The horizon whose losses decide what is asked for: long enough for gray loss, short enough to see that it is over.
pub(super) const ASKED_OVER: Horizon = Horizon::Middle;
/// Its length in seconds, on average over the slot that is being filled.
const SECONDS: f64 = 22.5;

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

/// The 5-tuples that may be asked for, with their places among the observed: those between ToRs of which the port is known.
fn flows(observed: &[Observed<'_>]) -> Vec<(usize, Flow)> {
    let flow = |seen: &Observed<'_>| {
        let port = seen.port.filter(|_| seen.kind == ProbeKind::InterTor)?;
        Some((seen.source.gid, seen.target.gid, port))
    };
    observed
        .iter()
        .enumerate()
        .filter_map(|(at, seen)| Some((at, flow(seen)?)))
        .collect()
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

impl Judge {
    /// What to probe more, by what the run leaves possible. The 5-tuples of one RNIC share one rate.
    pub(super) fn ask(
        &mut self,
        observed: &[Observed<'_>],
        crossings: &Crossings,
        effort: &mut Effort,
    ) -> Vec<Asked> {
        let before = std::mem::take(&mut self.asked);
        let Some(bounds) = self.focus else {
            return Vec::new();
        };
        if self.posterior.suspects.is_empty() || !effort.has(crossings.work()) {
            return Vec::new();
        }
        effort.spend(crossings.work());
        let flows = flows(observed);
        let candidates = candidates(observed, crossings, &flows);
        let held: HashMap<Flow, u32> = before
            .iter()
            .map(|asked| ((asked.source, asked.target, asked.port), asked.portions))
            .collect();
        let held: Vec<Ask> = flows
            .iter()
            .enumerate()
            .filter_map(|(candidate, (_, flow))| {
                let portions = *held.get(flow)?;
                Some(Ask {
                    candidate,
                    portions,
                    rate: f64::from(portions) * candidates[candidate].base,
                })
            })
            .collect();
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
        self.asked.clone()
    }
}
