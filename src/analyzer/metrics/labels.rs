//! Labels that several files use.

use prometheus_client::encoding::EncodeLabelSet;

/// Why something was counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}
