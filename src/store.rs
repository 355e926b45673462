//! What outlives a process. Each store is a trait that speaks of domain types, [`Location`] and [`StoreError`]; an engine
//! implements it. SQLite, embedded, one file per program, is the only engine of this build.
//!
//! **To add an engine**: a variant of [`Location`] with its scheme, a module beside `sqlite` that implements
//! [`registry::Registry`], [`journal::Journal`], [`incidents::Incidents`], [`fleet::Hosts`] and [`history::History`], and an arm
//! in [`open::registry`] and [`open::Stores::open`]. Callers keep what they have: they hold `Arc<dyn …>` and match on
//! [`StoreError`] alone. The agent's [`spool`] stays a file on the agent's host.

pub(crate) mod damage;
mod error;
pub(crate) mod fleet;
pub(crate) mod history;
pub(crate) mod incidents;
pub mod journal;
mod legacy;
mod location;
pub mod open;
pub(crate) mod quarantine;
pub mod registry;
pub mod spool;
mod sqlite;

pub use error::StoreError;
pub use location::{Location, LocationError};
