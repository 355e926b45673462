//! `cargo xtask demo`: the whole system on soft-RoCE, shown live.

use anyhow::Result;
use clap::Args;

use crate::cache::Cache;
use crate::cargo::Profile;
use crate::test::packages;
use crate::vm::{self, Arch, Series};

/// Boots a controller, an analyzer and two soft-RoCE hosts and shows live what the hosts measure.
///
/// As root on Debian the system packages that are missing get installed; elsewhere they are named.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Kernel series of the guests.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
}

/// Runs the demonstration; returns whether all it checks was right.
pub(crate) fn run(options: &Options) -> Result<bool> {
    packages::provide(&Cache::open()?, packages::Purpose::Guests)?;
    vm::run(&vm::Options {
        show: vm::Show::Live,
        ..vm::Options::for_test(&["soft-roce"], options.kernel, Arch::host(), Profile::Dev)
    })
}
