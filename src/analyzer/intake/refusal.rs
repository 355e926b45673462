//! Why a batch was not taken, in words for the agent.

use tonic::Code;

use super::marks::MOST_SPOOLS;
use crate::analysis::admission::Watermark;
use crate::analysis::report::Sender;

/// Why a batch was not taken, for the agent.
#[derive(Debug, Clone)]
pub(in crate::analyzer) struct StoreFailure {
    pub(in crate::analyzer) code: Code,
    pub(in crate::analyzer) text: String,
}

/// A number that no spool can have reached.
pub(in crate::analyzer) fn too_far(mark: &Watermark, sequence: u64, limit: u64) -> StoreFailure {
    StoreFailure {
        code: Code::FailedPrecondition,
        text: format!(
            "batch {sequence} of agent `{}` is too far behind batch {}, the newest that was taken of this spool: at most {limit} \
             is accepted; send it under another spool id",
            mark.sender.agent, mark.sequence
        ),
    }
}

/// A spool beyond [`MOST_SPOOLS`].
pub(super) fn too_many_spools(sender: &Sender) -> StoreFailure {
    StoreFailure {
        code: Code::Aborted,
        text: format!(
            "agent `{}` has begun {MOST_SPOOLS} spools in a few minutes; another one is taken when the oldest is not needed any more: \
             does it restart all the time, on a disk that forgets its spool?",
            sender.agent
        ),
    }
}
