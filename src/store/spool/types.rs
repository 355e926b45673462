//! What the spool gives and is given.

/// The most bytes that are kept in memory while the disk takes nothing: compressed results of some hours.
pub const MEMORY: u64 = 32 << 20;
/// As many batches wait when the analyzer counts as away.
pub const AWAY: usize = 5;
/// Makes a payload with another number of one that has a number already.
pub type Renumber = fn(u64, Vec<u8>) -> Vec<u8>;

/// A stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub sequence: u64,
    /// As it was appended.
    pub payload: Vec<u8>,
}

/// What appending has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The new batch's number.
    pub sequence: u64,
    /// Oldest batches that had to go.
    pub dropped: u64,
    /// Batches that wait now.
    pub waiting: u64,
}

/// How the spool is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Why batches are kept in memory; `None` while the disk takes them.
    pub trouble: Option<String>,
    /// Batches that could not be read back or that the analyzer could not read, since the start.
    pub damaged: u64,
    /// Files that were renamed because they could not be read, since the start.
    pub set_aside: u64,
    /// Times that the spool was found to be an older copy, since the start.
    pub rolled_back: u64,
}
