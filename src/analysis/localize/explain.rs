//! Why a suspect is one: the paths, the counts, what was ruled out, and what voting says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::component::Component;
use super::component::ComponentId;
use super::evidence::{Evidence, Posting};
use super::problem::Problem;
use super::search::{Suspect, Symptom, Trials};
use super::vote;

/// Paths that are given as examples, and components that are listed as ruled out.
const EXAMPLES: usize = 3;

/// A path with losses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The host or RNIC that probed.
    pub src: String,
    /// The host or RNIC that was probed.
    pub dst: String,
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
}

/// A component on the lossy paths that is not the cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuledOut {
    /// Which one.
    #[serde(flatten)]
    pub component: Component,
    /// Probes (or paths) across it.
    pub sent: u64,
    /// Of these, lost (or dead), for whatever reason.
    pub lost: u64,
    /// How many it would have lost at the suspect's rate.
    pub expected: u64,
}

/// What the observations say about a suspect. Where only candidate paths are known the counts are expected values:
/// each observation counts with the share of its candidates that cross the component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Paths across it.
    pub paths: u64,
    /// Of these, paths with losses (or dead ones).
    pub lossy_paths: u64,
    /// Probes (or paths) across it.
    pub sent: u64,
    /// Of these, lost (or dead), for whatever reason.
    pub lost: u64,
    /// Second ACKs that were lost on their way back across it, where the judge has looked at them.
    #[serde(skip_serializing_if = "is_zero")]
    pub acks_lost: u64,
    /// The paths that lost most.
    pub examples: Vec<Example>,
    /// Other components on the lossy paths, those that share most losses first.
    pub ruled_out: Vec<RuledOut>,
    /// The suspect's place among all links by the vote of R-Pingmesh, from 1; for a switch, host or RNIC, that of its best link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote_rank: Option<usize>,
    /// The link with most votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote_first: Option<Component>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands in a reference"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of trials: never negative; saturates at the largest number"
)]
fn count(value: f64) -> u64 {
    value.round() as u64
}

/// Explains suspects of a diagnosis, in their order.
pub(crate) fn explain(problem: &Problem, suspects: &[Suspect]) -> Vec<Explanation> {
    let tallies = vote::tallies(problem);
    // For people a path that lost everything is dead if a suspect kills paths, and lossy if none does.
    let doubtful = problem.doubtful.lossy.len();
    let kills = suspects
        .iter()
        .any(|suspect| suspect.trials == Trials::Paths);
    let probes = problem
        .split(&vec![f64::from(u8::from(kills)); doubtful])
        .probes;
    let paths = problem.split(&vec![1.0; doubtful]).paths;
    suspects
        .iter()
        .map(|suspect| {
            let evidence = match suspect.trials {
                Trials::Probes => &probes,
                Trials::Paths => &paths,
            };
            explain_one(problem, evidence, suspect, suspects, &tallies)
        })
        .collect()
}

fn explain_one(
    problem: &Problem,
    evidence: &Evidence,
    suspect: &Suspect,
    all: &[Suspect],
    tallies: &[vote::Tally],
) -> Explanation {
    let Some(id) = problem.id(&suspect.component) else {
        return Explanation::empty();
    };
    let postings = evidence.postings[id.index()].iter().map(Posting::index);
    let mut lossy: Vec<usize> = postings
        .filter(|at| !evidence.lossy[*at].are_acks)
        .collect();
    let lost_at = |at: usize| match suspect.trials {
        Trials::Probes => evidence.lossy[at].lost,
        Trials::Paths => problem.doubtful.lossy[at].lost,
    };
    lossy.sort_by(|a, b| lost_at(*b).total_cmp(&lost_at(*a)).then(a.cmp(b)));
    let examples = lossy.iter().take(EXAMPLES);
    Explanation {
        paths: u64::from(evidence.sums[id.index()].crossing),
        lossy_paths: lossy.len() as u64,
        sent: count(evidence.sums[id.index()].sent),
        lost: count(lost(evidence, id, false)),
        acks_lost: count(lost(evidence, id, true)),
        examples: examples
            .map(|at| example(problem, evidence, *at, suspect.trials))
            .collect(),
        ruled_out: ruled_out(problem, evidence, suspect, all, id),
        vote_rank: tallies
            .iter()
            .position(|tally| belongs(&tally.component, &suspect.component))
            .map(|place| place + 1),
        vote_first: tallies.first().map(|tally| tally.component.clone()),
    }
}

impl Explanation {
    fn empty() -> Self {
        Self {
            paths: 0,
            lossy_paths: 0,
            sent: 0,
            lost: 0,
            acks_lost: 0,
            examples: Vec::new(),
            ruled_out: Vec::new(),
            vote_rank: None,
            vote_first: None,
        }
    }
}

/// Whether a link is the component, or one of a switch's, host's or RNIC's, or of an RNIC of a host.
fn belongs(link: &Component, component: &Component) -> bool {
    let is_of_host = |name: &str| match link {
        Component::Link { from, to } => [from, to].into_iter().any(|end| {
            end.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('/'))
        }),
        Component::Switch { .. }
        | Component::Host { .. }
        | Component::Rnic { .. }
        | Component::Group { .. } => false,
    };
    match component {
        _ if link == component || component.is_end_of(link) => true,
        Component::Host { name } => is_of_host(name),
        Component::Link { .. }
        | Component::Switch { .. }
        | Component::Rnic { .. }
        | Component::Group { .. } => false,
    }
}

/// Losses on paths across a component: of probes, or of second ACKs.
fn lost(evidence: &Evidence, id: ComponentId, of_acks: bool) -> f64 {
    evidence.postings[id.index()]
        .iter()
        .map(|posting| (posting, &evidence.lossy[posting.index()]))
        .filter(|(_, lossy)| lossy.are_acks == of_acks)
        .map(|(posting, lossy)| lossy.lost * lossy.told(posting.share) * posting.times)
        .sum()
}

fn example(problem: &Problem, evidence: &Evidence, at: usize, trials: Trials) -> Example {
    let lossy = &evidence.lossy[at];
    let components = lossy
        .parts
        .iter()
        .map(|part| problem.component(part.component));
    // Ends are RNICs where the RNICs are suspects: their host is another suspect, not an end.
    let rnics: Vec<&str> = components
        .clone()
        .filter(|component| matches!(component, Component::Rnic { .. }))
        .filter_map(Component::host)
        .collect();
    let mut ends = components
        .filter_map(|component| match component {
            Component::Host { name } if rnics.contains(&name.as_str()) => None,
            end @ (Component::Host { .. } | Component::Rnic { .. }) => end.node(),
            Component::Link { .. } | Component::Switch { .. } | Component::Group { .. } => None,
        })
        .map(Cow::into_owned);
    let (src, dst) = (ends.next(), ends.next());
    let probes = match trials {
        Trials::Probes => lossy,
        Trials::Paths => &problem.doubtful.lossy[at],
    };
    Example {
        src: src.unwrap_or_default(),
        dst: dst.unwrap_or_default(),
        sent: count(probes.sent),
        lost: count(probes.lost),
    }
}

fn ruled_out(
    problem: &Problem,
    evidence: &Evidence,
    suspect: &Suspect,
    all: &[Suspect],
    id: ComponentId,
) -> Vec<RuledOut> {
    let mut shared: HashMap<ComponentId, f64> = HashMap::new();
    for posting in &evidence.postings[id.index()] {
        let lossy = &evidence.lossy[posting.index()];
        for part in &lossy.parts {
            *shared.entry(part.component).or_default() +=
                lossy.lost * lossy.told(posting.share) * lossy.told(part.share);
        }
    }
    let mut others: Vec<(ComponentId, f64)> = shared
        .into_iter()
        .filter(|(other, _)| {
            let component = problem.component(*other);
            !suspect.or.contains(component)
                && !all.iter().any(|named| named.component == *component)
        })
        .collect();
    others.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    others
        .into_iter()
        .map(|(other, _)| RuledOut {
            component: problem.component(other).clone(),
            sent: count(evidence.sums[other.index()].sent),
            lost: count(lost(evidence, other, false)),
            expected: count(suspect.loss_rate * evidence.sums[other.index()].sent),
        })
        .filter(|other| other.lost < other.expected)
        .take(EXAMPLES)
        .collect()
}

/// A rate in percent with two figures.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let digits = match percent {
            value if value >= 9.95 => 0,
            value if value >= 0.995 => 1,
            value if value >= 0.0995 => 2,
            _ => 3,
        };
        write!(f, "{percent:.digits$} %")
    }
}

/// A suspect with its explanation as a paragraph for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SuspectText<'a> {
    /// The suspect.
    pub suspect: &'a Suspect,
    /// Its explanation.
    pub why: &'a Explanation,
}

impl fmt::Display for SuspectText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suspect, why } = self;
        let Suspect {
            component,
            loss_rate,
            ..
        } = suspect;
        let rate = Percent(*loss_rate);
        match suspect.symptom {
            Symptom::Loss => write!(f, "{component} loses {rate} of its packets")?,
            Symptom::Down => write!(f, "{component} is down: it loses everything")?,
            Symptom::Blackhole => {
                write!(f, "{component} drops all packets of {rate} of its 5-tuples")?;
            }
            Symptom::Slow => write!(f, "{component} delays {rate} of its packets")?,
        }
        writeln!(f, " (confidence {:.3})", suspect.confidence)?;
        let failed = self.failed();
        // Where the way is not known a loss counts only with the share of the ways that cross the suspect.
        let explains = match suspect.trials {
            Trials::Probes => suspect.explains_lost.min(why.lost as f64),
            Trials::Paths => suspect.explains_lost,
        };
        match suspect.trials {
            Trials::Probes => writeln!(
                f,
                "   {} paths cross it, {} of them with {failed} probes: {} of {} probes; it explains {explains:.0} {failed} probes",
                why.paths, why.lossy_paths, why.lost, why.sent
            )?,
            Trials::Paths => writeln!(
                f,
                "   {} paths cross it, {} of them {}; it explains {explains:.0} {failed} probes",
                why.paths,
                why.lossy_paths,
                self.dead()
            )?,
        }
        if why.acks_lost > 0 {
            writeln!(
                f,
                "   second ACKs that were lost on their way back across it: {}",
                why.acks_lost
            )?;
        }
        self.examples(f)?;
        if !suspect.or.is_empty() {
            writeln!(f, "   as likely or nearly so: {}", list(&suspect.or))?;
        }
        self.rest(f)
    }
}

/// Components in one line.
fn list(components: &[Component]) -> String {
    let names: Vec<String> = components.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl SuspectText<'_> {
    const fn failed(&self) -> &'static str {
        match self.suspect.symptom {
            Symptom::Slow => "late",
            _ => "lost",
        }
    }

    fn examples(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, example) in self.why.examples.iter().enumerate() {
            let Example {
                src,
                dst,
                sent,
                lost,
            } = example;
            let begin = if index == 0 { "   for instance " } else { ", " };
            write!(f, "{begin}{src}->{dst} {lost} of {sent}")?;
        }
        if !self.why.examples.is_empty() {
            writeln!(f)?;
        }
        Ok(())
    }

    /// What a path is that has failed.
    const fn dead(&self) -> &'static str {
        match self.suspect.symptom {
            Symptom::Slow => "have late probes only",
            _ => "pass nothing",
        }
    }

    fn rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for other in &self.why.ruled_out {
            let RuledOut {
                component,
                sent,
                lost,
                expected,
            } = other;
            match (self.suspect.trials, self.suspect.symptom) {
                (Trials::Probes, Symptom::Slow) => writeln!(
                    f,
                    "   ruled out: {component}: at this rate {expected} of its {sent} probes would be late, {lost} were"
                )?,
                (Trials::Probes, _) => writeln!(
                    f,
                    "   ruled out: {component}: at this rate it would have lost {expected} of its {sent} probes, it lost {lost}"
                )?,
                (Trials::Paths, _) => writeln!(
                    f,
                    "   ruled out: {component}: {expected} of its {sent} paths would {}, {lost} do",
                    self.dead()
                )?,
            }
        }
        match (self.why.vote_rank, &self.why.vote_first) {
            (Some(1), _) => write!(f, "   voting agrees: most votes of all links"),
            (Some(rank), Some(first)) => {
                write!(
                    f,
                    "   rank {rank} in the vote of R-Pingmesh; first is {first}"
                )
            }
            _ => write!(f, "   no vote: only links are voted for"),
        }
    }
}
