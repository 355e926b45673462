//! `cargo xtask demo`: the whole system on soft-RoCE, shown live; `cargo xtask demo scale`: a site whose programs are killed.

mod scale;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cache::Cache;
use crate::cargo::Profile;
use crate::test::packages;
use crate::vm::{self, Arch, Series};

/// Boots a controller, an analyzer and two soft-RoCE hosts and shows live what the hosts measure.
///
/// As root on Debian the system packages that are missing get installed; elsewhere they are named.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Kernel series of the guests.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Debug, Subcommand)]
enum Other {
    Scale(scale::Options),
}

/// Runs the demonstration; returns whether all it checks was right.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if let Some(Other::Scale(options)) = &options.other {
        return scale::run(options);
    }
    packages::provide(&Cache::open()?, packages::Purpose::Guests)?;
    vm::run(&vm::Options {
        show: vm::Show::Live,
        ..vm::Options::for_test(&["soft-roce"], options.kernel, Arch::host(), Profile::Dev)
    })
}
