//! Voting over path components: the methods of R-Pingmesh (its Algorithm 1) and 007, to compare with and to explain.

use super::component::Component;
use super::component::ComponentId;
use super::evidence::Lossy;
use super::likelihood::is_link;
use super::problem::Problem;

/// Votes of one component.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Which one.
    pub component: Component,
    /// Its votes.
    pub votes: f64,
}

/// R-Pingmesh: every lost probe votes for every link on its path; the link with most votes is the culprit.
///
/// It names one link whenever anything was lost, and never more than one.
pub fn max_vote(problem: &Problem) -> Option<Component> {
    tallies(problem)
        .into_iter()
        .next()
        .map(|tally| tally.component)
}

/// 007 (Arzani et al., NSDI 2018): a lost probe on a path of `h` links votes `1/h` for each; links are named in the
/// order of their votes, the losses that a named link touches are taken out, until a link has less than `share` of all
/// votes (0.01 in the paper).
pub fn vote_007(problem: &Problem, share: f64) -> Vec<Component> {
    let ballots = ballots(problem);
    let mut open = vec![true; ballots.len()];
    let total: f64 = ballots.iter().map(|(_, lost)| lost).sum();
    let mut named = Vec::new();
    while let Some(first) = tally(problem, &ballots, &open, |lossy| 1.0 / lossy.links)
        .into_iter()
        .next()
    {
        if first.votes < share * total {
            break;
        }
        for ((lossy, _), open) in ballots.iter().zip(&mut open) {
            *open &= !lossy
                .parts
                .iter()
                .any(|part| *problem.component(part.component) == first.component);
        }
        named.push(first.component);
    }
    named
}

/// The votes of R-Pingmesh for all links, most first: each lost probe votes for every link on its path.
pub(crate) fn tallies(problem: &Problem) -> Vec<Tally> {
    let ballots = ballots(problem);
    let open = vec![true; ballots.len()];
    tally(problem, &ballots, &open, |_| 1.0)
}

/// Every observation with losses, with the probes lost.
fn ballots(problem: &Problem) -> Vec<(&Lossy, f64)> {
    problem.lossy().map(|lossy| (lossy, lossy.lost)).collect()
}

/// Votes of all links, most first.
fn tally(
    problem: &Problem,
    ballots: &[(&Lossy, f64)],
    open: &[bool],
    weight: impl Fn(&Lossy) -> f64,
) -> Vec<Tally> {
    let mut votes = vec![0.0; problem.components().len()];
    for ((lossy, lost), open) in ballots.iter().zip(open) {
        for part in lossy.parts.iter().filter(|_| *open) {
            votes[part.component.index()] +=
                lossy.told(part.share) * part.times * lost * weight(lossy);
        }
    }
    let mut tallies: Vec<Tally> = (0..)
        .map(ComponentId)
        .zip(votes)
        .filter(|(id, votes)| *votes > 0.0 && is_link(problem.component(*id)))
        .map(|(id, votes)| Tally {
            component: problem.component(id).clone(),
            votes,
        })
        .collect();
    tallies.sort_by(|a, b| {
        b.votes
            .total_cmp(&a.votes)
            .then_with(|| a.component.cmp(&b.component))
    });
    tallies
}
