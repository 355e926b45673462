//! Why a simulation cannot be drawn.

use crate::fault::FaultError;

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
    /// A name that nothing in the fabric has.
    #[error(transparent)]
    Unknown(#[from] FaultError),
    /// All that have the name fail already.
    #[error("`{0}` fails already: give one fault for each place")]
    Taken(String),
}
