//! System packages that the steps need: found by the files they hold, installed as root on Debian, else named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::process::{in_path, output};

/// What the packages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Every step of `cargo xtask test`.
    Everything,
    /// Booting guests.
    Guests,
    /// A PostgreSQL server.
    Database,
}

/// How the presence of a package shows.
enum Sign {
    Program(&'static str),
    File(&'static str),
    /// A module of Python.
    Module(&'static str),
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => in_path(name),
            Self::File(path) => Path::new(path).exists(),
            Self::Module(name) => Command::new("python3")
                .args(["-c", &format!("import {name}")])
                .output()
                .is_ok_and(|run| run.status.success()),
        }
    }
}

/// Debian's package, and what it has to bring: for the tests outside of guests.
const FOR_TESTS: &[(&str, Sign)] = &[
    // Headers that rdma-core-sys is compared with, for both architectures.
    (
        "libibverbs-dev",
        Sign::File("/usr/include/infiniband/verbs.h"),
    ),
    (
        "gcc-aarch64-linux-gnu",
        Sign::Program("aarch64-linux-gnu-gcc"),
    ),
    (
        "libc6-dev-arm64-cross",
        Sign::File("/usr/aarch64-linux-gnu/include/stdlib.h"),
    ),
    // bpf-linker.
    (
        "llvm-22-dev",
        Sign::File("/usr/lib/llvm-22/include/llvm-c/Core.h"),
    ),
    (
        "libpolly-22-dev",
        Sign::File("/usr/lib/llvm-22/lib/libPolly.a"),
    ),
    ("libzstd-dev", Sign::File("/usr/include/zstd.h")),
    ("zlib1g-dev", Sign::File("/usr/include/zlib.h")),
    // Network namespaces of the root tests.
    ("iproute2", Sign::Program("ip")),
    ("nftables", Sign::Program("nft")),
    // What alerts and metrics are tested with. The tests start the programs themselves: see [`UNWANTED`].
    (
        "prometheus-alertmanager",
        Sign::Program("prometheus-alertmanager"),
    ),
    ("prometheus", Sign::Program("prometheus")),
    // The stores' other engine. Its programs are not in the path, the one that makes servers on Debian is.
    ("postgresql", Sign::Program("pg_createcluster")),
    // What watches over servers of PostgreSQL, and has one take the place of another.
    ("patroni", Sign::Program("patroni")),
    (
        "python3-etcd",
        Sign::File("/usr/lib/python3/dist-packages/etcd/__init__.py"),
    ),
    ("etcd-server", Sign::Program("etcd")),
    ("haproxy", Sign::Program("haproxy")),
    // The dashboard's tests, with a font that has the letters.
    ("chromium", Sign::Program("chromium")),
    ("chromium-driver", Sign::Program("chromedriver")),
    // Brings axe-core, which looks at its pages.
    ("npm", Sign::Program("npm")),
    (
        "fonts-dejavu-core",
        Sign::File("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
    ),
    // RPMs: built and looked into.
    ("rpm", Sign::Program("rpmbuild")),
    // The flake's VM scripts and units, and its tests in a sandbox.
    ("bubblewrap", Sign::Program("bwrap")),
    ("python3", Sign::Program("python3")),
    // Checkers from PyPI, each in an environment of its own.
    ("python3-venv", Sign::Module("ensurepip")),
    ("systemd", Sign::Program("systemd-analyze")),
];

/// For building our programs and booting guests with them.
const FOR_GUESTS: &[(&str, Sign)] = &[
    ("gcc", Sign::Program("cc")),
    ("binutils", Sign::Program("strip")),
    ("libc6-dev", Sign::File("/usr/include/stdlib.h")),
    (
        "debian-archive-keyring",
        Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
    ),
    ("kmod", Sign::Program("depmod")),
    ("xz-utils", Sign::Program("xz")),
    ("qemu-system-x86", Sign::Program("qemu-system-x86_64")),
];

/// For a server of one's own.
const FOR_DATABASE: &[(&str, Sign)] = &[("postgresql", Sign::Program("pg_createcluster"))];

/// For the other processor: its C compiler and library are among those for tests.
const FOR_AARCH64: &[(&str, Sign)] = &[
    (
        "g++-aarch64-linux-gnu",
        Sign::Program("aarch64-linux-gnu-g++"),
    ),
    ("qemu-user-static", Sign::Program("qemu-aarch64-static")),
    ("qemu-system-arm", Sign::Program("qemu-system-aarch64")),
];

/// Packages that start a service when they are installed, and its unit. They must not run on the developer's machine.
const UNWANTED: &[(&str, &str)] = &[
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("prometheus", "prometheus"),
    ("postgresql", "postgresql"),
    ("patroni", "patroni"),
    ("etcd-server", "etcd"),
    ("haproxy", "haproxy"),
];

/// A compiler with the standard library's sources, where rustup's `rust-src` is missing.
pub(crate) const RUST_SOURCES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// Debian 12's own QEMU is older than the one the guests are tested with.
const FROM_BACKPORTS: &[&str] = &["qemu-system-x86", "qemu-system-arm"];

/// What these need in the same version. apt does not find that out by itself in every state of the system.
const WITH_BACKPORTS: &[&str] = &["qemu-system-common", "qemu-system-data", "seabios"];

/// Checks that everything is there; installs what is missing as root on Debian.
pub(crate) fn provide(cache: &Cache, purpose: Purpose) -> Result<()> {
    let absent = missing(purpose)?;
    if absent.is_empty() {
        println!("all system packages are there");
        return Ok(());
    }
    let names = absent.join(" ");
    if !Path::new("/etc/debian_version").is_file() {
        bail!("missing (Debian's names of the packages): {names}");
    }
    if !is_root()? {
        bail!("missing: {names}; install with: sudo apt-get install {names}");
    }
    println!("installing {names}");
    install(cache, &absent)?;
    let still = missing(purpose)?;
    if !still.is_empty() {
        bail!(
            "apt-get succeeded, but these bring not what they should: {}",
            still.join(" ")
        );
    }
    Ok(())
}

/// Debian's names of what `cargo xtask vm` and `demo` need.
#[cfg(test)]
pub(crate) fn for_guests() -> impl Iterator<Item = &'static str> {
    FOR_GUESTS.iter().map(|(package, _)| *package)
}

/// Whether this process has user id 0.
pub(crate) fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn missing(purpose: Purpose) -> Result<Vec<&'static str>> {
    let lists: &[&[(&'static str, Sign)]] = match purpose {
        Purpose::Everything => &[FOR_GUESTS, FOR_TESTS, FOR_AARCH64],
        Purpose::Guests => &[FOR_GUESTS],
        Purpose::Database => &[FOR_DATABASE],
    };
    let mut missing: Vec<_> = lists
        .iter()
        .copied()
        .flatten()
        .filter(|(_, sign)| !sign.is_there())
        .map(|(package, _)| *package)
        .collect();
    if purpose != Purpose::Everything {
        return Ok(missing);
    }
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let library = "lib/rustlib/src/rust/library/std";
    let has_sources = [Path::new(sysroot.trim()), Path::new("/usr")]
        .iter()
        .any(|root| root.join(library).is_dir());
    if !has_sources {
        missing.extend(RUST_SOURCES);
    }
    Ok(missing)
}

/// Installs without leaving a change in the host's list of sources.
fn install(cache: &Cache, packages: &[&str]) -> Result<()> {
    let sources = sources_with_backports(cache)?;
    let backports = sources.is_some();
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(crate::apt::PATIENCE);
        if let Some(path) = &sources {
            command
                .arg("-o")
                .arg(format!("Dir::Etc::SourceList={}", path.display()));
        }
        command
    };
    output(apt().arg("update")).context(crate::apt::UNREACHABLE)?;
    let wanted = if backports {
        from_backports(packages)
    } else {
        packages.iter().map(|&name| name.to_owned()).collect()
    };
    output(
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(&wanted),
    )
    .with_context(|| {
        format!(
            "install {} (if the archive could not be reached: try again, or name a mirror in {})",
            wanted.join(" "),
            crate::apt::MIRROR_VARIABLE
        )
    })?;
    disable_unwanted(packages)
}

/// Stops services that came with packages, where systemd runs. One that was installed before is not touched.
fn disable_unwanted(packages: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    for (_, unit) in UNWANTED
        .iter()
        .filter(|(package, _)| packages.contains(package))
    {
        output(Command::new("systemctl").args(["disable", "--now", unit]))
            .with_context(|| format!("stop the service {unit} that came with its package"))?;
    }
    Ok(())
}

/// The names for apt-get on Debian 12, with the suite where it is not the release's own.
fn from_backports(packages: &[&str]) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for package in packages {
        if FROM_BACKPORTS.contains(package) {
            wanted.push(format!("{package}/bookworm-backports"));
        } else {
            wanted.push((*package).to_owned());
        }
    }
    if packages.iter().any(|name| FROM_BACKPORTS.contains(name)) {
        wanted.extend(
            WITH_BACKPORTS
                .iter()
                .map(|name| format!("{name}/bookworm-backports")),
        );
    }
    wanted
}

/// On Debian 12 a file with the host's main list and the backports; the parts under sources.list.d stay in use anyway.
fn sources_with_backports(cache: &Cache) -> Result<Option<PathBuf>> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    if !release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm")
    {
        return Ok(None);
    }
    let own = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let path = cache.path("bookworm-backports.list");
    let text = format!("{own}\n{}", crate::apt::sources(&["bookworm-backports"]));
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_comes_from_the_backports_with_all_its_parts() {
        assert_eq!(
            from_backports(&["kmod", "qemu-system-arm"]),
            [
                "kmod",
                "qemu-system-arm/bookworm-backports",
                "qemu-system-common/bookworm-backports",
                "qemu-system-data/bookworm-backports",
                "seabios/bookworm-backports",
            ]
        );
        assert_eq!(from_backports(&["kmod"]), ["kmod"]);
    }
}
