//! Anomalous RNICs, right also where a ToR has few of them.
//!
//! R-Pingmesh calls an RNIC anomalous when more than 10 % of its ToR-mesh probes fail; with two RNICs under a ToR a bad
//! one makes the good one look just as bad. Here all pairs of RNICs, under one ToR and across ToRs, both directions
//! together, are explained at once: by RNICs (with their cables), by ToR switches, and by what lies above a ToR, the
//! fabric between being nobody's. The search is that of [`localize`]; what the observations cannot
//! tell apart comes out as [`Verdict::CannotTell`] with everything that it may be.
//!
//! Only losses above [`LEAST_LOSS`] are judged here, in seconds; milder ones of an RNIC come out of the localisation of
//! links over longer windows, where an RNIC is one of the suspects.

mod rest;

use std::collections::{BTreeSet, HashMap};

use super::localize::{Component, Problem, ProblemError, Settings, Suspect, localize};
use super::stall;
use crate::id::RnicName;

pub(crate) use rest::Rest;
use rest::{HOST_LINKS, above, switch};

/// Share of an RNIC's probes that must be lost (R-Pingmesh, section 5).
pub(crate) const LEAST_LOSS: f64 = 0.1;
/// How sure the verdict must be.
pub(crate) const LEAST_CONFIDENCE: f64 = 0.95;
/// Probes that must have been lost for any verdict.
pub(crate) const LEAST_LOST: u64 = 4;

/// What was observed between two RNICs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    /// Who probed, and its ToR.
    pub source: (&'a RnicName, &'a str),
    /// Who was probed, and its ToR.
    pub target: (&'a RnicName, &'a str),
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Probes that could not be sent, beside these.
    pub unsent: u64,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// This RNIC, or its cable, loses probes.
    Anomalous(Finding),
    /// One of several things loses probes, and the observations cannot tell which.
    CannotTell {
        /// The likeliest.
        first: Finding,
        /// What else it may be.
        or: Vec<Component>,
    },
}

/// An RNIC with what it loses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    /// Its name.
    pub rnic: RnicName,
    /// Share of the probes to and from it that is lost on account of it, 0 to 1.
    pub loss: f64,
    /// The 95 % interval of `loss`, low and high.
    pub loss_interval: [f64; 2],
    /// How sure this is, 0 to 1.
    pub confidence: f64,
    /// By how many nats the observations favour it over nothing being wrong with the network: over chance, and over a host
    /// that stood still.
    pub nats: f64,
    /// Probes from or to it, and how many were lost.
    pub probes: (u64, u64),
    /// Those from it, with what could not be sent as lost, and those to it.
    pub directions: [(u64, u64); 2],
    /// Peers under its ToR: all, and those that lost [`LEAST_LOSS`] or more with it.
    pub mesh_peers: (usize, usize),
    /// The same with peers elsewhere.
    pub far_peers: (usize, usize),
}

impl Verdict {
    /// The RNIC that it is about.
    pub(crate) const fn finding(&self) -> &Finding {
        match self {
            Self::Anomalous(finding) | Self::CannotTell { first: finding, .. } => finding,
        }
    }

    /// Every RNIC whose results cannot be used to judge links.
    pub(crate) fn rnics(&self) -> impl Iterator<Item = RnicName> {
        let others: &[Component] = match self {
            Self::Anomalous(_) => &[],
            Self::CannotTell { or, .. } => or,
        };
        std::iter::once(self.finding().rnic.clone()).chain(others.iter().filter_map(rnic_of))
    }
}

/// The RNIC that a component is.
fn rnic_of(component: &Component) -> Option<RnicName> {
    match component {
        Component::Rnic { host, device } => Some(RnicName {
            host: host.clone(),
            device: device.clone(),
        }),
        Component::Link { .. }
        | Component::Switch { .. }
        | Component::Host { .. }
        | Component::Group { .. } => None,
    }
}

/// ToRs from which on the fabric between them is a suspect of its own.
const LEAST_TORS: usize = 4;

/// Work of bringing one pair into the problem.
const PAIR_WORK: u64 = 10;

/// What came out, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    /// The verdicts, the surest first; `None` where the work ran out.
    pub verdicts: Option<Vec<Verdict>>,
    /// Work that was done, in evaluations of one observation.
    pub work: u64,
}

/// Finds the anomalous RNICs with at most so much work. Pairs may come in any order and several times; all pairs of RNICs that have
/// lost anything are among them, others may be summed in `rest`.
///
/// # Errors
/// More lost than sent, or more RNICs than can be counted.
pub(crate) fn judge(
    pairs: &[Pair<'_>],
    rest: &Rest<'_>,
    most_work: u64,
) -> Result<Judged, ProblemError> {
    if !has_candidate(pairs) {
        return Ok(Judged {
            verdicts: Some(Vec::new()),
            work: 0,
        });
    }
    let mut work = pairs.len() as u64 * PAIR_WORK;
    if work > most_work {
        return Ok(Judged {
            verdicts: None,
            work: 0,
        });
    }
    let merged = merge(pairs);
    // The search adds one suspect after the other, so a ToR that looked bad before its RNICs were known may stay. Where
    // an RNIC explains more than a suspect that is none, or an RNIC is well under its own ToR, the search is repeated without
    // that suspect.
    let mut acquitted = BTreeSet::new();
    loop {
        let settings = Settings {
            // An RNIC fails as often as anything else here.
            node: 0.0,
            // Suspects that are outdone must be seen to be acquitted.
            least_confidence: 0.0,
            most_work: most_work.saturating_sub(work),
            ..Settings::default()
        };
        let problem = problem(&merged, rest, &acquitted)?;
        let diagnosis = localize(&problem, &settings);
        work = work.saturating_add(diagnosis.work);
        if !diagnosis.complete {
            return Ok(Judged {
                verdicts: None,
                work,
            });
        }
        let suspects = diagnosis.suspects;
        let wrong = suspects
            .iter()
            .find(|suspect| is_outdone(suspect) || is_cleared(suspect, &merged));
        match wrong {
            Some(suspect) if acquitted.len() < MOST_ACQUITTED => {
                acquitted.insert(suspect.component.clone());
            }
            _ => {
                let apart = |suspect: &Suspect| apart_from(&suspects, suspect, pairs);
                let verdicts = suspects
                    .iter()
                    .filter_map(|suspect| verdict(suspect, &merged, &apart(suspect)))
                    .collect();
                return Ok(Judged {
                    verdicts: Some(verdicts),
                    work,
                });
            }
        }
    }
}

/// Share of [`LEAST_LOSS`] that an RNIC must lose in all to be worth the search: part of its probes may cross things that lose nothing
/// on account of it.
const WORTH: f64 = 0.3;

/// Whether any RNIC can come out as anomalous at all: it has lost [`LEAST_LOST`] probes, and a share that is not far below
/// [`LEAST_LOSS`]. In a large fabric somebody loses a probe at any time.
fn has_candidate(pairs: &[Pair<'_>]) -> bool {
    // Only RNICs that lose anything can be one; all probes count for these.
    let mut lossy: HashMap<&RnicName, usize> = HashMap::new();
    for pair in pairs.iter().filter(|pair| pair.lost > 0) {
        for rnic in [pair.source.0, pair.target.0] {
            let next = lossy.len();
            lossy.entry(rnic).or_insert(next);
        }
    }
    if lossy.is_empty() {
        return false;
    }
    let mut sums = vec![(0_u64, 0_u64); lossy.len()];
    // Pairs share the names: each is compared once.
    let mut places: HashMap<*const RnicName, Option<usize>> = HashMap::new();
    for pair in pairs {
        for rnic in [pair.source.0, pair.target.0] {
            let place = *places
                .entry(std::ptr::from_ref(rnic))
                .or_insert_with(|| lossy.get(rnic).copied());
            if let Some((sent, lost)) = place.map(|place| &mut sums[place]) {
                *sent = sent.saturating_add(pair.sent);
                *lost = lost.saturating_add(pair.lost);
            }
        }
    }
    sums.iter().any(|(sent, lost)| {
        *lost >= LEAST_LOST && *lost as f64 >= WORTH * LEAST_LOSS * *sent as f64
    })
}

/// How often the search is repeated.
const MOST_ACQUITTED: usize = 16;

fn is_outdone(suspect: &Suspect) -> bool {
    suspect.confidence < 0.01 && matches!(suspect.or.first(), Some(Component::Rnic { .. }))
}

/// Losses that an RNIC would have had under its own ToR from which on their absence tells: e^-4.6 is 1 %.
const TELLING: f64 = 4.6;
/// Share of them that it must have.
const STILL: f64 = 0.2;

/// Whether an RNIC is suspected for what dies elsewhere: all its packets cross its cable, so its neighbours must miss them
/// too. What kills whole 5-tuples above a ToR hits some RNICs' more than others' by chance.
fn is_cleared(suspect: &Suspect, merged: &Merged<'_>) -> bool {
    let Some(name) = rnic_of(&suspect.component) else {
        return false;
    };
    let (mut sent, mut lost) = (0_u64, 0_u64);
    for ((a, b), counts) in merged {
        if a.1 == b.1 && (*a.0 == name || *b.0 == name) {
            sent = sent.saturating_add(counts.0);
            lost = lost.saturating_add(counts.1);
        }
    }
    let expected = suspect.loss_rate * sent as f64;
    expected >= TELLING && (lost as f64) < STILL * expected
}

/// An RNIC and its ToR.
type Name<'a> = (&'a RnicName, &'a str);

/// Two RNICs, with the probes between them, both ways together, and those lost; each two once, in the order of their names.
type Merged<'a> = Vec<((Name<'a>, Name<'a>), (u64, u64))>;

/// Both directions together: a probe and its ACK cross both RNICs in both directions.
fn merge<'a>(pairs: &[Pair<'a>]) -> Merged<'a> {
    // Names are compared once each, not once for each pair.
    let mut names: Vec<Name<'a>> = Vec::new();
    let mut numbers: HashMap<Name<'a>, usize> = HashMap::new();
    let mut number = |name: Name<'a>| {
        *numbers.entry(name).or_insert_with(|| {
            names.push(name);
            names.len() - 1
        })
    };
    let numbered: Vec<_> = pairs
        .iter()
        .filter(|pair| pair.sent > 0)
        .map(|pair| {
            let ends = (number(pair.source), number(pair.target));
            (ends, (pair.sent, pair.lost))
        })
        .collect();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_unstable_by_key(|at| names[*at]);
    let mut ranks = vec![0; names.len()];
    for (rank, at) in order.iter().enumerate() {
        ranks[*at] = rank;
    }
    let mut sums: HashMap<(usize, usize), (u64, u64)> = HashMap::new();
    for ((source, target), (sent, lost)) in numbered {
        let (a, b) = (ranks[source], ranks[target]);
        let sum = sums.entry((a.min(b), a.max(b))).or_default();
        sum.0 = sum.0.saturating_add(sent);
        sum.1 = sum.1.saturating_add(lost);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable();
    sums.into_iter()
        .map(|((a, b), counts)| ((names[order[a]], names[order[b]]), counts))
        .collect()
}

fn problem(
    merged: &Merged<'_>,
    rest: &Rest<'_>,
    acquitted: &BTreeSet<Component>,
) -> Result<Problem, ProblemError> {
    let mut problem = Problem::of_rates();
    let mut ids = HashMap::new();
    let mut id = |component: Component| {
        if let Some(id) = ids.get(&component) {
            return Ok(*id);
        }
        let id = problem.intern(component.clone())?;
        ids.insert(component, id);
        Ok::<_, ProblemError>(id)
    };
    let of_pairs = merged.iter().flat_map(|((a, b), _)| [a.1, b.1]);
    let tors: BTreeSet<&str> = of_pairs.chain(rest.tors.keys().copied()).collect();
    let with_fabric = tors.len() >= LEAST_TORS;
    let mut rows = Vec::with_capacity(merged.len());
    for (((a, tor_a), (b, tor_b)), (sent, lost)) in merged {
        let rnic = |name: &RnicName| Component::rnic(name.clone());
        let mut crossed = vec![rnic(a), rnic(b), switch(tor_a)];
        if tor_a != tor_b {
            crossed.extend([switch(tor_b), above(tor_a), above(tor_b)]);
            if with_fabric {
                crossed.push(switch(super::routes::CLOUD));
            }
        }
        let shares = crossed
            .into_iter()
            .filter(|component| !acquitted.contains(component))
            .map(|component| Ok((id(component)?, 1.0)))
            .collect::<Result<Vec<_>, ProblemError>>()?;
        rows.push((shares, *sent, *lost));
    }
    for (shares, sent, lost) in rows {
        problem.add_shares(&shares, 2.0 * HOST_LINKS, sent, lost)?;
    }
    rest.add_to(&mut problem, acquitted);
    Ok(problem)
}

fn verdict(suspect: &Suspect, merged: &Merged<'_>, apart: &[&Pair<'_>]) -> Option<Verdict> {
    let alike: BTreeSet<_> = std::iter::once(&suspect.component)
        .chain(&suspect.or)
        .cloned()
        .collect();
    let rnic = alike.iter().find_map(rnic_of)?;
    let finding = finding(&rnic, suspect, merged, apart);
    if suspect.loss_rate < LEAST_LOSS || finding.probes.1 < LEAST_LOST {
        return None;
    }
    if suspect.group_confidence < LEAST_CONFIDENCE {
        return None;
    }
    if alike.len() > 1 {
        let first = Component::rnic(rnic);
        let or = alike.into_iter().filter(|other| *other != first).collect();
        return Some(Verdict::CannotTell { first: finding, or });
    }
    Some(Verdict::Anomalous(finding))
}

fn finding(
    rnic: &RnicName,
    suspect: &Suspect,
    merged: &Merged<'_>,
    apart: &[&Pair<'_>],
) -> Finding {
    let [from, to] = directions(rnic, apart);
    let mut finding = Finding {
        rnic: rnic.clone(),
        loss: suspect.loss_rate,
        loss_interval: suspect.loss_interval,
        confidence: suspect.confidence,
        // A host that stood still did not answer, or did not handle answers in time.
        nats: suspect
            .evidence_nats
            .min(stall::against(to, from))
            .min(stall::against(from, to)),
        probes: (0, 0),
        directions: [from, to],
        mesh_peers: (0, 0),
        far_peers: (0, 0),
    };
    for ((a, b), (sent, lost)) in merged {
        if a.0 != rnic && b.0 != rnic {
            continue;
        }
        finding.probes.0 = finding.probes.0.saturating_add(*sent);
        finding.probes.1 = finding.probes.1.saturating_add(*lost);
        let peers = if a.1 == b.1 {
            &mut finding.mesh_peers
        } else {
            &mut finding.far_peers
        };
        peers.0 += 1;
        peers.1 += usize::from(*lost as f64 >= LEAST_LOSS * *sent as f64 && *lost > 0);
    }
    finding
}

/// The pairs without those that another suspect may have to answer for.
fn apart_from<'a, 'b>(
    suspects: &[Suspect],
    suspect: &Suspect,
    pairs: &'a [Pair<'b>],
) -> Vec<&'a Pair<'b>> {
    let others: BTreeSet<RnicName> = suspects
        .iter()
        .filter(|other| other.component != suspect.component)
        .filter_map(|other| rnic_of(&other.component))
        .collect();
    pairs
        .iter()
        .filter(|pair| !others.contains(pair.source.0) && !others.contains(pair.target.0))
        .collect()
}

/// Probes from and to an RNIC. One that it could not send counts as lost: a host that stands still tries nothing.
fn directions(rnic: &RnicName, pairs: &[&Pair<'_>]) -> [(u64, u64); 2] {
    let (mut from, mut to) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for pair in pairs {
        if pair.source.0 == rnic {
            from.0 = from.0.saturating_add(pair.sent.saturating_add(pair.unsent));
            from.1 = from.1.saturating_add(pair.lost.saturating_add(pair.unsent));
        } else if pair.target.0 == rnic {
            to.0 = to.0.saturating_add(pair.sent);
            to.1 = to.1.saturating_add(pair.lost);
        }
    }
    [from, to]
}

#[cfg(test)]
mod tests;
