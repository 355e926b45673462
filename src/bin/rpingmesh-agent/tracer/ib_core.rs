//! Whether the kernel's RDMA core is there, and whether it is the one that was there before.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rpingmesh::service::trace::Unavailable;

/// Below sysfs: the module, and the device class that the RDMA core makes in whatever form it comes.
const MODULE: &str = "module/ib_core";
const CLASS: &str = "class/infiniband";
/// The module's own type information.
const BTF: &str = "kernel/btf/ib_core";

/// Where the layout of the RDMA core's structures is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the module's own BTF, which continues the kernel's.
    Module,
    /// In the kernel's BTF: the RDMA core is part of the kernel.
    BuiltIn,
    /// In the kernel's BTF: the module has none, and was built with this kernel.
    InTree,
}

/// Finds out which description fits the RDMA core that is loaded. The kernel's BTF has the structures of the kernel's *own*
/// `ib_core` whatever is loaded, so it is believed only where that is what is loaded: a module from elsewhere has `O` in its
/// taint (Linux `Documentation/admin-guide/tainted-kernels.rst`).
///
/// # Errors
/// [`Unavailable::ForeignIbCore`].
pub(super) fn layout() -> Result<Layout, Unavailable> {
    layout_below(Path::new("/sys"))
}

fn layout_below(sys: &Path) -> Result<Layout, Unavailable> {
    if sys.join(BTF).exists() {
        return Ok(Layout::Module);
    }
    let module = sys.join(MODULE);
    if IbCore::below(sys) == IbCore::BuiltIn {
        return Ok(Layout::BuiltIn);
    }
    let why = match fs::read_to_string(module.join("taint")) {
        Ok(taint) if !taint.contains('O') => return Ok(Layout::InTree),
        Ok(_) => "it was built outside of the kernel (its taint has an O)".to_owned(),
        Err(error) => format!("it is unknown whether it is the kernel's own (taint: {error})"),
    };
    Err(Unavailable::ForeignIbCore { why })
}

/// The names of the RDMA devices, in order.
pub(super) fn devices() -> Vec<String> {
    let folder = Path::new("/sys").join(CLASS);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether there is a device of the driver `mlx5_core`, a scalable function of one included.
pub(super) fn has_mlx5() -> bool {
    has_mlx5_below(Path::new("/sys"))
}

fn has_mlx5_below(sys: &Path) -> bool {
    let devices = fs::read_dir(sys.join(CLASS))
        .into_iter()
        .flatten()
        .flatten();
    devices
        .filter_map(|device| fs::read_link(device.path().join("device/driver")).ok())
        .filter_map(|driver| Some(driver.file_name()?.to_string_lossy().into_owned()))
        .any(|driver| driver == "mlx5_core" || driver.starts_with("mlx5_core."))
}

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

    /// A made-up sysfs with a live module: whether it has BTF, and its taint.
    fn sys(btf: bool, taint: Option<&str>) -> tempfile::TempDir {
        let sys = tempfile::tempdir().expect("folder");
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("written");
        };
        write("module/ib_core/initstate", "live\n");
        if btf {
            write(BTF, "");
        }
        if let Some(taint) = taint {
            write("module/ib_core/taint", taint);
        }
        sys
    }

    #[test]
    fn the_kernels_description_is_believed_for_the_kernels_own_module_only() {
        for (btf, taint, found) in [
            (true, Some("\n"), Ok(Layout::Module)),
            (true, Some("OE\n"), Ok(Layout::Module)),
            (false, Some("\n"), Ok(Layout::InTree)),
            (false, Some("E\n"), Ok(Layout::InTree)),
        ] {
            assert_eq!(layout_below(sys(btf, taint).path()), found, "{taint:?}");
        }
        for (taint, word) in [
            (Some("O\n"), "taint has an O"),
            (Some("OE\n"), "taint has an O"),
            (Some("POE\n"), "taint has an O"),
            (None, "it is unknown"),
        ] {
            let why = layout_below(sys(false, taint).path()).expect_err("not the kernel's own");
            assert!(why.to_string().contains(word), "{why}");
            assert!(!why.may_pass() && !why.advice().contains("modprobe"));
        }
    }

    #[test]
    fn what_is_built_in_is_described_by_the_kernel() {
        let sys = tempfile::tempdir().expect("folder");
        fs::create_dir_all(sys.path().join(CLASS)).expect("folder");
        assert_eq!(layout_below(sys.path()), Ok(Layout::BuiltIn));
        // With parameters it has a folder like a module's.
        fs::create_dir_all(sys.path().join(MODULE)).expect("folder");
        assert_eq!(layout_below(sys.path()), Ok(Layout::BuiltIn));
    }

    #[test]
    fn mlx5_devices_are_found_by_their_driver() {
        for (driver, is_mlx5) in [
            ("mlx5_core", true),
            ("mlx5_core.sf", true),
            ("mlx4_core", false),
            ("bnxt_en", false),
        ] {
            let sys = tempfile::tempdir().expect("folder");
            let device = sys.path().join(CLASS).join("x0/device");
            fs::create_dir_all(&device).expect("folder");
            assert!(!has_mlx5_below(sys.path()));
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), device.join("driver"))
                .expect("linked");
            assert_eq!(has_mlx5_below(sys.path()), is_mlx5, "{driver}");
        }
    }

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
