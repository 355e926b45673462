//! Installs the packages in a Debian guest with systemd, starts the units and removes the packages again.
//!
//! The guest's system is Debian's packages unpacked into an initramfs; `packaging/test/check.sh` does the rest and says
//! what it found on the serial console.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt::Apt;
use crate::cache::Cache;
use crate::cargo::workspace;
use crate::process::Owned;
use crate::vm::{self, Accelerator, Arch, Initramfs, Kernel, Series};

/// A system with systemd and dpkg. apt adds nothing by itself where no package counts as installed.
const SYSTEM: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "curl",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "init-system-helpers",
    "libc-bin",
    "mawk",
    "perl-base",
    "procps",
    "sed",
    "systemd-sysv",
    "tar",
    "util-linux",
];

/// Folders that only take memory.
const UNUSED: &[&str] = &[
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
];

/// With emulation and a busy host.
const TIME: Duration = Duration::from_mins(10);

const UNIT: &str = "[Unit]
After=basic.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /packages/check.sh >/dev/console 2>&1'
ExecStopPost=/usr/bin/systemctl poweroff --force --force
";

const TARGET: &str = "[Unit]
Requires=basic.target check.service
After=basic.target
AllowIsolate=true
";

/// Boots the guest with these packages; an error names the checks that failed.
pub(super) fn check(cache: &Cache, packages: &[PathBuf], arch: Arch) -> Result<()> {
    let kernel = Kernel::fetch(cache, Series::V6_12, arch)?;
    let system = cache.folder(&format!("debian/trixie-{}", arch.debian()), |folder| {
        eprintln!("downloading a Debian system for {}", arch.debian());
        Apt::update(cache, &["trixie"], arch)?.unpack_with_dependencies(SYSTEM, folder)
    })?;
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let initramfs = scratch.path().join("initramfs");
    write(&initramfs, &system, packages)?;
    let console = scratch.path().join("console");
    let accel = Accelerator::Auto.decide(arch, &kernel.image, &initramfs, scratch.path())?;
    let mut command = Command::new(arch.qemu());
    vm::machine(&mut command, arch, accel, 2048);
    command
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&initramfs)
        .arg("-append")
        .arg(format!(
            "{} quiet loglevel=3 systemd.unit=check.target systemd.show_status=0",
            vm::kernel_arguments(arch)
        ))
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let started = Instant::now();
    let mut qemu = Owned::spawn(&mut command)?;
    while qemu.ended()?.is_none() {
        if started.elapsed() > TIME {
            bail!("the Debian guest was not done in time:\n{}", read(&console));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    judge(&read(&console))?;
    println!(
        "Debian guest ({}): {:.0} s",
        accel.name(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn read(console: &Path) -> String {
    String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).replace('\r', "")
}

/// Shows the checks; the script has to have reached its end.
fn judge(console: &str) -> Result<()> {
    let checks = |prefix: &str| {
        console
            .lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let passed = checks("ok - ");
    let failed = checks("not ok - ");
    let complete = console.lines().any(|line| line == "end - 0");
    ensure!(
        failed.is_empty() && complete && !passed.is_empty(),
        "the packages in a Debian guest: {}\n{console}",
        if failed.is_empty() {
            "the checks did not come to their end".to_owned()
        } else {
            failed.join("; ")
        }
    );
    for check in &passed {
        println!("ok - {check}");
    }
    Ok(())
}

fn write(archive: &Path, system: &Path, packages: &[PathBuf]) -> Result<()> {
    let mut out = Initramfs::create(archive)?;
    // What comes first counts.
    out.link("init", "usr/lib/systemd/systemd")?;
    for (path, text) in [
        ("etc/hostname", "debian\n"),
        ("etc/hosts", "127.0.0.1 localhost debian\n"),
        ("etc/machine-id", ""),
        (
            "etc/nsswitch.conf",
            "passwd: files systemd\ngroup: files systemd\nhosts: files\n",
        ),
        ("etc/systemd/system/check.service", UNIT),
        ("etc/systemd/system/check.target", TARGET),
        ("var/lib/dpkg/status", ""),
    ] {
        out.file(path, text.as_bytes())?;
    }
    for folder in ["info", "updates", "triggers"] {
        out.folder(Path::new("var/lib/dpkg").join(folder))?;
    }
    // Made by maintainer scripts, which did not run.
    for (path, master) in [("etc/passwd", "passwd"), ("etc/group", "group")] {
        let master = system.join(format!("usr/share/base-passwd/{master}.master"));
        let text = fs::read(&master).with_context(|| format!("read {}", master.display()))?;
        out.file(path, &text)?;
    }
    out.link("usr/bin/awk", "mawk")?;
    for file in ["packaging/test/check.sh", "tests/vm/lib.sh"] {
        let source = workspace().join(file);
        let name = source.file_name().context("a file has a name")?;
        out.copy(Path::new("packages").join(name), &source)?;
    }
    for package in packages {
        let name = package.file_name().context("a file has a name")?;
        out.copy(Path::new("packages").join(name), package)?;
    }
    add(&mut out, system, Path::new(""))?;
    out.finish()?;
    Ok(())
}

/// A folder of the unpacked system with all below it.
fn add(out: &mut Initramfs, system: &Path, below: &Path) -> Result<()> {
    let folder = system.join(below);
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if UNUSED.iter().any(|unused| path == Path::new(unused)) {
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(entry.path())?;
            out.link(&path, &target.to_string_lossy())?;
        } else if kind.is_dir() {
            out.folder(&path)?;
            add(out, system, &path)?;
        } else if kind.is_file() {
            let content = fs::read(entry.path())
                .with_context(|| format!("read {}", entry.path().display()))?;
            if entry.metadata()?.permissions().mode() & 0o100 == 0 {
                out.file(&path, &content)?;
            } else {
                out.program(&path, &content)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_a_complete_run_without_failures_passes() {
        assert!(judge("noise\nok - a\nok - b\nend - 0\n").is_ok());
        let error = |console| judge(console).unwrap_err().to_string();
        assert!(error("ok - a\nnot ok - b\nend - 1\n").contains("guest: b"));
        assert!(error("ok - a\n").contains("did not come to their end"));
        assert!(error("end - 0\n").contains("did not come to their end"));
    }
}
