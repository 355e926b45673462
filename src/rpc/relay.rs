//! What an analyzer that owns shards passes on to the one that judges, in few bytes.
//!
//! A fleet of 100 000 RNICs makes a million reports in a second, each of a probe or two. What agents upload describes both ends of a
//! path in each of them. Here a path is described once in a stream and is a number from then on ([`PathBook`], [`Reader`]). What was
//! measured stands in columns over all batches of a frame, each column compressed by itself: bytes that are alike share a code.
//!
//! Windows count spans in bins, so a span is passed on as its bin and stands for the bin's middle afterwards: windows are the same. Spans of
//! 1 ms and more, of which hosts are judged, are passed on as they are.
//!
//! An owner keeps batches in this form, too ([`Condensed`]): a report of one probe takes 14 bytes.

mod batch;
mod columns;
mod paths;
mod read;
mod write;

use super::convert::FieldError;
use super::results::Received;
use super::shards::ShardEpoch;
use crate::analysis::fleet::AgentState;
use crate::analysis::report::Sender;
use crate::id::{AgentVersion, HostName};

pub use self::batch::Condensed;
pub use self::columns::ColumnError;
pub use self::paths::{PathBook, Told};
pub use self::read::{FrameError, Reader};
pub use self::write::{Outgoing, Said, frame};

/// Numbers of paths are below: twice the 5-tuples of 100 000 RNICs.
pub const MOST_PATHS: usize = 1 << 23;

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    /// Rises by one within a stream.
    pub number: u64,
    /// By shard.
    pub shards: Vec<FrameShard>,
    /// Nothing is left to be told.
    pub caught_up: bool,
}

/// What a frame has of one shard.
#[derive(Debug)]
pub struct FrameShard {
    /// Whose epoch decides whether it is taken.
    pub shard: Result<ShardEpoch, FieldError>,
    /// What can be read of it.
    pub items: Vec<Result<Item, ItemError>>,
}

/// One message of an agent.
#[derive(Debug)]
pub struct Item {
    /// The agent, with its spool.
    pub sender: Sender,
    /// Where it runs; empty where it does not say.
    pub host: HostName,
    /// Of its program, where it tells.
    pub version: Option<AgentVersion>,
    /// It was told to another judge before, perhaps.
    pub again: bool,
    /// Its agent had sent it to another analyzer before.
    pub late: bool,
    /// What it says.
    pub content: Content,
}

/// What an item says.
#[derive(Debug)]
pub enum Content {
    /// The agent as it is now.
    State(Box<AgentState>),
    /// What it measured.
    Batch {
        /// The batch. Spans below 1 ms are the middles of their bins.
        received: Box<Received>,
        /// Where the spool stands.
        standing: Standing,
    },
}

/// Where a spool stands after a batch, as the analyzer that took it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The highest number that was taken.
    pub newest: u64,
    /// Batches that were taken.
    pub taken: u64,
    /// Batches that the agent has dropped.
    pub lost: u64,
}

/// An item that cannot be read; the others of its frame can.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// Names of the agent.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// What is beside the reports.
    #[error(transparent)]
    Batch(#[from] super::results::BatchError),
}

#[cfg(test)]
mod tests;
