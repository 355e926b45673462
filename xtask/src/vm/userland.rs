//! The guests' user land: Debian packages unpacked once, of which the initramfs takes what a scenario needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{Arch, elf};
use crate::apt::Apt;
use crate::cache::Cache;

/// The suite: newer than the kernels' oldest, so that programs built on Debian 12 and 13 find a C library that is new
/// enough.
const SUITE: &str = "trixie";

/// Programs and libraries that guests can have. `libgcc-s1` is for our own programs.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "dash",
    "ibverbs-providers",
    "ibverbs-utils",
    "iproute2",
    "jq",
    "kmod",
    "libgcc-s1",
    "nftables",
    "tcpdump",
    "tshark",
    "util-linux",
];

const PROGRAM_FOLDERS: &[&str] = &["usr/bin", "usr/sbin"];

/// The unpacked packages.
#[derive(Clone, Debug)]
pub(crate) struct Userland {
    root: PathBuf,
    arch: Arch,
}

impl Userland {
    /// Takes the user land from the cache, or downloads it.
    pub(crate) fn fetch(cache: &Cache, arch: Arch) -> Result<Self> {
        let name = format!("userland/{SUITE}-{}-{}", arch.debian(), PACKAGES.join("-"));
        let root = cache.folder(&name, |folder| {
            eprintln!("downloading the guests' programs for {}", arch.debian());
            Apt::update(cache, &[SUITE], arch)?.unpack_with_dependencies(PACKAGES, folder)
        })?;
        Ok(Self { root, arch })
    }

    /// The processor it is for.
    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// Path of a file in the host's file system.
    pub(crate) fn host_path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// Where a program is, relative to the root.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        for folder in PROGRAM_FOLDERS {
            let path = Path::new(folder).join(name);
            if self.host_path(&path).exists() {
                return Ok(path);
            }
        }
        bail!(
            "no package of the guests holds a program `{name}`: add the package to PACKAGES in {}",
            file!()
        )
    }

    /// Folder of the libraries, relative to the root.
    pub(crate) fn libraries(&self) -> PathBuf {
        PathBuf::from(match self.arch {
            Arch::X86_64 => "usr/lib/x86_64-linux-gnu",
            Arch::Aarch64 => "usr/lib/aarch64-linux-gnu",
        })
    }

    /// The soft-RoCE provider of libibverbs, relative to the root.
    pub(crate) fn rxe_provider(&self) -> Result<PathBuf> {
        let folder = self.libraries().join("libibverbs");
        fs::read_dir(self.host_path(&folder))
            .with_context(|| format!("read {}", folder.display()))?
            .filter_map(Result::ok)
            .map(|entry| folder.join(entry.file_name()))
            .find(|path| path.to_string_lossy().contains("librxe-"))
            .with_context(|| format!("no librxe-* in {}", folder.display()))
    }

    /// The loader and libraries that `file` needs directly or not, relative to the root.
    pub(crate) fn closure(&self, file: &Path) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut open = vec![file.to_path_buf()];
        while let Some(file) = open.pop() {
            let needs = elf::needs(&file)?;
            let loader = needs
                .interpreter
                .map(|path| self.loader(&path))
                .transpose()?;
            let libraries = needs.libraries.iter().map(|name| self.library(name, &file));
            for path in loader.into_iter().map(Ok).chain(libraries) {
                let path = path?;
                if found.insert(path.clone()) {
                    open.push(self.host_path(path));
                }
            }
        }
        Ok(found)
    }

    /// `/lib` and `/lib64` are links into `usr` in the guest.
    fn loader(&self, absolute: &str) -> Result<PathBuf> {
        let relative = absolute.trim_start_matches('/');
        let path = if relative.starts_with("usr/") {
            PathBuf::from(relative)
        } else {
            Path::new("usr").join(relative)
        };
        if !self.host_path(&path).exists() {
            bail!("the guests' C library has no {absolute}");
        }
        Ok(path)
    }

    fn library(&self, name: &str, user: &Path) -> Result<PathBuf> {
        let base = self.libraries();
        for folder in [base.clone(), base.join("systemd")] {
            let path = folder.join(name);
            if self.host_path(&path).exists() {
                return Ok(path);
            }
        }
        bail!(
            "{} needs {name}, which no package of the guests holds: add it to PACKAGES in {}",
            user.display(),
            file!()
        )
    }
}
