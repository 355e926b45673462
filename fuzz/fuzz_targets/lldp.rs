//! See `rpingmesh_fuzz::lldp`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::lldp::run(text));
