//! Pictures of the past, one per minute, for as long as they are wanted: the analyzer's matrix of ToRs.

use super::StoreError;
use crate::time::WallTime;

/// A picture and the time that it shows.
pub type Picture = (WallTime, Vec<u8>);

/// Where pictures are kept. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait History: Send + Sync {
    /// Stores the picture of a time, in place of one that has it already, and forgets those before `oldest`.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn put(&self, picture: Picture, oldest: WallTime) -> Result<(), StoreError>;

    /// The picture nearest to a time; the earlier one of two that are as near.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn nearest(&self, time: WallTime) -> Result<Option<Picture>, StoreError>;

    /// The times of the oldest and the newest picture.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn bounds(&self) -> Result<Option<(WallTime, WallTime)>, StoreError>;
}
