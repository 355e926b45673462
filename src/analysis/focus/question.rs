//! What is asked about a group of suspects.

/// What is asked about one of the [`Posterior::suspects`](crate::analysis::localize::Posterior::suspects).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Question {
    /// What is not known yet about it: entropy in nats.
    pub entropy: f64,
    /// What a second of all probes that are asked for is expected to tell about it, in nats.
    pub information: f64,
    /// 5-tuples that tell more about it than about others,
    pub tuples: usize,
    /// and their probes per second.
    pub rate: f64,
}
