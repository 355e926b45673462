//! See `rpingmesh_fuzz::roce_packet`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rpingmesh_fuzz::roce_packet::run(data));
