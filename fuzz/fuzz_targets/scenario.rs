//! See `rpingmesh_fuzz::scenario`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::scenario::run(text));
