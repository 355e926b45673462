//! `rpingmesh lab`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::config::program::{Failure, prepare, run_to_end, start_logging, stop_on_signal};
use rpingmesh::config::settings::Given;
use rpingmesh::fault::FAULTS_HELP;
use rpingmesh::lab::plan::LabPlan;
use rpingmesh::lab::run::run;
use rpingmesh::lab::show::Line;
use tokio_util::sync::CancellationToken;

/// A configuration file and everything that goes over it.
#[derive(Debug, Args)]
#[command(after_long_help = FAULTS_HELP)]
pub(crate) struct LabArgs {
    /// TOML file with the options below; flags and RPINGMESH_… variables go over it [default: none]
    #[arg(long, env = "RPINGMESH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given<LabSettings>,
}

pub(crate) fn main(args: &LabArgs) -> Result<(), Failure> {
    let settings = args.given.over(args.config.as_deref())?;
    start_logging(&settings.log)?;
    let plan = LabPlan::new(settings)?;
    prepare(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::run)?;
    run_to_end(runtime, show_lab(&plan))
}

async fn show_lab(plan: &LabPlan) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let output = Output {
        json: plan.json,
        stop: stop.clone(),
    };
    let summary = run(plan, stop, |line| output.print(&line))
        .await
        .map_err(Failure::run)?;
    output.print(&Line::Summary(&summary));
    Ok(())
}

/// Standard output; when nobody reads it any more the lab ends.
struct Output {
    json: bool,
    stop: CancellationToken,
}

impl Output {
    fn print(&self, line: &Line<'_>) {
        let text = if self.json { line.json() } else { line.text() };
        let mut out = io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            self.stop.cancel();
        }
    }
}
