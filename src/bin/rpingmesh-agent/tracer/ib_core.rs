//! Whether the kernel's RDMA core is there, and whether it is the one that was there before.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Below sysfs: the module, and the device class that the RDMA core makes in whatever form it comes.
const MODULE: &str = "module/ib_core";
const CLASS: &str = "class/infiniband";

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
    /// Looks now. Cheap: this is asked several times a second.
    pub(super) fn now() -> Self {
        Self::below(Path::new("/sys"))
    }

    fn below(sys: &Path) -> Self {
        let module = sys.join(MODULE);
        // The kernel never gives an inode of sysfs to two folders in turn.
        if let Ok(folder) = fs::metadata(&module) {
            return match fs::read_to_string(module.join("initstate")) {
                Ok(state) if state.trim() == "live" => Self::Module(folder.ino()),
                Ok(_) => Self::Absent,
                // A folder without it holds the parameters of what is built in.
                Err(_) => Self::BuiltIn,
            };
        }
        if sys.join(CLASS).is_dir() {
            Self::BuiltIn
        } else {
            Self::Absent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_core_is_told_apart() {
        let sys = tempfile::tempdir().expect("folder");
        let module = sys.path().join(MODULE);
        assert_eq!(IbCore::below(sys.path()), IbCore::Absent);
        fs::create_dir_all(&module).expect("folder");
        let state = |state: &str| fs::write(module.join("initstate"), state).expect("written");
        state("coming\n");
        assert_eq!(IbCore::below(sys.path()), IbCore::Absent);
        state("live\n");
        let number = fs::metadata(&module).expect("there").ino();
        assert_eq!(IbCore::below(sys.path()), IbCore::Module(number));
        state("going\n");
        assert_eq!(IbCore::below(sys.path()), IbCore::Absent);
        fs::remove_file(module.join("initstate")).expect("removed");
        assert_eq!(IbCore::below(sys.path()), IbCore::BuiltIn);
        fs::remove_dir(&module).expect("removed");
        fs::create_dir_all(sys.path().join(CLASS)).expect("folder");
        assert_eq!(IbCore::below(sys.path()), IbCore::BuiltIn);
    }
}
