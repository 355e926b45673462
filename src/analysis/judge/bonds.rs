//! The ToRs of RNICs that are bonds.

use std::sync::Arc;

use super::path_counts::PathCounts;
use crate::analysis::routes::{Leg, Routes};
use crate::id::TorId;

/// The ToRs that packets cross where an end is a bond: those that traces have shown, else each ToR of the bond with its share.
pub(super) fn tors_of_bonds(
    routes: &Routes,
    seen: &PathCounts,
    legs: &[Arc<Leg>],
) -> Vec<(TorId, f64)> {
    if !routes.has_bonds() {
        return Vec::new();
    }
    let (of_source, of_target) = (routes.tors_of(&seen.source), routes.tors_of(&seen.target));
    if of_source.len() < 2 && of_target.len() < 2 {
        return Vec::new();
    }
    let mut tors: Vec<(TorId, f64)> = Vec::new();
    let mut add = |tor: &TorId, share: f64| match tors.iter_mut().find(|(known, _)| known == tor) {
        Some((_, sum)) => *sum = sum.max(share),
        None => tors.push((tor.clone(), share)),
    };
    for leg in legs {
        if let Some(path) = &leg.path {
            for tor in [path.first(), path.last()].into_iter().flatten() {
                add(&TorId::new(tor.as_str()), 1.0);
            }
        }
    }
    if legs.is_empty() || legs.iter().any(|leg| leg.path.is_none()) {
        for of_end in [of_source, of_target] {
            for tor in of_end {
                add(tor, 1.0 / of_end.len() as f64);
            }
        }
    }
    tors
}
