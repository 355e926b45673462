//! The agent on what drivers' sources tell of their devices (`tests/emulated-rnic/src/profiles.rs`).

use super::ping::ping;
use super::{PAIR, Rnics};

/// Two RNICs of one fabric with this driver.
fn pair(driver: &str) -> String {
    PAIR.replace("OWN", &format!("like {driver}"))
}

#[test]
fn each_driver_with_roce_probes_with_the_clock_that_it_has() {
    for (driver, clock) in [
        ("mlx5", "hardware_wall"),
        ("mlx5\nrefuse cq wall 95", "hardware_raw"),
        ("bnxt_re", "software"),
        // 17 bits of an unknown frequency stamp nothing that could be used.
        ("irdma-gen2\nrefuse cq wall 95", "software"),
        ("irdma-gen3\nrefuse cq wall 95", "hardware_raw"),
        ("mana", "software"),
    ] {
        let lines = ping(&Rnics::new(&pair(driver)), ("4", "5ms"), &[]);
        let summary = lines.last().expect("a summary");
        assert_eq!(summary["complete"], 4, "{driver}: {summary}");
        assert_eq!(summary["clock"], clock, "{driver}: {summary}");
    }
}

#[test]
fn drivers_without_roce_are_named_with_what_they_speak() {
    for (driver, words) in [("efa", "it carries no RoCE"), ("erdma", "iWARP")] {
        let table = pair(driver).replace("port 1 4 2 5 256 0\n", "");
        let found = Rnics::new(&table).doctor(&[]);
        assert!(found.contains(words), "{driver}: {found}");
        assert!(!found.contains("2 usable RNIC ports"), "{driver}: {found}");
        assert!(found.contains("PROBLEM devices"), "{driver}: {found}");
    }
}
