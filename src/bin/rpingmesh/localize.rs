//! `rpingmesh localize`: the analyzer's localisation on files.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use rpingmesh::analysis::localize::Settings;
use rpingmesh::analysis::localize::answer::Answer;
use rpingmesh::analysis::localize::files::{Topology, locate};
use rpingmesh::config::HumanDuration;
use rpingmesh::config::program::Failure;
use rpingmesh::config::share::Share;

/// What to read, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct LocalizeArgs {
    /// Topology, one JSON object: `{"links":[{"a":"spine0","b":"tor3"}],"hosts":[{"name":"h0","tor":"tor3"}]}`
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
    /// Observations, a JSON object per line:
    /// `{"src":"h0","dst":"h9","path":["h0","tor0","spine1","tor4","h9"],"sent":3000,"lost":4,"window_s":20}`, or `paths`
    /// with a list of candidate paths where the path is not known; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    observations: PathBuf,
    /// Only lines of windows of this length, for instance 20s [default: all lines, of one length]
    #[arg(long, value_name = "DURATION")]
    window: Option<HumanDuration>,
    /// Links, switches, hosts and RNICs that lose a smaller share of their packets are not named [default: 0%]
    #[arg(long, value_name = "RATE")]
    least_loss: Option<Share>,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

/// A file's text; `-` is standard input.
pub(crate) fn read(what: &str, path: &Path) -> Result<String, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.with_context(|| format!("cannot read the {what} {}", path.display()))
        .map_err(Failure::run)
}

/// A line on standard output. That nobody reads it any more is no error.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

pub(crate) fn main(args: &LocalizeArgs) -> Result<(), Failure> {
    let about = |path: &Path| path.display().to_string();
    let topology = Topology::parse(&read("topology", &args.topology)?)
        .with_context(|| about(&args.topology))
        .map_err(Failure::run)?;
    let text = read("observations", &args.observations)?;
    let window = args
        .window
        .map(|HumanDuration(window)| window.as_secs_f64());
    let settings = Settings {
        least_rate: args.least_loss.map_or(0.0, |share| share.0),
        ..Settings::default()
    };
    let (problem, diagnosis) = locate(&topology, &text, window, &settings)
        .with_context(|| about(&args.observations))
        .map_err(Failure::run)?;
    let answer = Answer::new(&problem, diagnosis);
    if args.json {
        print(&serde_json::to_string(&answer).map_err(Failure::run)?);
    } else {
        print(&answer.to_string());
    }
    Ok(())
}
