//! See `rpingmesh_fuzz::upload`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| rpingmesh_fuzz::upload::run(bytes));
