//! What outlives a process: embedded SQL databases, one per program.

pub mod history;
pub mod incidents;
pub mod journal;
pub mod registry;
pub mod spool;
pub mod sqlite;
