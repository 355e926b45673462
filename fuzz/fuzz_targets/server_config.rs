//! See `rpingmesh_fuzz::server_config`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::server_config::run(text));
