//! What the kernel says about RDMA devices in `/sys/class/infiniband`.
//! See Linux `Documentation/ABI/stable/sysfs-class-infiniband`.

use std::fs;
use std::path::{Path, PathBuf};

use rpingmesh::transport::RnicName;
use rpingmesh::transport::rdma_report::GidKind;

/// Where the devices are.
pub(super) const CLASS: &str = "/sys/class/infiniband";

/// The devices below a folder like [`CLASS`].
#[derive(Debug, Clone)]
pub(super) struct Sysfs {
    class: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::new(CLASS)
    }
}

impl Sysfs {
    /// Reads below `class`.
    pub(super) fn new(class: impl Into<PathBuf>) -> Self {
        Self {
            class: class.into(),
        }
    }

    /// Whether there is such a device.
    pub(super) fn has(&self, device: &str) -> bool {
        self.class.join(device).exists()
    }

    /// The name of the device's driver: that of the hardware below it, or `rxe` for soft-RoCE, which has none and is
    /// known by its attribute `parent` or its node description. The driver of a scalable function on the auxiliary bus
    /// (`mlx5_core.sf`) goes by the name of the function's parent: it is the same module and the same hardware.
    pub(super) fn driver(&self, device: &str) -> Option<String> {
        let device = self.class.join(device);
        if let Ok(driver) = fs::read_link(device.join("device/driver")) {
            let name = driver.file_name()?.to_string_lossy().into_owned();
            return Some(name.strip_suffix(".sf").map_or(name.clone(), str::to_owned));
        }
        let is_rxe = device.join("parent").exists()
            || read(&device.join("node_desc")).is_some_and(|text| text == "rxe");
        is_rxe.then(|| "rxe".to_owned())
    }

    /// The type of a GID table's entry.
    pub(super) fn gid_kind(&self, rnic: &RnicName, index: u32) -> Option<GidKind> {
        let text = read(&self.port(rnic).join(format!("gid_attrs/types/{index}")))?;
        Some(match text.as_str() {
            "RoCE v2" => GidKind::RoceV2,
            // The kernel gives this text to both; only the link layer tells them apart, and neither is RoCE v2.
            "IB/RoCE v1" => GidKind::RoceV1,
            _ => GidKind::Unknown(u32::MAX),
        })
    }

    /// The network interface of a GID table's entry.
    pub(super) fn gid_interface(&self, rnic: &RnicName, index: u32) -> Option<String> {
        read(&self.port(rnic).join(format!("gid_attrs/ndevs/{index}")))
    }

    fn port(&self, rnic: &RnicName) -> PathBuf {
        self.class
            .join(rnic.device.as_str())
            .join("ports")
            .join(rnic.port.to_string())
    }
}

/// A file's text without the line end; `None` where it cannot be read or is empty.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn rnic(device: &str) -> RnicName {
        RnicName {
            device: device.into(),
            port: 1,
        }
    }

    #[test]
    fn drivers_are_found_by_link_and_soft_roce_by_its_attributes() {
        let root = tempfile::tempdir().expect("a folder");
        let device = root.path().join("mlx5_0/device");
        fs::create_dir_all(&device).expect("made");
        std::os::unix::fs::symlink("../../../bus/pci/drivers/mlx5_core", device.join("driver"))
            .expect("linked");
        for (device, driver) in [
            ("mlx5_2", "mlx5_core.sf"),
            ("mlx5_3", "mlx5_core.sf"),
            ("x0", "x_core.sf"),
        ] {
            let folder = root.path().join(device).join("device");
            fs::create_dir_all(&folder).expect("made");
            let target = format!("../../../../bus/auxiliary/drivers/{driver}");
            std::os::unix::fs::symlink(target, folder.join("driver")).expect("linked");
        }
        write(root.path().join("rxe0/parent"), "eth0\n");
        write(root.path().join("rxe1/node_desc"), "rxe\n");
        write(root.path().join("other0/node_desc"), "host other0\n");
        let sysfs = Sysfs::new(root.path());
        assert_eq!(sysfs.driver("mlx5_0").as_deref(), Some("mlx5_core"));
        assert_eq!(sysfs.driver("mlx5_2").as_deref(), Some("mlx5_core"));
        assert_eq!(sysfs.driver("mlx5_3").as_deref(), Some("mlx5_core"));
        assert_eq!(sysfs.driver("x0").as_deref(), Some("x_core"));
        assert_eq!(sysfs.driver("rxe0").as_deref(), Some("rxe"));
        assert_eq!(sysfs.driver("rxe1").as_deref(), Some("rxe"));
        assert_eq!(sysfs.driver("other0"), None);
        assert_eq!(sysfs.driver("absent"), None);
    }

    #[test]
    fn gid_attributes_are_read_and_unknown_types_kept_apart() {
        let root = tempfile::tempdir().expect("a folder");
        let attributes = root.path().join("rxe0/ports/1/gid_attrs");
        for (index, text) in ["IB/RoCE v1\n", "RoCE v2\n", "RoCE v9\n"]
            .iter()
            .enumerate()
        {
            write(attributes.join(format!("types/{index}")), text);
        }
        write(attributes.join("ndevs/1"), "eth0\n");
        let sysfs = Sysfs::new(root.path());
        let kinds: Vec<_> = (0..4)
            .map(|index| sysfs.gid_kind(&rnic("rxe0"), index))
            .collect();
        assert_eq!(
            kinds,
            [
                Some(GidKind::RoceV1),
                Some(GidKind::RoceV2),
                Some(GidKind::Unknown(u32::MAX)),
                None
            ]
        );
        assert_eq!(
            sysfs.gid_interface(&rnic("rxe0"), 1).as_deref(),
            Some("eth0")
        );
        assert_eq!(sysfs.gid_interface(&rnic("rxe0"), 0), None);
    }
}
