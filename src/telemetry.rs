//! Log lines and metrics of a program.

pub mod exposition;
pub mod logging;
pub mod metrics;
pub mod otlp;
