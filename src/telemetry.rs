//! What a program tells about itself: log lines and metrics.

pub mod exposition;
pub mod logging;
pub mod metrics;
pub mod otlp;
