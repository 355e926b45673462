//! What is in a Debian package: the files it should have and no others, owners and modes, configuration files, the unit,
//! and a version of the C library that the programs really are content with.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::manual;
use crate::process::output;
use crate::vm::Arch;

/// What monitors the monitoring, in the analyzer's package.
const MONITORING: [&str; 6] = [
    "README.md",
    "grafana/rpingmesh-fabric.json",
    "grafana/rpingmesh-system.json",
    "prometheus/prometheus.yml",
    "prometheus/rpingmesh.rules.test.yml",
    "prometheus/rpingmesh.rules.yml",
];

/// Files of a package beside its programs: mode and path.
fn expected(role: &str) -> Result<BTreeSet<String>> {
    let name = format!("rpingmesh-{role}");
    let mut files = vec![
        format!("-rwxr-xr-x ./usr/bin/{name}"),
        format!("-rw-r--r-- ./etc/rpingmesh/{role}.toml"),
        format!("-rw-r--r-- ./usr/lib/systemd/system/{name}.service"),
        format!("-rw-r--r-- ./usr/share/doc/{name}/copyright"),
    ];
    match role {
        "agent" => files.extend([
            "-rw-r--r-- ./usr/lib/modules-load.d/rpingmesh-agent.conf".to_owned(),
            "-rw-r--r-- ./usr/share/rpingmesh-agent/tracing.conf".to_owned(),
        ]),
        "analyzer" => {
            files.push("-rwxr-xr-x ./usr/bin/rpingmesh".to_owned());
            files.extend(manual::expected("rpingmesh")?);
            files.extend(
                MONITORING
                    .map(|file| format!("-rw-r--r-- ./usr/share/rpingmesh/monitoring/{file}")),
            );
        }
        _ => {}
    }
    files.extend(manual::expected(&name)?);
    Ok(files.into_iter().collect())
}

pub(super) fn check(package: &Path, role: &str, arch: Arch) -> Result<()> {
    let name = format!("rpingmesh-{role}");
    let field = |field: &str| -> Result<String> {
        let mut command = Command::new("dpkg-deb");
        command.arg("--field").arg(package).arg(field);
        Ok(output(&mut command)?.trim().to_owned())
    };
    for (key, value) in [
        ("Package", name.as_str()),
        ("Architecture", arch.debian()),
        ("Version", env!("CARGO_PKG_VERSION")),
    ] {
        let found = field(key)?;
        ensure!(found == value, "{key} is {found}, expected {value}");
    }

    let mut listing = Command::new("dpkg-deb");
    listing.arg("--contents").arg(package);
    let found = files(&output(&mut listing)?)?;
    let expected = expected(role)?;
    if let Some(file) = found.symmetric_difference(&expected).next() {
        let problem = if expected.contains(file) {
            "is missing"
        } else {
            "should not be there, or not with this mode"
        };
        anyhow::bail!("{file} {problem}");
    }

    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--raw-extract").arg(package).arg(folder.path());
    output(&mut unpack)?;
    let read = |file: &str| -> Result<String> {
        std::fs::read_to_string(folder.path().join(file)).with_context(|| format!("read {file}"))
    };
    let configuration = format!("/etc/rpingmesh/{role}.toml");
    ensure!(
        read("DEBIAN/conffiles")?
            .lines()
            .any(|line| line == configuration),
        "{configuration} is no conffile: an update would overwrite what people edited"
    );
    for script in ["postinst", "prerm", "postrm"] {
        ensure!(
            read(&format!("DEBIAN/{script}"))?.contains("systemd"),
            "{script} does nothing about the unit"
        );
    }
    let unit = format!("usr/lib/systemd/system/{name}.service");
    ensure!(
        read(&unit)?.contains(&format!("/usr/bin/{name} run --config {configuration}")),
        "{unit} does not run the packaged program with the packaged file"
    );
    let allowed = declared_libc(&field("Depends")?)?;
    for file in found.iter().filter(|file| file.contains("./usr/bin/")) {
        let path = file.split_once("./").map_or("", |(_, path)| path);
        let needed = needed_libc(&folder.path().join(path))?;
        ensure!(
            needed <= allowed,
            "{path} needs glibc {}.{}, Depends says {}.{}",
            needed.0,
            needed.1,
            allowed.0,
            allowed.1
        );
    }
    Ok(())
}

/// Mode and path of each file; all belong to root.
fn files(listing: &str) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let mode = words.next().unwrap_or_default();
        let owner = words.next().unwrap_or_default();
        let path = line.rfind(" ./").map_or("", |at| &line[at + 1..]);
        ensure!(
            ["0/0", "root/root"].contains(&owner),
            "{path} belongs to {owner}"
        );
        if !mode.starts_with('d') {
            files.insert(format!("{mode} {path}"));
        }
    }
    Ok(files)
}

/// `libc6 (>= 2.36)` as (2, 36).
fn declared_libc(depends: &str) -> Result<(u32, u32)> {
    depends
        .split("libc6 (>= ")
        .nth(1)
        .and_then(|rest| rest.split(')').next())
        .and_then(version)
        .with_context(|| format!("Depends names no version of libc6: {depends}"))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The newest symbol version `GLIBC_x.y` that a program asks for.
fn needed_libc(program: &Path) -> Result<(u32, u32)> {
    let mut command = Command::new("readelf");
    command.arg("--version-info").arg("--wide").arg(program);
    newest(&output(&mut command)?)
        .with_context(|| format!("{} asks for no glibc symbol", program.display()))
}

fn newest(versions: &str) -> Option<(u32, u32)> {
    versions
        .split("Name: GLIBC_")
        .skip(1)
        .filter_map(|rest| {
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_dpkg_deb() {
        let listing = "drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/\n\
                       -rwxr-xr-x root/root 9 2026-01-01 00:00 ./usr/bin/rpingmesh-agent\n";
        assert_eq!(
            files(listing).unwrap().into_iter().collect::<Vec<_>>(),
            ["-rwxr-xr-x ./usr/bin/rpingmesh-agent"]
        );
        let error = files("-rw-r--r-- ada/ada 9 2026-01-01 00:00 ./etc/x\n").unwrap_err();
        assert_eq!(error.to_string(), "./etc/x belongs to ada/ada");
    }

    #[test]
    fn versions_of_the_c_library() {
        assert_eq!(
            declared_libc("libc6 (>= 2.36), libgcc-s1").unwrap(),
            (2, 36)
        );
        assert!(declared_libc("libgcc-s1").is_err());
        let text =
            "  0x0010:   Name: GLIBC_2.9  Flags: none\n  0x0020:   Name: GLIBC_2.34  Flags\n";
        assert_eq!(newest(text), Some((2, 34)));
        assert_eq!(newest("Name: GCC_3.0"), None);
    }
}
