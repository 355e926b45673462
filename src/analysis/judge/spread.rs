//! ECMP that divides 5-tuples unevenly.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::{Counts, Horizon};
use super::finding::{Category, Finding};
use super::path_counts::PathCounts;
use super::view::{Observed, View};
use crate::analysis::localize::Component;
use crate::analysis::routes::spread::{NextHop, Uneven};
use crate::analysis::routes::{Leg, Origin, Routes};
use crate::id::ServiceName;
use crate::probe::trace::Tuple;
use crate::time::WallTime;
use std::time::Duration;

/// How often the spread is looked at: 5-tuples and their traces change slowly.
const EVERY: Duration = Duration::from_secs(30);
/// A next hop that takes so many times what is even is overfull.
const OVERFULL: f64 = 1.25;

/// What the last look said.
#[derive(Debug, Default)]
pub(super) struct Spread {
    at: Option<WallTime>,
    findings: Vec<Finding>,
}

impl Spread {
    fn is_due(&self, now: WallTime) -> bool {
        self.at.is_none_or(|last| now.since(last) >= EVERY)
    }

    /// Switches that divide the 5-tuples which are probed now unevenly, as far as traces show.
    pub(super) fn findings(
        &mut self,
        routes: &Routes,
        view: &View<'_>,
        now: WallTime,
    ) -> Vec<Finding> {
        if self.is_due(now) {
            let tuples = view.iter().flat_map(|seen| ways(&seen)).flatten();
            let found = routes.uneven(tuples);
            let findings = found
                .iter()
                .filter_map(|uneven| finding(view, uneven))
                .collect();
            *self = Self {
                at: Some(now),
                findings,
            };
        }
        self.findings.clone()
    }
}

fn finding(view: &View<'_>, uneven: &Uneven) -> Option<Finding> {
    let worst = uneven.worst()?;
    let overfull: BTreeSet<&str> = uneven
        .next
        .iter()
        .filter(|next| next.taken as f64 > OVERFULL * next.expected)
        .map(|next| next.name.as_str())
        .collect();
    let mut probes = Counts::default();
    let mut services: BTreeMap<ServiceName, bool> = BTreeMap::new();
    let mut perhaps: BTreeMap<ServiceName, bool> = BTreeMap::new();
    for seen in view.iter() {
        let next: Vec<&str> = traced(seen)
            .filter_map(|leg| next_of(leg, &uneven.switch))
            .collect();
        if next.is_empty() {
            continue;
        }
        probes.add(seen.counts(Horizon::Middle));
        if let Some(service) = &seen.service
            && next.iter().any(|next| overfull.contains(next))
        {
            let services = if seen.is_own {
                &mut services
            } else {
                &mut perhaps
            };
            services.entry((**service).clone()).or_default();
        }
    }
    Some(Finding {
        subject: Component::Switch {
            name: uneven.switch.clone(),
        },
        category: Category::UnevenEcmp,
        horizon: Horizon::Long,
        confidence: 1.0,
        nats: worst.nats,
        recent: None,
        both_directions: false,
        shares: Vec::new(),
        or: Vec::new(),
        share: misplaced(&uneven.next),
        loss_interval: None,
        deciding: false,
        probes,
        hard: false,
        services,
        perhaps,
        evidence: evidence(uneven, worst),
    })
}

/// The 5-tuples of a path and of its reverse path: responders answer with the probe's own source port.
fn ways(seen: &PathCounts) -> [Option<Tuple>; 2] {
    if seen.is_under_one_tor() {
        return [None, None];
    }
    let tuple = |source, target| {
        seen.port.map(|port| Tuple {
            source,
            target,
            port,
        })
    };
    let (source, target) = (seen.source.gid, seen.target.gid);
    [tuple(source, target), tuple(target, source)]
}

/// The legs of a path that are known by traces of its 5-tuples.
fn traced(seen: Observed<'_>) -> impl Iterator<Item = &Leg> {
    let legs = [seen.there(), seen.back()].into_iter().flatten();
    legs.filter(|leg| leg.origin == Origin::Traced)
}

fn next_of<'a>(leg: &'a Leg, switch: &str) -> Option<&'a str> {
    let path = leg.path.as_ref()?;
    let at = path.iter().position(|node| node == switch)?;
    path.get(at + 1).map(String::as_str)
}

/// Share of the 5-tuples that an even hash would have sent elsewhere.
fn misplaced(next: &[NextHop]) -> f64 {
    let all: f64 = next.iter().map(|next| next.expected).sum();
    let beyond: f64 = next
        .iter()
        .map(|next| (next.taken as f64 - next.expected).max(0.0))
        .sum();
    beyond / all.max(1.0)
}

fn evidence(uneven: &Uneven, worst: &NextHop) -> Vec<String> {
    let switch = &uneven.switch;
    let mut by_name: Vec<&NextHop> = uneven.next.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    let counts: Vec<String> = by_name
        .iter()
        .map(|next| {
            format!(
                "{} to {} instead of {:.0}",
                next.taken, next.name, next.expected
            )
        })
        .collect();
    let unused: Vec<&str> = by_name
        .iter()
        .filter(|next| next.taken == 0)
        .map(|next| next.name.as_str())
        .collect();
    let advice = if unused.is_empty() {
        format!(
            "look at {switch} for a hash seed that it shares with the switches below (polarisation), and for weights of its routes"
        )
    } else {
        format!(
            "nothing goes to {}: look at {switch} whether that cable is up and its route in the table; if so, for a hash seed \
             that it shares with the switches below (polarisation)",
            unused.join(", ")
        )
    };
    vec![
        format!(
            "of the traced 5-tuples {switch} sent {}, as an even hash would have",
            counts.join(", ")
        ),
        format!(
            "ruled out: chance, which makes {} differ so much once in 10^{:.0} fabrics",
            worst.name,
            worst.nats / std::f64::consts::LN_10
        ),
        advice,
    ]
}
