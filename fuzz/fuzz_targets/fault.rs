//! Any text as a fault of the emulated fabric; what parses is printed so that it parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpingmesh::fault::Fault;

fuzz_target!(|text: &str| {
    if let Ok(fault) = text.parse::<Fault>() {
        let printed = fault.to_string();
        assert_eq!(
            printed.parse::<Fault>().ok(),
            Some(fault),
            "{text} became {printed}"
        );
    }
});
