//! Why batches and reports are refused.

use std::time::Duration;

use crate::analysis::report::MAX_PROBES;
use crate::id::{HostName, IdError, NameError};
use crate::rpc::hardware::HardwareError;
use crate::rpc::traces::TraceError;

/// The longest interval of a batch: that of the longest window, since a longer one could not be placed in any.
pub const MAX_INTERVAL: Duration = Duration::from_mins(2);

/// The most complete probes of one report: about twice what an agent puts into a whole batch.
pub const MAX_SAMPLES: usize = 1 << 18;

/// The most traces of one batch; agents make a few per second.
pub const MAX_TRACES: usize = 4096;

/// Why a batch cannot be taken at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Sequence numbers begin at 1 and fit 63 bits.
    #[error("sequence {0} is not one: batches are numbered from 1 to 9223372036854775807")]
    Sequence(u64),
    /// Its bytes are no message.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    /// A length reaches beyond the bytes.
    #[error("the message ends before one of its fields")]
    Truncated,
    /// A field of a report, by its number, is of another type or no UTF-8.
    #[error("field {0} of the message has not its form")]
    Field(u32),
}

/// Why a report was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// An end of the path is missing.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A GID or QPN has not its form.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A name cannot be one.
    #[error("the name of the {what} {error}")]
    Name {
        /// Whose name.
        what: &'static str,
        /// What is wrong with it.
        error: NameError,
    },
    /// A number that stands for something this version does not know.
    #[error("{what} {number} is unknown")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        number: i32,
    },
    /// A UDP port has 16 bits.
    #[error("source port {0} has more than 16 bits")]
    SourcePort(u32),
    /// A traffic class has 8 bits, a service level 3.
    #[error("traffic class {traffic_class} or service level {service_level} is too large")]
    Class {
        /// As reported.
        traffic_class: u32,
        /// As reported.
        service_level: u32,
    },
    /// Only service tracing has a service.
    #[error("a service is named on a path that is not probed for one")]
    Service,
    /// Focus probes 5-tuples between ToRs alone.
    #[error("probes of focus on a path that is not probed between ToRs")]
    Focused,
    /// The three columns must have an entry for each complete probe.
    #[error("columns of {0}, {1} and {2} spans")]
    Columns(usize, usize, usize),
    /// A span is negative: it would be an invalid measurement.
    #[error("a complete probe has a negative span of {0} ns")]
    NegativeSpan(i64),
    /// More lost than sent.
    #[error("{lost} lost of {sent} sent")]
    LostExceedsSent {
        /// As reported.
        lost: u64,
        /// As reported.
        sent: u64,
    },
    /// What was lost, invalid and measured does not add up to what was sent.
    #[error("{sent} sent, but {lost} lost, {invalid} invalid and {complete} complete")]
    Sum {
        /// As reported.
        sent: u64,
        /// As reported.
        lost: u64,
        /// Sum of the invalid counts.
        invalid: u64,
        /// Length of the columns.
        complete: usize,
    },
    /// More complete probes than a path can have in one interval.
    #[error("{0} complete probes in one report, more than {MAX_SAMPLES}")]
    Samples(usize),
    /// A count is out of all proportion.
    #[error("{0} probes in one interval, more than {MAX_PROBES}")]
    TooMany(u64),
    /// The batch's interval is empty, reversed or longer than [`MAX_INTERVAL`].
    #[error("the interval of the batch, {0} ns, is not between 1 ns and {MAX_INTERVAL:?}")]
    Interval(i64),
    /// What is wrong with a trace.
    #[error("trace: {0}")]
    Trace(#[from] TraceError),
    /// An agent reports what it has sent from its own host.
    #[error("its source is on host `{source_host}`, the agent is on `{agent_host}`")]
    ForeignSource {
        /// As reported.
        source_host: HostName,
        /// As the agent says at the beginning of the upload.
        agent_host: HostName,
    },
    /// A batch has far fewer traces.
    #[error("more than {MAX_TRACES} traces in one batch")]
    Traces,
    /// What is wrong with hardware counters.
    #[error("hardware counters: {0}")]
    Hardware(#[from] HardwareError),
    /// As the analyzer says that took the batch.
    #[error("{0}")]
    Told(String),
}

/// A report that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("report of path {path}: {error}")]
pub struct Refusal {
    /// The path, as far as it can be told.
    pub path: String,
    /// What is wrong.
    pub error: ReportError,
}
