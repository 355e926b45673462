//! See `rpingmesh_fuzz::session`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rpingmesh_fuzz::session::run(data));
