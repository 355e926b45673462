//! What the programs need from the system: the version of the C library (from the versions of the symbols that they
//! use) and other libraries. It is compared with what the packages declare.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use object::read::elf::{FileHeader as _, Sym as _};
use object::{Endianness, elf};

use super::layout;
use crate::vm::elf::needs;

/// Libraries that come with the C library.
const OF_GLIBC: [&str; 4] = [
    "libc.so.6",
    "libm.so.6",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// Other libraries, and Debian's package that has them. rpm adds them to its packages by itself.
const OTHERS: [(&str, &str); 1] = [("libgcc_s.so.1", "libgcc-s1")];

/// A version of the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc {
    major: u32,
    minor: u32,
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Glibc {
    /// `2.34`; a third number is one of glibc 2.2 to 2.4's and counts for nothing.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }

    /// What Debian packages declare: `libc6 (>= 2.34)`.
    pub(super) fn of_depends(depends: &str) -> Result<Self> {
        depends
            .split("libc6 (>= ")
            .nth(1)
            .and_then(|rest| rest.split(')').next())
            .and_then(Self::parse)
            .with_context(|| format!("Depends names no version of libc6: {depends}"))
    }

    /// The newest of the RPM requirements `libc.so.6(GLIBC_2.34)(64bit)`.
    pub(super) fn of_requires(requires: &str) -> Result<Self> {
        requires
            .lines()
            .filter_map(|line| line.split_once("(GLIBC_")?.1.split(')').next())
            .filter_map(Self::parse)
            .max()
            .context("Requires names no symbol of the C library")
    }

    /// What Cargo.toml declares for all packages.
    pub(super) fn declared() -> Result<Self> {
        let metadata = layout::metadata()?;
        let depends = metadata.get("depends").and_then(toml::Value::as_str);
        Self::of_depends(depends.unwrap_or_default())
            .context("package.metadata.deb.depends in Cargo.toml")
    }
}

/// The symbols that a program asks the C library for, by version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Symbols(BTreeMap<Glibc, BTreeSet<String>>);

impl Symbols {
    pub(super) fn of(program: &Path) -> Result<Self> {
        let data = fs::read(program).with_context(|| format!("read {}", program.display()))?;
        let symbols = read(&data)
            .with_context(|| format!("read the dynamic symbols of {}", program.display()))?;
        ensure!(
            !symbols.is_empty(),
            "{} asks for no symbol of glibc",
            program.display()
        );
        Ok(Self(symbols))
    }

    /// The version that the program needs.
    pub(super) fn newest(&self) -> Option<Glibc> {
        self.0.keys().next_back().copied()
    }

    /// Fails when the program needs a newer version than `declared`.
    fn check(&self, program: &str, declared: Glibc) -> Result<()> {
        let newer: Vec<String> = self
            .0
            .iter()
            .filter(|(version, _)| **version > declared)
            .flat_map(|(version, names)| {
                names
                    .iter()
                    .map(move |name| format!("{name}@GLIBC_{version}"))
            })
            .collect();
        ensure!(
            newer.is_empty(),
            "{program} needs glibc {}, the packages declare {declared}: it asks for {}. Build it on a system with an older \
             glibc (CI: Debian 12), or declare more in Cargo.toml (package.metadata.deb.depends) and in the documents",
            self.newest().unwrap_or(declared),
            newer.join(", ")
        );
        Ok(())
    }
}

/// The symbols that are wanted with a version `GLIBC_x.y`.
fn read(data: &[u8]) -> object::Result<BTreeMap<Glibc, BTreeSet<String>>> {
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let table = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let mut symbols = BTreeMap::<_, BTreeSet<_>>::new();
    let Some(versions) = sections.versions(endian, data)? else {
        return Ok(symbols);
    };
    for (index, symbol) in table.enumerate() {
        if !symbol.is_undefined(endian) {
            continue;
        }
        let Some(version) = versions.version(versions.version_index(endian, index))? else {
            continue;
        };
        let version = String::from_utf8_lossy(version.name());
        let Some(version) = version.strip_prefix("GLIBC_").and_then(Glibc::parse) else {
            continue;
        };
        let name = table.symbol_name(endian, symbol)?;
        symbols
            .entry(version)
            .or_default()
            .insert(String::from_utf8_lossy(name).into_owned());
    }
    Ok(symbols)
}

/// Fails when a program needs a newer C library than declared, or another library than those of the packages; and when all
/// are content with an older one: the declaration would shut out systems for nothing.
pub(super) fn check(programs: &[&Path], declared: Glibc) -> Result<()> {
    let mut newest = None;
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let symbols = Symbols::of(program)?;
        symbols.check(&name, declared)?;
        newest = newest.max(symbols.newest());
        libraries(&name, &needs(program)?.libraries)?;
    }
    if let Some(newest) = newest {
        ensure!(
            newest == declared,
            "the packages declare glibc {declared}, the programs need {newest} at most: declare that in Cargo.toml \
             (package.metadata.deb.depends) and in the documents"
        );
    }
    Ok(())
}

fn libraries(program: &str, needed: &[String]) -> Result<()> {
    let known = |library: &str| {
        OF_GLIBC.contains(&library) || OTHERS.iter().any(|(other, _)| *other == library)
    };
    for library in needed {
        ensure!(
            known(library),
            "{program} needs {library}, of which the packages say nothing"
        );
    }
    Ok(())
}

/// Fails unless a Debian package depends on what has the libraries.
pub(super) fn check_depends(depends: &str, declared: Glibc) -> Result<()> {
    let found = Glibc::of_depends(depends)?;
    ensure!(
        found == declared,
        "Depends says glibc {found}, Cargo.toml {declared}"
    );
    for (library, package) in OTHERS {
        ensure!(
            depends.split(", ").any(|depend| depend == package),
            "Depends lacks {package}, which has {library}: {depends}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
