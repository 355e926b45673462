//! See `rpingmesh_fuzz::wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rpingmesh_fuzz::wire::run(data));
