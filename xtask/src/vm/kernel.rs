//! Debian's kernels: which package holds a series, where its image and modules are.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;

use super::Arch;
use crate::apt::Apt;
use crate::cache::Cache;

/// A kernel series that scenarios are run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// Debian 11.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// Debian 13, with real-time preemption.
    #[value(name = "6.12-rt")]
    V6_12Rt,
    /// Debian's next release.
    #[value(name = "7.3")]
    V7_3,
}

impl Series {
    /// The version as in package names.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 | Self::V6_12Rt => "6.12",
            Self::V7_3 => "7.3",
        }
    }

    /// How the names of its packages end before the processor; empty for the plain kernel.
    fn flavour(self) -> &'static str {
        match self {
            Self::V5_10 | Self::V6_1 | Self::V6_12 | Self::V7_3 => "",
            Self::V6_12Rt => "-rt",
        }
    }

    /// The suites that hold it, all looked at.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_10 => &["bullseye"],
            Self::V6_1 => &["bookworm"],
            Self::V6_12 | Self::V6_12Rt => &["trixie"],
            Self::V7_3 => &["sid", "experimental"],
        }
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// What `uname -r` will say.
    pub(crate) release: String,
    /// The folder with this release's modules.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// Takes the kernel from the cache, or downloads the newest of its series.
    pub(crate) fn fetch(cache: &Cache, series: Series, arch: Arch) -> Result<Self> {
        let (version, flavour) = (series.version(), series.flavour());
        let name = format!("kernel/{version}{flavour}-{}", arch.debian());
        let folder = cache.folder(&name, |folder| {
            eprintln!(
                "downloading Debian's kernel {version}{flavour} for {}",
                arch.debian()
            );
            let apt = Apt::update(cache, series.suites(), arch)?;
            let packages = packages(&apt.names("linux-")?, (version, flavour), arch.debian())
                .ok_or_else(|| {
                    anyhow!(
                        "Debian's suites {:?} hold no kernel {version}{flavour}",
                        series.suites()
                    )
                })?;
            apt.unpack(&packages, folder)
        })?;
        Self::unpacked(&folder)
    }

    /// The image is `boot/vmlinuz-RELEASE`, since 7.2 `vmlinuz` beside the modules.
    fn unpacked(folder: &Path) -> Result<Self> {
        for base in ["usr/lib/modules", "lib/modules"] {
            let Ok(entries) = fs::read_dir(folder.join(base)) else {
                continue;
            };
            for modules in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                let Some(release) = modules.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                let images = [
                    folder.join(format!("boot/vmlinuz-{release}")),
                    modules.join("vmlinuz"),
                ];
                if let Some(image) = images.into_iter().find(|image| image.is_file()) {
                    return Ok(Self {
                        image,
                        release: release.to_owned(),
                        modules,
                    });
                }
            }
        }
        bail!(
            "{} holds no kernel with modules: remove it to download it again",
            folder.display()
        )
    }
}

/// The packages of the newest kernel of `version`: one that holds all, or image and modules apart (since 7.2).
fn packages(names: &[String], kernel: (&str, &str), arch: &str) -> Option<Vec<String>> {
    let newest = |kind: &str| {
        names
            .iter()
            .filter(|name| is_kernel(name, kind, kernel, arch))
            .max_by(|a, b| natural(a, b))
            .cloned()
    };
    match (newest("binary"), newest("modules")) {
        (Some(image), Some(modules)) => Some(vec![image, modules]),
        _ => Some(vec![newest("image")?]),
    }
}

fn is_kernel(name: &str, kind: &str, (version, flavour): (&str, &str), arch: &str) -> bool {
    name.strip_prefix(&format!("linux-{kind}-"))
        .and_then(|rest| rest.strip_suffix(&format!("-{arch}")))
        .and_then(|rest| rest.strip_prefix(version))
        .and_then(|rest| rest.strip_suffix(flavour))
        .is_some_and(|rest| {
            (rest.is_empty() || rest.starts_with(['.', '+', '-', '~']))
                && !rest.ends_with("-cloud")
                && !rest.ends_with("-rt")
        })
}

/// Orders names so that runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let pieces = |text: &str| {
        let mut pieces: Vec<(u64, String)> = Vec::new();
        for c in text.chars() {
            match (c.to_digit(10), pieces.last_mut()) {
                (Some(digit), Some((number, text))) if text.is_empty() => {
                    *number = number.saturating_mul(10).saturating_add(digit.into());
                }
                (Some(digit), _) => pieces.push((digit.into(), String::new())),
                (None, _) => pieces.push((0, c.to_string())),
            }
        }
        pieces
    };
    pieces(a).cmp(&pieces(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_plain_kernel_is_chosen() {
        let available = names(&[
            "linux-image-6.12.94+deb13-amd64",
            "linux-image-6.12.107+deb13-amd64",
            "linux-image-6.12.107+deb13-amd64-unsigned",
            "linux-image-6.12.107+deb13-amd64-dbg",
            "linux-image-6.12.200+deb13-cloud-amd64",
            "linux-image-6.12.200+deb13-rt-amd64",
            "linux-image-6.1.0-47-amd64",
            "linux-image-6.1.0-50-amd64",
        ]);
        let chosen = |version| packages(&available, (version, ""), "amd64");
        assert_eq!(
            chosen("6.12"),
            Some(names(&["linux-image-6.12.107+deb13-amd64"]))
        );
        assert_eq!(chosen("6.1"), Some(names(&["linux-image-6.1.0-50-amd64"])));
        assert_eq!(chosen("6.2"), None);
        assert_eq!(packages(&available, ("6.12", ""), "arm64"), None);
        assert_eq!(
            packages(&available, ("6.12", "-rt"), "amd64"),
            Some(names(&["linux-image-6.12.200+deb13-rt-amd64"]))
        );
        assert_eq!(packages(&available, ("6.1", "-rt"), "amd64"), None);
    }

    #[test]
    fn since_7_2_image_and_modules_are_two_packages() {
        let available = names(&[
            "linux-image-7.3-amd64",
            "linux-binary-7.3-amd64",
            "linux-modules-7.3-amd64",
            "linux-modules-7.3-rt-amd64",
        ]);
        assert_eq!(
            packages(&available, ("7.3", ""), "amd64"),
            Some(names(&[
                "linux-binary-7.3-amd64",
                "linux-modules-7.3-amd64"
            ]))
        );
    }
}
