//! Any text as the description of a fabric that the controller and the analyzer read: no panic, and no pair of ToRs with
//! zero paths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpingmesh::topology::wiring::Wiring;

fuzz_target!(|text: &str| {
    if let Ok(wiring) = serde_json::from_str::<Wiring>(text) {
        assert!(wiring.paths().values().all(|paths| *paths > 0), "{text}");
    }
});
