//! `rpingmesh simulate`: observations with a known truth, and the score of an answer to them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rpingmesh::analysis::localize::files::AnswerFile;
use rpingmesh::analysis::simulate::fault::{SIMULATED_FAULTS_HELP, TruthFile, ratio};
use rpingmesh::analysis::simulate::{
    Fabric, FaultPlan, Rails, Report, Shape, SimulationPlan, World,
};
use rpingmesh::config::program::Failure;
use rpingmesh::config::{ConfigError, HumanDuration};

use crate::localize::{print, read};

/// Makes observations, or scores answers to them.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write topology.json, observations.jsonl and truth.json of a generated fabric with faults
    ///
    /// The losses of a path are drawn from the loss rates of its components. The same seed gives the same files.
    /// Existing files are replaced.
    #[command(after_long_help = SIMULATED_FAULTS_HELP)]
    Generate(Box<GenerateArgs>),
    /// Compare an answer with the truth: precision, recall, F1
    ///
    /// A fault counts as found when exactly its component is named: the kind, and the direction of a link.
    Score(ScoreArgs),
}

/// What to simulate.
#[derive(Debug, Args)]
struct GenerateArgs {
    /// Folder for the three files, made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A three-tier fat tree of switches with K ports, k³/4 hosts [default: 8]
    #[arg(long, value_name = "K", conflicts_with_all = ["spines", "tors", "hosts"])]
    fat_tree: Option<usize>,
    /// Leaf-spine instead: number of spines
    #[arg(long, value_name = "S", requires_all = ["tors", "hosts"])]
    spines: Option<usize>,
    /// Leaf-spine: number of ToRs
    #[arg(long, value_name = "T", requires = "spines")]
    tors: Option<usize>,
    /// Leaf-spine: hosts at each ToR
    #[arg(long, value_name = "H", requires = "spines")]
    hosts: Option<usize>,
    /// Leaf-spine: rails; each host has one RNIC on each, each rail has T leaves, the probes are the RNICs' [default: none]
    #[arg(long, value_name = "R", requires = "spines")]
    rails: Option<usize>,
    /// Leaf-spine: planes, disjoint sets of the spines; rail r is in plane r mod P, and there are as many rails where they
    /// are not given [default: none]
    #[arg(long, value_name = "P", requires = "spines")]
    planes: Option<usize>,
    /// Fault, may be repeated; how to write one stands below [default: none]
    #[arg(long = "fault", value_name = "SPEC")]
    faults: Vec<FaultPlan>,
    /// Highest loss rate of healthy links; each link gets a random rate from 0 to this
    #[arg(long, value_name = "RATE", default_value = "0.01%", value_parser = ratio)]
    background: f64,
    /// Probes that each host sends in a second; on rails each RNIC
    #[arg(long, value_name = "N", default_value_t = 150.0)]
    rate: f64,
    /// 5-tuples of each host, over which its probes are spread; on rails of each RNIC
    #[arg(long, value_name = "N", default_value_t = 100)]
    tuples: usize,
    /// Length of the window
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    window: HumanDuration,
    /// List all shortest paths as candidates instead of the path that the probes took
    #[arg(long)]
    candidates: bool,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What to compare.
#[derive(Debug, Args)]
struct ScoreArgs {
    /// truth.json of `simulate generate`
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// An answer: what `localize --json` prints, or any `{"suspects":[{"kind":"link","from":"a","to":"b"}]}`; `-` reads
    /// standard input
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &SimulateArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Generate(args) => generate(args),
        Command::Score(args) => score(args),
    }
}

impl GenerateArgs {
    fn plan(&self) -> SimulationPlan {
        let rails = self.rails.or(self.planes);
        let shape = match (self.spines, self.tors, self.hosts) {
            (Some(spines), Some(tors), Some(hosts)) if rails.is_some() => Shape::Rails(Rails {
                rails: rails.unwrap_or(1),
                planes: self.planes.unwrap_or(1),
                spines,
                tors,
                hosts,
            }),
            (Some(spines), Some(tors), Some(hosts)) => Shape::LeafSpine {
                spines,
                tors,
                hosts,
            },
            _ => Shape::FatTree {
                k: self.fat_tree.unwrap_or(8),
            },
        };
        SimulationPlan {
            shape,
            faults: self.faults.clone(),
            background: self.background,
            probes_per_second: self.rate,
            window_s: self.window.0.as_secs_f64(),
            tuples_per_host: self.tuples,
            known_paths: !self.candidates,
        }
    }
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let plan = args.plan();
    let usage = |error: &dyn std::error::Error| {
        Failure::Config(ConfigError::value("simulate generate", error.to_string()))
    };
    let fabric = Fabric::new(plan.shape).map_err(|error| usage(&error))?;
    let world = World::draw(&plan, args.seed).map_err(|error| usage(&error))?;
    write_all(&args.out, &fabric, &world, plan.window_s).map_err(Failure::run)?;
    let (sent, lost) = world.observed.iter().fold((0, 0), |(sent, lost), seen| {
        (sent + seen.sent, lost + seen.lost)
    });
    print(&format!(
        "{} hosts, {} paths, {sent} probes, {lost} lost, {} faults: topology.json, observations.jsonl and truth.json in {}",
        fabric.hosts(),
        world.observed.len(),
        world.truth.len(),
        args.out.display()
    ));
    Ok(())
}

fn write_all(folder: &Path, fabric: &Fabric, world: &World, window_s: f64) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let write = |name: &str, fill: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
        let path = folder.join(name);
        File::create(&path)
            .and_then(|file| {
                let mut file = BufWriter::new(file);
                fill(&mut file)?;
                file.flush()
            })
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write("topology.json", &|file| {
        serde_json::to_writer(&mut *file, &fabric.topology())?;
        writeln!(file)
    })?;
    write("observations.jsonl", &|file| {
        for seen in &world.observed {
            serde_json::to_writer(&mut *file, &seen.line(window_s))?;
            writeln!(file)?;
        }
        Ok(())
    })?;
    write("truth.json", &|file| {
        let truth = TruthFile {
            faults: world.truth.clone(),
        };
        serde_json::to_writer(&mut *file, &truth)?;
        writeln!(file)
    })
}

fn score(args: &ScoreArgs) -> Result<(), Failure> {
    let truth = TruthFile::parse(&read("truth", &args.truth)?)
        .with_context(|| args.truth.display().to_string())
        .map_err(Failure::run)?;
    let answer = AnswerFile::parse(&read("answer", &args.answer)?)
        .with_context(|| args.answer.display().to_string())
        .map_err(Failure::run)?;
    let report = Report::new(&truth.faults, &answer.suspects);
    if args.json {
        print(&serde_json::to_string(&report).map_err(Failure::run)?);
    } else {
        print(&report.to_string());
    }
    Ok(())
}
