//! `doctor`: says what this host lacks for probing, and what to do about it.

mod checks;
mod finding;
mod gids;
mod rdma;
mod services;

use clap::Args;
use rpingmesh::config::agent::{AgentConfig, TransportChoice};
use rpingmesh::config::program::{Failure, start_logging};
use serde::Serialize;

use crate::cli::{Configured, runtime};
use crate::verbs;

use self::finding::{Finding, Status};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object per finding and one with the verdict
    #[arg(long)]
    json: bool,
    /// Explain for every entry of the GID tables why it is used or not
    #[arg(long)]
    explain_gids: bool,
    /// Explain the tables in this file instead of this host's, and check nothing else. Lines `dev NAME`, `gid PORT INDEX
    /// ADDRESS TYPE`, where the type is 1 for RoCE v1, 2 for RoCE v2; lines of other kinds and further words are left out
    #[arg(long, value_name = "FILE")]
    gid_table: Option<std::path::PathBuf>,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Serialize)]
struct Verdict {
    r#type: &'static str,
    can_probe: bool,
    problems: usize,
}

/// The transport whose needs are examined.
fn examined(config: &AgentConfig) -> TransportChoice {
    match config.settings.transport {
        TransportChoice::Auto if verbs::EXISTS => TransportChoice::Verbs,
        TransportChoice::Auto => TransportChoice::Userspace,
        chosen => chosen,
    }
}

pub(crate) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let settings = args.configured.load()?;
    start_logging(&settings.log)?;
    let config = settings.validate()?;
    if let Some(file) = &args.gid_table {
        return report(&gids::recorded(file, &config)?, args.json);
    }
    let mut findings = vec![checks::kernel()];
    match examined(&config) {
        TransportChoice::Userspace => findings.extend(checks::userspace(&config)),
        TransportChoice::None => findings.push(Finding::problem(
            "transport",
            "`transport` is none: this agent neither probes nor answers",
            "use auto, verbs or userspace",
        )),
        TransportChoice::Auto | TransportChoice::Verbs => {
            // Endpoints are opened to see what stamps their completions.
            let runtime = runtime()?;
            let _context = runtime.enter();
            findings.extend(rdma::findings(&config, args.explain_gids));
            findings.push(checks::memlock());
            findings.push(checks::port_in_use(config.settings.userspace_port));
        }
    }
    findings.push(checks::descriptors());
    findings.extend(checks::files(&config.settings));
    findings.extend(checks::certificate(&config));
    findings.extend(checks::lldp(&config.settings));
    findings.push(checks::capabilities());
    findings.push(checks::path_tracing(&config));
    findings.extend(checks::tracing(&config));
    let runtime = runtime()?;
    findings.extend(runtime.block_on(services::findings(&config)));
    findings.extend(runtime.block_on(checks::servers(&config)));
    report(&findings, args.json)
}

fn report(findings: &[Finding], json: bool) -> Result<(), Failure> {
    let problems = findings
        .iter()
        .filter(|finding| finding.status == Status::Problem)
        .count();
    for finding in findings {
        if json {
            println!("{}", serde_json::to_string(finding).map_err(Failure::run)?);
        } else {
            print_text(finding);
        }
    }
    let verdict = Verdict {
        r#type: "verdict",
        can_probe: problems == 0,
        problems,
    };
    if json {
        println!("{}", serde_json::to_string(&verdict).map_err(Failure::run)?);
    }
    if problems > 0 {
        return Err(Failure::run(format!(
            "the agent cannot probe here: {problems} {}",
            if problems == 1 { "problem" } else { "problems" }
        )));
    }
    Ok(())
}

fn print_text(finding: &Finding) {
    let mark = match finding.status {
        Status::Ok => "ok      ",
        Status::Note => "note    ",
        Status::Problem => "PROBLEM ",
    };
    println!("{mark}{}: {}", finding.check, finding.message);
    if let Some(advice) = &finding.advice {
        println!("        -> {advice}");
    }
}
