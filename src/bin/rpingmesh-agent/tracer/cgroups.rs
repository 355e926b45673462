//! Where a cgroup lies, by its number: an event tells the number, people know the path.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rpingmesh::service::identity::cgroup_path;
use rpingmesh::service::qp::CgroupPath;

/// How many cgroups are remembered. A host runs hundreds of services; when more come and go the memory starts anew.
const REMEMBERED: usize = 4_096;

/// How many folders a search visits before it gives up.
const VISITS: usize = 20_000;

/// Finds paths, each only once: a cgroup keeps its number and its path for life, and no number is given out again.
pub(super) struct Cgroups {
    /// Mount point of cgroup v2.
    root: Option<PathBuf>,
    /// Whether there are hierarchies of cgroup v1, of which an event tells no number.
    legacy: bool,
    known: HashMap<u64, Option<CgroupPath>>,
}

impl Cgroups {
    pub(super) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            legacy: mounted(&mounts, "cgroup").is_some(),
            ..Self::at(mounted(&mounts, "cgroup2"))
        }
    }

    fn at(root: Option<PathBuf>) -> Self {
        Self {
            root,
            legacy: false,
            known: HashMap::new(),
        }
    }

    /// The path of the cgroup with this number, in which the process is (or was, when the event happened).
    pub(super) fn path(&mut self, id: u64, pid: u32) -> Option<CgroupPath> {
        // Processes with one number in v2 may lie in different cgroups of v1: each is asked, as long as it lives.
        if self.legacy
            && let Some((path, _)) = self.of_process(pid)
        {
            return Some(path);
        }
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = self.look_up(id, pid);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(id, found.clone());
        found
    }

    /// The cgroup in which a process is now, with its number where it can be told.
    pub(super) fn of_process(&self, pid: u32) -> Option<(CgroupPath, Option<u64>)> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = cgroup_path(&text)?;
        let id = self.root.as_deref().and_then(|root| number(root, path));
        Some((path.into(), id))
    }

    fn look_up(&self, id: u64, pid: u32) -> Option<CgroupPath> {
        let root = self.root.as_deref()?;
        // The process says it at once, unless it is gone or has moved.
        if let Some((path, Some(found))) = self.of_process(pid)
            && found == id
        {
            return Some(path);
        }
        search(root, id)
    }
}

/// The number of a cgroup is the inode of its folder.
fn number(root: &Path, path: &str) -> Option<u64> {
    let folder = root.join(path.trim_start_matches('/'));
    fs::metadata(folder).ok().map(|folder| folder.ino())
}

fn search(root: &Path, id: u64) -> Option<CgroupPath> {
    let mut open = vec![root.to_path_buf()];
    let mut visits = VISITS;
    while let Some(folder) = open.pop() {
        visits = visits.checked_sub(1)?;
        if fs::metadata(&folder).is_ok_and(|found| found.ino() == id) {
            let below = folder.strip_prefix(root).ok()?;
            return Some(format!("/{}", below.display()).into());
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    None
}

/// Where the first file system of a kind is mounted, from `/proc/self/mountinfo`: `… MOUNT_POINT OPTIONS… - KIND …`.
fn mounted(mounts: &str, wanted: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let point = before.split(' ').nth(4)?;
        (kind == wanted).then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_found() {
        let mounts = "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n\
                      34 25 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted(mounts, "cgroup2"), Some("/sys/fs/cgroup".into()));
        assert_eq!(
            mounted("25 30 0:23 / /sys rw - sysfs sysfs rw\n", "cgroup2"),
            None
        );
        assert_eq!(mounted("garbage", "cgroup2"), None);
    }

    #[test]
    fn a_cgroup_is_found_by_its_number_when_its_process_is_gone() {
        let root = tempfile::tempdir().expect("folder");
        let inner = root.path().join("system.slice/train.service");
        fs::create_dir_all(&inner).expect("folders");
        let id = fs::metadata(&inner).expect("there").ino();
        let mut cgroups = Cgroups::at(Some(root.path().to_path_buf()));
        assert_eq!(
            cgroups.path(id, u32::MAX).as_deref(),
            Some("/system.slice/train.service")
        );
        fs::remove_dir(&inner).expect("removed");
        assert!(cgroups.path(id, u32::MAX).is_some(), "remembered");
        assert_eq!(cgroups.path(u64::MAX, u32::MAX), None);
        assert_eq!(Cgroups::at(None).path(id, u32::MAX), None);
    }
}
