//! See `rpingmesh_fuzz::pods`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rpingmesh_fuzz::pods::run(bytes));
