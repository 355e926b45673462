//! What tells this machine from another one with its name.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt::Write as _;

/// Where systemd keeps a machine's id.
const MACHINE_ID: &str = "/etc/machine-id";
/// Bytes of it that are told: enough to tell machines apart.
const BYTES: usize = 8;

/// The same on this machine over restarts; empty where the system has no id. The id itself is not told to others
/// (machine-id(5)): it cannot be computed from this.
pub(super) fn machine() -> String {
    std::fs::read_to_string(MACHINE_ID).map_or_else(|_| String::new(), |id| derived(&id))
}

fn derived(id: &str) -> String {
    let id = id.trim();
    if id.len() < 32 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return String::new();
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(id.as_bytes()) else {
        return String::new();
    };
    mac.update(b"rpingmesh machine");
    let bytes = mac.finalize().into_bytes();
    let mut digest = String::with_capacity(2 * BYTES);
    for byte in bytes.iter().take(BYTES) {
        // A String takes everything.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_apart_without_their_ids() {
        let (a, b) = (
            "0123456789abcdef0123456789abcdef",
            "1123456789abcdef0123456789abcdef",
        );
        let told = derived(a);
        assert_eq!(told.len(), 2 * BYTES);
        assert_eq!(told, derived(&format!("{a}\n")));
        assert_ne!(told, derived(b));
        assert!(!a.contains(&told));
    }

    #[test]
    fn what_is_no_id_is_not_told() {
        for text in [
            "",
            "uninitialized\n",
            "0123",
            "not hexadecimal, though it is long enough",
        ] {
            assert_eq!(derived(text), "");
        }
    }
}
