//! See `rpingmesh_fuzz::ids`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::ids::run(text));
