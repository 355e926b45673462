//! `cargo xtask bench`: the benchmarks. `docs/figures.md` says what they measured, `docs/bench-history.jsonl` what each
//! recorded run printed.

mod history;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cargo::cargo;
use crate::process;

/// Runs benchmarks, all of them or those named.
///
/// The figures are compared with no limit. Run benchmarks on an idle machine.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which ones [default: all]
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<Bench>,
    /// Append what each benchmark prints to docs/bench-history.jsonl, with date, commit and number of processors.
    #[arg(long)]
    record: bool,
    /// How many seeds `chaos` runs, from 1 on
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    seeds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Complete probes per second and core, the payload's coding, and how far send times are from their schedule with half
    /// of 1 000 targets dead.
    Probe,
    /// An agent with 8 endpoints at 150 probes/s each: processor time and memory.
    AgentLoad,
    /// What agent and analyzer write to their disks, beside what was uploaded.
    DiskLoad,
    /// Complete probes per second and core of the user-space transport on loopback, its network RTT beside a plain UDP
    /// ping-pong.
    Userspace,
    /// A second of the paper's load on the emulated fabric, in virtual time.
    Fabric,
    /// A minute of the paper's load on 1 024 emulated RNICs, in virtual time on one core.
    FabricMinute,
    /// The lab with its defaults for 30 s: when first results are there, processor time.
    Lab,
    /// The flow table and the schedule of services' connections.
    Service,
    /// Precision, recall, F1 and time of localisation beside voting methods and an oracle (minutes).
    Localize,
    /// Path summaries per second that one core of the analyzer takes.
    Ingest,
    /// What 100 000 RNICs cost the controller: plan, lists, one RNIC that joins; what links get.
    Fleet,
    /// 12 500 agents that register with one controller over gRPC, half of which fetch their lists: times, memory.
    Registrations,
    /// 100 000 RNICs that are stored in the registry: SQLite, PostgreSQL from one controller and from four.
    RegistryStores,
    /// What reports cost four analyzers that share a fleet over PostgreSQL beside one with SQLite, and what they relay (minutes).
    ShardsLoad,
    /// What four analyzers that share a fleet of 100 000 RNICs relay to the judge: bytes, processor time.
    RelayBytes,
    /// The judge of 100 000 RNICs with the sparse matrix: time of each run, memory (minutes, 8 GB).
    JudgeFleet,
    /// `certify` of 1 024 emulated RNICs, and of 50 healthy small fabrics, in virtual time: how long it takes, what is invented.
    Certify,
    /// Two Slurm jobs on the same hosts and a lossy link, 100 runs: whether incidents name exactly the jobs that cross it.
    Jobs,
    /// What 64 viewers of the dashboard cost an analyzer of 256 ToRs, and how long pages take.
    Dashboard,
    /// Disk that seven days of trends of 256 ToRs take, and processor time and size of their charts.
    Trends,
    /// Faults that the analyzer locates on the emulated fabric in virtual time, how soon, and false alarms in simulated days
    /// (minutes).
    #[value(alias = "rehearse")]
    VirtualTime,
    /// The judge while a third of 100 000 paths loses: processor time of each run, and what opens when.
    Storm,
    /// The whole system under random damage (kills, older copies, full disks, cut networks): what was lost, counted twice or blamed
    /// wrongly (minutes for 1 000 seeds).
    Chaos,
    /// Every kind of fault, alone and in company: how many runs are wholly right, what is wrong, how soon (minutes).
    Truth,
}

impl Bench {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// What cargo is asked for.
    fn arguments(self) -> Vec<&'static str> {
        let bench = |name| vec!["bench", "--bench", name];
        let example = |name| vec!["run", "--release", "--example", name];
        match self {
            Self::Probe => bench("probe"),
            Self::AgentLoad => example("agent_load"),
            Self::DiskLoad => example("disk_load"),
            Self::Userspace => bench("userspace"),
            Self::Fabric => bench("fabric"),
            Self::FabricMinute => example("fabric_minute"),
            Self::Lab => example("lab_load"),
            Self::Service => bench("service"),
            Self::Localize => bench("localize"),
            Self::Ingest => bench("ingest"),
            Self::Fleet => example("fleet"),
            Self::Registrations => example("registrations"),
            Self::RegistryStores => example("registry_stores"),
            Self::ShardsLoad => example("shards_load"),
            Self::RelayBytes => example("relay_bytes"),
            Self::JudgeFleet => example("judge_fleet"),
            Self::Certify => example("certify"),
            Self::Jobs => example("jobs"),
            Self::Dashboard => example("dashboard_load"),
            Self::Trends => example("trends"),
            Self::VirtualTime => bench("virtual_time"),
            Self::Storm => bench("storm"),
            Self::Chaos => vec!["test", "--release", "--test", "it"],
            Self::Truth => bench("truth"),
        }
    }

    /// What it is asked for itself.
    fn own_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Chaos => &[
                "--",
                "--ignored",
                "--exact",
                "chaos::many_seeds",
                "--nocapture",
            ],
            _ => &[],
        }
    }
}

/// Runs them one after another; returns whether all ended well. A benchmark that failed is not recorded.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let chosen = if options.names.is_empty() {
        Bench::value_variants()
    } else {
        &options.names
    };
    let mut all_well = true;
    for bench in chosen {
        println!("##### {}", bench.name());
        let mut command = cargo();
        command
            .args(bench.arguments())
            .args(["--locked", "--package", "rpingmesh"])
            .args(bench.own_arguments())
            .env("RPINGMESH_CHAOS_SEEDS", format!("1..{}", options.seeds));
        if options.record {
            match process::printed(&mut command)? {
                Some(text) => history::append(&bench.name(), &text)?,
                None => all_well = false,
            }
        } else {
            let status = command
                .status()
                .map_err(|error| anyhow::Error::new(error).context(process::describe(&command)))?;
            all_well &= status.success();
        }
    }
    Ok(all_well)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::cargo::workspace;

    /// Names of the Rust files in a folder of the workspace.
    fn sources(folder: &str) -> BTreeSet<String> {
        fs::read_dir(workspace().join(folder))
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| {
                let stem = path.file_stem().expect("a name");
                stem.to_string_lossy().into_owned()
            })
            .collect()
    }

    #[test]
    fn every_benchmark_can_be_run() {
        let named = |kind: &str| -> BTreeSet<String> {
            Bench::value_variants()
                .iter()
                .map(|bench| bench.arguments())
                .filter(|arguments| arguments.contains(&kind))
                .filter_map(|arguments| arguments.last().map(|name| (*name).to_owned()))
                .collect()
        };
        assert_eq!(named("--bench"), sources("benches"));
        assert_eq!(named("--example"), sources("examples"));
    }
}
