//! See `rpingmesh_fuzz::netlink`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u32, &[u8])| rpingmesh_fuzz::netlink::run(data));
