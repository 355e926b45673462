//! `cargo xtask vm`: boots QEMU guests and runs a scenario of `tests/vm/` in them.
//!
//! A guest is a Debian kernel with an initramfs that holds Debian's user land, our programs and the scenario. The guests
//! share one Ethernet segment (a switch in this process). Steps reach a guest over a virtio-serial port; its console
//! goes to a log file.

mod accel;
pub(crate) mod elf;
mod guest;
mod image;
mod initramfs;
mod kernel;
mod run;
mod scenario;
mod switch;
mod tally;
mod userland;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cargo::Profile;

pub(crate) use accel::Accelerator;
pub(crate) use guest::{kernel_arguments, machine};
pub(crate) use initramfs::Initramfs;
pub(crate) use kernel::{Kernel, Series};

/// Boots QEMU guests and runs scenarios of tests/vm/ in them.
///
/// Kernels and programs of the guests are Debian packages, downloaded once into the cache folder ($RPINGMESH_CACHE, else
/// $XDG_CACHE_HOME/rpingmesh, else ~/.cache/rpingmesh). Needs qemu-system, apt, dpkg-deb, xz and depmod; no privilege.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Folders below tests/vm/; several run one after the other.
    #[arg(required = true, value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<String>,
    /// Processor of the guests [default: the host's].
    #[arg(long, value_enum)]
    pub(crate) arch: Option<Arch>,
    /// Kernel series of the guests; several run one after the other (`--kernel 6.1,6.12`).
    #[arg(
        long = "kernel",
        value_name = "KERNEL",
        value_enum,
        value_delimiter = ',',
        default_value = "6.12"
    )]
    pub(crate) kernels: Vec<Series>,
    /// Keep the work folder (logs, initramfs) and say how to look at it.
    #[arg(long)]
    pub(crate) keep: bool,
    /// How QEMU runs the guests; auto takes kvm when a trial boot succeeds.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) accel: Accelerator,
    /// Profile of the programs; `--release` is short for `--profile release`.
    #[arg(long, value_enum, default_value = "dev")]
    pub(crate) profile: Profile,
    /// Take the programs' release profile (for measurements).
    #[arg(long, conflicts_with = "profile")]
    pub(crate) release: bool,
    /// Take the programs from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// What is shown of a scenario while it runs.
    #[arg(long, value_enum, default_value = "checks")]
    pub(crate) show: Show,
    /// Run this shell command on every guest after boot instead of the scenario's steps.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
}

/// What is shown of a scenario while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// The checks; all output of a step only when it failed.
    Checks,
    /// All output of the steps.
    Steps,
    /// That, and what the programs on the guests write, each line with its guest's name.
    Live,
}

impl Options {
    /// What tests run: the defaults.
    pub(crate) fn for_test(
        scenarios: &[&str],
        kernel: Series,
        arch: Arch,
        profile: Profile,
    ) -> Self {
        Self {
            scenarios: scenarios.iter().map(|&name| name.to_owned()).collect(),
            arch: Some(arch),
            kernels: vec![kernel],
            keep: false,
            accel: Accelerator::Auto,
            profile,
            release: false,
            programs: None,
            show: Show::Checks,
            exec: None,
        }
    }
}

/// Processor architecture of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// 64-bit x86.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// The architecture this program runs on; x86_64 where guests cannot run natively.
    pub(crate) fn host() -> Self {
        if std::env::consts::ARCH == "aarch64" {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// Debian's name of it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// GNU's and QEMU's name of it.
    pub(crate) fn gnu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Rust's Linux target for it.
    pub(crate) fn rust_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The QEMU program that emulates it.
    pub(crate) fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }
}

/// Runs the scenarios, prints the result line and returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    Ok(failures(options)?.is_empty())
}

/// Runs the scenarios, prints the result line and gives what failed.
pub(crate) fn failures(options: &Options) -> Result<Vec<String>> {
    run::scenarios(options)
}
