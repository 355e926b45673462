//! `cargo xtask bench`: the benchmarks.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cargo::cargo;
use crate::process;

/// Runs benchmarks, all of them or those named.
///
/// Figures are for reading, nothing is compared with a limit: run them on a machine that does nothing else.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which ones [default: all]
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<Bench>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Cost of sending, answering and matching probes.
    Probe,
    /// How fast the emulated fabric runs.
    Fabric,
    /// Packets per second of the user-space transport.
    Userspace,
    /// Precision, recall, F1 and time of localisation beside voting methods and an oracle (minutes).
    Localize,
}

/// Runs them one after another; returns whether all ended well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let chosen = if options.names.is_empty() {
        Bench::value_variants()
    } else {
        &options.names
    };
    let mut all_well = true;
    for bench in chosen {
        let name = bench
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        println!("##### {name}");
        let mut command = cargo();
        command.args([
            "bench",
            "--locked",
            "--package",
            "rpingmesh",
            "--bench",
            &name,
        ]);
        let status = command
            .status()
            .map_err(|error| anyhow::Error::new(error).context(process::describe(&command)))?;
        all_well &= status.success();
    }
    Ok(all_well)
}
