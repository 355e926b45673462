//! See `rpingmesh_fuzz::relay`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rpingmesh_fuzz::relay::run(bytes));
