//! Debian packages without touching the host: an apt of our own with its lists, its status and its architecture.
//!
//! Packages are only downloaded and unpacked, never installed. apt verifies the archive's signature and every
//! package's hash. No privilege is needed; the host needs `apt-get`, `dpkg-deb` and Debian's archive keyring.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::process::output;
use crate::vm::Arch;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// Options of apt-get for a mirror that is away for a moment: each file is tried again with growing pauses, and a list
/// that does not come at all is an error instead of a warning.
pub(crate) const PATIENCE: &[&str] = &[
    "-o",
    "Acquire::Retries=5",
    "-o",
    "APT::Update::Error-Mode=any",
];

/// What to do when the lists do not come.
pub(crate) const UNREACHABLE: &str = "fetch Debian's package lists (is the archive reachable? \
     RPINGMESH_DEBIAN_MIRROR names another mirror)";

/// Names a mirror of the Debian archive that is nearer than [`MIRROR`].
pub(crate) const MIRROR_VARIABLE: &str = "RPINGMESH_DEBIAN_MIRROR";

/// The index files to download: packages only, no translations or component metadata.
const INDEXES: &str = r#"Acquire::IndexTargets::deb::Packages {
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  flatDescription "$(RELEASE) Packages";
  Optional "0";
};
"#;

/// One suite of the Debian archive for one architecture.
pub(crate) struct Apt {
    root: PathBuf,
    configuration: PathBuf,
    /// A lock keeps other processes out of the same folders.
    _lock: File,
}

impl Apt {
    /// Writes the configuration and fetches the package lists.
    pub(crate) fn update(cache: &Cache, suites: &[&str], arch: Arch) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let name = format!("apt/{}-{}", suites.join("-"), arch.debian());
        let lock = cache.lock(&name)?;
        let root = cache.path(name);
        for folder in ["parts.d", "lists/partial", "archives/partial"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let apt = Self {
            configuration: root.join("apt.conf"),
            _lock: lock,
            root,
        };
        write(&apt.root.join("status"), "")?;
        write(&apt.root.join("sources.list"), &sources(suites))?;
        write(&apt.configuration, &apt.settings(arch)?)?;
        output(apt.command("apt-get").arg("update")).context(UNREACHABLE)?;
        Ok(apt)
    }

    /// All package names that begin with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Unpacks exactly these packages into `folder`, without their dependencies.
    pub(crate) fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        let archives = self.root.join("exact");
        renew(&archives)?;
        output(
            self.command("apt-get")
                .current_dir(&archives)
                .arg("download")
                .args(packages),
        )?;
        unpack_all(&archives, folder)
    }

    /// Unpacks these packages and all they depend on into `folder`.
    pub(crate) fn unpack_with_dependencies(&self, packages: &[&str], folder: &Path) -> Result<()> {
        let archives = self.root.join("archives");
        renew(&archives)?;
        fs::create_dir_all(archives.join("partial"))?;
        output(
            self.command("apt-get")
                .args([
                    "install",
                    "--download-only",
                    "--no-install-recommends",
                    "-y",
                ])
                .args(packages),
        )?;
        unpack_all(&archives, folder)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", &self.configuration)
            .env("LC_ALL", "C")
            .args(PATIENCE);
        command
    }

    fn settings(&self, arch: Arch) -> Result<String> {
        let root = self.root.display();
        let arch = arch.debian();
        // The host's way to the network (proxies, timeouts) stays; its hooks and sources do not.
        let dump = output(Command::new("apt-config").arg("dump"))?;
        let network = dump
            .lines()
            .filter(|line| line.starts_with("Acquire::"))
            .filter(|line| !line.contains("IndexTargets") && !line.contains("Languages"))
            .collect::<Vec<_>>()
            .join("\n");
        Ok(format!(
            r#"{network}
{INDEXES}Dir::Etc::main "/dev/null";
Dir::Etc::Parts "{root}/parts.d";
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "{root}/parts.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "{root}/parts.d";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
"#
        ))
    }
}

/// Lines of a sources.list for these suites of Debian's archive.
pub(crate) fn sources(suites: &[&str]) -> String {
    let mirror = std::env::var(MIRROR_VARIABLE).unwrap_or_else(|_| MIRROR.to_owned());
    let lines: Vec<_> = suites
        .iter()
        .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main"))
        .collect();
    lines.join("\n") + "\n"
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn renew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// Unpacks every archive and removes it: the unpacked folder is what stays in the cache.
fn unpack_all(archives: &Path, folder: &Path) -> Result<()> {
    let mut unpacked = 0;
    for entry in fs::read_dir(archives).with_context(|| format!("read {}", archives.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            output(Command::new("dpkg-deb").arg("-x").arg(&path).arg(folder))?;
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            unpacked += 1;
        }
    }
    if unpacked == 0 {
        bail!("apt downloaded nothing into {}", archives.display());
    }
    Ok(())
}
