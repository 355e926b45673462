//! What the budget, the RNICs or their addresses keep a plan from covering.

use std::cell::RefCell;
use std::collections::HashMap;

use super::coverage::coverage_of;
use super::plan::PinglistPlan;
use super::{Limit, Shortfall};

impl PinglistPlan {
    /// All coverage that is not reached, of all pairs.
    pub fn shortfalls(&self) -> Vec<Shortfall> {
        (0..self.tors.len())
            .flat_map(|source| self.shortfalls_of(source))
            .collect()
    }

    pub(super) fn shortfalls_of(&self, source: usize) -> Vec<Shortfall> {
        let known = RefCell::new(HashMap::new());
        let coverage = |paths, tuples| {
            *known
                .borrow_mut()
                .entry((paths, tuples))
                .or_insert_with(|| coverage_of(paths, tuples))
        };
        self.others(source)
            .filter_map(|target| self.shortfall(source, target, &coverage))
            .collect()
    }

    fn shortfall(
        &self,
        source: usize,
        target: usize,
        coverage: &dyn Fn(u32, u32) -> f64,
    ) -> Option<Shortfall> {
        let (from, to) = (&self.tors[source], &self.tors[target]);
        let pair = self.pair(source, target);
        let (paths, wanted) = self.wanted(source, target);
        let sent = from.slot_rate * f64::from(pair.slots) * self.policy.rotation.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and a rate is not negative"
        )]
        let sent = sent as u32;
        let distinct = if from.steers_freely && !pair.targets.is_empty() {
            pair.slots
        } else if let Some(sparse) = self.sparse(source) {
            let partner = self.others(source).position(|other| other == target);
            partner.map_or(0, |nth| pair.distinct_among(&sparse.ends[nth]))
        } else {
            pair.distinct()
        };
        let (limit, tuples) = [
            (Limit::SourcePorts, distinct),
            (Limit::Tuples, pair.slots),
            (Limit::Rate, sent),
        ]
        .into_iter()
        .min_by_key(|(_, tuples)| *tuples)?;
        if tuples >= wanted && !pair.targets.is_empty() {
            return None;
        }
        let limit = if pair.sources.is_empty() || pair.targets.is_empty() {
            Limit::AddressFamily
        } else if limit == Limit::SourcePorts && distinct == pair.slots {
            Limit::Tuples
        } else {
            limit
        };
        Some(Shortfall {
            source: from.name.clone(),
            target: to.name.clone(),
            limit,
            paths,
            tuples,
            wanted_tuples: wanted,
            coverage: coverage(paths, tuples),
            link_rate: self.policy.link_rate * from.allowed,
        })
    }
}
