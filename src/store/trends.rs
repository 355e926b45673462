//! Trends: blocks of points of loss and round trips, in steps of a minute, ten minutes and an hour, each for as long as it is
//! wanted. What a block holds is [`crate::analysis::trend`]'s affair; a store keeps bytes.

use super::StoreError;
use super::packing::unpack;
use crate::analysis::trend::{Kind, Step};
use crate::time::WallTime;

/// Which block: at most one has a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// How long its points are.
    pub step: Step,
    /// When the step begins.
    pub at: WallTime,
    /// What its series are about.
    pub kind: Kind,
    /// Which part of the series it has.
    pub bucket: u16,
}

/// A block and its place.
pub type Block = (Place, Vec<u8>);

/// A block's body from its stored bytes; `None` with a warning if they are damaged.
pub(super) fn body(store: &str, place: Place, bytes: Vec<u8>, is_packed: bool) -> Option<Vec<u8>> {
    match unpack(bytes, is_packed) {
        Ok(body) => Some(body),
        Err(error) => {
            tracing::warn!(%store, ?place, %error, "a block of trends is damaged and left out");
            None
        }
    }
}

/// Where blocks are kept. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait Trends: Send + Sync {
    /// Stores blocks, in place of those that have their places already, and forgets those of each step that begin before the
    /// time beside it.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn put(
        &self,
        blocks: Vec<Block>,
        oldest: Vec<(Step, WallTime)>,
    ) -> Result<(), StoreError>;

    /// The blocks of a step, kind and bucket that begin at these times, in their order. Those that are not there are
    /// left out; so are those whose bytes are damaged, with a warning.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read(
        &self,
        step: Step,
        kind: Kind,
        bucket: u16,
        times: Vec<WallTime>,
    ) -> Result<Vec<(WallTime, Vec<u8>)>, StoreError>;

    /// The kinds and buckets that have a block of this step at one of these times, each once, in order.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn buckets(
        &self,
        step: Step,
        times: Vec<WallTime>,
    ) -> Result<Vec<(Kind, u16)>, StoreError>;

    /// When the oldest and the newest block of a step begin.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn bounds(&self, step: Step) -> Result<Option<(WallTime, WallTime)>, StoreError>;

    /// Blocks of a step, and the bytes that they take as they are kept, without what the engine adds.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn size(&self, step: Step) -> Result<(u64, u64), StoreError>;
}
