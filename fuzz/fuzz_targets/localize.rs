//! See `rpingmesh_fuzz::localize`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::localize::run(text));
