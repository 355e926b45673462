//! Whether the kernel's RDMA core is there, and whether it is the one that was there before.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

const MODULE: &str = "/sys/module/ib_core";

/// The RDMA core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IbCore {
    /// Not loaded, or not ready yet.
    Absent,
    /// Loaded as a module; the number is another one when it was loaded again.
    Module(u64),
    /// Part of the kernel.
    BuiltIn,
}

impl IbCore {
    /// Looks now.
    pub(super) fn now() -> Self {
        // The kernel never gives an inode of sysfs to two folders in turn.
        if let Ok(folder) = fs::metadata(MODULE) {
            return match fs::read_to_string(format!("{MODULE}/initstate")) {
                Ok(state) if state.trim() == "live" => Self::Module(folder.ino()),
                Ok(_) => Self::Absent,
                // A folder without it holds the parameters of what is built in.
                Err(_) => Self::BuiltIn,
            };
        }
        if built_in() {
            Self::BuiltIn
        } else {
            Self::Absent
        }
    }
}

/// Does not change while the kernel runs.
fn built_in() -> bool {
    static BUILT_IN: OnceLock<bool> = OnceLock::new();
    *BUILT_IN.get_or_init(|| {
        let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        is_built_in(&symbols)
    })
}

/// Symbols of modules are followed by the module's name in brackets.
fn is_built_in(symbols: &str) -> bool {
    symbols.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next() == Some("ib_create_qp_user") && words.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_modules_are_not_built_in() {
        let module = "0000000000000000 t ib_create_qp\t[ib_core]\n0000000000000000 T ib_create_qp_user\t[ib_core]\n";
        assert!(!is_built_in(module));
        assert!(is_built_in("ffffffff81000000 T ib_create_qp_user\n"));
        assert!(!is_built_in("ffffffff81000000 T ib_create_qp_user_x\n"));
        assert!(!is_built_in(""));
    }
}
