//! Suspects that may be RNICs, beside a host that stood still.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::path_counts::PathCounts;
use super::view::View;
use crate::analysis::localize::{Component, Suspect};
use crate::analysis::stall;
use crate::id::{DeviceName, HostName, RnicName};

/// By how many nats the network explains the losses of a suspected RNIC, or of one that may be meant, better than a host that
/// stood still; infinite where no RNIC is among them.
pub(super) fn against_stall(
    view: &View<'_>,
    suspect: &Suspect,
    counts: &impl Fn(&PathCounts) -> Counts,
) -> f64 {
    let mut directions: BTreeMap<(&HostName, &DeviceName), [Counts; 2]> =
        std::iter::once(&suspect.component)
            .chain(&suspect.or)
            .filter_map(|component| match component {
                Component::Rnic { host, device } => Some(((host, device), Default::default())),
                Component::Link { .. }
                | Component::Switch { .. }
                | Component::Host { .. }
                | Component::Group { .. } => None,
            })
            .collect();
    if directions.is_empty() {
        return f64::INFINITY;
    }
    for ((host, device), sums) in &mut directions {
        let rnic = Component::rnic(RnicName::new((*host).clone(), (*device).clone()));
        for (seen, _) in view.crossing(&rnic) {
            let counts = counts(&seen);
            for (sum, end) in sums.iter_mut().zip([&seen.source, &seen.target]) {
                if end.host == **host && end.device == **device {
                    sum.add(counts);
                }
            }
        }
    }
    directions
        .into_values()
        .map(|sums| sums.map(|Counts { sent, lost }| (sent, lost)))
        .map(|[from, to]| stall::against(to, from).min(stall::against(from, to)))
        .fold(f64::INFINITY, f64::min)
}
