//! What this process may do, as far as it decides whether the kernel takes eBPF programs.

use std::fs;

/// Bits of `CapEff` (Linux `capability.h`); `CAP_SYS_ADMIN` includes the others.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAPABILITIES: [(&str, u64); 2] = [("CAP_PERFMON", 1 << 38), ("CAP_BPF", 1 << 39)];

/// The highest level of `kernel.perf_event_paranoid` that Linux knows. Debian and Ubuntu add higher ones and set them: there
/// perf_event_open asks for `CAP_SYS_ADMIN`, whatever else a process may do.
const HIGHEST_OF_LINUX: i32 = 2;

/// The capabilities that are missing, or what else may be the cause of a refusal.
pub(super) fn missing() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    describe(&status, &paranoid)
}

fn describe(status: &str, paranoid: &str) -> String {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or_default();
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective & (bit | CAP_SYS_ADMIN) == 0)
        .map(|(name, _)| *name)
        .collect();
    let paranoid = paranoid.trim().parse().unwrap_or(HIGHEST_OF_LINUX);
    if missing.is_empty() && paranoid > HIGHEST_OF_LINUX && effective & CAP_SYS_ADMIN == 0 {
        format!(
            "CAP_SYS_ADMIN, which this kernel asks for while kernel.perf_event_paranoid is {paranoid}; with \
             {HIGHEST_OF_LINUX} it does without"
        )
    } else if missing.is_empty() {
        "no capability; a seccomp profile, a user namespace or a security module may be in the way"
            .to_owned()
    } else {
        missing.join(" and ")
    }
}

/// The kernel's lockdown mode where it forbids eBPF to read the kernel's memory: `confidentiality`, in brackets in
/// `none integrity [confidentiality]`.
pub(super) fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    forbidding(&modes)
}

fn forbidding(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    (mode == "confidentiality").then(|| mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(
            describe("Name:\tx\nCapEff:\t0000000000000000\n", "3\n"),
            "CAP_PERFMON and CAP_BPF"
        );
        assert_eq!(describe("CapEff:\t0000004000000000\n", "2\n"), "CAP_BPF");
        assert!(describe("CapEff:\t0000000000200000\n", "4\n").starts_with("no capability"));
        assert_eq!(describe("", ""), "CAP_PERFMON and CAP_BPF");
    }

    #[test]
    fn a_kernel_that_asks_for_more_is_told_apart() {
        const BOTH: &str = "CapEff:\t000000c000000000\n";
        let told = describe(BOTH, "3\n");
        assert!(
            told.starts_with("CAP_SYS_ADMIN") && told.contains("kernel.perf_event_paranoid is 3"),
            "{told}"
        );
        for other in ["2\n", "-1\n", "", "x"] {
            assert!(describe(BOTH, other).starts_with("no capability"));
        }
    }

    #[test]
    fn only_confidentiality_forbids_reading() {
        assert_eq!(
            forbidding("none integrity [confidentiality]\n").as_deref(),
            Some("confidentiality")
        );
        assert_eq!(forbidding("none [integrity] confidentiality\n"), None);
        assert_eq!(forbidding("[none] integrity confidentiality\n"), None);
        assert_eq!(forbidding(""), None);
    }
}
