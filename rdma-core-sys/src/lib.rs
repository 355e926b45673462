//! The part of rdma-core's libibverbs ABI that rpingmesh uses, loaded at run time.
//!
//! [`abi`] has the types and constants of `infiniband/verbs.h` that cross the boundary, [`Library`] the functions that
//! libibverbs exports, [`inline`] those that the header implements as `static inline` on top of function tables that
//! the provider fills in. Nothing is linked: a program starts without libibverbs and learns from [`LoadError`] what is
//! missing. The test `headers` compares every type and constant with the installed headers, for x86_64 and aarch64.
//!
//! The names are those of the C header, so that its manual pages apply.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "a foreign function interface: the types and calls of a C library"
)]
#![allow(
    clippy::pub_underscore_fields,
    clippy::struct_field_names,
    clippy::single_match_else,
    reason = "the header's names; a missing function is a case of its own"
)]

pub mod abi;
pub mod inline;
mod library;

pub use library::{Library, LoadError};
