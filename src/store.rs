//! What outlives a process. Each store is a trait that speaks of domain types, [`Location`] and [`StoreError`]; an engine
//! implements it. SQLite, embedded, one file per program, is the default; PostgreSQL keeps both programs' data on a server.
//!
//! **To add an engine**: a variant of [`Location`] with its scheme, a module beside `sqlite` that implements
//! [`registry::Registry`], [`journal::Journal`], [`incidents::Incidents`], [`fleet::Hosts`], [`history::History`] and
//! [`trends::Trends`] and [`contents::Contents`], and an arm in [`open::registry`] and [`open::Stores::open`]. Callers keep what they have: they hold `Arc<dyn …>` and match on
//! [`StoreError`] alone. The agent's [`spool`] stays a file on the agent's host.

pub mod analyzers;
pub mod contents;
pub(crate) mod damage;
mod error;
pub mod fleet;
pub mod history;
pub mod incidents;
pub mod journal;
mod legacy;
mod location;
pub mod membership;
pub mod open;
mod packing;
mod postgres;
pub(crate) mod quarantine;
pub mod registry;
mod server;
pub mod shared;
pub mod spool;
mod sqlite;
pub mod tenure;
pub mod transfer;
pub mod trends;
mod unfinished;

pub use error::StoreError;
pub use location::{Location, LocationError};
pub use server::Server;
