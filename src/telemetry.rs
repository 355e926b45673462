//! What a program tells about itself: log lines and, in the roles that serve them, metrics.

pub mod logging;
pub mod metrics;
