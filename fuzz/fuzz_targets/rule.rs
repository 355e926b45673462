//! See `rpingmesh_fuzz::rule`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::rule::run(text));
