//! Certification: whether a fabric is as it was planned and loses less than a bound, before its first job runs.
//!
//! [`gather`] counts over some slots what each directed link carried: an [`Evidence`]. Evidences of consecutive slots add up
//! ([`Evidence::add`]). [`assess`] compares the sum with a bound and with the file, and gives a [`Report`]: each link with an
//! upper bound of its loss ([`upper_bound`]), what is wrong, and what was not checked. docs/certify.md has the model.
//!
//! No I/O: the analyzer gathers, `rpingmesh certify` adds up and assesses.

mod assess;
mod bound;
mod evidence;
mod gather;
mod links;
mod progress;
mod report;
mod rnics;
mod wiring;

pub use assess::{Assessed, assess};
pub use bound::{CONFIDENCE, needed, upper_bound};
pub use evidence::{Evidence, Level, LinkEvidence, LinkName, RnicEvidence, Tally};
pub use gather::{Gathering, Known, gather};
pub use progress::{Beside, Progress, Question};
pub use report::{Fault, FaultKind, LinkResult, LinkState, Report, Verdict};

#[cfg(test)]
mod tests;
