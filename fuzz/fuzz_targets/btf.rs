//! See `rpingmesh_fuzz::btf`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &[u8])| rpingmesh_fuzz::btf::run(data));
