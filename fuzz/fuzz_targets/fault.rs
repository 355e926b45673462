//! See `rpingmesh_fuzz::fault`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::fault::run(text));
