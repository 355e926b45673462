//! `rpingmesh certify`.

mod page;
mod state;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use rpingmesh::analysis::certify::{Beside, Evidence, Fault, Question, Report, Verdict};
use rpingmesh::analysis::localize::Component;
use rpingmesh::api::agents::{Agents, AgentsQuery};
use rpingmesh::api::component::Component as Answered;
use rpingmesh::api::evidence::EvidenceQuery;
use rpingmesh::api::incidents::{Incident, Incidents, IncidentsQuery, Wanted};
use rpingmesh::api::query::{Choice, IncidentPageSize};
use rpingmesh::config::program::Failure;
use rpingmesh::config::{ConfigError, HumanDuration};
use rpingmesh::error::describe;
use rpingmesh::id::{HostName, RnicName};

use crate::api::{self, Analyzer, ApiArgs};
use state::Certification;

/// A link may lose this share of its packets unless asked otherwise.
const DEFAULT_LOSS: f64 = 1e-5;
/// How often evidence is fetched; one answer covers 120 s.
const EVERY: Duration = Duration::from_mins(1);
const LONGEST_EVERY: Duration = Duration::from_secs(100);
/// Faults end the certification after this time: by then all that shows soon has shown.
const FAULTS_SHOW: Duration = Duration::from_mins(2);
/// Incidents that are looked at.
const MOST_INCIDENTS: u64 = 1_000;

/// What `certify` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 accepted, 1 faults found, 2 not enough evidence in the time given, no answer, or wrong usage.\n\
                        docs/certify.md says what is looked at and what the bounds mean."
)]
pub(crate) struct CertifyArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The share of its packets that a link may lose [default: 1e-5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    loss: Option<f64>,
    /// Only these hosts, their RNICs, and the cables of their ToRs [default: all]
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Give up after this time [default: when every link is below the bound]
    #[arg(long = "for", value_name = "DURATION")]
    limit: Option<HumanDuration>,
    /// How often to ask the analyzer, at most 100s [default: 60s]
    #[arg(long, value_name = "DURATION")]
    every: Option<HumanDuration>,
    /// Go on when something is wrong, until all other links are below the bound
    #[arg(long)]
    keep_going: bool,
    /// Say how long it takes at today's rates, and end
    #[arg(long)]
    estimate: bool,
    /// Keep what was counted in this file, and continue from it [default: none]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write the report as one HTML page [default: none]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be above 0 and below 1, such as 1e-5".to_owned()),
    }
}

/// Certifies, and gives the exit status.
pub(crate) fn main(args: &CertifyArgs) -> ExitCode {
    match api::block_on(certify(args)) {
        Ok(Some(Verdict::Accepted) | None) => ExitCode::SUCCESS,
        Ok(Some(Verdict::Faults)) => ExitCode::from(1),
        Ok(Some(Verdict::Open)) => ExitCode::from(2),
        Err(failure) => {
            let text = match &failure {
                Failure::Config(error) => describe(error),
                Failure::Run(error) => describe(error.as_ref()),
            };
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

/// The verdict; none where only an estimate was asked for.
async fn certify(args: &CertifyArgs) -> Result<Option<Verdict>, Failure> {
    let analyzer = args.api.analyzer()?;
    let HumanDuration(every) = args.every.unwrap_or(HumanDuration(EVERY));
    if every.is_zero() || every > LONGEST_EVERY {
        let why = "must be above 0s and at most 100s: one answer covers 120 s";
        return Err(ConfigError::value("every", why).into());
    }
    let question = Question {
        loss: args.loss.unwrap_or(DEFAULT_LOSS),
        hosts: args
            .hosts
            .iter()
            .map(|host| HostName::new(&**host))
            .collect(),
    };
    let mut certification = Certification::open(args.state.as_deref(), question)?;
    let begun = Instant::now();
    let mut report = look(&analyzer, &mut certification).await?;
    check_hosts(&certification)?;
    eprintln!("{}", text::beforehand(&report));
    if args.estimate {
        return Ok(None);
    }
    while !is_over(args, &report, begun.elapsed()) {
        let rest = args
            .limit
            .map(|HumanDuration(limit)| limit.saturating_sub(begun.elapsed()));
        tokio::time::sleep(rest.map_or(every, |rest| rest.min(every))).await;
        match look(&analyzer, &mut certification).await {
            Ok(newer) => {
                report = newer;
                eprintln!("{}", text::progress(&report));
            }
            Err(Failure::Run(error)) => {
                eprintln!("{}; asked again in {every:?}", describe(&*error));
            }
            Err(failure) => return Err(failure),
        }
    }
    if let Some(path) = &args.html {
        std::fs::write(path, page::page(&report)).map_err(|error| {
            Failure::run(format!("cannot write the page {}: {error}", path.display()))
        })?;
    }
    if args.api.json {
        api::print_json(&report)?;
    } else {
        api::print(&text::report(&report))?;
    }
    Ok(Some(report.verdict))
}

fn is_over(args: &CertifyArgs, report: &Report, since: Duration) -> bool {
    let is_late = args
        .limit
        .is_some_and(|HumanDuration(limit)| since >= limit);
    is_late
        || match report.verdict {
            Verdict::Accepted => true,
            Verdict::Open => false,
            Verdict::Faults if args.keep_going => text::is_rest_proven(report),
            // Where nothing is counted at all, faults may be all that there is.
            Verdict::Faults if report.covered_ns == 0 => since >= FAULTS_SHOW * 2,
            Verdict::Faults => since >= FAULTS_SHOW,
        }
}

/// Hosts that nobody reports are probably misspelt.
fn check_hosts(certification: &Certification) -> Result<(), Failure> {
    let evidence = certification.progress.evidence.iter();
    let known: BTreeSet<&HostName> = evidence
        .flat_map(|one| one.rnics.keys())
        .map(|rnic| &rnic.host)
        .collect();
    let unknown = |host: &&HostName| !known.contains(*host);
    match certification.question.hosts.iter().find(unknown) {
        Some(host) => Err(ConfigError::value(
            "hosts",
            format!("`{host}` reports nothing to this analyzer; `rpingmesh topology --hosts` lists those that do"),
        )
        .into()),
        None => Ok(()),
    }
}

/// Fetches what is new, and assesses all.
async fn look(analyzer: &Analyzer, certification: &mut Certification) -> Result<Report, Failure> {
    let answer = analyzer.ask(&certification.query()).await?;
    let later = Evidence::try_from(&answer).map_err(Failure::run)?;
    let incidents = analyzer.ask(&newest_incidents()).await?;
    let agents = analyzer.ask(&AgentsQuery::default()).await?;
    let since = certification.started(answer.start_unix_ns);
    let beside = Beside {
        incidents: faults(&incidents, since),
        unusable: unusable(&agents),
    };
    let question = certification.question.clone();
    let report = certification
        .progress
        .take(&later, &beside, &question)
        .map_err(Failure::run)?;
    certification.save()?;
    Ok(report)
}

fn newest_incidents() -> IncidentsQuery {
    IncidentsQuery {
        state: Some(Choice(Wanted::All)),
        limit: IncidentPageSize::new(MOST_INCIDENTS),
        ..IncidentsQuery::default()
    }
}

/// Incidents that were open since then, without those that another one explains and those of the monitoring itself.
fn faults(incidents: &Incidents, since: i64) -> Vec<Fault> {
    let was_open =
        |incident: &&Incident| incident.closed_unix_ns.is_none_or(|closed| closed >= since);
    let all = incidents.incidents.iter().filter(was_open);
    all.filter(|incident| incident.cause.is_none())
        .filter(|incident| !incident.category.to_string().starts_with("monitoring"))
        .map(|incident| {
            let explained = incident.explains.iter().map(|one| &one.subject);
            let is_group = matches!(incident.subject, Answered::Group { .. });
            let components: Vec<Component> = [&incident.subject]
                .into_iter()
                .chain(&incident.or)
                .chain(explained.filter(|_| is_group))
                .filter_map(component)
                .collect();
            let category = incident.category.to_string();
            Fault::of_incident(
                category,
                &components,
                incident.both_directions,
                &*incident.title,
            )
        })
        .collect()
}

/// A component with a place; none of a kind that only a newer analyzer knows.
fn component(answered: &Answered) -> Option<Component> {
    Some(match answered {
        Answered::Link { from, to } => Component::Link {
            from: from.clone(),
            to: to.clone(),
        },
        Answered::Switch { name } => Component::Switch { name: name.clone() },
        Answered::Host { name } => Component::Host { name: name.clone() },
        Answered::Rnic { host, device } => Component::rnic(RnicName::new(&**host, &**device)),
        Answered::Group { .. } | Answered::Other => return None,
    })
}

fn unusable(agents: &Agents) -> Vec<(RnicName, String)> {
    let all = agents.agents.iter();
    all.flat_map(|agent| {
        let closed = agent.rnics.iter().filter_map(|rnic| {
            let why = rnic.closed.clone()?;
            Some((RnicName::new(&*agent.host, &*rnic.device), why))
        });
        closed.collect::<Vec<_>>()
    })
    .collect()
}

impl Certification {
    /// Asks for what comes next.
    fn query(&self) -> EvidenceQuery {
        let end = self
            .progress
            .evidence
            .as_ref()
            .map(|one| one.interval.end.nanos());
        let without = &self.progress.without;
        let names: Vec<&str> = without.iter().map(String::as_str).collect();
        EvidenceQuery {
            since_unix_ns: end.and_then(|end| u64::try_from(end).ok()).map(Into::into),
            without: (!names.is_empty()).then(|| names.join(",")),
        }
    }
}

#[cfg(test)]
mod tests;
