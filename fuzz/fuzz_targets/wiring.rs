//! See `rpingmesh_fuzz::wiring`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::wiring::run(text));
