//! Many subjects with the same trouble are one incident: "412 agents are silent", "31 hosts are starved of CPU".
//!
//! From [`GROUP_FROM`] subjects on, the findings of one category become one finding about [`Component::Group`]. The
//! incident about the group lists the subjects; incidents that were open about single subjects are closed as explained by
//! it. A group stays a group until its last subject has gone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Explained, MOST_EXPLAINED};
use crate::analysis::judge::{Category, Counts, Finding};
use crate::analysis::localize::Component;
use crate::time::WallTime;

/// From so many subjects on a category is one incident.
pub(crate) const GROUP_FROM: usize = 4;
/// Subjects that the group's first line of evidence names.
const MOST_NAMED: usize = 8;

/// Categories of which each subject alone is rarely the cause: what they have in common is.
pub(super) const fn is_grouped(category: Category) -> bool {
    matches!(
        category,
        Category::AgentSilent
            | Category::CpuOverload
            | Category::HostDown
            | Category::MissingRoute
            | Category::Withdrawn
            | Category::Clock
            | Category::MonitoringBlind
    )
}

/// From how many subjects on a category is one incident: the monitoring itself always is.
const fn group_from(category: Category) -> usize {
    if category.is_monitoring() {
        1
    } else {
        GROUP_FROM
    }
}

/// What an incident about many subjects of a category is about.
pub(super) fn group_of(category: Category) -> Component {
    Component::Group {
        name: category.name().to_owned(),
    }
}

/// A finding, and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Cause<'a> {
    pub(super) finding: Cow<'a, Finding>,
    /// What it explains in this run, at most [`MOST_EXPLAINED`].
    pub(super) explains: Vec<Explained>,
    /// Subjects that it stands for; 0 where it is about one.
    pub(super) subjects: u64,
}

/// The findings of one run with those of one category folded where they are many, or where their group is open anyway.
pub(super) fn causes<'a>(
    findings: &'a [Finding],
    open_groups: &BTreeSet<Category>,
    now: WallTime,
) -> Vec<Cause<'a>> {
    let mut grouped: BTreeMap<Category, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        if may_be_grouped(finding) {
            grouped.entry(finding.category).or_default().push(finding);
        }
    }
    grouped.retain(|category, all| {
        all.len() >= group_from(*category) || open_groups.contains(category)
    });
    let single = findings
        .iter()
        .filter(|finding| !grouped.contains_key(&finding.category) || !may_be_grouped(finding))
        .map(|finding| Cause {
            finding: Cow::Borrowed(finding),
            explains: Vec::new(),
            subjects: 0,
        });
    let groups = grouped.values().map(|all| fold(all, now));
    groups.chain(single).collect()
}

fn may_be_grouped(finding: &Finding) -> bool {
    is_grouped(finding.category)
        && finding.or.is_empty()
        && !matches!(finding.subject, Component::Group { .. })
}

/// Many findings of one category as one.
fn fold<'a>(all: &[&'a Finding], now: WallTime) -> Cause<'a> {
    let mut all = all.to_vec();
    all.sort_by(|a, b| a.subject.cmp(&b.subject));
    let first = all[0];
    let mut finding = Finding {
        subject: group_of(first.category),
        probes: Counts::default(),
        evidence: vec![named(&all)],
        ..first.clone()
    };
    finding.services.clear();
    finding.perhaps.clear();
    for one in &all {
        finding.probes.add(one.probes);
        finding.hard |= one.hard;
        finding.share = finding.share.max(one.share);
        for (service, suffers) in &one.services {
            *finding.services.entry(service.clone()).or_default() |= suffers;
        }
        for (service, suffers) in &one.perhaps {
            *finding.perhaps.entry(service.clone()).or_default() |= suffers;
        }
    }
    if first.category == Category::MonitoringBlind {
        finding.share = finding.probes.share();
    }
    let example = first.subject.node().unwrap_or_default();
    let of_first = first.evidence.iter();
    finding
        .evidence
        .extend(of_first.map(|line| format!("{example}: {line}")));
    Cause {
        explains: all
            .iter()
            .take(MOST_EXPLAINED)
            .map(|one| Explained::of(one, now))
            .collect(),
        subjects: all.len() as u64,
        finding: Cow::Owned(finding),
    }
}

/// How many, and the first names.
fn named(all: &[&Finding]) -> String {
    let names: Vec<_> = all
        .iter()
        .take(MOST_NAMED)
        .filter_map(|finding| finding.subject.node())
        .collect();
    let more = all.len().saturating_sub(names.len());
    match more {
        0 => format!("{} at once: {}", all.len(), names.join(", ")),
        _ => format!(
            "{} at once: {} and {more} more",
            all.len(),
            names.join(", ")
        ),
    }
}
