//! See `rpingmesh_fuzz::agent_config`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| rpingmesh_fuzz::agent_config::run(text));
