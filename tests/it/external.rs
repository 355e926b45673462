//! Programs of others that we work with, started on loopback with storage of their own: profile `external`.

mod alertmanager;
mod duckdb;
mod fuzzer;
mod hook;
mod postgres;
mod prometheus;
mod rnics;
mod server;
