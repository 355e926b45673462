//! Stores in a database on a server that speaks PostgreSQL's protocol.
//!
//! Both roles keep their data in the schema `rpingmesh` of one database. Its layout has a version ([`layout`]) and belongs to one
//! fleet. Controller and analyzer each have a lease ([`lease`]): one of each role changes the data at a time, by the number of its
//! epoch, which every transaction that writes checks.
//!
//! Plain SQL: no advisory locks, no LISTEN, no extension. Transactions that write are serializable, and are tried again when the
//! server finds a conflict. Names are qualified, so nothing depends on the session. Each call has [`connection::LIMIT`] and can be
//! repeated after an error, also when the server has made the change and the answer was lost.
//!
//! **Task**: one per open store renews its lease; it ends when the lease is lost or given up, or the last
//! [`Tenure`](super::tenure::Tenure) is dropped.

mod connection;
mod db;
mod errors;
mod fence;
pub(super) mod history;
pub(super) mod hosts;
pub(super) mod incidents;
pub(super) mod journal;
mod layout;
mod lease;
mod ownership;
mod reading;
pub(super) mod registry;
pub(super) mod trends;
