//! What this process may do, as far as it decides whether the kernel takes eBPF programs.

use std::fs;

/// Bits of `CapEff` (Linux `capability.h`); `CAP_SYS_ADMIN` includes the others.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAPABILITIES: [(&str, u64); 2] = [("CAP_PERFMON", 1 << 38), ("CAP_BPF", 1 << 39)];

/// The capabilities that are missing, or what else may be the cause of a refusal.
pub(super) fn missing() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    describe(&status)
}

fn describe(status: &str) -> String {
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
    if missing.is_empty() {
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
            describe("Name:\tx\nCapEff:\t0000000000000000\n"),
            "CAP_PERFMON and CAP_BPF"
        );
        assert_eq!(describe("CapEff:\t0000004000000000\n"), "CAP_BPF");
        assert!(describe("CapEff:\t0000000000200000\n").starts_with("no capability"));
        assert_eq!(describe(""), "CAP_PERFMON and CAP_BPF");
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
