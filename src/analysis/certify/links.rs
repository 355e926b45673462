//! Links: bounds of their loss, and those that lose too much.

use std::collections::{BTreeMap, BTreeSet};

use super::bound::{needed, upper_bound};
use super::evidence::{Evidence, LinkEvidence, LinkName};
use super::report::{Fault, FaultKind, LinkResult, LinkState};
use crate::analysis::localize::{Component, Problem, ProblemError, Settings, localize};

/// A link is called faulty from this probability on.
const SURE: f64 = 0.95;
/// And from so many losses on.
const LEAST_LOST: f64 = 3.0;

/// Links that lose more than `loss`, told from the sums over all links and from the sets of links with losses.
///
/// # Errors
/// Counts that contradict each other.
pub(super) fn lossy(evidence: &Evidence, loss: f64) -> Result<Vec<Fault>, ProblemError> {
    if evidence.lossy.is_empty() {
        return Ok(Vec::new());
    }
    let mut problem = Problem::of_rates();
    let mut lossless: BTreeMap<&LinkName, u64> = evidence
        .links
        .iter()
        .map(|(name, link)| (name, link.tally.sent))
        .collect();
    for (links, tally) in &evidence.lossy {
        let mut shares = Vec::with_capacity(links.len());
        for link in links {
            shares.push((problem.intern(component(link))?, 1.0));
            if let Some(sent) = lossless.get_mut(link) {
                *sent = sent.saturating_sub(tally.sent);
            }
        }
        problem.add_shares(&shares, links.len() as f64, tally.sent, tally.lost)?;
    }
    // Hazards add up: probes without losses enter the likelihood as one sum per link.
    for (link, sent) in lossless.into_iter().filter(|(_, sent)| *sent > 0) {
        let id = problem.intern(component(link))?;
        problem.add_shares(&[(id, 1.0)], 1.0, sent, 0)?;
    }
    let settings = Settings {
        least_rate: loss,
        ..Settings::default()
    };
    let found = localize(&problem, &settings).suspects;
    Ok(found
        .into_iter()
        .filter(|suspect| suspect.group_confidence >= SURE && suspect.explains_lost >= LEAST_LOST)
        .map(|suspect| {
            let all = [suspect.component].into_iter().chain(suspect.or);
            let names: BTreeSet<String> = all.filter_map(|one| link_text(&one)).collect();
            let subjects: Vec<String> = names.iter().cloned().collect();
            let text = format!(
                "{} {} {:.2e} of the packets ({:.0} lost)",
                subjects.join(" or "),
                if subjects.len() > 1 {
                    "(which of them is not known) loses"
                } else {
                    "loses"
                },
                suspect.loss_rate,
                suspect.explains_lost
            );
            Fault {
                suspects: names,
                ..Fault::new(FaultKind::LinkLoss, subjects, text)
            }
        })
        .collect())
}

fn component(link: &LinkName) -> Component {
    Component::Link {
        from: link.from.clone(),
        to: link.to.clone(),
    }
}

fn link_text(component: &Component) -> Option<String> {
    match component {
        Component::Link { from, to } => Some(LinkName::new(&**from, &**to).to_string()),
        _ => None,
    }
}

/// What is known of each link that is asked for, the worst first.
pub(super) fn results(
    evidence: &Evidence,
    loss: f64,
    suspects: &BTreeSet<String>,
    wanted: &dyn Fn(&LinkName) -> bool,
) -> Vec<LinkResult> {
    let mut results: Vec<LinkResult> = evidence
        .links
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, link)| result(name, *link, loss, suspects, evidence))
        .collect();
    results.sort_by(|a, b| {
        let by_bound = b.bound.total_cmp(&a.bound);
        let by_name = (&a.from, &a.to).cmp(&(&b.from, &b.to));
        a.state.cmp(&b.state).then(by_bound).then(by_name)
    });
    results
}

fn is_suspect(name: &LinkName, suspects: &BTreeSet<String>) -> bool {
    let is_node = |node: &String| {
        let host = node.rsplit_once('/').map(|(host, _)| host);
        suspects.contains(node) || host.is_some_and(|host| suspects.contains(host))
    };
    suspects.contains(&name.to_string()) || is_node(&name.from) || is_node(&name.to)
}

fn result(
    name: &LinkName,
    link: LinkEvidence,
    loss: f64,
    suspects: &BTreeSet<String>,
    evidence: &Evidence,
) -> LinkResult {
    let tally = link.tally;
    let bound = upper_bound(tally.sent, tally.lost);
    let state = if is_suspect(name, suspects) {
        LinkState::Faulty
    } else if tally.sent == 0 {
        LinkState::Unseen
    } else if bound <= loss {
        LinkState::Proven
    } else {
        LinkState::Open
    };
    let covered = evidence.covered.0.max(1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates at the largest number"
    )]
    let left = (state == LinkState::Open).then(|| {
        let missing = needed(loss, tally.lost).saturating_sub(tally.sent);
        (missing as f64 * covered / tally.sent as f64) as i64
    });
    LinkResult {
        from: name.from.clone(),
        to: name.to.clone(),
        state,
        sent: tally.sent,
        lost: tally.lost,
        bound,
        left_ns: left.or_else(|| (state == LinkState::Proven).then_some(0)),
    }
}
