//! How QEMU runs guests: hardware virtualisation where it really works, emulation elsewhere.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::Arch;
use super::guest::machine;
use crate::process::Owned;

/// A device file can exist where guests crash at once (nested virtualisation); so a trial boot decides, not the file.
const TRIAL: Duration = Duration::from_secs(20);

/// Kernel text that appears when the processor, memory and interrupts of a guest work.
const ALIVE: &str = "Run /init as init process";

/// How guests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accelerator {
    /// kvm when a trial boot succeeds, else tcg.
    Auto,
    /// Hardware virtualisation.
    Kvm,
    /// Emulation: slow, works everywhere.
    Tcg,
}

impl Accelerator {
    /// Decides `Auto`; `initramfs` and `kernel` are what will be booted.
    pub(crate) fn decide(
        self,
        arch: Arch,
        kernel: &Path,
        initramfs: &Path,
        scratch: &Path,
    ) -> Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        if arch != Arch::host()
            || fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_err()
        {
            return Ok(Self::Tcg);
        }
        let works = trial(arch, kernel, initramfs, scratch)?;
        if !works {
            eprintln!("/dev/kvm exists, but a guest does not boot with it: emulating");
        }
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }

    /// How many times as long a scenario's limits are, which are made for hardware.
    pub(crate) fn patience(self) -> u32 {
        if self == Self::Tcg { 3 } else { 1 }
    }

    /// QEMU's name of it.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Kvm { "kvm" } else { "tcg" }
    }
}

fn trial(arch: Arch, kernel: &Path, initramfs: &Path, scratch: &Path) -> Result<bool> {
    let console = scratch.join("kvm-trial.log");
    let mut command = Command::new(arch.qemu());
    machine(&mut command, arch, Accelerator::Kvm, 512);
    command
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 console=ttyAMA0 panic=-1"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut guest = Owned::spawn(&mut command).context("start QEMU")?;
    let started = Instant::now();
    while started.elapsed() < TRIAL {
        if fs::read(&console).is_ok_and(|log| String::from_utf8_lossy(&log).contains(ALIVE)) {
            return Ok(true);
        }
        if guest.ended()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}
