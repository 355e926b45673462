//! Stores in a database on a server that speaks PostgreSQL's protocol.
//!
//! Both roles keep their data in the schema `rpingmesh` of one database. Its layout has a version ([`layout`]) and belongs to one
//! fleet. One analyzer at a time changes its data ([`lease`]), by the number of its epoch, which every transaction that writes checks; several
//! may share the intake ([`analyzers`]).
//! Any number of controllers change theirs ([`members`]), one transaction after another, and see each other's changes by a revision
//! ([`sharing`]).
//!
//! Plain SQL: no advisory locks, no LISTEN, no extension. Transactions that write are serializable, and are tried again when the
//! server finds a conflict; those of controllers lock the revision first, and meet none. Names are qualified, so nothing depends on the session. Each call has [`connection::LIMIT`] and can be
//! repeated after an error, also when the server has made the change and the answer was lost.
//!
//! **Task**: one per open store renews its lease, or its place among the controllers; it ends when that is lost or given up, or the last
//! [`Tenure`](super::tenure::Tenure) is dropped.

pub(super) mod analyzers;
mod connection;
pub(super) mod contents;
mod db;
mod errors;
pub(super) mod fence;
pub(super) mod history;
pub(super) mod hosts;
pub(super) mod incidents;
pub(super) mod journal;
mod layout;
mod lease;
mod members;
pub(super) mod notes;
mod ownership;
mod reach;
mod reading;
pub(super) mod registry;
mod sharing;
pub(super) mod trends;
mod watched;
