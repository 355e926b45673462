//! Log lines and metrics of a program.

pub(crate) mod logging;
pub mod metrics;
pub(crate) mod otlp;
