//! `rpingmesh topology import`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rpingmesh::config::program::Failure;
use rpingmesh::topology::import::cables::{self, HostPatterns};
use rpingmesh::topology::import::slurm;
use rpingmesh::topology::wiring::file::File;
use serde::Serialize;

use crate::localize::read;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// Slurm's topology.conf (topology/tree), as Topograph writes it, too
    Slurm,
    /// A table of cables with a header, such as a,a_port,b,b_port
    Csv,
}

/// What `topology import` takes.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// What the file is
    #[arg(long, value_enum)]
    from: Source,
    /// CSV: devices of this name are hosts, `*` stands for any letters, may be repeated [default: what the columns a_kind and
    /// b_kind say]
    #[arg(long = "host", value_name = "PATTERN")]
    hosts: Vec<String>,
    /// The file; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn main(args: &ImportArgs) -> Result<(), Failure> {
    let text = read("file", &args.file)?;
    let imported = match args.from {
        Source::Slurm => slurm::import(&text),
        Source::Csv => cables::import(&text, &HostPatterns::new(args.hosts.clone())),
    };
    let imported = imported
        .with_context(|| args.file.display().to_string())
        .map_err(Failure::run)?;
    let mut messages = io::stderr().lock();
    for note in &imported.notes {
        // Nobody has to read them.
        let _ = writeln!(messages, "note: {note}");
    }
    crate::api::print(&written(&imported.file)?)
}

/// The file with a line for each link and each host.
fn written(file: &File) -> Result<String, Failure> {
    let links = lines(&file.links)?;
    let hosts = lines(&file.hosts)?;
    Ok(format!("{{\"links\":[{links}],\n\"hosts\":[{hosts}]}}"))
}

fn lines(entries: &[impl Serialize]) -> Result<String, Failure> {
    let lines: Result<Vec<_>, _> = entries.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(Failure::run)?;
    let lines: Vec<_> = lines.iter().map(|line| format!("\n  {line}")).collect();
    Ok(lines.join(","))
}
