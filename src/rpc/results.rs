//! Conversions of result batches. A report that contradicts itself is refused by itself; the rest of its batch counts.

mod ends;
mod error;
pub(in crate::rpc) mod message;
mod read;
mod refusals;

pub use self::ends::Ends;
pub use self::error::{BatchError, MAX_INTERVAL, MAX_SAMPLES, MAX_TRACES, Refusal, ReportError};
pub use self::read::Received;
pub use self::refusals::Refusals;

#[cfg(test)]
pub(in crate::rpc) mod tests;
