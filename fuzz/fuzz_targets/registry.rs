//! See `rpingmesh_fuzz::registry`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rpingmesh_fuzz::registry::run(bytes));
