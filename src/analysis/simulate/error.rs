//! Why a simulation cannot be drawn.

use crate::analysis::localize::Component;

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number outside what makes sense.
    #[error("{what} = {value}: {why}")]
    Value {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What is accepted.
        why: &'static str,
    },
    /// More faults than components of that kind.
    #[error("{wanted} faults asked for, the fabric has {have} such components")]
    TooManyFaults {
        /// Faults asked for.
        wanted: usize,
        /// Components that there are.
        have: usize,
    },
    /// A place that the fabric does not have, or that fails already.
    #[error("no {0} to fail: the fabric has no such component, or it fails already")]
    NoPlace(Component),
}
