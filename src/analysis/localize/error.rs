//! Why observations cannot be used.

/// Why an observation cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// More lost than sent.
    #[error("{lost} probes lost of {sent} sent")]
    LostMoreThanSent {
        /// Probes lost.
        lost: u64,
        /// Probes sent.
        sent: u64,
    },
    /// No path, or a path of fewer than two nodes.
    #[error("a path needs at least two nodes")]
    NoPath,
    /// A path that visits a node twice.
    #[error("the path visits `{0}` twice")]
    Loop(String),
    /// More components than can be counted.
    #[error("too many components")]
    TooMany,
}
