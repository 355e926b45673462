//! See `rpingmesh_fuzz::events`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rpingmesh_fuzz::events::run(data));
