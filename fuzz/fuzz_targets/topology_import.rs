//! See `rpingmesh_fuzz::topology_import`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::topology_import::run(text));
