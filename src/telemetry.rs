//! Log lines and metrics of a program.

pub mod exposition;
pub(crate) mod logging;
pub mod metrics;
pub(crate) mod otlp;
