//! Log lines and metrics of a program.

mod escaping;
pub mod logging;
pub mod metrics;
pub(crate) mod otlp;
